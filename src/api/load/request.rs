//! A read-through with settings of its own, which returns the outcome beside the value.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry, Wanted};
use crate::api::handle::form::AsEntry;
use crate::api::handle::lease::Lease;
use crate::api::load::future::run_async;
use crate::api::load::read_through::{Attempt, ReadThrough, as_loaded, certain};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::runtime::xfetch::nanos;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

/// The result of a request: the value, and how the caller came by it.
pub type Found<'c, K, V> = (Entry<'c, K, V>, Outcome);

/// The settings of one call, as methods of each kind of request.
macro_rules! settings {
    ($this:ident, $limits:expr) => {
        /// The time to live of the value, if this caller loads it. `Duration::MAX` means that it
        /// never expires; a value with zero is handed over and not stored. The cache's
        /// [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
        pub fn ttl(mut $this, ttl: Duration) -> Self {
            $limits.ttl = Some(crate::flight::expiry::Ttl::jittered(ttl));
            $this
        }

        /// As [`ttl`](Self::ttl), without the cache's jitter. If both are set, the last one counts.
        pub fn exact_ttl(mut $this, ttl: Duration) -> Self {
            $limits.ttl = Some(crate::flight::expiry::Ttl::exactly(ttl));
            $this
        }

        /// The terms of the value, if this caller loads it: each part that is given counts before
        /// what the cache, and before what an earlier call of this method or of `ttl`, says. Terms
        /// that the loader gives itself ([`Loaded::With`](crate::Loaded::With)) count before these.
        pub fn expiry(mut $this, expiry: crate::Expiry) -> Self {
            $limits.add_terms(expiry);
            $this
        }

        /// As [`Builder::wait_timeout`](crate::Builder::wait_timeout), for this caller. As for all
        /// deadlines, the cache's clock and timer measure it; under a custom clock without a timer,
        /// the system's clock does. (Without std and without a timer, no deadline ends a wait.)
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

        /// As [`Builder::lead_timeout`](crate::Builder::lead_timeout), for the leader that this
        /// caller waits for. With zero the caller takes over at once.
        ///
        /// A cache without a `lead_timeout` of its own notes coarsely when a load begins. So there
        /// this caller takes over up to 10 ms later.
        pub fn lead_timeout(mut $this, timeout: Duration) -> Self {
            $limits.lead_timeout = nanos(timeout);
            $this
        }

        /// How long past its time to live this caller accepts a value, instead of the cache's
        /// [`stale_while_refresh`](crate::Builder::stale_while_refresh) and
        /// [`stale_if_error`](crate::Builder::stale_if_error). With zero it accepts none. (The
        /// cache is sure to keep a value for as long as its own two settings, or the value's
        /// [`Expiry`](crate::Expiry), say; later the value may have been removed.)
        pub fn max_stale(mut $this, stale: Duration) -> Self {
            ($limits.stale_while_refresh, $limits.stale_if_error) = (nanos(stale), nanos(stale));
            $limits.own_windows = true;
            $this
        }

        /// Loads the value anew, whatever value is there, and waits for it. The load begins after
        /// this call. It holds the key's lease, so it is one load for all callers that force one
        /// meanwhile, and all others keep the value that is there.
        ///
        /// If another caller's load of the key is in flight, that began too early: this caller
        /// waits for its end, and takes no result of it. Then one of all the forced callers that
        /// waited loads, and the others get that one's value (`Coalesced`).
        ///
        /// If the load fails, or a deadline ends the wait for it, the caller gets the error, and
        /// the value that is there stays. With [`max_stale`](Self::max_stale), it gets that value
        /// instead, as `Stale`. A failure that is kept (`negative_ttl`) and the `error_cooldown`
        /// keep no caller from forcing a load. `max_loads` does.
        ///
        /// Of `force` and [`max_age`](Self::max_age), the last one counts.
        #[doc(alias = "forget")]
        #[doc(alias = "force_fetch")]
        #[doc(alias = "cache_bypass")]
        pub fn force(mut $this) -> Self {
            $limits.demand_anew();
            $this
        }

        /// Takes a value only if it was loaded, or confirmed
        /// ([`Loaded::NotModified`](crate::Loaded::NotModified)), at most `age` ago. An older one
        /// is loaded anew as by [`force`](Self::force), while callers without a `max_age` keep it.
        /// A load that is in flight will do, as its value is younger.
        ///
        /// If the load fails, the caller gets the error, or with [`max_stale`](Self::max_stale) the
        /// older value, as `Stale`. The cache's clock tells the age. Without a clock no value has
        /// an age.
        pub fn max_age(mut $this, age: Duration) -> Self {
            $limits.demand_within(age);
            $this
        }
    };
}
pub(crate) use settings;

/// A read-through of one key with settings of its own. From [`Cache::entry`].
///
/// A setting that is not given is the cache's. The request ends in one of four verbs, which do as
/// the verbs of [`Cache`] and return an [`Entry`] and the [`Outcome`].
///
/// # Deadlines
/// A deadline counts from the moment at which the caller first has to wait. The table says what the
/// caller gets when it runs out.
///
/// | the caller waits for | `wait_timeout` | `soft_timeout` | `hard_timeout` |
/// |---|---|---|---|
/// | the load of another caller | old or error | old or wait | old or error |
/// | its own load, which it polls as a task | – | old or wait | old or error |
/// | its own load, which it runs as a thread | – | – | – |
/// | its own load, which the spawner runs | – | old or wait | old or error |
///
/// * *old*: a value past its time to live that may be served
///   ([`stale_while_refresh`](crate::Builder::stale_while_refresh),
///   [`stale_if_error`](crate::Builder::stale_if_error), [`max_stale`](Self::max_stale)).
/// * *or error*: if there is no such value, [`TimedOut`](LoadError::TimedOut). `get_with` and its
///   like cannot report an error: they wait on. Where they wait for the load of another caller,
///   they run their own loader with [`bypass`](crate::Builder::bypass) instead.
/// * *or wait*: if there is no such value, the caller waits on.
/// * –: the deadline has no effect. A `wait_timeout` is for the loads of others only, and a closure
///   that a thread runs cannot be stopped.
/// * The `_async` verbs of `Cache` and `Request` poll their own loads. If a deadline ends the wait,
///   such a load is dropped, and so handed over to one of its waiters.
/// * The spawner runs the loads of [`detached`](Cache::detached) and of a
///   [`LoadingCache`](crate::LoadingCache). They go on after a deadline, as do loads of other
///   callers.
/// * In a bulk call (`load_all`), each key has the deadlines of a call for that key alone.
///
/// A `lead_timeout` ends no wait: it lets another caller load.
///
/// # How new the value is
/// [`force`](Self::force) has the value loaded anew, and [`max_age`](Self::max_age) bounds its age,
/// for this caller. Neither touches the value that other callers are served meanwhile.
///
/// ```
/// use bellwether::{Cache, LoadError, Outcome};
/// use std::time::Duration;
/// let prices: Cache<String, u64> = Cache::new(10);
/// prices.insert("tea".to_owned(), 3);
/// // The shop window: any price that may be served.
/// assert_eq!(*prices.entry("tea").get_with(|| 4).0, 3);
/// // The till: a price that is at most a minute old.
/// let (price, outcome) = prices.entry("tea").max_age(Duration::from_secs(60)).get_with(|| 4);
/// assert_eq!((*price, outcome), (3, Outcome::Hit));
/// // After the shopkeeper has changed the price. Were the database down, the error would be told,
/// // and the old price would stay.
/// let failed = prices.entry("tea").force().try_get_with(|| Err("down"));
/// assert!(matches!(failed, Err(LoadError::Load(_))) && prices.get("tea") == Some(3));
/// let (price, outcome) = prices.entry("tea").force().get_with(|| 4);
/// assert_eq!((*price, outcome, prices.get("tea")), (4, Outcome::Computed, Some(4)));
/// ```
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Request<'c, 'q, K, V, S, Q: ?Sized> {
    cache: &'c Cache<K, V, S>,
    q: &'q Q,
    limits: Limits,
}

impl<K, V, S> Cache<K, V, S> {
    /// Begins a read-through with settings of its own, which returns the outcome beside the value.
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
        Request { cache: self, q, limits: self.core().config.limits.clone() }
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
    /// Begins the lookup.
    fn begin(self, infallible: bool) -> Attempt<'c, 'q, K, V, Q, AsEntry> {
        let (core, hash) = (self.cache.core(), self.cache.hash(self.q));
        // What a plain hit depends on, but for these two, is the cache's alone.
        let cares = self.limits.demand.refuses() || self.limits.lead_timeout != core.config.limits.lead_timeout;
        let settled = || Entry::find(core, &core.limbo().enter(), hash, self.q, Wanted::Settled);
        match (!cares).then(settled).flatten() {
            Some(entry) => Attempt::Hit((entry, Outcome::Hit)),
            None => Attempt::ReadThrough(self.through(hash, infallible)),
        }
    }

    #[inline(never)]
    fn through(self, hash: u64, infallible: bool) -> ReadThrough<'c, 'q, K, V, Q, AsEntry> {
        ReadThrough::new(CoreRef::borrowed(self.cache.core()), self.q, hash, self.limits, infallible)
    }

    /// As [`Cache::get_with`]. If this caller loads a value for itself alone, the entry is not
    /// stored, and has no time to live.
    ///
    /// # Panics
    /// As [`Cache::get_with`].
    #[doc(alias = "or_insert_with")]
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V) -> Found<'c, K, V> {
        certain(self.begin(true).run(|_| Ok(Loaded::New(load()))))
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
        self.begin(false).run(|_| load().map(Loaded::New))
    }

    /// As [`try_get_with`](Self::try_get_with), with a loader that gets the value that it replaces,
    /// fresh or expired, if there is one. The loader may answer that this value is still right (a
    /// conditional request), or say how long its new value is kept.
    ///
    /// ```
    /// use bellwether::{Cache, Entry, Loaded};
    /// use std::convert::Infallible;
    /// let pages: Cache<String, (u32, String)> = Cache::new(10);
    /// let fetch = |old: Option<Entry<'_, String, (u32, String)>>| match old.map(|page| page.0) {
    ///     // The server's answer to `If-None-Match: 7`.
    ///     Some(7) => Ok::<_, Infallible>(Loaded::NotModified),
    ///     _ => Ok(Loaded::New((7, "<html>".to_owned()))),
    /// };
    /// let (page, _) = pages.entry("/").revalidate_with(fetch)?;
    /// assert_eq!(page.0, 7);
    /// # Ok::<(), bellwether::LoadError<Infallible>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Cache::try_get_with`]; `NotModified` if the loader answers [`Loaded::NotModified`] and
    /// there was no old value.
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
        self.begin(false).run(|lease| load(lease.and_then(Lease::old_entry)))
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
        run_async(move || self.begin(true), |_| load(), |value| Ok(Loaded::New(value)), certain)
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
        run_async(move || self.begin(false), |_| load(), as_loaded, |found| found)
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
        run_async(move || self.begin(false), load, |loaded| loaded, |found| found)
    }
}

impl<K, V, S, Q: ?Sized + fmt::Debug> fmt::Debug for Request<'_, '_, K, V, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.q).field("limits", &self.limits).finish_non_exhaustive()
    }
}
