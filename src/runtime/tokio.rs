//! What a cache needs of a runtime, from tokio.

use super::clock::{Clock, CoarseClock};
use super::spawn::{Spawn, Task, Work};
use super::thread_timer::ThreadTimer;
use super::timer::Timer;
use core::error::Error;
use core::fmt;
use core::task::Waker;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::runtime::Handle;

/// Runs loads in the background of a tokio runtime; blocking ones on its threads for those.
///
/// It is for loads that are to run in one runtime, whichever of them calls, or whose callers are
/// threads outside of all. (With the feature `tokio`, a cache without a spawner uses the runtime
/// that a load is spawned from.) When the runtime ends, its loads are dropped, and given up by
/// that; so are those that are spawned later.
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
///
/// Where that runtime has ended, [`ThreadTimer`] wakes all who wait, and all who come later. (A
/// runtime that is there, but not driven, wakes none: one of the current thread outside of
/// `block_on`.)
#[derive(Debug, Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct TokioTimer(Handle);

/// A tokio runtime has no time driver, so it cannot tell when a time has come: `enable_time` or
/// `enable_all` of `tokio::runtime::Builder` give it one. From [`TokioTimer::try_new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct NoTimeDriver(());

impl fmt::Display for NoTimeDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tokio runtime has no time driver: call `enable_time` or `enable_all` on its builder")
    }
}

impl Error for NoTimeDriver {}

impl TokioTimer {
    /// Of this runtime.
    ///
    /// # Panics
    /// If its time driver is not enabled (`enable_time` or `enable_all` of
    /// `tokio::runtime::Builder`).
    #[track_caller]
    pub fn new(runtime: Handle) -> Self {
        probe(&runtime);
        Self(runtime)
    }

    /// Of this runtime.
    ///
    /// # Errors
    /// If its time driver is not enabled. Tokio tells that by a panic only, which is caught here:
    /// the panic hook sees it, and where panics abort the process, so does this one.
    pub fn try_new(runtime: Handle) -> Result<Self, NoTimeDriver> {
        match catch_unwind(AssertUnwindSafe(|| probe(&runtime))) {
            Ok(()) => Ok(Self(runtime)),
            Err(_) => Err(NoTimeDriver(())),
        }
    }

    /// Of the runtime that this is called from.
    ///
    /// # Panics
    /// If it is called from none, or as [`new`](Self::new).
    #[track_caller]
    pub fn current() -> Self {
        Self::new(Handle::current())
    }
}

/// # Panics
/// If the runtime has no time driver; tokio's words name `enable_time`.
#[track_caller]
fn probe(runtime: &Handle) {
    let _entered = runtime.enter();
    // It looks for the driver as it is made, and is not registered before it is polled.
    drop(tokio::time::sleep(Duration::ZERO));
}

/// A waker that is due at a time. If the runtime drops it before that, as it ends, a thread wakes
/// it.
struct Due {
    at: u64,
    waker: Option<Waker>,
}

impl Due {
    async fn come(mut self) {
        // In steps: tokio sleeps by a clock of its own, and whoever is woken too early must not be
        // left so.
        while let left @ 1.. = self.at.saturating_sub(CoarseClock::new().precise()) {
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            ThreadTimer::new().wake_at(self.at, waker);
        }
    }
}

impl Timer for TokioTimer {
    fn wake_at(&self, ns: u64, waker: Waker) {
        // A runtime that has ended drops it at once.
        drop(self.0.spawn(Due { at: ns, waker: Some(waker) }.come()));
    }
}
