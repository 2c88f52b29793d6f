//! A second level: how it is set up, and how a store is built on it.

use crate::builder::{BuildError, Builder};
use crate::cache::ResponseCache;
use crate::key::Key;
use crate::store::{Shared, Store};
use crate::stored::Value;
use crate::wire::ResponseCodec;
use bellwether_redis::{Held, LinkState, Stats, TagList, Tier, TierObserver};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

type Settings = bellwether_redis::Builder<Key, Arc<Value>>;
type Set = Box<dyn FnOnce(Settings) -> Result<Settings, bellwether_redis::BuildError> + Send>;

/// A second level for a store of responses: a Redis or Valkey that processes share. For
/// [`Builder::build_on`].
///
/// A hundred requests for a cold route are then one call of its handler over all processes, a
/// process that starts finds the responses of the others, and an invalidation reaches them all. The
/// crate's front page says how, and what is different from a store of one process.
#[must_use = "it does nothing before a store is built on it"]
pub struct RedisTier {
    url: String,
    all: Vec<Set>,
}

impl RedisTier {
    /// A server: `redis://host:6379/0`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), all: Vec::new() }
    }

    fn set(self, set: impl FnOnce(Settings) -> Settings + Send + 'static) -> Self {
        self.try_set(|settings| Ok(set(settings)))
    }

    fn try_set(
        mut self,
        set: impl FnOnce(Settings) -> Result<Settings, bellwether_redis::BuildError> + Send + 'static,
    ) -> Self {
        self.all.push(Box::new(set));
        self
    }

    /// The prefix of all keys on the server. Processes with the same one share their responses, so
    /// their routes must mean the same. Not empty, without braces. Default: `responses`.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        self.set(move |tier| tier.namespace(&namespace))
    }

    /// How long a process may call a handler before another process calls it, too, for routes that
    /// have no [`lead_timeout`](crate::CacheLayer::lead_timeout). It matters where a process is
    /// stopped or cut off. Several times what the slowest call takes. Default: 10 s.
    pub fn lead_timeout(self, timeout: Duration) -> Self {
        self.set(move |tier| tier.lead_timeout(timeout))
    }

    /// How often, at least, a process that waits for another one's call asks whether that process
    /// lives. Default: 250 ms.
    pub fn probe(self, probe: Duration) -> Self {
        self.set(move |tier| tier.probe(probe))
    }

    /// How often the server is asked for a sign of life, and how long each answer may take. Memory
    /// serves for the sum of both after the last answer. Default: 250 ms and 200 ms.
    pub fn heartbeat(self, interval: Duration, limit: Duration) -> Self {
        self.set(move |tier| tier.heartbeat(interval, limit))
    }

    /// How long a command may take before a request goes on without the server. Default: 200 ms.
    pub fn command_timeout(self, timeout: Duration) -> Self {
        self.set(move |tier| tier.command_timeout(timeout))
    }

    /// How long an attempt to connect may take. Default: 500 ms.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.set(move |tier| tier.connect_timeout(timeout))
    }

    /// How long a process serves from its memory when the link to the server is lost, and how long
    /// it keeps what handlers make meanwhile: see bellwether-redis. With zero, each request without
    /// a link calls the handler. Default: 1 s.
    pub fn unlinked_ttl(self, ttl: Duration) -> Self {
        self.set(move |tier| tier.unlinked_ttl(ttl))
    }

    /// How long memory keeps a response where the server does not announce changes. Default: 1 s.
    pub fn untracked_ttl(self, ttl: Duration) -> Self {
        self.set(move |tier| tier.untracked_ttl(ttl))
    }

    /// How long memory keeps a response at most, before it asks the server again. Default: as long
    /// as the response is fresh.
    pub fn memory_ttl(self, ttl: Duration) -> Self {
        self.set(move |tier| tier.memory_ttl(ttl))
    }

    /// The most bytes of a response on the server, with its headers. A larger one answers those who
    /// wait for it in the process that called the handler, and is kept nowhere. Default: 1 MiB and
    /// 64 KiB, so that the default [`body_limit`](crate::CacheLayer::body_limit) fits.
    pub fn max_value_bytes(self, bytes: usize) -> Self {
        self.set(move |tier| tier.max_value_bytes(bytes))
    }

    /// How many invalidations wait while there is no link. If more come, all responses of all
    /// processes are removed when it is back. Default: 10,000.
    pub fn max_queued_writes(self, writes: usize) -> Self {
        self.set(move |tier| tier.max_queued_writes(writes))
    }

    /// An observer of the link and of what the second level counts.
    pub fn observer(self, observer: impl TierObserver + 'static) -> Self {
        self.set(move |tier| tier.observer(observer))
    }

    /// Uses the server that sentinels tell as the present master of this name. `sentinels` are
    /// their addresses. The address of [`new`](Self::new) says how to log in; its host is not used.
    #[cfg(feature = "sentinel")]
    pub fn sentinels(self, master: impl Into<String>, sentinels: &[&str]) -> Self {
        let (master, sentinels) = (master.into(), owned(sentinels));
        self.try_set(move |tier| tier.sentinels(&master, &borrowed(&sentinels)))
    }

    /// Uses the cluster that the server belongs to. `others` are addresses to ask if that one does
    /// not answer.
    #[cfg(feature = "cluster")]
    pub fn cluster(self, others: &[&str]) -> Self {
        let others = owned(others);
        self.try_set(move |tier| tier.cluster(&borrowed(&others)))
    }
}

#[cfg(any(feature = "sentinel", feature = "cluster"))]
fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[cfg(any(feature = "sentinel", feature = "cluster"))]
fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(|text| &text[..]).collect()
}

fn tags(_: &Key, value: &Arc<Value>, tags: &mut TagList) {
    if let Value::Response(stored) = &**value {
        stored.tags().iter().for_each(|tag| tags.add(&**tag));
    }
}

impl From<bellwether_redis::BuildError> for BuildError {
    fn from(error: bellwether_redis::BuildError) -> Self {
        match error {
            bellwether_redis::BuildError::Memory(error) => Self::Cache(error),
            error => Self::Tier(error.to_string()),
        }
    }
}

impl Builder {
    /// Builds a store with a second level, in the runtime that this is called from, and returns
    /// when the first attempt to connect has ended, well or not. Without the server the store is
    /// there all the same, as this process's own, and connects later.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`BuildError::Tier`] if a setting of the second level has no
    /// meaning; [`BuildError::ClockWithTier`]. A server that does not answer is no error.
    ///
    /// # Cancellation
    /// There is no store.
    pub async fn build_on(self, tier: RedisTier) -> Result<ResponseCache, BuildError> {
        self.check()?;
        if self.core.is_some() {
            return Err(BuildError::ClockWithTier);
        }
        let codec = ResponseCodec { clock: self.clock.clone(), wall_clock: self.wall_clock.clone() };
        let mut settings = Tier::builder_with(&tier.url, codec.clone())?
            .namespace("responses")
            .max_value_bytes((1 << 20) + (64 << 10));
        for set in tier.all {
            settings = set(settings)?;
        }
        let (memory, name, early) = (self.memory.clone(), self.name.clone(), self.early);
        let settings = settings
            // Each response has a time of its own.
            .time_to_live(Duration::MAX)
            .tags_with(tags)
            .memory(move |cache| {
                let cache = memory.given_to(cache).name(&name);
                let cache = cache.weigher(|key, value: &Held<Arc<Value>>| crate::builder::weight(key, value));
                if early { cache } else { cache.xfetch(0.0) }
            });
        let tier = settings.build().await?;
        Ok(self.built(Store::Shared(Shared::new(tier, codec, Handle::current()))))
    }
}

impl ResponseCache {
    fn tier(&self) -> Option<&Tier<Key, Arc<Value>>> {
        match &self.inner.cache {
            Store::Own(_) => None,
            Store::Shared(shared) => Some(&shared.tier),
        }
    }

    /// Returns the state of the link to the second level; `None` without one.
    pub fn link(&self) -> Option<LinkState> {
        self.tier().map(Tier::link)
    }

    /// Returns a receiver of the link's states, to wait for one; `None` without a second level.
    pub fn watch_link(&self) -> Option<tokio::sync::watch::Receiver<LinkState>> {
        self.tier().map(Tier::watch_link)
    }

    /// Returns what the second level has done so far; `None` without one.
    pub fn tier_stats(&self) -> Option<Stats> {
        self.tier().map(Tier::stats)
    }
}

impl fmt::Debug for RedisTier {
    /// The server's address is left out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier").finish_non_exhaustive()
    }
}
