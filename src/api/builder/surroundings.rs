//! The settings by which a cache gets the time, wake-ups, a place to run loads, and dice.

use super::Builder;
use crate::runtime::cache_time::Source;
use crate::runtime::clock::Clock;
use crate::runtime::spawn::Spawn;
use crate::runtime::timer::Timer;
use alloc::{boxed::Box, sync::Arc};

impl<K, V, S> Builder<K, V, S> {
    /// Sets the clock. Default with std: [`CoarseClock`](crate::CoarseClock). Default without std:
    /// none, and then nothing can expire. For the cheapest hits of entries with a time to live, use
    /// a [`TickerClock`](crate::TickerClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Source::of(clock));
        self
    }

    /// Sets the timer that ends waits under a custom clock. Each deadline under a custom clock
    /// needs one. A [`ManualClock`](crate::ManualClock) is its own timer.
    pub fn timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Box::new(timer));
        self
    }

    /// Sets the spawner that runs loads in the background: those of
    /// [`detached`](crate::Cache::detached) requests and of a [`loader`](Self::loader). It also
    /// runs the [`eviction_listener_async`](Self::eviction_listener_async).
    ///
    /// Default: with the feature `tokio`, the runtime that the load is spawned from. Outside of all
    /// runtimes, and without that feature, each load gets a thread
    /// ([`ThreadSpawn`](crate::ThreadSpawn)). Without std there is no default.
    ///
    /// On such a thread, a future that needs a runtime panics, as those of sockets, timers and most
    /// clients do. Each such load is lost: its callers get `Abandoned`, and the text of the panic
    /// says what is missing. So give the runtime here where the default does not find it.
    pub fn spawner(mut self, spawner: impl Spawn + 'static) -> Self {
        self.spawner = Some(Arc::new(spawner));
        self
    }

    /// Makes XFetch's dice and the jitter repeatable: the cache draws all its random numbers from
    /// one sequence, in the order of use.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
