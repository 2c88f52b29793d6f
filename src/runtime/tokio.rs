//! Spawner and timer on a tokio runtime.

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

/// Runs loads in the background of a tokio runtime, and blocking loads on the runtime's threads for
/// blocking work.
///
/// It is for loads that must run in one particular runtime, or whose callers are threads outside of
/// all runtimes. (With the feature `tokio`, a cache without a spawner uses the runtime that a load
/// is spawned from.) When the runtime ends, it drops its loads, which gives them up. It also drops
/// loads that are spawned later.
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
    /// Returns a spawner for this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self(runtime)
    }

    /// Returns a spawner for the runtime that the caller runs in.
    ///
    /// # Panics
    /// If the caller runs in no runtime.
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

/// A [`Timer`] for the default clock, on a tokio runtime instead of a thread of its own. The
/// runtime must have its time driver enabled.
///
/// If that runtime has ended, [`ThreadTimer`] wakes all waiters, those that come later included. (A
/// runtime that exists and is not driven wakes none, such as one of the current thread outside of
/// `block_on`.)
#[derive(Debug, Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct TokioTimer(Handle);

/// The error of [`TokioTimer::try_new`]: the tokio runtime has no time driver, so it cannot wake at
/// a time. `enable_time` or `enable_all` of `tokio::runtime::Builder` give it one.
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
    /// Returns a timer on this runtime.
    ///
    /// # Panics
    /// If the runtime's time driver is not enabled (`enable_time` or `enable_all` of
    /// `tokio::runtime::Builder`).
    #[track_caller]
    pub fn new(runtime: Handle) -> Self {
        probe(&runtime);
        Self(runtime)
    }

    /// Returns a timer on this runtime.
    ///
    /// # Errors
    /// If the runtime's time driver is not enabled. Tokio tells that only by a panic, which this
    /// function catches: the panic hook sees the panic, and where panics abort the process, this
    /// one does, too.
    pub fn try_new(runtime: Handle) -> Result<Self, NoTimeDriver> {
        match catch_unwind(AssertUnwindSafe(|| probe(&runtime))) {
            Ok(()) => Ok(Self(runtime)),
            Err(_) => Err(NoTimeDriver(())),
        }
    }

    /// Returns a timer on the runtime that the caller runs in.
    ///
    /// # Panics
    /// If the caller runs in no runtime, or as [`new`](Self::new).
    #[track_caller]
    pub fn current() -> Self {
        Self::new(Handle::current())
    }
}

/// Checks that the runtime has a time driver.
///
/// # Panics
/// If it has none; tokio's message names `enable_time`.
#[track_caller]
fn probe(runtime: &Handle) {
    let _entered = runtime.enter();
    // `sleep` looks for the driver when it is made, and registers with it only when it is polled.
    drop(tokio::time::sleep(Duration::ZERO));
}

/// A waker that is due at a time. If the runtime ends first and drops this, [`ThreadTimer`] wakes
/// the waker instead.
struct Due {
    at: u64,
    waker: Option<Waker>,
}

impl Due {
    /// Sleeps until the time, and wakes the waker.
    async fn come(mut self) {
        // In a loop: tokio sleeps by a clock of its own. A waker that is woken before its time
        // would not be woken again.
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
        // A runtime that has ended drops the task at once; see `Due`.
        drop(self.0.spawn(Due { at: ns, waker: Some(waker) }.come()));
    }
}
