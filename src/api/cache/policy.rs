//! The settings of a cache, read back.

use super::Cache;
use crate::engine::config::Limits;
use crate::engine::refresh::Refresh;
use crate::runtime::xfetch::NEVER;
use core::time::Duration;

/// The settings of a cache, as its builder was given them, or the defaults. From
/// [`Cache::policy`].
///
/// Each field has the name of the [`Builder`](crate::Builder)'s method. Functions (a weigher,
/// `ttl_with`, listeners) cannot be read back. Times have a resolution of nanoseconds; a time of
/// more than 584 years counts as none.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The weight that the cache may hold now: `max_capacity`, or what
    /// [`set_capacity`](Cache::set_capacity) made of it.
    pub max_capacity: u64,
    /// The number of entries that there was room for at first, within its bounds.
    pub initial_capacity: usize,
    /// The most shards that keys are spread over: no more than the expected entries justify.
    pub shards: usize,
    /// `None`: values do not expire by themselves.
    pub time_to_live: Option<Duration>,
    /// `None`: values do not expire by not being used.
    pub time_to_idle: Option<Duration>,
    /// The largest share of a time to live by which the cache shortens it.
    pub ttl_jitter: f64,
    /// When entries are refreshed before they expire.
    pub refresh: Refresh,
    /// How long the cache leaves an entry alone after its refresh failed.
    pub error_cooldown: Duration,
    /// How long the cache keeps a failure; zero if it does not.
    pub negative_ttl: Duration,
    /// How long past its time to live a value is served while it is refreshed.
    pub stale_while_refresh: Duration,
    /// How long past its time to live a value stands in for an error.
    pub stale_if_error: Duration,
    /// `None`: no bound, as for all timeouts.
    pub wait_timeout: Option<Duration>,
    /// `None`: no bound.
    pub soft_timeout: Option<Duration>,
    /// `None`: no bound.
    pub hard_timeout: Option<Duration>,
    /// `None`: no bound.
    pub lead_timeout: Option<Duration>,
    /// The most callers that wait for one load. `None`: no bound of the user's.
    pub max_waiters: Option<u32>,
    /// The most loads in flight. `None`: no bound.
    pub max_loads: Option<usize>,
    /// How often a flight whose leaders panic is handed over.
    pub max_handovers: u32,
    /// Whether `get_with` loads for its caller alone where it would have to wait on.
    pub bypass: bool,
    /// Whether the cache counts hits and misses.
    pub record_stats: bool,
    /// Whether the system is asked for huge pages.
    pub huge_pages: bool,
    /// The seed of the dice, if they are repeatable.
    pub seed: Option<u64>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Returns the settings that the cache was built with.
    ///
    /// ```
    /// use bellwether::{Cache, Refresh};
    /// use std::time::Duration;
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .max_capacity(100)
    ///     .time_to_live(Duration::from_secs(60))
    ///     .build()?;
    /// let policy = cache.policy();
    /// assert_eq!((policy.max_capacity, policy.time_to_idle), (100, None));
    /// assert_eq!(policy.time_to_live, Some(Duration::from_secs(60)));
    /// assert_eq!(policy.refresh, Refresh::default());
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "settings")]
    #[doc(alias = "config")]
    pub fn policy(&self) -> Policy {
        let config = &self.core.config;
        let Limits { wait_timeout, soft_timeout, hard_timeout, lead_timeout, .. } = config.limits;
        let Limits { stale_while_refresh, stale_if_error, .. } = config.limits;
        Policy {
            max_capacity: self.core.capacity(),
            initial_capacity: config.initial_capacity,
            shards: config.shards,
            time_to_live: bounded(config.ttl),
            time_to_idle: bounded(config.idle),
            ttl_jitter: config.jitter,
            refresh: config.refresh,
            error_cooldown: duration(config.cooldown),
            negative_ttl: duration(config.negative_ttl),
            stale_while_refresh: duration(stale_while_refresh),
            stale_if_error: duration(stale_if_error),
            wait_timeout: bounded(wait_timeout),
            soft_timeout: bounded(soft_timeout),
            hard_timeout: bounded(hard_timeout),
            lead_timeout: bounded(lead_timeout),
            max_waiters: Some(config.max_waiters).filter(|most| *most != u32::MAX),
            max_loads: Some(config.max_loads).filter(|most| *most != usize::MAX),
            max_handovers: config.max_handovers,
            bypass: config.bypass,
            record_stats: config.record_stats,
            huge_pages: config.huge_pages,
            seed: config.seed,
        }
    }
}

fn bounded(ns: u64) -> Option<Duration> {
    (ns != NEVER).then_some(Duration::from_nanos(ns))
}

fn duration(ns: u64) -> Duration {
    bounded(ns).unwrap_or(Duration::MAX)
}
