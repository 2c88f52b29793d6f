//! Errors of building a cache, and of loading a value.

mod build;
mod foreign;

pub use build::BuildError;

use crate::engine::outcome::NoValue;
use crate::flight::failure::{NotFound, Panicked, SharedError};
use alloc::sync::Arc;
use core::any::Any;
use core::convert::Infallible;
use core::error::Error;
use core::fmt;
use core::ops::Deref;

/// The reason why a read-through call returned no value.
///
/// One failing load is one call of the loader. All callers that waited share its error; none of
/// them repeats the load.
///
/// `LoadError` is an [`Error`] if `E` is one. Its text says what failed; its
/// [`source`](Error::source) says why. So `?` turns it into `Box<dyn Error + Send + Sync>`,
/// `anyhow::Error` and their like. A loader may itself return such an error, which does not
/// implement `Error`. Then [`into_dyn`](Self::into_dyn) comes first:
///
/// ```
/// use bellwether::{Cache, LoadError};
/// use std::error::Error;
/// type Boxed = Box<dyn Error + Send + Sync>;
///
/// fn typed(cache: &Cache<String, u16>) -> Result<u16, Boxed> {
///     Ok(cache.try_get_with("80", || "80".parse::<u16>())?)
/// }
/// fn boxed(cache: &Cache<String, u16>) -> Result<u16, Boxed> {
///     let load = || -> Result<u16, Boxed> { Ok("x".parse()?) };
///     Ok(cache.try_get_with("x", load).map_err(LoadError::into_dyn)?)
/// }
/// fn anyhow(cache: &Cache<String, u16>) -> anyhow::Result<u16> {
///     let load = || -> anyhow::Result<u16> { Ok("y".parse()?) };
///     Ok(cache.try_get_with("y", load).map_err(LoadError::into_dyn)?)
/// }
///
/// let cache = Cache::new(10);
/// assert_eq!(typed(&cache).unwrap(), 80);
/// let error = anyhow(&cache).unwrap_err();
/// assert_eq!(format!("{error:#}"), "the load failed: invalid digit found in string");
/// let error = boxed(&cache).unwrap_err();
/// assert_eq!(error.to_string(), "the load failed");
/// assert!(error.source().unwrap().is::<std::num::ParseIntError>());
/// ```
///
/// Where the error is a `String`, `&str` or the like, there is no source; then the text says why.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The load failed with this error: the caller's own load, or the one it waited for.
    Load(Arc<E>),
    /// The load that the caller waited for failed with an error of another type than its own
    /// loader's. The text or the source is available if the error is of a common type: a string, an
    /// error of std, a `Box<dyn Error + Send + Sync>`, or an `Arc` of that.
    Foreign(Arc<dyn Any + Send + Sync>),
    /// The leader that the caller waited for ended the load without an error
    /// ([`Lease::fail`](crate::Lease::fail)). Or another leader took the caller's own background
    /// load over (`lead_timeout`), and produced no value.
    Abandoned,
    /// The load panicked, with this message. It was the caller's own load, in the background or in
    /// a bulk call; or the caller waited for a flight whose leaders all panicked, as often as
    /// [`max_handovers`](crate::Builder::max_handovers) permits. (A panic of a load that its caller
    /// runs itself reaches that caller.)
    Panicked(Arc<str>),
    /// The spawner dropped the load before its end, or could not run it: its runtime is shut down,
    /// its queue is full, or the system refuses another thread.
    NotRun,
    /// The load returned [`Loaded::NotModified`](crate::Loaded::NotModified), and there was no old
    /// value.
    NotModified,
    /// There is no value: the load returned [`Loaded::NotFound`](crate::Loaded::NotFound), or one
    /// did so a while ago that the cache still knows of. No load has failed.
    NotFound,
    /// The caller's own `wait_timeout` or `hard_timeout` ran out; the load goes on.
    TimedOut,
    /// The loader of this key asked for this key on its own thread. The wait would never end.
    Reentrant,
    /// Too many callers wait for this key (`max_waiters`), or too many loads are in flight
    /// (`max_loads`).
    Overloaded,
}

impl<E: Send + Sync + 'static> LoadError<E> {
    /// Turns the error of a flight into the error of a caller with error type `E`.
    pub(crate) fn of_flight(error: Option<SharedError>) -> Self {
        match error {
            None => Self::Abandoned,
            Some(any) => match (any.downcast_ref::<Panicked>(), any.clone().downcast::<E>()) {
                (Some(panicked), _) => Self::Panicked(panicked.0.clone()),
                (None, Ok(e)) => Self::Load(e),
                (None, Err(_)) if any.is::<NotFound>() => Self::NotFound,
                (None, Err(_)) => Self::Foreign(any),
            },
        }
    }
}

impl<E> From<NoValue> for LoadError<E> {
    fn from(why: NoValue) -> Self {
        match why {
            NoValue::NotModified => Self::NotModified,
            NoValue::NotFound => Self::NotFound,
        }
    }
}

impl LoadError<Infallible> {
    /// Restores the type of a loader's error, for a call that had no type for it.
    pub(crate) fn typed<E: Send + Sync + 'static>(self) -> LoadError<E> {
        match self {
            Self::Load(never) => match *never {},
            Self::Foreign(error) => LoadError::of_flight(Some(error)),
            Self::Abandoned => LoadError::Abandoned,
            Self::Panicked(message) => LoadError::Panicked(message),
            Self::NotRun => LoadError::NotRun,
            Self::NotModified => LoadError::NotModified,
            Self::NotFound => LoadError::NotFound,
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
            Self::Panicked(message) => Self::Panicked(message.clone()),
            Self::NotRun => Self::NotRun,
            Self::NotModified => Self::NotModified,
            Self::NotFound => Self::NotFound,
            Self::TimedOut => Self::TimedOut,
            Self::Reentrant => Self::Reentrant,
            Self::Overloaded => Self::Overloaded,
        }
    }
}

impl<E> LoadError<E> {
    /// Returns the loader's error, if the load failed with an error of the caller's own type.
    ///
    /// ```
    /// # use bellwether::Cache;
    /// # let cache: Cache<String, u16> = Cache::new(10);
    /// let error = cache.try_get_with("x", || "x".parse::<u16>()).unwrap_err();
    /// assert_eq!(error.load_error(), "x".parse::<u16>().as_ref().err());
    /// ```
    pub fn load_error(&self) -> Option<&E> {
        if let Self::Load(error) = self { Some(error) } else { None }
    }

    /// Turns this error into an [`Error`], for a loader whose error type is type-erased and does
    /// not implement `Error` itself: `Box<dyn Error + Send + Sync>`, `anyhow::Error`. Most often
    /// used as `.map_err(LoadError::into_dyn)?`.
    pub fn into_dyn(self) -> DynLoadError<E>
    where
        E: Deref<Target = dyn Error + Send + Sync>,
    {
        DynLoadError(self)
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(e) => f.debug_tuple("Load").field(e).finish(),
            Self::Foreign(e) => match (foreign::text(&**e), foreign::error(&**e)) {
                (Some(text), _) => f.debug_tuple("Foreign").field(&text).finish(),
                (None, Some(error)) => f.debug_tuple("Foreign").field(&error).finish(),
                (None, None) => f.write_str("Foreign(..)"),
            },
            Self::Abandoned => f.write_str("Abandoned"),
            Self::Panicked(message) => f.debug_tuple("Panicked").field(message).finish(),
            Self::NotRun => f.write_str("NotRun"),
            Self::NotModified => f.write_str("NotModified"),
            Self::NotFound => f.write_str("NotFound"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Reentrant => f.write_str("Reentrant"),
            Self::Overloaded => f.write_str("Overloaded"),
        }
    }
}

/// Writes what failed. The [`source`](Error::source) says why, or, if the error is only a text,
/// that text does.
impl<E: 'static> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failure, text) = match self {
            Self::Load(e) => ("the load failed", foreign::text(&**e)),
            Self::Foreign(e) => ("the load failed with an error of another type", foreign::text(&**e)),
            Self::Abandoned => ("the load was abandoned by its leader", None),
            Self::Panicked(message) => ("the load panicked", Some(&**message)),
            Self::NotRun => ("the spawner dropped the load or could not run it", None),
            Self::NotModified => ("the load answered \"not modified\", and there is no old value", None),
            Self::NotFound => ("there is no such value", None),
            Self::TimedOut => ("timed out waiting for the load", None),
            Self::Reentrant => ("the loader of this key asked for this key", None),
            Self::Overloaded => ("too many callers wait for this key, or too many loads are in flight", None),
        };
        f.write_str(failure)?;
        text.map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Load(e) => Some(&**e),
            Self::Foreign(e) => foreign::error(&**e),
            _ => None,
        }
    }
}

/// A [`LoadError`] of a loader with a type-erased error, which implements [`Error`] itself. From
/// [`LoadError::into_dyn`].
///
/// Its source is the loader's own error, which can be downcast.
pub struct DynLoadError<E>(LoadError<E>);

impl<E> DynLoadError<E> {
    /// Returns the error that this one was made of.
    pub fn get(&self) -> &LoadError<E> {
        &self.0
    }

    /// Returns the error that this one was made of, by value.
    pub fn into_inner(self) -> LoadError<E> {
        self.0
    }
}

impl<E> Clone for DynLoadError<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: fmt::Debug> fmt::Debug for DynLoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: 'static> fmt::Display for DynLoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E> Error for DynLoadError<E>
where
    E: Deref<Target = dyn Error + Send + Sync> + fmt::Debug + 'static,
{
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            LoadError::Load(e) => Some(&***e),
            LoadError::Foreign(e) => foreign::error(&**e),
            _ => None,
        }
    }
}
