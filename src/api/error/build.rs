//! Why a cache was not built.

use crate::engine::refresh::Refresh;
use core::fmt;

/// The reason why [`Builder::build`](crate::Builder::build) refused a configuration.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum BuildError {
    /// `max_capacity` was not given; `u64::MAX` means unbounded.
    MissingCapacity,
    /// `shards` is 0 or above 1024.
    Shards(usize),
    /// `xfetch`'s beta is negative, infinite or not a number.
    Beta(f64),
    /// A number of the `refresh` policy is out of its bounds: a factor must be finite and not
    /// negative, a share within `0.0..=1.0`.
    Refresh(Refresh),
    /// `ttl_jitter` is not within `0.0..1.0`.
    Jitter(f64),
    /// `time_to_idle` is zero: no entry could ever be read.
    ZeroTimeToIdle,
    /// `stale_while_refresh` or `stale_if_error` was given together with `time_to_idle`. They would
    /// have no effect: a value that was not read for that long is no longer served.
    StaleWithIdle,
    /// `lead_timeout` is zero: every leader would be replaced at once.
    ZeroLeadTimeout,
    /// `soft_timeout` was given without `stale_while_refresh` or `stale_if_error`: a caller would
    /// never have an old value to go on with.
    SoftTimeoutWithoutStale,
    /// `soft_timeout` is longer than `hard_timeout`, which would always come first.
    SoftAboveHard,
    /// `max_loads` is 0: no load would ever store a value.
    ZeroMaxLoads,
    /// `lead_timeout` was given with a `max_waiters` of 0: no caller waits for a leader, and
    /// waiters are the callers that take over.
    LeadTimeoutWithoutWaiters,
    /// An expiry or a deadline was asked for, and there is no clock (without `std`, `clock` must be
    /// given).
    MissingClock,
    /// A deadline was asked for under a custom clock, and no `timer` was given that could end a
    /// wait by that clock.
    MissingTimer,
    /// `eviction_listener_async` was given, and there is no spawner (without `std`, `spawner` must
    /// be given).
    MissingSpawner,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCapacity => f.write_str("max_capacity is required (u64::MAX for an unbounded cache)"),
            Self::Shards(n) => write!(f, "shards must be within 1..=1024, not {n}"),
            Self::Beta(b) => write!(f, "xfetch's beta must be finite and not negative, not {b}"),
            Self::Refresh(refresh) => write!(
                f,
                "the refresh policy's factor must be finite and not negative, and its shares within 0.0..=1.0: {refresh:?}"
            ),
            Self::Jitter(j) => write!(f, "ttl_jitter must be within 0.0..1.0, not {j}"),
            Self::ZeroTimeToIdle => f.write_str("time_to_idle must be longer than zero"),
            Self::StaleWithIdle => f.write_str(
                "stale_while_refresh and stale_if_error have no effect with time_to_idle: give a time_to_live instead of that",
            ),
            Self::SoftTimeoutWithoutStale => f.write_str(
                "soft_timeout has no effect without old values to go on with: \
                 give stale_while_refresh or stale_if_error, or hard_timeout instead",
            ),
            Self::SoftAboveHard => f.write_str("soft_timeout must not be longer than hard_timeout, which comes first"),
            Self::ZeroMaxLoads => f.write_str("max_loads must be above 0: without a bound, leave it out"),
            Self::LeadTimeoutWithoutWaiters => f.write_str(
                "lead_timeout has no effect where nobody waits, for waiters take over: give max_waiters of 1 or more, \
                 or leave lead_timeout out",
            ),
            Self::ZeroLeadTimeout => f.write_str("lead_timeout must be longer than zero"),
            Self::MissingClock => f.write_str("expiry and deadlines need a clock: without std, give one with clock()"),
            Self::MissingSpawner => f.write_str(
                "eviction_listener_async needs a spawner: without std, give one with spawner()",
            ),
            Self::MissingTimer => f.write_str(
                "a deadline under a custom clock needs a timer that follows that clock: give one with timer(); \
                 a ManualClock is its own, as in .clock(clock.clone()).timer(clock)",
            ),
        }
    }
}

impl core::error::Error for BuildError {}
