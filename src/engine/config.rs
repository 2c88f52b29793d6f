//! What a cache was built with.

use super::RemovalCause;
use crate::clock::Time;
use crate::timer::Timer;
use alloc::{boxed::Box, string::String};
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
    pub(crate) ttl: u64,
    pub(crate) idle: u64,
    pub(crate) ttl_with: Option<TtlWith<K, V>>,
    pub(crate) jitter: f64,
    pub(crate) beta: f64,
    pub(crate) cooldown: u64,
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) record_stats: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) time: Time,
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    pub(crate) timer: Option<Box<dyn Timer>>,
}
