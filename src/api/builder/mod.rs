//! Building a cache: its settings.

mod build;
mod hooks;
mod loads;
mod surroundings;
mod values;

use crate::api::cache::Cache;
use crate::engine::config::{
    ExpiryWith, KeepWhile, Limits, Listener, NegativeTtlWith, OnLoadError, TtlAfterRead, Weigher,
};
use crate::engine::demand::Demand;
use crate::engine::events::Observer;
use crate::engine::observe::ShowKey;
use crate::engine::refresh::Refresh;
use crate::engine::tags::TagsWith;
use crate::runtime::cache_time::Source;
use crate::runtime::spawn::Spawn;
use crate::runtime::timer::Timer;
use crate::runtime::xfetch::NEVER;
use crate::sys::hasher::DefaultHashBuilder;
use alloc::{borrow::ToOwned, boxed::Box, string::String, sync::Arc};
use core::fmt;
use core::time::Duration;

impl<K, V> Cache<K, V> {
    /// Builds a cache for up to `max_capacity` entries that do not expire. All other settings are
    /// the defaults.
    ///
    /// ```
    /// let cache = bellwether::Cache::new(1000);
    /// assert_eq!(cache.get_with(&7, || "seven"), "seven");
    /// assert_eq!(cache.get_with(&7, || unreachable!()), "seven");
    /// ```
    #[cfg(feature = "std")]
    pub fn new(max_capacity: u64) -> Self {
        Self::builder().max_capacity(max_capacity).build().expect("a capacity alone is a valid configuration")
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

/// Makes the listener that has an async one called by this spawner, beside a plain one.
type MakeListener<K, V> = Box<dyn FnOnce(Arc<dyn Spawn>, Option<Listener<K, V>>) -> Listener<K, V> + Send + Sync>;

/// The settings of a cache that is to be built. From [`Cache::builder`](crate::Cache::builder).
pub struct Builder<K, V, S = DefaultHashBuilder> {
    max_capacity: Option<u64>,
    initial_capacity: usize,
    shards: Option<usize>,
    name: String,
    weigher: Option<Weigher<K, V>>,
    keep_while: Option<KeepWhile<K, V>>,
    listener: Option<Listener<K, V>>,
    listener_async: Option<MakeListener<K, V>>,
    on_load_error: Option<OnLoadError<K>>,
    observer: Option<Box<dyn Observer>>,
    show_key: Option<ShowKey<K>>,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    expiry_with: Option<ExpiryWith<K, V>>,
    ttl_after_read: Option<TtlAfterRead<K, V>>,
    jitter: f64,
    refresh: Refresh,
    cooldown: Duration,
    negative_ttl: Duration,
    negative_ttl_with: Option<NegativeTtlWith<K>>,
    limits: Limits,
    tags_with: Option<TagsWith<K, V>>,
    max_waiters: usize,
    max_loads: usize,
    max_handovers: u32,
    bypass: bool,
    huge_pages: bool,
    record_stats: bool,
    seed: Option<u64>,
    clock: Option<Source>,
    timer: Option<Box<dyn Timer>>,
    spawner: Option<Arc<dyn Spawn>>,
    hasher: S,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            max_capacity: None,
            initial_capacity: 0,
            shards: None,
            name: String::new(),
            weigher: None,
            keep_while: None,
            listener: None,
            listener_async: None,
            on_load_error: None,
            observer: None,
            show_key: None,
            ttl: None,
            idle: None,
            expiry_with: None,
            ttl_after_read: None,
            jitter: 0.0,
            refresh: Refresh::default(),
            cooldown: Duration::from_secs(1),
            negative_ttl: Duration::ZERO,
            negative_ttl_with: None,
            limits: Limits {
                demand: Demand::ANY,
                while_wanted: false,
                ttl: None,
                terms: None,
                wait_timeout: NEVER,
                soft_timeout: NEVER,
                hard_timeout: NEVER,
                lead_timeout: NEVER,
                stale_while_refresh: 0,
                stale_if_error: 0,
                own_windows: false,
            },
            tags_with: None,
            max_waiters: usize::MAX,
            max_loads: usize::MAX,
            max_handovers: 3,
            bypass: false,
            huge_pages: false,
            record_stats: false,
            seed: None,
            clock: None,
            timer: None,
            spawner: None,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// Sets the total weight that the cache may hold: the number of entries, unless a
    /// [`weigher`](Self::weigher) says otherwise. Required. `u64::MAX` is unbounded; the cache
    /// allocates nothing in proportion to the capacity.
    #[doc(alias = "weight_capacity")]
    pub fn max_capacity(mut self, weight: u64) -> Self {
        self.max_capacity = Some(weight);
        self
    }

    /// Sets how many entries to make room for at once. It is a hint: at most 4 million count, and
    /// no more than the capacity where every entry weighs 1. The table grows by itself, without a
    /// pause. Default 0.
    #[doc(alias = "estimated_items_capacity")]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// Sets the most shards that keys are spread over, 1 to 1024; the number is rounded down to a
    /// power of two. Default: one for every core, up to 64.
    ///
    /// The cache never has more than one shard for every 4,096 expected entries: the capacity, or,
    /// with a weigher, `initial_capacity`. When the entries become fewer later, the cache uses
    /// fewer shards; when they are many again, as many as before. So the hit ratio of a small cache
    /// depends neither on this setting nor on the number of cores.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Asks the system for huge pages (2 MiB) for the entries and the table of a large cache. Then
    /// a hit in a cache far larger than the processor's caches need not wait for address
    /// translation as well. Default: no.
    ///
    /// The request is made by `madvise`. So it has an effect on Linux with std only, where
    /// `/sys/kernel/mm/transparent_hugepage/enabled` is `madvise`. (Where that is `always`, the
    /// system uses huge pages unasked: leave the setting off there.)
    ///
    /// The memory of entries, apart from allocations that keys and values own, comes in chunks of
    /// 2 MiB as soon as there are 2 MiB of it. With this setting, memory backs each chunk as a
    /// whole when the chunk is first used. That costs up to 2 MiB for each cache, and up to 2 MiB
    /// more for each large part of the table. Smaller caches are not affected.
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// Sets a name for logs and metrics; each [`observer`](Self::observer) receives it. Default:
    /// empty.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Sets how long a value is fresh, counted from the end of its load. `Duration::MAX` never
    /// expires; a value with a time of zero is not stored at all.
    #[doc(alias = "expire_after_write")]
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets how long a value stays fresh without being read. A hit then stores to the entry, at
    /// most once a tick of the clock.
    #[doc(alias = "expire_after_access")]
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets the hasher. Default: [`DefaultHashBuilder`].
    #[doc(alias = "build_with_hasher")]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T> {
        Builder {
            max_capacity: self.max_capacity,
            initial_capacity: self.initial_capacity,
            shards: self.shards,
            name: self.name,
            weigher: self.weigher,
            keep_while: self.keep_while,
            listener: self.listener,
            listener_async: self.listener_async,
            on_load_error: self.on_load_error,
            observer: self.observer,
            show_key: self.show_key,
            ttl: self.ttl,
            idle: self.idle,
            expiry_with: self.expiry_with,
            ttl_after_read: self.ttl_after_read,
            jitter: self.jitter,
            refresh: self.refresh,
            cooldown: self.cooldown,
            negative_ttl: self.negative_ttl,
            negative_ttl_with: self.negative_ttl_with,
            limits: self.limits,
            tags_with: self.tags_with,
            max_waiters: self.max_waiters,
            max_loads: self.max_loads,
            max_handovers: self.max_handovers,
            bypass: self.bypass,
            huge_pages: self.huge_pages,
            record_stats: self.record_stats,
            seed: self.seed,
            clock: self.clock,
            timer: self.timer,
            spawner: self.spawner,
            hasher,
        }
    }
}

impl<K, V, S> fmt::Debug for Builder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("max_capacity", &self.max_capacity)
            .field("time_to_live", &self.ttl)
            .field("time_to_idle", &self.idle)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}
