//! Running loads in the background.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use core::future::Future;
use core::pin::Pin;

/// A load in the background, for a runtime to drive to its end.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A load in the background that blocks its thread.
pub type Work = Box<dyn FnOnce() + Send>;

/// Runs loads in the background: [`Builder::spawner`](crate::Builder::spawner).
///
/// For any runtime it is one line: closures that take a [`Task`] are spawners.
///
/// ```
/// # use bellwether::{Builder, Cache, Task};
/// let builder: Builder<u32, u32> = Cache::builder().spawner(|task: Task| smol::spawn(task).detach());
/// ```
///
/// A task or work that is dropped before its end gives its load up, as any leader does: nothing hangs. So does one that
/// panics; what becomes of the panic is the runtime's affair. Both hold an `Arc` of their cache.
pub trait Spawn: Send + Sync {
    /// Has a task polled until it ends.
    ///
    /// Must not run it before it returns: its caller waits with it for nothing else.
    fn spawn(&self, task: Task);

    /// Has work done that may block. As a task, if nothing else is said: for runtimes whose tasks must not block, say it.
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

/// A thread for each load: what a cache uses that was given no spawner, but for loads that are
/// spawned from a tokio runtime, with the feature `tokio`. It knows no runtime, so it suits
/// blocking loaders, and futures that need none.
///
/// A future that does need one panics on such a thread: those of tokio's sockets and timers do, and
/// so do most clients of databases and of HTTP. So where
/// [`load_async`](crate::LoadingCache::load_async), or an async verb of
/// [`detached`](crate::Cache::detached), comes to nothing at each call (`Abandoned`, or a panic),
/// look at whether it has its runtime: turn the feature `tokio` on, or give the runtime to
/// [`Builder::spawner`](crate::Builder::spawner).
///
/// If the system refuses a thread, the load is given up.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadSpawn(());

#[cfg(feature = "std")]
impl ThreadSpawn {
    /// A thread for each load.
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
        // Refused: the work is dropped, and its load handed over.
        let _ = crate::sys::sync::thread::Builder::new().name("bellwether load".into()).spawn(work);
    }
}

/// What a cache uses that was given no spawner: the tokio runtime that it is called from, if there
/// is one; else a thread for each load.
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

/// Drives a task to its end on this thread.
#[cfg(feature = "std")]
fn drive(mut task: Task) {
    use core::task::{Context, Waker};
    let waker = Waker::from(crate::sys::unpark::Unpark::this_thread());
    while task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        crate::sys::sync::thread::park();
    }
}
