//! What a cache needs of a runtime, from tokio.

use crate::clock::{Clock, CoarseClock};
use crate::spawn::{Spawn, Task, Work};
use crate::timer::Timer;
use core::task::Waker;
use core::time::Duration;
use tokio::runtime::Handle;

/// Runs loads in the background of a tokio runtime; blocking ones on its threads for those.
///
/// ```
/// # use bellwether::{Builder, Cache, TokioSpawn};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let builder: Builder<u32, u32> = Cache::builder().spawner(TokioSpawn::current());
/// # });
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct TokioSpawn(Handle);

impl TokioSpawn {
    /// Of this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self(runtime)
    }

    /// Of the runtime that this is called from.
    ///
    /// # Panics
    /// If it is called from none.
    #[track_caller]
    pub fn current() -> Self {
        Self(Handle::current())
    }
}

impl Spawn for TokioSpawn {
    fn spawn(&self, task: Task) {
        drop(self.0.spawn(task));
    }

    fn spawn_blocking(&self, work: Work) {
        drop(self.0.spawn_blocking(work));
    }
}

/// A [`Timer`] for the default clock, on a tokio runtime instead of a thread of its own. The runtime must have its time driver
/// enabled.
#[derive(Debug, Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct TokioTimer(Handle);

impl TokioTimer {
    /// Of this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self(runtime)
    }

    /// Of the runtime that this is called from.
    ///
    /// # Panics
    /// If it is called from none.
    #[track_caller]
    pub fn current() -> Self {
        Self(Handle::current())
    }
}

impl Timer for TokioTimer {
    fn wake_at(&self, ns: u64, waker: Waker) {
        drop(self.0.spawn(async move {
            // In steps: tokio sleeps by a clock of its own, and whoever is woken too early must not be left so.
            while let left @ 1.. = ns.saturating_sub(CoarseClock::new().precise()) {
                tokio::time::sleep(Duration::from_nanos(left)).await;
            }
            waker.wake();
        }));
    }
}
