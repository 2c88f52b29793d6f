//! How a read-through got its value, and how a load may end.

use super::expiry::Expiry;
use core::time::Duration;

/// How a read-through got its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The value was there.
    Hit,
    /// This caller loaded the value. (Or had it loaded in the background, even if another caller
    /// took that load over.)
    Computed,
    /// This caller waited for another caller's load.
    Coalesced,
    /// The old value was served. Its time to live is over, or this caller's refresh of it failed.
    Stale,
    /// This caller loaded the value early, in place of one that was still fresh
    /// ([`Refresh`](crate::Refresh)).
    Refreshed,
    /// This caller ran the load, and its loader read the value from another tier
    /// ([`Expiry::from_tier`]). (Where the spawner ran the load, that is told as `Computed`.)
    FromTier,
}

/// The result of a load that may say more than a value: for
/// [`Request::revalidate_with`](crate::Request::revalidate_with),
/// [`Detached::revalidate_with`](crate::Detached::revalidate_with),
/// [`Load::revalidate`](crate::Load::revalidate) and [`Answers::loaded`](crate::Answers::loaded).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value, with the cache's time to live.
    New(V),
    /// A value with a time to live of its own. `Duration::MAX` never ends, and zero acts as
    /// `Unstored`. The cache's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    NewFor(V, Duration),
    /// A value with a time to live of its own, exactly that long: the cache's jitter does not
    /// shorten it.
    NewForExactly(V, Duration),
    /// A value that is handed to all waiters and not stored. The old value is removed all the same.
    Unstored(V),
    /// A value with terms of its own: for how long it is fresh, when it is refreshed, how long it
    /// may be served past its expiry, how old it is.
    With(V, Expiry),
    /// The old value is still right, and its time to live begins anew. If there is no old value,
    /// the load counts as abandoned.
    NotModified,
    /// As `NotModified`, with new terms for the old value.
    NotModifiedWith(Expiry),
    /// There is no value. The old value is removed, and all callers that waited are told
    /// [`NotFound`](crate::LoadError::NotFound). For the cache's
    /// [`negative_ttl`](crate::Builder::negative_ttl) later callers are told so, too, without a
    /// load; plain reads find nothing. Without a `negative_ttl`, the next caller loads.
    ///
    /// That is an answer, not a failure: no old value is served instead
    /// ([`stale_if_error`](crate::Builder::stale_if_error)), and it counts neither as a failure nor
    /// for [`on_load_error`](crate::Builder::on_load_error). `get_with` and its like, which cannot
    /// report it, load by their own loaders.
    ///
    /// ```
    /// use bellwether::{Cache, LoadError, Loaded, ManualClock};
    /// use std::collections::HashMap;
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// let rows = HashMap::from([(1, "one")]);
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, &str> = Cache::builder()
    ///     .max_capacity(10)
    ///     .negative_ttl(Duration::from_secs(5))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// let mut queries = 0;
    /// let mut get = |key: u32| {
    ///     let found = cache.entry(&key).revalidate_with(|_| {
    ///         queries += 1;
    ///         Ok::<_, Infallible>(rows.get(&key).map_or(Loaded::NotFound, |row| Loaded::New(*row)))
    ///     });
    ///     match found {
    ///         Ok((row, _)) => (Some(*row), queries),
    ///         Err(LoadError::NotFound) => (None, queries),
    ///         Err(error) => panic!("{error}"),
    ///     }
    /// };
    /// assert_eq!(get(1), (Some("one"), 1));
    /// assert_eq!(get(2), (None, 2));
    /// assert_eq!(get(2), (None, 2), "the cache knows that there is none");
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(get(2), (None, 3));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    NotFound,
    /// As `NotFound`, kept for a time of its own, exactly that long. Zero keeps nothing, and
    /// `Duration::MAX` never ends.
    NotFoundFor(Duration),
}

/// Why a load that did not fail has no value.
#[derive(Debug)]
pub(crate) enum NoValue {
    NotModified,
    NotFound,
}

impl<V> Loaded<V> {
    /// Returns the value, for a caller that does not store it.
    pub(crate) fn into_value(self) -> Result<V, NoValue> {
        match self {
            Self::New(value)
            | Self::NewFor(value, _)
            | Self::NewForExactly(value, _)
            | Self::With(value, _)
            | Self::Unstored(value) => Ok(value),
            Self::NotModified | Self::NotModifiedWith(_) => Err(NoValue::NotModified),
            Self::NotFound | Self::NotFoundFor(_) => Err(NoValue::NotFound),
        }
    }
}
