//! Read-through with a loader that may find that there is no value.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::form::AsValue;
use crate::api::load::future::run_async;
use crate::api::load::read_through::{Attempt, ReadThrough, certain, plain_hit};
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::engine::role::Manner;
use core::convert::Infallible;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;

/// Interprets the output of a loader that may find no value.
fn as_loaded<V>(found: Option<V>) -> Loaded<V> {
    found.map_or(Loaded::NotFound, Loaded::New)
}

/// Returns the value that a caller is told of, or None if it is told that there is none.
fn found<T, E>(found: Result<T, LoadError<E>>) -> Result<Option<T>, LoadError<E>> {
    match found {
        Err(LoadError::NotFound) => Ok(None),
        found => found.map(Some),
    }
}

fn certainly<T>(lookup: Result<T, LoadError<Infallible>>) -> Option<T> {
    certain(found(lookup))
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// As [`begin`](Self::begin), for a caller that cannot report an error, but that there is no
    /// value.
    fn begin_optional<'q, Q>(&'q self, q: &'q Q) -> Attempt<'q, 'q, K, V, Q, AsValue>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let (core, hash) = (self.core(), self.hash(q));
        if let Some(value) = plain_hit(core, q, hash) {
            return Attempt::Hit(value);
        }
        Attempt::ReadThrough(ReadThrough::plain(core, q, hash, Manner::OPTIONAL))
    }

    /// As [`get_with`](Self::get_with), with a loader that may find that there is no value. All
    /// callers that waited for that load are told so, by `None`; none of them loads again.
    ///
    /// Nothing is stored then, an old value is removed, and the next caller loads. With a
    /// [`negative_ttl`](crate::Builder::negative_ttl), the cache remembers for that time that there
    /// is no value, and callers get `None` without a load: see
    /// [`Loaded::NotFound`](crate::Loaded::NotFound), which `None` stands for.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::collections::HashMap;
    /// let rows = HashMap::from([(1, "one")]);
    /// let cache: Cache<u32, &str> = Cache::new(10);
    /// assert_eq!(cache.get_with_optional(&1, || rows.get(&1).copied()), Some("one"));
    /// assert_eq!(cache.get_with_optional(&2, || rows.get(&2).copied()), None);
    /// assert_eq!(cache.len(), 1);
    /// ```
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with).
    #[doc(alias = "optionally_get_with")]
    #[doc(alias = "or_optionally_insert_with")]
    #[cfg(feature = "std")]
    pub fn get_with_optional<Q>(&self, q: &Q, load: impl FnOnce() -> Option<V>) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        certainly(self.begin_optional(q).run(|_| Ok(as_loaded(load()))))
    }

    /// As [`get_with_optional`](Self::get_with_optional), with a loader that can fail.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with), and never
    /// [`NotFound`](crate::LoadError::NotFound): that is `Ok(None)`.
    ///
    /// # Panics
    /// As [`try_get_with`](Self::try_get_with).
    #[cfg(feature = "std")]
    pub fn try_get_with_optional<Q, E>(
        &self,
        q: &Q,
        load: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        found(self.begin(q, false).run(|_| load().map(as_loaded)))
    }

    /// As `get_with_optional`, for tasks; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    #[doc(alias = "optionally_get_with")]
    pub fn get_with_optional_async<'c, Q, F, Fut>(&'c self, q: &'c Q, load: F) -> impl Future<Output = Option<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Option<V>>,
        V: Clone,
    {
        run_async(|| self.begin_optional(q), |_| load(), |found| Ok(as_loaded(found)), certainly)
    }

    /// As `try_get_with_optional`, for tasks; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Errors
    /// As [`try_get_with_async`](Self::try_get_with_async), and never
    /// [`NotFound`](crate::LoadError::NotFound): that is `Ok(None)`.
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    pub fn try_get_with_optional_async<'c, Q, E, F, Fut>(
        &'c self,
        q: &'c Q,
        load: F,
    ) -> impl Future<Output = Result<Option<V>, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, E>>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        run_async(|| self.begin(q, false), |_| load(), |output| output.map(as_loaded), found)
    }
}
