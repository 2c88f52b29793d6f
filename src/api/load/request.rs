//! A read-through with settings of its own, which tells how it came by its value.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::load::form::AsEntry;
use crate::api::load::future::run_async;
use crate::api::load::read_through::{Attempt, ReadThrough, as_loaded, certain};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::flight::expiry::Ttl;
use crate::runtime::xfetch::nanos;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

/// What a request gives: the value, and how it came by it.
pub type Found<'c, K, V> = (Entry<'c, K, V>, Outcome);

/// The settings of a call, for each kind of request.
macro_rules! settings {
    ($this:ident, $limits:expr) => {
        /// The time to live of the value, if this caller loads it: `Duration::MAX` is never; zero is handed over and not stored.
        /// The cache's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
        pub fn ttl(mut $this, ttl: Duration) -> Self {
            $limits.ttl = Some(Ttl::jittered(ttl));
            $this
        }

        /// As [`ttl`](Self::ttl), exactly that long, whatever the cache's jitter. The last one
        /// given counts.
        pub fn exact_ttl(mut $this, ttl: Duration) -> Self {
            $limits.ttl = Some(Ttl::exactly(ttl));
            $this
        }

        /// As [`Builder::wait_timeout`](crate::Builder::wait_timeout), for this caller. Like all deadlines it is by the cache's
        /// clock and timer, or under a custom clock that was given no timer by the system's clock. (Without std and a timer,
        /// nothing ends a wait.)
        pub fn wait_timeout(mut $this, timeout: Duration) -> Self {
            $limits.wait_timeout = nanos(timeout);
            $this
        }

        /// As [`Builder::soft_timeout`](crate::Builder::soft_timeout), for this caller.
        pub fn soft_timeout(mut $this, timeout: Duration) -> Self {
            $limits.soft_timeout = nanos(timeout);
            $this
        }

        /// As [`Builder::hard_timeout`](crate::Builder::hard_timeout), for this caller.
        pub fn hard_timeout(mut $this, timeout: Duration) -> Self {
            $limits.hard_timeout = nanos(timeout);
            $this
        }

        /// As [`Builder::lead_timeout`](crate::Builder::lead_timeout), for the leader that this caller waits for; zero: takes over
        /// at once.
        pub fn lead_timeout(mut $this, timeout: Duration) -> Self {
            $limits.lead_timeout = nanos(timeout);
            $this
        }

        /// How long past its time to live this caller takes a value, whatever the cache's
        /// [`stale_while_refresh`](crate::Builder::stale_while_refresh) and
        /// [`stale_if_error`](crate::Builder::stale_if_error) are; zero: not at all. (A value is sure to be kept for as long as these
        /// say; past that it may have been removed.)
        pub fn max_stale(mut $this, stale: Duration) -> Self {
            ($limits.stale_while_refresh, $limits.stale_if_error) = (nanos(stale), nanos(stale));
            $this
        }
    };
}
pub(crate) use settings;

/// A read-through of one key with settings of its own. From [`Cache::entry`].
///
/// What is not set is as the cache was built. It ends in one of four verbs, which do as those of [`Cache`] and give an
/// [`Entry`] and the [`Outcome`].
///
/// # Deadlines
/// Which of them ends which wait, and with what. They count from when the caller first has to wait.
/// *Old* is a value that may be served past its time ([`stale_while_refresh`](crate::Builder::stale_while_refresh),
/// [`stale_if_error`](crate::Builder::stale_if_error), [`max_stale`](Self::max_stale)).
///
/// | who waits | `wait_timeout` | `soft_timeout` | `hard_timeout` |
/// |---|---|---|---|
/// | a thread or a task, for the load of another | old, or [`TimedOut`](LoadError::TimedOut) | old; if there is none, it waits on | old, or `TimedOut` |
/// | a task that polls its own load (the `_async` verbs of `Cache` and `Request`) | none: it waits for nobody | old, and the load is dropped and so handed over; if there is none, it goes on | the load is dropped; old, or `TimedOut` |
/// | a thread that runs its own closure | none | none: a closure cannot be stopped | none |
/// | one whose load the spawner runs ([`detached`](Cache::detached), [`LoadingCache`](crate::LoadingCache)) | none: it waits for its own load | old; the load goes on | old, or `TimedOut`; the load goes on |
/// | `get_with` and its like, which cannot report an error | where the row above says `TimedOut`: it waits on, or with [`bypass`](crate::Builder::bypass) loads for itself | as the rows above | the same |
/// | `load_all`, bulk | each key as alone | each key as alone | each key as alone |
///
/// A `lead_timeout` ends no wait: it lets another caller load.
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Request<'c, 'q, K, V, S, Q: ?Sized> {
    cache: &'c Cache<K, V, S>,
    q: &'q Q,
    limits: Limits,
}

impl<K, V, S> Cache<K, V, S> {
    /// A read-through with settings of its own, which tells how it came by its value.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::time::Duration;
    /// let cache: Cache<String, u64> = Cache::new(10);
    /// let request = || cache.entry("answer").ttl(Duration::from_secs(60));
    /// let (entry, outcome) = request().get_with(|| 42);
    /// assert_eq!((*entry, outcome), (42, Outcome::Computed));
    /// assert_eq!(request().get_with(|| 43).1, Outcome::Hit);
    /// ```
    pub fn entry<'q, Q: ?Sized>(&self, q: &'q Q) -> Request<'_, 'q, K, V, S, Q> {
        Request { cache: self, q, limits: self.core().config.limits }
    }
}

impl<'c, 'q, K, V, S, Q: ?Sized> Request<'c, 'q, K, V, S, Q> {
    settings!(self, self.limits);
}

impl<'c, 'q, K, V, S, Q> Request<'c, 'q, K, V, S, Q>
where
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    S: BuildHasher,
{
    fn through(&self, infallible: bool) -> ReadThrough<'c, 'q, K, V, Q, AsEntry> {
        let core = CoreRef::borrowed(self.cache.core());
        ReadThrough::new(core, self.q, self.cache.hash(self.q), self.limits, infallible)
    }

    /// As [`Cache::get_with`]. A value that this caller loaded for itself alone is in an entry that is not stored, and has no
    /// time to live.
    ///
    /// # Panics
    /// As [`Cache::get_with`].
    #[doc(alias = "or_insert_with")]
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V) -> Found<'c, K, V> {
        certain(self.through(true).run(|_| Ok(Loaded::New(load()))))
    }

    /// As [`Cache::try_get_with`].
    ///
    /// # Errors, panics
    /// As [`Cache::try_get_with`].
    #[cfg(feature = "std")]
    pub fn try_get_with<E>(self, load: impl FnOnce() -> Result<V, E>) -> Result<Found<'c, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        self.through(false).run(|_| load().map(Loaded::New))
    }

    /// As [`try_get_with`](Self::try_get_with), with a loader that is given the value that it replaces, good or over, if there
    /// is one, and that may answer that this is still right (a conditional request), or say how long its value is kept.
    ///
    /// ```
    /// use bellwether::{Cache, Entry, Loaded};
    /// use std::convert::Infallible;
    /// let pages: Cache<String, (u32, String)> = Cache::new(10);
    /// let fetch = |old: Option<Entry<'_, String, (u32, String)>>| match old.map(|page| page.0) {
    ///     Some(7) => Ok::<_, Infallible>(Loaded::NotModified), // what the server says to `If-None-Match: 7`
    ///     _ => Ok(Loaded::New((7, "<html>".to_owned()))),
    /// };
    /// let (page, _) = pages.entry("/").revalidate_with(fetch)?;
    /// assert_eq!(page.0, 7);
    /// # Ok::<(), bellwether::LoadError<Infallible>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Cache::try_get_with`]; `Abandoned` if it answers [`Loaded::NotModified`] where there was no old value.
    ///
    /// # Panics
    /// As [`Cache::try_get_with`].
    #[cfg(feature = "std")]
    pub fn revalidate_with<E>(
        self,
        load: impl FnOnce(Option<Entry<'c, K, V>>) -> Result<Loaded<V>, E>,
    ) -> Result<Found<'c, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        self.through(false).run(|lease| load(lease.and_then(Lease::old_entry)))
    }

    /// As [`Cache::get_with_async`].
    ///
    /// # Cancellation, panics
    /// As [`Cache::get_with_async`].
    pub fn get_with_async<F, Fut>(self, load: F) -> impl Future<Output = Found<'c, K, V>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        run_async(move || Attempt::ReadThrough(self.through(true)), |_| load(), |value| Ok(Loaded::New(value)), certain)
    }

    /// As [`Cache::try_get_with_async`].
    ///
    /// # Errors, cancellation, panics
    /// As [`Cache::try_get_with_async`].
    pub fn try_get_with_async<E, F, Fut>(self, load: F) -> impl Future<Output = Result<Found<'c, K, V>, LoadError<E>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        run_async(move || Attempt::ReadThrough(self.through(false)), |_| load(), as_loaded, |found| found)
    }

    /// As [`revalidate_with`](Self::revalidate_with), for tasks.
    ///
    /// # Errors
    /// As [`revalidate_with`](Self::revalidate_with).
    ///
    /// # Cancellation, panics
    /// As [`Cache::try_get_with_async`].
    pub fn revalidate_with_async<E, F, Fut>(
        self,
        load: F,
    ) -> impl Future<Output = Result<Found<'c, K, V>, LoadError<E>>>
    where
        F: FnOnce(Option<Entry<'c, K, V>>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
        E: Send + Sync + 'static,
    {
        let load = |lease: Option<&Lease<'c, K, V>>| load(lease.and_then(Lease::old_entry));
        run_async(move || Attempt::ReadThrough(self.through(false)), load, |loaded| loaded, |found| found)
    }
}

impl<K, V, S, Q: ?Sized + fmt::Debug> fmt::Debug for Request<'_, '_, K, V, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.q).field("limits", &self.limits).finish_non_exhaustive()
    }
}
