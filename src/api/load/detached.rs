//! Read-through whose loads run in the background, and outlive their callers.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::Entry;
use crate::api::handle::form::AsEntry;
#[cfg(feature = "std")]
use crate::api::load::background::run_detached;
use crate::api::load::background::{Call, Closure, run_detached_async};
use crate::api::load::read_through::{ReadThrough, as_loaded};
use crate::api::load::request::{Found, settings};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::runtime::xfetch::nanos;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

/// A read-through of one key whose load runs in the background. From [`Cache::detached`].
///
/// A setting that is not given is the cache's. The request ends in one of its verbs, which do as
/// the verbs of [`Cache`] and of a [`Request`](crate::Request), and return an [`Entry`] and the
/// [`Outcome`](crate::Outcome).
///
/// A loader that runs in the background cannot borrow the caller's key. To those of the verbs whose
/// names have `_key` in them the cache gives the key that it keeps, so that a caller clones nothing
/// where there is a hit:
///
/// ```
/// use bellwether::Cache;
/// use std::sync::Arc;
/// let cache: Arc<Cache<String, usize>> = Arc::new(Cache::new(10));
/// // The cache makes its `String` of the `&str` if it begins a load, and not before.
/// let length = |city: &str| *cache.detached(city).get_with_key(|key| key.len()).0;
/// assert_eq!((length("Seattle"), length("Seattle")), (7, 7));
/// ```
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Detached<'q, K, V, S, Q: ?Sized> {
    cache: Arc<Cache<K, V, S>>,
    q: &'q Q,
    pub(super) limits: Limits,
}

impl<K, V, S> Cache<K, V, S> {
    /// Begins a read-through whose load, if this caller leads, is run by the cache's
    /// [`spawner`](crate::Builder::spawner).
    ///
    /// So the load goes on if this caller is cancelled or stops waiting (`soft_timeout`,
    /// `hard_timeout`), and a task that is not polled holds up no other caller. A caller that leads
    /// an early refresh, or a refresh while a stale value may be served, gets the old value at
    /// once.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::sync::Arc;
    /// let cache: Arc<Cache<String, u64>> = Arc::new(Cache::new(10));
    /// let (entry, outcome) = cache.detached("answer").get_with(|| 42);
    /// assert_eq!((*entry, outcome), (42, Outcome::Computed));
    /// ```
    ///
    /// Each load costs an allocation and the spawner's own cost; a hit costs neither. Without std,
    /// a load panics if no spawner was given.
    pub fn detached<'q, Q: ?Sized>(self: &Arc<Self>, q: &'q Q) -> Detached<'q, K, V, S, Q> {
        Detached { cache: self.clone(), q, limits: self.core().config.limits.clone() }
    }
}

impl<K, V, S, Q: ?Sized> Detached<'_, K, V, S, Q> {
    settings!(self, self.limits);
}

impl<'q, K, V, S, Q> Detached<'q, K, V, S, Q>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
{
    fn through(&self, infallible: bool) -> ReadThrough<'static, 'q, K, V, Q, AsEntry> {
        ReadThrough::new(self.cache.kept(), self.q, self.cache.hash(self.q), self.limits.clone(), infallible)
    }

    /// As [`Cache::get_with`]; the calling thread sleeps while the load runs. After the
    /// `hard_timeout` the caller gets an old value if one may be served. If there is none it waits
    /// on: it has no other loader, and no way to report an error.
    ///
    /// # Panics
    /// If the load comes to nothing, and there is neither a value nor an old value that may be
    /// served. The load comes to nothing if it panics, if the spawner drops it (in both cases one
    /// of the waiters takes over), or if another caller takes it over (`lead_timeout`) and fails.
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V + Send + 'static) -> Found<'static, K, V> {
        not_lost(run_detached(self.through(true), false, |_| Ok(Loaded::New(load()))))
    }

    /// As [`Cache::try_get_with`]; the calling thread sleeps while the load runs.
    ///
    /// # Errors
    /// As [`Cache::try_get_with`], and:
    ///
    /// * `TimedOut` after the `hard_timeout`.
    /// * `Panicked` if the load panics, and `NotRun` if the spawner drops it or cannot run it. In
    ///   both cases one of the waiters takes over.
    /// * `Abandoned` if another caller takes the load over (`lead_timeout`) and comes to nothing.
    #[cfg(feature = "std")]
    pub fn try_get_with<E>(
        self,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        run_detached(self.through(false), false, |_| load().map(Loaded::New))
    }

    /// As [`Cache::get_with_async`].
    ///
    /// # Cancellation
    /// The load goes on.
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with).
    pub async fn get_with_async<F, Fut>(self, load: F) -> Found<'static, K, V>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let load = Closure(|_: Call<'_, K, V>| load(), |value| Ok::<_, Infallible>(Loaded::New(value)));
        not_lost(run_detached_async(|| self.through(true), load).await)
    }

    /// As [`Cache::try_get_with_async`].
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Cancellation
    /// The load goes on.
    pub async fn try_get_with_async<E, F, Fut>(self, load: F) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let load = Closure(|_: Call<'_, K, V>| load(), as_loaded);
        run_detached_async(|| self.through(false), load).await.map_err(LoadError::typed)
    }

    /// As [`get_with`](Self::get_with), with a loader that gets the key.
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with).
    #[cfg(feature = "std")]
    #[doc(alias = "or_insert_with_key")]
    pub fn get_with_key(self, load: impl FnOnce(&K) -> V + Send + 'static) -> Found<'static, K, V> {
        not_lost(run_detached(self.through(true), false, |call| Ok(Loaded::New(load(call.key)))))
    }

    /// As [`try_get_with`](Self::try_get_with), with a loader that gets the key.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    #[cfg(feature = "std")]
    pub fn try_get_with_key<E>(
        self,
        load: impl FnOnce(&K) -> Result<V, E> + Send + 'static,
    ) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        run_detached(self.through(false), false, |call| load(call.key).map(Loaded::New))
    }

    /// As [`get_with_async`](Self::get_with_async), with a loader that gets the key. Its future
    /// cannot borrow the key.
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    pub async fn get_with_key_async<F, Fut>(self, load: F) -> Found<'static, K, V>
    where
        F: FnOnce(&K) -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let load = Closure(|call: Call<'_, K, V>| load(call.key), |value| Ok::<_, Infallible>(Loaded::New(value)));
        not_lost(run_detached_async(|| self.through(true), load).await)
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), with a loader that gets the key. Its
    /// future cannot borrow the key.
    ///
    /// # Errors, cancellation
    /// As [`try_get_with_async`](Self::try_get_with_async).
    pub async fn try_get_with_key_async<E, F, Fut>(self, load: F) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        F: FnOnce(&K) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let load = Closure(|call: Call<'_, K, V>| load(call.key), as_loaded);
        run_detached_async(|| self.through(false), load).await.map_err(LoadError::typed)
    }

    /// As [`Request::revalidate_with`](crate::Request::revalidate_with): the loader gets the key,
    /// and the value that it replaces, fresh or expired, if there is one. It may answer that this
    /// value is still right, or say how long its new value is kept. The calling thread sleeps while
    /// the load runs, unless it may go on with an old value.
    ///
    /// ```
    /// use bellwether::{Cache, Entry, Loaded};
    /// use std::convert::Infallible;
    /// use std::sync::Arc;
    /// type Page = (u32, String);
    /// let pages: Arc<Cache<String, Page>> = Arc::new(Cache::new(10));
    /// let fetch = |path: &String, old: Option<Entry<'static, String, Page>>| match old.map(|page| page.0) {
    ///     // The server's answer to `If-None-Match: 7`.
    ///     Some(7) => Ok::<_, Infallible>(Loaded::NotModified),
    ///     _ => Ok(Loaded::New((7, format!("<html>{path}")))),
    /// };
    /// let (page, _) = pages.detached("/").revalidate_with(fetch)?;
    /// assert_eq!(*page, (7, "<html>/".to_owned()));
    /// # Ok::<(), bellwether::LoadError<Infallible>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with); `NotModified` if the loader answers
    /// [`Loaded::NotModified`] and there was no old value.
    #[cfg(feature = "std")]
    pub fn revalidate_with<E>(
        self,
        load: impl FnOnce(&K, Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E> + Send + 'static,
    ) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        run_detached(self.through(false), false, |call| load(call.key, call.old()))
    }

    /// As [`revalidate_with`](Self::revalidate_with), for tasks. The loader's future cannot borrow
    /// the key; it owns the old value's handle.
    ///
    /// # Errors
    /// As [`revalidate_with`](Self::revalidate_with).
    ///
    /// # Cancellation
    /// The load goes on.
    pub async fn revalidate_with_async<E, F, Fut>(self, load: F) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        F: FnOnce(&K, Option<Entry<'static, K, V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let load = Closure(|call: Call<'_, K, V>| load(call.key, call.old()), |loaded| loaded);
        run_detached_async(|| self.through(false), load).await.map_err(LoadError::typed)
    }
}

/// Returns the value of an infallible lookup in the background.
///
/// # Panics
/// If there is none. Such a lookup fails only if its load was lost: it panicked, was dropped, or
/// was taken over by a leader that failed.
fn not_lost<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        Err(_) => panic!("the load in the background came to nothing: it panicked, was dropped, or was taken over"),
    }
}

impl<K, V, S, Q: ?Sized + fmt::Debug> fmt::Debug for Detached<'_, K, V, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("key", &self.q).field("limits", &self.limits).finish_non_exhaustive()
    }
}
