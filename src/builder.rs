//! Building a cache.

use crate::cache::Cache;
use crate::clock::{Clock, Source, Time};
use crate::engine::config::{Config, Listener, TtlWith, Weigher};
use crate::engine::{Core, RemovalCause};
use crate::error::BuildError;
use crate::expiry::{NEVER, nanos};
use crate::hasher::DefaultHashBuilder;
use crate::observer::Observer;
use crate::timer::Timer;
use alloc::{borrow::ToOwned, boxed::Box, string::String};
use core::fmt;
use core::time::Duration;

/// Entries below which a cache has one shard: splitting a small cache costs hit ratio and buys nothing.
const ENTRIES_PER_SHARD: u64 = 4096;

/// Bounds what a wrong `initial_capacity` can allocate: 4M entries are 64 MiB of cells. The table grows by itself.
const MOST_INITIAL: usize = 1 << 22;

/// The settings of a cache to be. From [`Cache::builder`].
pub struct Builder<K, V, S = DefaultHashBuilder> {
    max_capacity: Option<u64>,
    initial_capacity: usize,
    shards: Option<usize>,
    name: String,
    weigher: Option<Weigher<K, V>>,
    listener: Option<Listener<K, V>>,
    observer: Option<Box<dyn Observer>>,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    ttl_with: Option<TtlWith<K, V>>,
    jitter: f64,
    beta: f64,
    cooldown: Duration,
    wait_timeout: Option<Duration>,
    stale: Duration,
    max_waiters: usize,
    max_loads: usize,
    record_stats: bool,
    seed: Option<u64>,
    clock: Option<Box<dyn Clock>>,
    timer: Option<Box<dyn Timer>>,
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
            observer: None,
            ttl: None,
            idle: None,
            ttl_with: None,
            jitter: 0.0,
            beta: 1.0,
            cooldown: Duration::from_secs(1),
            wait_timeout: None,
            stale: Duration::ZERO,
            max_waiters: usize::MAX,
            max_loads: usize::MAX,
            record_stats: false,
            seed: None,
            clock: None,
            timer: None,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// Total weight that the cache may hold: the number of entries, unless a [`weigher`](Self::weigher) says otherwise.
    /// Required. `u64::MAX` is unbounded; nothing is allocated in proportion to it.
    pub fn max_capacity(mut self, weight: u64) -> Self {
        self.max_capacity = Some(weight);
        self
    }

    /// Entries to make room for at once: a hint, at most 4 million, and no more than the capacity where every entry weighs
    /// 1. The table grows by itself, without a pause. Default 0.
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// What an entry weighs. Called once for each value, when it is published; 0 counts as 1. Default: every entry 1.
    ///
    /// An entry heavier than the whole capacity is handed to its callers and not kept.
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// The most parts that keys are spread over, 1 to 1024. Default: one for every core, up to 64.
    ///
    /// There is never more than one for every 4,096 entries that are expected: the capacity, or where a weigher is given,
    /// `initial_capacity`. So the hit ratio of a small cache depends neither on this nor on the number of cores.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
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
    pub fn ttl_with(mut self, ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.ttl_with = Some(Box::new(ttl));
        self
    }

    /// Shortens each time to live by a random share of itself, up to this one (`0.0..1.0`), so that entries loaded
    /// together do not expire together. Explicit ones (`insert_with_ttl`, `fulfil_with_ttl`) are left alone. Default 0.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// XFetch's β: how eagerly entries are refreshed before they expire. 1.0 is the paper's optimum and the default;
    /// larger is earlier; 0.0 turns early refresh off. (Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache
    /// Stampede Prevention*, VLDB 2015, section 4.)
    pub fn xfetch(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// How long after a failed early refresh the entry is left alone (but not past its expiry). Default 1 s. With a time
    /// to idle the setting has no effect: the next reader may try again.
    pub fn error_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// How long past its time to live a value is still served by read-through, while one caller loads the next (RFC 5861,
    /// section 3, `stale-while-revalidate`): so nobody but that caller waits. Default: zero.
    ///
    /// Plain reads (`get`) never give an expired value. An entry is kept for that much longer, and then counts as expired
    /// for eviction and `purge_expired`. Of no effect with a time to idle. [`Stats::stale_serves`](crate::Stats) counts.
    pub fn stale_while_refresh(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// The most callers who wait for one load. One more is not made to wait: it gets a value that is stale but may be served,
    /// or [`Overloaded`](crate::LoadError::Overloaded), at once. Default: 2³⁰ − 1 (16,383 on 32-bit targets). 0: nobody waits, but
    /// for the moment in which a value is moved in.
    ///
    /// `get_with`, which cannot report it, runs its own loader then, and its value is not stored. To shed load, use
    /// `try_get_with`.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// The most loads at a time, over the whole cache. Who would begin one more gets the old value, if that is good or stale but
    /// may be served, or [`Overloaded`](crate::LoadError::Overloaded), at once. Default: no bounds.
    ///
    /// What is bounded are loads that the cache leads: `get_with`, which cannot report a refusal, runs its own loader then, for
    /// itself alone, and its value is not stored. To shed load, use `try_get_with`. A load that is taken over from a leader
    /// that gave up is not refused, nor is [`compute`](Cache::compute), though both count.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = loads;
        self
    }

    /// How long a caller waits for the load of another. Default: as long as it takes. Measured by the system's
    /// monotonic clock, or, under a custom clock, by that clock's [`timer`](Self::timer).
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = Some(timeout);
        self
    }

    /// Called for each value that was stored and is removed: by the thread that removes it, after it has become
    /// unreachable, and outside of any pin, so it may use the cache. Not called when the cache is dropped.
    ///
    /// A panic in it reaches the caller whose operation removed the value, after that operation is complete.
    pub fn eviction_listener(mut self, listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Is told what the cache does, for metrics and logs: see [`Observer`], which says what is told, where, and at what cost.
    /// The last one given counts; for two at once, give a pair. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Counts hits and misses, in per-thread cells; everything else in [`Stats`](crate::Stats) is always counted.
    pub fn record_stats(mut self) -> Self {
        self.record_stats = true;
        self
    }

    /// The hasher. Default: [`DefaultHashBuilder`].
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T> {
        Builder {
            max_capacity: self.max_capacity,
            initial_capacity: self.initial_capacity,
            shards: self.shards,
            name: self.name,
            weigher: self.weigher,
            listener: self.listener,
            observer: self.observer,
            ttl: self.ttl,
            idle: self.idle,
            ttl_with: self.ttl_with,
            jitter: self.jitter,
            beta: self.beta,
            cooldown: self.cooldown,
            wait_timeout: self.wait_timeout,
            stale: self.stale,
            max_waiters: self.max_waiters,
            max_loads: self.max_loads,
            record_stats: self.record_stats,
            seed: self.seed,
            clock: self.clock,
            timer: self.timer,
            hasher,
        }
    }

    /// The clock. Default with std: [`CoarseClock`](crate::CoarseClock); without: none, and then nothing can expire.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// What ends a wait by a custom clock.
    pub fn timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Box::new(timer));
        self
    }

    /// Makes XFetch's dice and the jitter repeatable: one sequence of random numbers for the cache, in the order of use.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The cache.
    ///
    /// # Errors
    /// If `max_capacity` is missing, a number is out of its bounds, or a deadline or expiry has no clock or timer.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let max_capacity = self.max_capacity.ok_or(BuildError::MissingCapacity)?;
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return Err(BuildError::Beta(self.beta));
        }
        if !(0.0..1.0).contains(&self.jitter) {
            return Err(BuildError::Jitter(self.jitter));
        }
        if self.idle == Some(Duration::ZERO) {
            return Err(BuildError::ZeroTimeToIdle);
        }
        // How many entries to expect; where weights say nothing about it, the user's own guess.
        let most = if self.weigher.is_some() { u64::MAX } else { max_capacity };
        let initial = self.initial_capacity.min(usize::try_from(most).unwrap_or(usize::MAX)).min(MOST_INITIAL);
        let expected = if self.weigher.is_some() { initial as u64 } else { max_capacity };
        let shards = self.shards.unwrap_or_else(default_shards);
        if !(1..=1024).contains(&shards) {
            return Err(BuildError::Shards(shards));
        }
        let shards = (expected / ENTRIES_PER_SHARD).clamp(1, shards as u64) as usize;
        // With std there is a thread for the default clock.
        let timed = self.timer.is_some() || (cfg!(feature = "std") && self.clock.is_none());
        if self.wait_timeout.is_some() && !timed {
            return Err(BuildError::MissingTimer);
        }
        let expires = self.ttl.is_some() || self.idle.is_some() || self.ttl_with.is_some() || !self.stale.is_zero();
        let source = source(self.clock, expires || self.wait_timeout.is_some())?;
        let core = Core::new(Config {
            name: self.name,
            max_capacity,
            initial_capacity: initial,
            shards,
            weigher: self.weigher,
            listener: self.listener,
            observer: self.observer,
            ttl: self.ttl.map_or(NEVER, nanos),
            idle: self.idle.map_or(NEVER, nanos),
            ttl_with: self.ttl_with,
            jitter: self.jitter,
            beta: self.beta,
            cooldown: nanos(self.cooldown),
            wait_timeout: self.wait_timeout,
            stale: nanos(self.stale),
            max_waiters: u32::try_from(self.max_waiters).unwrap_or(u32::MAX),
            max_loads: self.max_loads,
            record_stats: self.record_stats,
            seed: self.seed,
            time: Time::new(source),
            timer: self.timer,
        });
        Ok(Cache::from_parts(core, self.hasher))
    }
}

fn default_shards() -> usize {
    #[cfg(feature = "std")]
    return std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
    #[cfg(not(feature = "std"))]
    return 1;
}

#[cfg(feature = "std")]
fn source(clock: Option<Box<dyn Clock>>, _needed: bool) -> Result<Source, BuildError> {
    Ok(clock.map_or(Source::Coarse(crate::clock::CoarseClock::new()), Source::Custom))
}

#[cfg(not(feature = "std"))]
fn source(clock: Option<Box<dyn Clock>>, needed: bool) -> Result<Source, BuildError> {
    match clock {
        Some(clock) => Ok(Source::Custom(clock)),
        None if needed => Err(BuildError::MissingClock),
        None => Ok(Source::None),
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
