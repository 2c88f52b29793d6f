//! What a cache was built with.

use super::RemovalCause;
use super::events::{LoadKind, Observer};
use super::failure::Failure;
use super::observe::ShowKey;
use super::tags::TagRegistry;
use crate::flight::expiry::Ttl;
use crate::runtime::cache_time::Time;
#[cfg(feature = "std")]
use crate::runtime::spawn::DefaultSpawn;
use crate::runtime::spawn::Spawn;
use crate::runtime::timer::Timer;
use crate::runtime::xfetch::NEVER;
use alloc::{boxed::Box, string::String};
use core::time::Duration;

pub(crate) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;
pub(crate) type OnLoadError<K> = Box<dyn Fn(&K, &Failure<'_>, LoadKind) + Send + Sync>;
pub(crate) type TtlWith<K, V> = Box<dyn Fn(&K, &V) -> Option<Duration> + Send + Sync>;

/// What a lookup may be told otherwise than the cache was built. Times in ns, `NEVER` for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The time to live of what this caller loads.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) wait_timeout: u64,
    pub(crate) soft_timeout: u64,
    pub(crate) hard_timeout: u64,
    pub(crate) lead_timeout: u64,
    /// How long past its time to live a value is served while it is refreshed (0: not at all).
    pub(crate) stale_while_refresh: u64,
    /// The same, where there is no other: its refresh has failed, or takes too long.
    pub(crate) stale_if_error: u64,
    /// Whether a failure that was kept is an answer.
    pub(crate) negative: bool,
    /// Whether it matters how long the load takes.
    pub(crate) timed: bool,
    /// Whether the caller waits where others would be refused: it has no way to report that.
    pub(crate) waits_on: bool,
    /// Whether its lease counts for `max_loads`. One of a bulk call counts for all of that.
    pub(crate) counted: bool,
}

impl Limits {
    /// How long past its time to live a value is taken, for want of another.
    pub(crate) fn max_stale(&self) -> u64 {
        self.stale_while_refresh.max(self.stale_if_error)
    }
}

/// The settings of a cache, checked. Times in ns, `NEVER` for none.
pub(crate) struct Config<K, V> {
    pub(crate) name: String,
    pub(crate) max_capacity: u64,
    pub(crate) initial_capacity: usize,
    pub(crate) shards: usize,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) on_load_error: Option<OnLoadError<K>>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// How to show keys to the observer, if it may see them.
    pub(crate) show_key: Option<ShowKey<K>>,
    pub(crate) ttl: u64,
    pub(crate) idle: u64,
    pub(crate) ttl_with: Option<TtlWith<K, V>>,
    pub(crate) jitter: f64,
    pub(crate) beta: f64,
    pub(crate) cooldown: u64,
    /// How long a failure is kept in the place of a value; 0: not at all.
    pub(crate) negative_ttl: u64,
    pub(crate) limits: Limits,
    pub(crate) groups: Option<TagRegistry<K, V>>,
    /// Whether the quiet time of each entry is all that a hit has to look at.
    pub(crate) quiet_hits: bool,
    /// The flags of values whose quiet time is not all that a hit has to look at.
    pub(crate) restless: u64,
    pub(crate) max_waiters: u32,
    pub(crate) max_loads: usize,
    /// How often a flight whose leader panics is handed over.
    pub(crate) max_handovers: u32,
    /// Whether `get_with` runs its loader for itself alone where it would have to wait for longer.
    pub(crate) bypass: bool,
    pub(crate) huge_pages: bool,
    pub(crate) record_stats: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) time: Time,
    pub(crate) timer: Option<Box<dyn Timer>>,
    pub(crate) spawner: Option<Box<dyn Spawn>>,
}

impl<K, V> Config<K, V> {
    /// Of a caller who asks for nothing special, with a loader that gives values and nothing else: if nothing in the cache
    /// expires, neither will they, and nobody wants to know how long they took. (A look at the precise clock is a
    /// twentieth of a miss.)
    pub(crate) fn plain_limits(&self) -> Limits {
        let expire = self.ttl != NEVER || self.ttl_with.is_some() || self.idle != NEVER || self.groups.is_some();
        Limits { timed: expire || self.observer.is_some(), ..self.limits }
    }
}

impl<K, V> Config<K, V> {
    /// What runs loads in the background.
    ///
    /// # Panics
    /// Without std, if none was given.
    pub(crate) fn spawner(&self) -> &dyn Spawn {
        match &self.spawner {
            Some(spawner) => &**spawner,
            #[cfg(feature = "std")]
            None => &DefaultSpawn,
            #[cfg(not(feature = "std"))]
            None => panic!("without std, loads in the background need a spawner: Builder::spawner"),
        }
    }
}
