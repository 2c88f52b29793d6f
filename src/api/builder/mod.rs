//! Building a cache: its settings.

mod build;
mod loads;

use crate::api::cache::Cache;
use crate::engine::RemovalCause;
use crate::engine::config::{Limits, Listener, OnLoadError, TtlWith, Weigher};
use crate::engine::events::{LoadKind, Observer};
use crate::engine::failure::Failure;
use crate::engine::observe::ShowKey;
use crate::engine::tags::{Tags, TagsWith};
use crate::runtime::cache_time::Source;
use crate::runtime::clock::Clock;
use crate::runtime::spawn::Spawn;
use crate::runtime::timer::Timer;
use crate::runtime::xfetch::NEVER;
use crate::sys::hasher::DefaultHashBuilder;
use alloc::{borrow::ToOwned, boxed::Box, string::String};
use core::fmt;
use core::time::Duration;

impl<K, V> Cache<K, V> {
    /// A cache for up to `max_capacity` entries that do not expire, with all else as by default.
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

    /// The settings of a cache to be.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

/// The settings of a cache to be. From [`Cache::builder`](crate::Cache::builder).
pub struct Builder<K, V, S = DefaultHashBuilder> {
    max_capacity: Option<u64>,
    initial_capacity: usize,
    shards: Option<usize>,
    name: String,
    weigher: Option<Weigher<K, V>>,
    listener: Option<Listener<K, V>>,
    on_load_error: Option<OnLoadError<K>>,
    observer: Option<Box<dyn Observer>>,
    show_key: Option<ShowKey<K>>,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    ttl_with: Option<TtlWith<K, V>>,
    jitter: f64,
    beta: f64,
    cooldown: Duration,
    negative_ttl: Duration,
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
    spawner: Option<Box<dyn Spawn>>,
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
            listener: None,
            on_load_error: None,
            observer: None,
            show_key: None,
            ttl: None,
            idle: None,
            ttl_with: None,
            jitter: 0.0,
            beta: 1.0,
            cooldown: Duration::from_secs(1),
            negative_ttl: Duration::ZERO,
            limits: Limits {
                ttl: None,
                wait_timeout: NEVER,
                soft_timeout: NEVER,
                hard_timeout: NEVER,
                lead_timeout: NEVER,
                stale_while_refresh: 0,
                stale_if_error: 0,
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
    /// Total weight that the cache may hold: the number of entries, unless a [`weigher`](Self::weigher) says otherwise.
    /// Required. `u64::MAX` is unbounded; nothing is allocated in proportion to it.
    #[doc(alias = "weight_capacity")]
    pub fn max_capacity(mut self, weight: u64) -> Self {
        self.max_capacity = Some(weight);
        self
    }

    /// Entries to make room for at once: a hint, at most 4 million, and no more than the capacity where every entry weighs
    /// 1. The table grows by itself, without a pause. Default 0.
    #[doc(alias = "estimated_items_capacity")]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// What an entry weighs. Called once for each value, when it is published; 0 counts as 1. Default: every entry 1.
    ///
    /// An entry heavier than the whole capacity is handed to its callers and not kept. Any other is there when its `insert` or
    /// load is done, whatever it weighs, while there is another that can go: one that is not being refreshed.
    #[doc(alias = "Weighter")]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// The most parts that keys are spread over, 1 to 1024: the number is rounded down to a power of two. Default: one for every
    /// core, up to 64.
    ///
    /// There is never more than one for every 4,096 entries that are expected: the capacity, or where a weigher is given,
    /// `initial_capacity`. Where the entries become fewer later, fewer parts are used, and as many as before when they are many
    /// again. So the hit ratio of a small cache depends neither on this nor on the number of cores.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Asks the system for huge pages (2 MiB) for the entries and the table of a large cache, so that a hit in one that is
    /// far larger than the processor's caches need not wait for address translation as well. Default: no.
    ///
    /// By `madvise`, so on Linux, with std, where `/sys/kernel/mm/transparent_hugepage/enabled` is `madvise` (where it is
    /// `always` the system does so unasked: leave it off there); elsewhere it has no effect. What an entry takes besides its value's own allocations is in
    /// chunks of 2 MiB as soon as there are 2 MiB of it; with this each of them is backed by memory as a whole when it is first
    /// used, so it costs up to 2 MiB a cache, and up to 2 MiB more for each large part of the table. Smaller caches are not affected.
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// A name for logs and metrics: what an [`observer`](Self::observer) is told. Default: empty.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// How long a value is good, from when its load completed. `Duration::MAX` is for ever, zero is not stored at all.
    #[doc(alias = "expire_after_write")]
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long a value is good without being read. A hit then stores to the entry, at most once a tick of the clock.
    #[doc(alias = "expire_after_access")]
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// A time to live for each value; `None` falls through to [`time_to_live`](Self::time_to_live). Called once for each
    /// value, when it is published.
    #[doc(alias = "Expiry")]
    #[doc(alias = "expire_after")]
    pub fn ttl_with(mut self, ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.ttl_with = Some(Box::new(ttl));
        self
    }

    /// An entry's tags, for [`invalidate_tag`](crate::Cache::invalidate_tag): whatever hashes, the same tag in the same way.
    ///
    /// Called when a value is published, and then *at each hit of an entry that has tags*, under a pin: let it be quick, and
    /// always say the same of the same key and value. Entries that it gives no tags cost nothing more (with a time to
    /// live: two instructions); one that has tags takes 8 bytes more. 128 KiB for each cache that has
    /// it, as pages that the system zeroes lazily.
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

    /// Shortens times to live by a random share of each, up to this one (`0.0..1.0`), so that
    /// entries loaded together do not expire together. Default 0.
    ///
    /// | the time to live is from | |
    /// |---|---|
    /// | [`time_to_live`](Self::time_to_live), [`ttl_with`](Self::ttl_with) | shortened |
    /// | [`Request::ttl`](crate::Request::ttl), [`Detached::ttl`](crate::Detached::ttl), [`Loaded::NewFor`](crate::Loaded::NewFor) | shortened |
    /// | [`Request::exact_ttl`](crate::Request::exact_ttl), [`Detached::exact_ttl`](crate::Detached::exact_ttl), [`Loaded::NewForExactly`](crate::Loaded::NewForExactly) | exact |
    /// | [`insert_with_ttl`](crate::Cache::insert_with_ttl), [`Lease::fulfil_with_ttl`](crate::Lease::fulfil_with_ttl) | exact |
    ///
    /// A value that is renewed ([`Lease::renew`](crate::Lease::renew),
    /// [`Loaded::NotModified`](crate::Loaded::NotModified)) lives as one that is loaded anew.
    /// `Duration::MAX` is never shortened. Nor are `time_to_idle`, `negative_ttl` and the times
    /// that an old value is served for.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Called for each value that was stored and is removed: by the thread that removes it, after it has become
    /// unreachable, and outside of any pin, so it may use the cache. Not called when the cache is dropped.
    ///
    /// Called with [`RemovalCause::Rejected`] for each value that the cache was given by an insert or a load and did not keep: it
    /// was too heavy, its time to live was zero, or too much removed memory waits to be freed. Not for one that
    /// [`try_insert`](crate::Cache::try_insert) gives back, for one that was loaded on the terms that it is not kept
    /// ([`Loaded::Unstored`](crate::Loaded), a time to live of zero that the caller or the loader has named), or for one that lost to
    /// a newer write or removal.
    ///
    /// A panic in it reaches the caller whose operation removed the value, after that operation is complete.
    #[doc(alias = "Lifecycle")]
    pub fn eviction_listener(mut self, listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Called for each load that ends in an error or a panic, of whatever face, once: with its key, why, and what it was for. These are
    /// the loads that [`Stats::load_failures`](crate::Stats::load_failures) counts. (One that a caller runs for itself alone,
    /// `bypassed`, is not among them: its error is that caller's.)
    ///
    /// By the thread on which the load has ended, after that, and outside of any pin, so it may use the cache. A panic in it
    /// reaches that thread as one of an [`Observer`] does; while the load's own panic unwinds, it is swallowed. Without it a load that
    /// fails pays a branch.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::sync::{Arc, Mutex};
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let lines = log.clone();
    /// let cache: Cache<String, u64> = Cache::builder()
    ///     .max_capacity(100)
    ///     .on_load_error(move |key, failure, kind| lines.lock().unwrap().push(format!("{key}: {failure} ({kind:?})")))
    ///     .build()?;
    /// assert!(cache.try_get_with("answer", || Err::<u64, _>("no route to host")).is_err());
    /// assert_eq!(*log.lock().unwrap(), ["answer: no route to host (Missing)"]);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn on_load_error(mut self, told: impl Fn(&K, &Failure<'_>, LoadKind) + Send + Sync + 'static) -> Self {
        self.on_load_error = Some(Box::new(told));
        self
    }

    /// Is told what the cache does, for metrics and logs: see [`Observer`], which says what is told, where, and at what cost.
    /// One more is added to those that were given before, which are told first. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(match self.observer.take() {
            None => Box::new(observer),
            Some(first) => Box::new((first, observer)),
        });
        self
    }

    /// Lets the [`observer`](Self::observer) see keys, by their `Debug`: see [`Observer::observe_key`], and `on_load_error` where it is
    /// about failures. Default: it sees hashes. Costs an increment and decrement of a reference count for each event, and for some
    /// (`Bypassed`, `Refused`, `WaitTimedOut`, `StaleServed`) a clone of the key.
    pub fn observe_keys(mut self) -> Self
    where
        K: fmt::Debug,
    {
        self.show_key = Some(<K as fmt::Debug>::fmt);
        self
    }

    /// Counts hits and misses, in per-thread cells; everything else in [`Stats`](crate::Stats) is always counted.
    pub fn record_stats(mut self) -> Self {
        self.record_stats = true;
        self
    }

    /// The hasher. Default: [`DefaultHashBuilder`].
    #[doc(alias = "build_with_hasher")]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T> {
        Builder {
            max_capacity: self.max_capacity,
            initial_capacity: self.initial_capacity,
            shards: self.shards,
            name: self.name,
            weigher: self.weigher,
            listener: self.listener,
            on_load_error: self.on_load_error,
            observer: self.observer,
            show_key: self.show_key,
            ttl: self.ttl,
            idle: self.idle,
            ttl_with: self.ttl_with,
            jitter: self.jitter,
            beta: self.beta,
            cooldown: self.cooldown,
            negative_ttl: self.negative_ttl,
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

    /// The clock. Default with std: [`CoarseClock`](crate::CoarseClock); without: none, and then nothing can expire. Where hits of
    /// entries with a time to live must be as cheap as can be: [`TickerClock`](crate::TickerClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Source::of(clock));
        self
    }

    /// What ends a wait by a custom clock: each deadline under one needs it. A
    /// [`ManualClock`](crate::ManualClock) is its own timer.
    pub fn timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Box::new(timer));
        self
    }

    /// What runs loads in the background: of [`detached`](crate::Cache::detached) requests and of a
    /// [`loader`](Self::loader).
    ///
    /// Default: with the feature `tokio` the runtime that the load is spawned from; outside of all
    /// runtimes, and without that feature, a thread for each load
    /// ([`ThreadSpawn`](crate::ThreadSpawn)); without std none. On such a thread, futures panic
    /// that need a runtime, as those of sockets, timers and most clients do. Their load is lost
    /// each time: their callers see `Abandoned`, and the text of the panic says what is missing. So
    /// give this the runtime, where the default does not find it.
    pub fn spawner(mut self, spawner: impl Spawn + 'static) -> Self {
        self.spawner = Some(Box::new(spawner));
        self
    }

    /// Makes XFetch's dice and the jitter repeatable: one sequence of random numbers for the cache, in the order of use.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl<K, V, S> fmt::Debug for Builder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("max_capacity", &self.max_capacity)
            .field("time_to_live", &self.ttl)
            .field("time_to_idle", &self.idle)
            .field("xfetch", &self.beta)
            .finish_non_exhaustive()
    }
}
