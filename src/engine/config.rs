//! What a cache was built with.

use super::RemovalCause;
#[cfg(feature = "std")]
use crate::alarms::ThreadTimer;
use crate::clock::Time;
use crate::observer::Observer;
use crate::timer::Timer;
use alloc::{boxed::Box, string::String};
use core::task::Waker;
use core::time::Duration;

pub(crate) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;
pub(crate) type TtlWith<K, V> = Box<dyn Fn(&K, &V) -> Option<Duration> + Send + Sync>;

/// The settings of a cache, checked. Times in ns, `NEVER` for none.
pub(crate) struct Config<K, V> {
    pub(crate) name: String,
    pub(crate) max_capacity: u64,
    pub(crate) initial_capacity: usize,
    pub(crate) shards: usize,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) ttl: u64,
    pub(crate) idle: u64,
    pub(crate) ttl_with: Option<TtlWith<K, V>>,
    pub(crate) jitter: f64,
    pub(crate) beta: f64,
    pub(crate) cooldown: u64,
    pub(crate) wait_timeout: Option<Duration>,
    /// How long past its time to live a value is served while it is refreshed, in ns.
    pub(crate) stale: u64,
    pub(crate) max_waiters: u32,
    pub(crate) max_loads: usize,
    pub(crate) record_stats: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) time: Time,
    pub(crate) timer: Option<Box<dyn Timer>>,
}

impl<K, V> Config<K, V> {
    /// Has a waker woken once the clock reads `ns`: by the timer that was given, or with std by a thread.
    pub(crate) fn wake_at(&self, ns: u64, waker: Waker) {
        match &self.timer {
            Some(timer) => timer.wake_at(ns, waker),
            #[cfg(feature = "std")]
            None => ThreadTimer::new().wake_at(ns, waker),
            // `build` has refused a deadline that nothing could end.
            #[cfg(not(feature = "std"))]
            None => drop(waker),
        }
    }
}
