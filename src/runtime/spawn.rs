//! Running loads in the background.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

/// A load in the background, which a runtime drives to its end.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A load in the background that blocks its thread.
pub type Work = Box<dyn FnOnce() + Send>;

/// Runs loads in the background: [`Builder::spawner`](crate::Builder::spawner).
///
/// A closure that takes a [`Task`] is a spawner, so for any runtime it is one line.
///
/// ```
/// # use bellwether::{Builder, Cache, Task};
/// # mod smol {
/// #     pub struct Running;
/// #     impl Running {
/// #         pub fn detach(self) {}
/// #     }
/// #     pub fn spawn(_: bellwether::Task) -> Running {
/// #         Running
/// #     }
/// # }
/// let spawner = |task: Task| smol::spawn(task).detach();
/// let builder: Builder<u32, u32> = Cache::builder().spawner(spawner);
/// ```
///
/// A task or work that is dropped before its end gives its load up, as any leader does, and no
/// caller hangs. One that panics gives its load up, too; the runtime decides what becomes of the
/// panic. Both hold an `Arc` of their cache.
pub trait Spawn: Send + Sync {
    /// Has a task polled until it ends.
    ///
    /// It must not run the task before it returns: its caller does not wait while the task runs.
    fn spawn(&self, task: Task);

    /// Has work done that may block. The default runs it as a task. Override it for a runtime whose
    /// tasks must not block.
    fn spawn_blocking(&self, work: Work) {
        self.spawn(Box::pin(async move { work() }));
    }
}

impl<F: Fn(Task) + Send + Sync> Spawn for F {
    fn spawn(&self, task: Task) {
        self(task);
    }
}

impl<S: Spawn + ?Sized> Spawn for Arc<S> {
    fn spawn(&self, task: Task) {
        (**self).spawn(task);
    }
    fn spawn_blocking(&self, work: Work) {
        (**self).spawn_blocking(work);
    }
}

impl fmt::Debug for dyn Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawn")
    }
}

/// Runs each load on a thread of its own. A cache that was given no spawner uses it; with the
/// feature `tokio` it does so only for loads that are spawned outside of a tokio runtime. It knows
/// no runtime, so it suits blocking loaders, and futures that need no runtime.
///
/// A future that needs a runtime panics on such a thread: the futures of tokio's sockets and timers
/// do, and so do those of most clients of databases and of HTTP. If each call of
/// [`load_async`](crate::LoadingCache::load_async), or of an async verb of
/// [`detached`](crate::Cache::detached), ends in a panic or in
/// [`Panicked`](crate::LoadError::Panicked), check whether the loader has its runtime: enable the
/// feature `tokio`, or give the runtime to [`Builder::spawner`](crate::Builder::spawner).
///
/// If the system refuses a thread, the load is given up.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadSpawn(());

#[cfg(feature = "std")]
impl ThreadSpawn {
    /// Returns the spawner that starts a thread for each load.
    pub const fn new() -> Self {
        Self(())
    }
}

#[cfg(feature = "std")]
impl Spawn for ThreadSpawn {
    fn spawn(&self, task: Task) {
        self.spawn_blocking(Box::new(move || drive(task)));
    }

    fn spawn_blocking(&self, work: Work) {
        // If the system refuses the thread, it drops the work, which gives the load up.
        let _ = crate::sys::sync::thread::Builder::new().name("bellwether load".into()).spawn(work);
    }
}

/// The spawner of a cache that was given none: the tokio runtime that `spawn` is called from, if
/// there is one, and else a thread for each load.
#[cfg(feature = "std")]
pub(crate) struct DefaultSpawn;

#[cfg(feature = "std")]
impl Spawn for DefaultSpawn {
    fn spawn(&self, task: Task) {
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return drop(runtime.spawn(task));
        }
        ThreadSpawn::new().spawn(task);
    }

    fn spawn_blocking(&self, work: Work) {
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return drop(runtime.spawn_blocking(work));
        }
        ThreadSpawn::new().spawn_blocking(work);
    }
}

/// Lets other tasks run, as a task.
pub(crate) fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| match core::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
}

/// Drives a task to its end on this thread.
#[cfg(feature = "std")]
fn drive(mut task: Task) {
    use core::task::{Context, Waker};
    let waker = Waker::from(crate::sys::unpark::Unpark::this_thread());
    while task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        crate::sys::sync::thread::park();
    }
}
