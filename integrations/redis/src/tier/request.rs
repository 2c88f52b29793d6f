//! A read-through with settings of its own, run by its caller or in the background.

use super::{Answer, Tier};
use crate::error::SharedError;
use crate::held::Held;
use crate::key::SharedKey;
use crate::voyage::{Call, Demand, Old, Source, Voyage};
use bellwether::{Entry, Expiry, LoadError, Loaded, Outcome, ToKey};
use equivalent::Equivalent;
use std::fmt;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// The settings of one call, as methods of each kind of request.
macro_rules! settings {
    () => {
        /// The time to live of the value, on the server and in memory, if this caller loads it. The
        /// tier's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
        pub fn ttl(self, ttl: Duration) -> Self {
            self.expiry(Expiry::new().ttl(ttl))
        }

        /// As [`ttl`](Self::ttl), without the jitter. If both are set, the last one counts.
        pub fn exact_ttl(self, ttl: Duration) -> Self {
            self.expiry(Expiry::new().exact_ttl(ttl))
        }

        /// The terms of the value, if this caller loads it: each part that is given counts before
        /// what the tier, and before what an earlier call of this method or of `ttl`, says. Terms
        /// that the loader gives itself ([`Loaded::With`]) count before these. All processes go by
        /// them, but for [`Expiry::refresh`]: that is this process's alone.
        pub fn expiry(mut self, expiry: Expiry) -> Self {
            self.call.asked = crate::terms::Asked::from(expiry).or(self.call.asked);
            self
        }

        /// As [`Builder::wait_timeout`](crate::Builder::wait_timeout), for this caller.
        pub fn wait_timeout(mut self, timeout: Duration) -> Self {
            self.call.wait_timeout = Some(timeout);
            self
        }

        /// As [`soft_timeout`](bellwether::Request::soft_timeout) of bellwether: how long a caller
        /// that has an old value in memory waits for the new one.
        pub fn soft_timeout(mut self, timeout: Duration) -> Self {
            self.call.soft_timeout = Some(timeout);
            self
        }

        /// As [`hard_timeout`](bellwether::Request::hard_timeout) of bellwether: how long the
        /// caller waits altogether, for any process, the server and its own loader.
        pub fn hard_timeout(mut self, timeout: Duration) -> Self {
            self.call.hard_timeout = Some(timeout);
            self
        }

        /// As [`Builder::lead_timeout`](crate::Builder::lead_timeout), for the load that this
        /// caller leads. Zero counts as a millisecond.
        pub fn lead_timeout(mut self, timeout: Duration) -> Self {
            self.call.lead_timeout = timeout;
            self
        }

        /// How long past its time to live this caller accepts a value, of memory or of the server,
        /// instead of the tier's [`stale_while_refresh`](crate::Builder::stale_while_refresh) and
        /// [`stale_if_error`](crate::Builder::stale_if_error). With zero it accepts none. (Both
        /// levels are sure to keep a value for as long as these two settings, or the value's own
        /// terms, say.)
        pub fn max_stale(mut self, stale: Duration) -> Self {
            self.call.max_stale = Some(stale);
            self
        }

        /// Loads the value anew, whatever value memory or the server has, and waits for it. The
        /// load begins after this call. It is one load for all callers of all processes that force
        /// one meanwhile, and all others keep the value that is there.
        ///
        /// If another caller's load of the key is in flight, in any process, that began too early:
        /// this caller waits for its end, and takes no result of it. If the load fails, the caller
        /// gets the error, or with [`max_stale`](Self::max_stale) the value that is there; a
        /// failure that is kept keeps no caller from forcing a load.
        ///
        /// Of `force` and [`max_age`](Self::max_age), the last one counts.
        #[doc(alias = "forget")]
        pub fn force(mut self) -> Self {
            self.call.demand = Demand::Anew;
            self
        }

        /// Takes a value only if it was loaded, or confirmed, at most `age` ago, in any process. An
        /// older one is loaded anew as by [`force`](Self::force), while callers without a `max_age`
        /// keep it. A load that is in flight will do. The server's clock tells the age of its
        /// values.
        pub fn max_age(mut self, age: Duration) -> Self {
            self.call.demand = Demand::Within(age);
            self
        }

        /// Whether this caller loads for its own process at once where another process already
        /// loads. Then there is at most one load in each process at a time, instead of one over
        /// all. The value of such a load stays in this process, until the other load's value is
        /// there.
        #[doc(alias = "SkipDistributedLocker")]
        pub fn skip_shared_lock(mut self, skip: bool) -> Self {
            self.call.skip_shared_lock = skip;
            self
        }
    };
}

/// Gives a request of the memory level the settings of a call.
macro_rules! with_call {
    ($request:expr, $call:expr) => {{
        let (mut request, call): (_, &Call) = ($request, $call);
        request = request.lead_timeout(call.lead_timeout.saturating_mul(2));
        if let Some(timeout) = call.wait_timeout {
            request = request.wait_timeout(timeout);
        }
        if let Some(timeout) = call.soft_timeout {
            request = request.soft_timeout(timeout);
        }
        if let Some(timeout) = call.hard_timeout {
            request = request.hard_timeout(timeout);
        }
        if let Some(stale) = call.max_stale {
            request = request.max_stale(stale);
        }
        match call.demand {
            Demand::Any => request,
            Demand::Anew => request.force(),
            Demand::Within(age) => request.max_age(age),
        }
    }};
}

/// A read-through of one key with settings of its own. From [`Tier::entry`]. A setting that is not
/// given is the tier's.
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct TierRequest<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> {
    tier: &'t Tier<K, V>,
    key: &'q Q,
    call: Call,
}

/// A read-through of one key whose load runs in the background, in the tier's runtime. From
/// [`Tier::detached`]. A setting that is not given is the tier's.
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct TierDetached<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> {
    tier: &'t Tier<K, V>,
    key: &'q Q,
    call: Call,
}

/// The future of a verb: looks into memory before it makes the future of a load.
macro_rules! hit_or {
    ($this:ident, $load:ident, $find:expr) => {
        async move {
            if let Some(answer) = hit($this.tier, $this.key, &$this.call) {
                // The answer is a local while the loader is dropped, so it does not leak if that
                // panics.
                drop($load);
                return Ok(answer);
            }
            // Boxed: a hit makes no such future, and moves none.
            Box::pin($find).await
        }
    };
}

/// Returns what the caller is told if memory has a value, and all that a read-through can do is to
/// return it.
#[inline]
fn hit<K, V, Q>(tier: &Tier<K, V>, key: &Q, call: &Call) -> Option<Answer<V>>
where
    K: SharedKey,
    V: Clone + Send + Sync + 'static,
    Q: ?Sized + Hash + Equivalent<K>,
{
    // What a plain hit depends on, but for these two, is the tier's alone.
    let cares = call.demand != Demand::Any || call.lead_timeout != tier.inner.settings.lead_timeout;
    let found = (!cares).then(|| tier.hit(key)).flatten();
    found.map(|value| Answer { value, outcome: Outcome::Hit, source: Source::Memory })
}

/// Returns what the caller is told of a value that memory has handed over.
fn answer<K, V: Clone>(
    (entry, outcome): (Entry<'_, K, Held<V>>, Outcome),
    (source, stale): (Source, bool),
) -> Answer<V> {
    let (source, outcome) = match outcome {
        Outcome::Computed | Outcome::Refreshed | Outcome::FromTier if stale => (source, Outcome::Stale),
        Outcome::Computed if matches!(source, Source::Shared | Source::Waited) => (source, Outcome::FromTier),
        Outcome::Computed | Outcome::Refreshed | Outcome::FromTier => (source, outcome),
        Outcome::Coalesced => (Source::Waited, outcome),
        _ => (Source::Memory, outcome),
    };
    Answer { value: entry.value.clone(), outcome, source }
}

/// Returns what the caller is told whose time to wait for other processes is over.
fn overdue<V, E>(instead: Option<(V, Source)>) -> Result<Answer<V>, LoadError<E>> {
    let (value, source) = instead.ok_or(LoadError::TimedOut)?;
    Ok(Answer { value, outcome: Outcome::Stale, source })
}

#[allow(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
impl<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> TierRequest<'t, 'q, K, V, Q> {
    pub(super) fn new(tier: &'t Tier<K, V>, key: &'q Q, call: Call) -> Self {
        Self { tier, key, call }
    }

    settings!();

    /// As [`Tier::try_get_with_async`].
    ///
    /// # Errors, cancellation
    /// As [`Tier::try_get_with_async`].
    pub fn try_get_with_async<E, F, Fut>(
        self,
        load: F,
    ) -> impl Future<Output = Result<Answer<V>, LoadError<SharedError<E>>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        hit_or!(self, load, self.find(|_| async { load().await.map(Loaded::New) }))
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), with a loader that gets the value that
    /// it replaces, of memory or of the server, if there is one. The loader may answer that this
    /// value is still right, which renews it for all processes without sending it; that there is no
    /// value, which all processes are told; or for how long its new value is kept.
    ///
    /// # Errors
    /// As [`Tier::try_get_with_async`]; `NotModified` if the loader answers [`Loaded::NotModified`]
    /// and there was no old value; `NotFound` if it answers [`Loaded::NotFound`].
    ///
    /// # Cancellation
    /// As [`Tier::try_get_with_async`].
    pub fn revalidate_with_async<E, F, Fut>(
        self,
        load: F,
    ) -> impl Future<Output = Result<Answer<V>, LoadError<SharedError<E>>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        hit_or!(self, load, self.find(load))
    }

    pub(super) async fn find<E, F, Fut>(self, load: F) -> Result<Answer<V>, LoadError<SharedError<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        let (tier, key, call, voyage) = (&self.tier.inner, self.key, &self.call, Voyage::new());
        self.tier.drop_if_unlinked(key);
        let request = with_call!(tier.cache.entry(key), call);
        let found = request.revalidate_with_async(|old| {
            let (old, voyage) = (Old::of(old), &voyage);
            async move { tier.bring(&key.to_key(), old, call, voyage, load).await }
        });
        tokio::select! {
            biased;
            found = found => Ok(answer(found?, voyage.source())),
            instead = voyage.overdue() => overdue(instead),
        }
    }
}

#[allow(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
impl<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> TierDetached<'t, 'q, K, V, Q> {
    pub(super) fn new(tier: &'t Tier<K, V>, key: &'q Q, call: Call) -> Self {
        Self { tier, key, call }
    }

    settings!();

    /// As [`Tier::try_get_with_async`], with a load in the background.
    ///
    /// # Errors
    /// As [`Tier::try_get_with_async`]; `Panicked` if the load panics, and `NotRun` if the runtime
    /// drops it.
    ///
    /// # Cancellation
    /// The load goes on, and is stored for all processes.
    pub fn try_get_with_async<E, F, Fut>(
        self,
        load: F,
    ) -> impl Future<Output = Result<Answer<V>, LoadError<SharedError<E>>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        hit_or!(self, load, self.find(|_| async { load().await.map(Loaded::New) }))
    }

    /// As [`TierRequest::revalidate_with_async`], with a load in the background.
    ///
    /// # Errors
    /// As [`try_get_with_async`](Self::try_get_with_async), and as
    /// [`TierRequest::revalidate_with_async`].
    ///
    /// # Cancellation
    /// As [`try_get_with_async`](Self::try_get_with_async).
    pub fn revalidate_with_async<E, F, Fut>(
        self,
        load: F,
    ) -> impl Future<Output = Result<Answer<V>, LoadError<SharedError<E>>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        hit_or!(self, load, self.find(load))
    }

    async fn find<E, F, Fut>(self, load: F) -> Result<Answer<V>, LoadError<SharedError<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let (tier, call, voyage) = (&self.tier.inner, self.call, Arc::new(Voyage::new()));
        self.tier.drop_if_unlinked(self.key);
        let request = with_call!(tier.cache.detached(self.key), &call);
        let (brings, carried) = (tier.clone(), voyage.clone());
        let found = request.revalidate_with_async(move |key: &K, old| {
            let (key, old) = (key.clone(), Old::of(old));
            async move { brings.bring(&key, old, &call, &carried, load).await }
        });
        tokio::select! {
            biased;
            found = found => Ok(answer(found?, voyage.source())),
            instead = voyage.overdue() => overdue(instead),
        }
    }
}

macro_rules! debug {
    ($request:ident) => {
        impl<K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized + fmt::Debug> fmt::Debug
            for $request<'_, '_, K, V, Q>
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($request))
                    .field("key", &self.key)
                    .field("call", &self.call)
                    .finish_non_exhaustive()
            }
        }
    };
}
debug!(TierRequest);
debug!(TierDetached);
