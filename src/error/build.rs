//! Why a cache was not built.

use core::fmt;

/// Why [`Builder::build`](crate::Builder::build) refused a configuration.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum BuildError {
    /// `max_capacity` was not given; `u64::MAX` means unbounded.
    MissingCapacity,
    /// `shards` is 0 or above 1024.
    Shards(usize),
    /// `xfetch`'s beta is negative, infinite or not a number.
    Beta(f64),
    /// `ttl_jitter` is not within `0.0..1.0`.
    Jitter(f64),
    /// `time_to_idle` is zero: no entry could ever be read.
    ZeroTimeToIdle,
    /// Both `tags_with` and `time_to_idle` were given: an entry has room for one of them.
    TagsWithIdle,
    /// `lead_timeout` is zero: every leader would be replaced at once.
    ZeroLeadTimeout,
    /// An expiry or deadline was asked for and there is no clock (without `std`, `clock` must be given).
    MissingClock,
    /// A deadline was asked for under a custom clock, and no `timer` was given that could end a wait by that clock.
    MissingTimer,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCapacity => f.write_str("max_capacity is required (u64::MAX for an unbounded cache)"),
            Self::Shards(n) => write!(f, "shards must be within 1..=1024, not {n}"),
            Self::Beta(b) => write!(f, "xfetch's beta must be finite and not negative, not {b}"),
            Self::Jitter(j) => write!(f, "ttl_jitter must be within 0.0..1.0, not {j}"),
            Self::ZeroTimeToIdle => f.write_str("time_to_idle must be longer than zero"),
            Self::TagsWithIdle => f.write_str("tags_with and time_to_idle cannot be used together"),
            Self::ZeroLeadTimeout => f.write_str("lead_timeout must be longer than zero"),
            Self::MissingClock => f.write_str("expiry and deadlines need a clock: without std, give one with clock()"),
            Self::MissingTimer => f.write_str(
                "a deadline under a custom clock needs a timer that follows that clock: give one with timer()",
            ),
        }
    }
}

impl core::error::Error for BuildError {}
