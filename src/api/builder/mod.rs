//! Building a cache: its settings.

mod build;
mod hooks;
mod loads;
mod surroundings;

use crate::api::cache::Cache;
use crate::engine::config::{
    ExpiryWith, KeepWhile, Limits, Listener, NegativeTtlWith, OnLoadError, TtlAfterRead, Weigher,
};
use crate::engine::demand::Demand;
use crate::engine::events::Observer;
use crate::engine::expiry::Expiry;
use crate::engine::observe::ShowKey;
use crate::engine::refresh::Refresh;
use crate::engine::tags::{Tags, TagsWith};
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
                absence: false,
                negative: false,
                timed: true,
                waits_on: false,
                counted: true,
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

    /// Sets a function that gives each value a time to live; `None` falls through to
    /// [`time_to_live`](Self::time_to_live). The cache calls it once for each value, when the value
    /// is published, unless the value has a time to live of its own. The short form of
    /// [`expiry_with`](Self::expiry_with): of the two, the last one given counts.
    #[doc(alias = "expire_after")]
    pub fn ttl_with(mut self, ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.expiry_with = Some(ExpiryWith::Ttl(Box::new(ttl)));
        self
    }

    /// Sets a function that gives each value its terms: how long it is fresh, when it is refreshed,
    /// and how long past its expiry it may be served. What it does not give is as the cache was
    /// built. The cache calls it once for each value, when the value is published or confirmed,
    /// whether the key is new or not.
    ///
    /// Terms that the loader, the request or the call of `insert` gives count before these, part by
    /// part.
    ///
    /// ```
    /// use bellwether::{Cache, Expiry, Refresh};
    /// use std::time::Duration;
    /// struct Page { max_age: u64, grace: u64, html: String }
    /// let seconds = Duration::from_secs;
    /// let pages: Cache<String, Page> = Cache::builder()
    ///     .max_capacity(1000)
    ///     .expiry_with(move |_, page: &Page| {
    ///         let ttl = Expiry::new().ttl(seconds(page.max_age));
    ///         let expiry = ttl.stale_if_error(seconds(page.grace));
    ///         // What lives for less than ten seconds is not worth a load ahead of time.
    ///         if page.max_age < 10 { expiry.refresh(Refresh::never()) } else { expiry }
    ///     })
    ///     .build()?;
    /// # pages.insert("/".into(), Page { max_age: 5, grace: 60, html: "…".into() });
    /// # assert!(pages.get_ref("/").is_some_and(|page| page.html == "…"));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "Expiry")]
    #[doc(alias = "expire_after_create")]
    #[doc(alias = "expire_after_update")]
    pub fn expiry_with(mut self, expiry: impl Fn(&K, &V) -> Expiry + Send + Sync + 'static) -> Self {
        self.expiry_with = Some(ExpiryWith::All(Box::new(expiry)));
        self
    }

    /// Sets a function that may give a value another time to live each time it is read. It gets the
    /// time that is left (`Duration::MAX` if the value never expires), and returns the new one,
    /// counted from now; `None` leaves the value as it is. What a value gets as it is stored is
    /// [`expiry_with`](Self::expiry_with)'s to say.
    ///
    /// The cache calls the function *at each hit*, under a pin, and maybe once more if the same
    /// lookup goes on to load. So it must be quick. An [`expire`](crate::Cache::expire) at the same
    /// time counts before it. The jitter does not shorten such a time. The windows past the expiry
    /// stay, and so does a [`refresh`](crate::Expiry::refresh) of the value's own.
    ///
    /// Cost: each hit in such a cache reads the clock and looks the expiry up, as with a
    /// [`time_to_idle`](Self::time_to_idle). Other caches pay nothing.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::time::Duration;
    /// # let clock = bellwether::ManualClock::new();
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// // A session lives for 30 minutes from its last use on, an admin's for five.
    /// let sessions: Cache<u64, bool> = Cache::builder()
    ///     .max_capacity(1000)
    ///     # .clock(clock.clone())
    ///     .time_to_live(minutes(30))
    ///     .ttl_after_read(move |_, admin, _left| Some(minutes(if *admin { 5 } else { 30 })))
    ///     .build()?;
    /// # sessions.insert(1, false);
    /// # clock.advance(minutes(20));
    /// # assert!(sessions.get(&1).is_some());
    /// # clock.advance(minutes(20));
    /// # assert!(sessions.get(&1).is_some());
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "expire_after_read")]
    pub fn ttl_after_read(
        mut self,
        ttl: impl Fn(&K, &V, Duration) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.ttl_after_read = Some(Box::new(ttl));
        self
    }

    /// Sets the function that adds an entry's tags, for
    /// [`invalidate_tag`](crate::Cache::invalidate_tag). Anything that implements `Hash` can be a
    /// tag; the same tag must always hash in the same way.
    ///
    /// The cache calls the function when a value is published, and then *at each hit of an entry
    /// that has tags*, under a pin. So it must be quick, and must always give the same tags for the
    /// same key and value.
    ///
    /// Cost: an entry without tags costs nothing more (with a time to live: two instructions); an
    /// entry with tags takes 8 bytes more. Each cache with this setting takes 128 KiB, in pages
    /// that the system zeroes lazily.
    ///
    /// ```
    /// use bellwether::{Cache, Tags};
    /// struct Page { author: String, text: String }
    /// let pages: Cache<String, Page> = Cache::builder()
    ///     .max_capacity(1000)
    ///     .tags_with(|_, page: &Page, tags: &mut Tags<'_>| tags.add(page.author.as_str()))
    ///     .build()?;
    /// pages.insert("/".into(), Page { author: "Ada".into(), text: "…".into() });
    /// pages.invalidate_tag("Ada");
    /// assert!(!pages.contains_key("/"));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn tags_with(mut self, tags: impl Fn(&K, &V, &mut Tags<'_>) + Send + Sync + 'static) -> Self {
        self.tags_with = Some(Box::new(tags));
        self
    }

    /// Shortens each time to live by a random fraction of it, up to `share` (`0.0..1.0`), so that
    /// entries loaded together do not expire together. Default 0.
    ///
    /// | the time to live is from | |
    /// |---|---|
    /// | [`time_to_live`], [`ttl_with`] | shortened |
    /// | [`Request::ttl`], [`Detached::ttl`], [`Loaded::NewFor`], [`Expiry::ttl`] | shortened |
    /// | [`Request::exact_ttl`], [`Detached::exact_ttl`], [`Loaded::NewForExactly`] | exact |
    /// | [`insert_with_ttl`], [`Lease::fulfil_with_ttl`], [`Expiry::exact_ttl`] | exact |
    ///
    /// [`time_to_live`]: Self::time_to_live
    /// [`ttl_with`]: Self::ttl_with
    /// [`Request::ttl`]: crate::Request::ttl
    /// [`Detached::ttl`]: crate::Detached::ttl
    /// [`Loaded::NewFor`]: crate::Loaded::NewFor
    /// [`Request::exact_ttl`]: crate::Request::exact_ttl
    /// [`Detached::exact_ttl`]: crate::Detached::exact_ttl
    /// [`Loaded::NewForExactly`]: crate::Loaded::NewForExactly
    /// [`Expiry::ttl`]: crate::Expiry::ttl
    /// [`Expiry::exact_ttl`]: crate::Expiry::exact_ttl
    /// [`insert_with_ttl`]: crate::Cache::insert_with_ttl
    /// [`Lease::fulfil_with_ttl`]: crate::Lease::fulfil_with_ttl
    ///
    /// A renewed value ([`Lease::renew`](crate::Lease::renew),
    /// [`Loaded::NotModified`](crate::Loaded::NotModified)) lives as long as one that is loaded
    /// anew. The jitter never shortens `Duration::MAX`, `time_to_idle`, `negative_ttl`, or the
    /// windows in which old values are served.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
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
