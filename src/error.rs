//! What can go wrong: building a cache, and loading a value.

use alloc::sync::Arc;
use core::convert::Infallible;
use core::{any::Any, fmt};

/// The error of one failed load, shared with everyone who waited for it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

/// Why a read-through call gave no value.
///
/// One failing load is one call of the loader; its error is shared, not repeated, by all who waited.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The load failed with this error: one's own, or that of the caller who was loading.
    Load(Arc<E>),
    /// The load that one waited for failed with an error of another type.
    Foreign(Arc<dyn Any + Send + Sync>),
    /// The load that one waited for was failed without an error ([`Lease::fail`](crate::Lease::fail)).
    Abandoned,
    /// One's own `wait_timeout` or `hard_timeout` ran out; the load goes on.
    TimedOut,
    /// The loader of this key asked for this key on its own thread: waiting would never end.
    Reentrant,
    /// Too many callers wait for this key (`max_waiters`), or too many loads are in flight (`max_loads`).
    Overloaded,
}

impl<E: Send + Sync + 'static> LoadError<E> {
    /// The error of a flight, as a caller with error type `E` sees it.
    pub(crate) fn of_flight(error: Option<SharedError>) -> Self {
        match error {
            None => Self::Abandoned,
            Some(any) => match any.downcast::<E>() {
                Ok(e) => Self::Load(e),
                Err(any) => Self::Foreign(any),
            },
        }
    }
}

impl LoadError<Infallible> {
    /// With a loader's error as what it is, where a call had no type for it.
    pub(crate) fn typed<E: Send + Sync + 'static>(self) -> LoadError<E> {
        match self {
            Self::Load(never) => match *never {},
            Self::Foreign(error) => LoadError::of_flight(Some(error)),
            Self::Abandoned => LoadError::Abandoned,
            Self::TimedOut => LoadError::TimedOut,
            Self::Reentrant => LoadError::Reentrant,
            Self::Overloaded => LoadError::Overloaded,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Load(e) => Self::Load(e.clone()),
            Self::Foreign(e) => Self::Foreign(e.clone()),
            Self::Abandoned => Self::Abandoned,
            Self::TimedOut => Self::TimedOut,
            Self::Reentrant => Self::Reentrant,
            Self::Overloaded => Self::Overloaded,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(e) => f.debug_tuple("Load").field(e).finish(),
            Self::Foreign(_) => f.write_str("Foreign(..)"),
            Self::Abandoned => f.write_str("Abandoned"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Reentrant => f.write_str("Reentrant"),
            Self::Overloaded => f.write_str("Overloaded"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(e) => write!(f, "the load failed: {e}"),
            Self::Foreign(_) => f.write_str("the load failed with an error of another type"),
            Self::Abandoned => f.write_str("the load was abandoned by its leader"),
            Self::TimedOut => f.write_str("timed out waiting for the load"),
            Self::Reentrant => f.write_str("the loader of this key asked for this key"),
            Self::Overloaded => f.write_str("too many callers wait for this key, or too many loads are in flight"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Load(e) => Some(&**e),
            _ => None,
        }
    }
}

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
