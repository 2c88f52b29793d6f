//! A read-through with settings of its own.

use super::{Answer, Tier};
use crate::error::SharedError;
use crate::key::SharedKey;
use crate::voyage::{Call, Loaded, Old, Source, Voyage};
use bellwether::{LoadError, Outcome, ToKey};
use equivalent::Equivalent;
use std::fmt;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

/// A read-through of one key with settings of its own. From [`Tier::entry`]. A setting that is not
/// given is the tier's.
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct TierRequest<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> {
    tier: &'t Tier<K, V>,
    key: &'q Q,
    call: Call,
    soft_timeout: Option<Duration>,
    hard_timeout: Option<Duration>,
    max_stale: Option<Duration>,
}

impl<'t, 'q, K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized> TierRequest<'t, 'q, K, V, Q> {
    pub(super) fn new(tier: &'t Tier<K, V>, key: &'q Q, call: Call) -> Self {
        Self { tier, key, call, soft_timeout: None, hard_timeout: None, max_stale: None }
    }

    /// The time to live of the value, on the server and in memory, if this caller loads it. The
    /// tier's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        (self.call.ttl, self.call.exact) = (Some(ttl), false);
        self
    }

    /// As [`ttl`](Self::ttl), without the jitter. If both are set, the last one counts.
    pub fn exact_ttl(mut self, ttl: Duration) -> Self {
        (self.call.ttl, self.call.exact) = (Some(ttl), true);
        self
    }

    /// As [`Builder::wait_timeout`](crate::Builder::wait_timeout), for this caller.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.call.wait_timeout = Some(timeout);
        self
    }

    /// As [`soft_timeout`](bellwether::Request::soft_timeout) of bellwether: how long a caller that
    /// has an old value waits for the new one.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.soft_timeout = Some(timeout);
        self
    }

    /// As [`hard_timeout`](bellwether::Request::hard_timeout) of bellwether: how long the caller
    /// waits altogether, for any process, the server and its own loader.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.hard_timeout = Some(timeout);
        self
    }

    /// As [`Builder::lead_timeout`](crate::Builder::lead_timeout), for the load that this caller
    /// leads. Not zero: that counts as a millisecond.
    pub fn lead_timeout(mut self, timeout: Duration) -> Self {
        self.call.lead_timeout = timeout;
        self
    }

    /// As [`max_stale`](bellwether::Request::max_stale) of bellwether, for values in memory.
    pub fn max_stale(mut self, stale: Duration) -> Self {
        self.max_stale = Some(stale);
        self
    }

    /// Whether this caller loads for its own process at once where another process already loads.
    /// Then there is at most one load in each process at a time, instead of one over all. The value
    /// of such a load stays in this process, until the other load's value is there.
    #[doc(alias = "SkipDistributedLocker")]
    pub fn skip_shared_lock(mut self, skip: bool) -> Self {
        self.call.skip_shared_lock = skip;
        self
    }

    /// As [`Tier::try_get_with_async`].
    ///
    /// # Errors, cancellation
    /// As [`Tier::try_get_with_async`].
    pub async fn try_get_with_async<E, F, Fut>(self, load: F) -> Result<Answer<V>, LoadError<SharedError<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        self.revalidate_with_async(|_| async { load().await.map(Loaded::New) }).await
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), with a loader that gets the value that
    /// it replaces, of memory or of the server, if there is one. The loader may answer that this
    /// value is still right, which renews it for all processes without sending it, or say how long
    /// its new value is kept.
    ///
    /// # Errors
    /// As [`Tier::try_get_with_async`]; `NotModified` if the loader answers [`Loaded::NotModified`]
    /// and there was no old value.
    ///
    /// # Cancellation
    /// As [`Tier::try_get_with_async`].
    pub async fn revalidate_with_async<E, F, Fut>(self, load: F) -> Result<Answer<V>, LoadError<SharedError<E>>>
    where
        Q: Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        let tier = &self.tier.inner;
        if !tier.link.memory_is_good() && tier.cache.contains_key(self.key) {
            // The link may be gone since a time that the supervisor has not looked at. The value is
            // asked for anew.
            tier.cache.invalidate(self.key);
        }
        let voyage = Voyage::new();
        let call = self.call;
        let mut request = tier.cache.entry(self.key);
        for (timeout, set) in [
            (call.wait_timeout, bellwether::Request::wait_timeout as fn(_, _) -> _),
            (self.soft_timeout, bellwether::Request::soft_timeout),
            (self.hard_timeout, bellwether::Request::hard_timeout),
            (self.max_stale, bellwether::Request::max_stale),
            (Some(call.lead_timeout.saturating_mul(2)), bellwether::Request::lead_timeout),
        ] {
            if let Some(timeout) = timeout {
                request = set(request, timeout);
            }
        }
        let key = self.key;
        let found = request.revalidate_with_async(|old| {
            let (old, voyage, call) = (Old::of(old), &voyage, &call);
            // Boxed: a hit makes no such future, and moves none.
            Box::pin(async move { tier.bring(&key.to_key(), old, call, voyage, load).await })
        });
        let (entry, outcome) = tokio::select! {
            biased;
            found = found => found?,
            () = voyage.overdue() => return Err(LoadError::TimedOut),
        };
        let (source, outcome) = match (outcome, voyage.source()) {
            (Outcome::Computed | Outcome::Refreshed, (source, true)) => (source, Outcome::Stale),
            (Outcome::Computed | Outcome::Refreshed, (source, false)) => (source, outcome),
            (Outcome::Coalesced, _) => (Source::Waited, outcome),
            _ => (Source::Memory, outcome),
        };
        Ok(Answer { value: entry.value.clone(), outcome, source })
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static, Q: ?Sized + fmt::Debug> fmt::Debug
    for TierRequest<'_, '_, K, V, Q>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierRequest").field("key", &self.key).field("call", &self.call).finish_non_exhaustive()
    }
}
