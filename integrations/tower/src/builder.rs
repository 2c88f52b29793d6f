//! The builder of a store.

use crate::cache::{Inner, ResponseCache, WallClock};
use crate::failure::Failure;
use crate::key::Key;
use crate::settings::{Settings, settings};
use crate::store::Store;
use crate::stored::Value;
use bellwether::{Cache, Clock, CoarseClock, Observer, Tags, Timer};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Builds a [`ResponseCache`]. The settings that a [`CacheLayer`](crate::CacheLayer) has, too, are
/// the defaults of all layers.
#[must_use = "a builder does nothing before build is called"]
pub struct Builder {
    pub(crate) memory: Memory,
    pub(crate) clock: Arc<dyn Clock>,
    /// The builder of a cache with the clock of the user.
    pub(crate) core: Option<bellwether::Builder<Key, Value>>,
    pub(crate) wall_clock: WallClock,
    pub(crate) name: String,
    pub(crate) early: bool,
    settings: Settings,
}

/// The settings of the cache in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    max_bytes: Option<u64>,
    max_waiters: Option<usize>,
    max_loads: Option<usize>,
    observers: Vec<Arc<dyn Observer>>,
    record_stats: bool,
}

impl Memory {
    /// Gives the settings to the builder of a cache.
    pub(crate) fn given_to<V>(&self, mut core: bellwether::Builder<Key, V>) -> bellwether::Builder<Key, V> {
        if let Some(bytes) = self.max_bytes {
            core = core.max_capacity(bytes);
        }
        if let Some(waiters) = self.max_waiters {
            core = core.max_waiters(waiters);
        }
        if let Some(loads) = self.max_loads {
            core = core.max_loads(loads);
        }
        for observer in &self.observers {
            core = core.observer(observer.clone());
        }
        if self.record_stats { core.record_stats() } else { core }
    }
}

/// Why a store was not built.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum BuildError {
    /// The name is empty, or has characters that a token of `Cache-Status` cannot have.
    Name(String),
    /// `soft_timeout` is longer than `hard_timeout`, which would always come first.
    SoftAboveHard,
    /// `max_waiters` is 0: no request could wait for its own call.
    ZeroMaxWaiters,
    /// A store with a second level was given a clock: there the server's clock decides.
    #[cfg(feature = "redis")]
    ClockWithTier,
    /// The second level refuses a setting, for this reason.
    #[cfg(feature = "redis")]
    Tier(String),
    /// The cache refuses a setting: [`MissingCapacity`](bellwether::BuildError::MissingCapacity)
    /// stands for a missing `max_bytes`.
    Cache(bellwether::BuildError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name must be a token (RFC 9651 section 3.3.4), not {name:?}"),
            Self::SoftAboveHard => f.write_str("soft_timeout must not be longer than hard_timeout, which comes first"),
            Self::ZeroMaxWaiters => f.write_str("max_waiters must be above 0: without a bound, leave it out"),
            #[cfg(feature = "redis")]
            Self::ClockWithTier => {
                f.write_str("a store with a second level goes by the server's clock, and takes no clock")
            }
            #[cfg(feature = "redis")]
            Self::Tier(why) => write!(f, "the second level cannot be set up: {why}"),
            Self::Cache(bellwether::BuildError::MissingCapacity) => f.write_str("max_bytes is required"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cache(error) => Some(error),
            _ => None,
        }
    }
}

impl ResponseCache {
    /// Returns a builder, whose settings are the defaults of all layers.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Self {
        Self {
            memory: Memory::default(),
            clock: Arc::new(CoarseClock::new()),
            core: None,
            wall_clock: Arc::new(SystemTime::now),
            name: "bellwether".to_owned(),
            early: true,
            settings: Settings::default(),
        }
    }

    settings!(self, self.settings);

    /// How many bytes the stored responses may take: bodies, headers and keys, about. Required.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.memory.max_bytes = Some(bytes);
        self
    }

    /// The name in `Cache-Status`, and of the store in an observer. Default: `bellwether`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// The most requests that wait for one call of a handler, with the one that began it. One more
    /// is answered at once: with a stale response, or with 503. Not zero. Default: 2³⁰ − 1.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.memory.max_waiters = Some(waiters);
        self
    }

    /// The most calls of handlers at a time, over all layers, for responses that may be stored. A
    /// request that would begin one more is answered with a stale response, or with 503. Requests
    /// that go past the store (other methods, cookies, marks) are not counted. Not zero. Default:
    /// no bound.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.memory.max_loads = Some(loads);
        self
    }

    /// Whether a response that is still asked for may be made anew shortly before its time is over,
    /// in the background (XFetch). Default: yes.
    pub fn early_refresh(mut self, early: bool) -> Self {
        self.early = early;
        self
    }

    /// An observer of the store, such as bellwether's `MetricsObserver`.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.memory.observers.push(Arc::new(observer));
        self
    }

    /// Counts hits and misses, too: see [`ResponseCache::stats`].
    pub fn record_stats(mut self) -> Self {
        self.memory.record_stats = true;
        self
    }

    /// The clock and timer, for tests: a [`ManualClock`](bellwether::ManualClock). Default: the
    /// system's.
    pub fn clock(mut self, clock: impl Clock + Timer + Clone + 'static) -> Self {
        self.core = Some(Cache::builder().clock(clock.clone()).timer(clock.clone()));
        self.clock = Arc::new(clock);
        self
    }

    /// What time it is, for `Date` and `Expires`, for tests. Default: [`SystemTime::now`].
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.wall_clock = Arc::new(now);
        self
    }

    /// Looks at the settings.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if !is_token(&self.name) {
            return Err(BuildError::Name(self.name.clone()));
        }
        if self.settings.is_soft_above_hard() {
            return Err(BuildError::SoftAboveHard);
        }
        if self.memory.max_waiters == Some(0) {
            return Err(BuildError::ZeroMaxWaiters);
        }
        if self.memory.max_bytes.is_none() {
            return Err(BuildError::Cache(bellwether::BuildError::MissingCapacity));
        }
        Ok(())
    }

    /// Builds the store on a cache, or a tier, with these settings.
    pub(crate) fn built(self, store: Store) -> ResponseCache {
        let Self { clock, wall_clock, name, settings, early, .. } = self;
        ResponseCache { inner: Arc::new(Inner::new(store, clock, wall_clock, name.into(), settings, early)) }
    }

    /// Builds the store.
    ///
    /// # Errors
    /// If a setting is missing or has no meaning: see [`BuildError`].
    pub fn build(mut self) -> Result<ResponseCache, BuildError> {
        self.check()?;
        let core = self
            .memory
            .given_to(self.core.take().unwrap_or_else(Cache::builder))
            .name(&self.name)
            .weigher(weight)
            .tags_with(tags)
            .negative_ttl_with(|_: &Key, failure: &Failure| failure.kept_for())
            // A handler that panics is called once, not again for each of those who wait.
            .max_handovers(0);
        let core = if self.early { core } else { core.xfetch(0.0) };
        let cache = core.build().map_err(BuildError::Cache)?;
        Ok(self.built(Store::Own(Arc::new(cache))))
    }
}

pub(crate) fn weight(key: &Key, value: &Value) -> u32 {
    let response = match value {
        Value::Response(stored) => stored.size(),
        Value::Pass => 0,
    };
    u32::try_from(key.len() + response + size_of::<Key>() + size_of::<Value>()).unwrap_or(u32::MAX)
}

fn tags(_: &Key, value: &Value, tags: &mut Tags<'_>) {
    if let Value::Response(stored) = value {
        stored.tags().iter().for_each(|tag| tags.add::<str>(tag));
    }
}

/// Returns whether a text is a token of structured fields, as `Cache-Status` names caches.
fn is_token(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'*') && text.bytes().all(inner)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}
