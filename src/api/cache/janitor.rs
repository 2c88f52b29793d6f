//! A thread that removes expired entries every so often, so that their memory does not wait for somebody to need room.

use crate::api::cache::Cache;
use crate::engine::wait::thread::ParkUntil;
use crate::runtime::xfetch::nanos;
use crate::sys::sync::thread::{self, JoinHandle};
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::time::Duration;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The handle of a cache's janitor; dropping it ends the thread. From [`Cache::start_janitor`].
#[must_use = "dropping it ends the janitor"]
pub struct Janitor {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    /// Starts a thread that calls [`purge_expired`](Self::purge_expired) at intervals of `every`: an expired value stays for at
    /// most that long (and its time for `stale_while_refresh`), the time of one such call, and, if a reader holds a pin, until
    /// that ends.
    ///
    /// `every` is by the system's monotonic clock, or under a custom clock by that and its timer. The eviction listener and
    /// drops of values run on the thread. It ends with the handle, or when it would have come next after the cache was dropped:
    /// it holds a weak reference. (Under a custom clock only the timer, or the drop of the handle, wakes it for that. If the
    /// last `Arc` is dropped while it purges, the thread drops the cache, a moment later.)
    ///
    /// # Errors
    /// If `every` is zero, if a custom clock has no timer, or if the system refuses another thread.
    pub fn start_janitor(self: &Arc<Self>, every: Duration) -> io::Result<Janitor> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let config = &self.core().config;
        if every.is_zero() {
            return invalid("a janitor cannot come at intervals of zero");
        }
        if config.time.is_users() && config.timer.is_none() {
            return invalid("under a custom clock a janitor needs a timer");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (cache, stopped) = (Arc::downgrade(self), stop.clone());
        let thread = thread::Builder::new()
            .name(format!("janitor {}", self.name()).replace('\0', "?"))
            .spawn(move || while nap(&cache, every, &stopped) && purge(&cache) {})?;
        Ok(Janitor { thread: Some(thread), stop })
    }
}

/// Sleeps; false if there is nothing more to do.
fn nap<K, V, S>(cache: &Weak<Cache<K, V, S>>, every: Duration, stop: &AtomicBool) -> bool {
    let mut deadline = None;
    loop {
        // Acquire: pairs with the Release of the handle's drop.
        if stop.load(Ordering::Acquire) {
            return false;
        }
        // The clock is the cache's, which must not be kept for it.
        let Some(cache) = cache.upgrade() else { return false };
        let deadline = *deadline.get_or_insert_with(|| cache.core().config.wait_end(nanos(every)));
        if cache.core().config.has_come(deadline) {
            return true;
        }
        // Anew each time: the clock may have stepped back since it was woken.
        let nap = ParkUntil::until(cache.core(), deadline);
        drop(cache);
        nap.park();
    }
}

/// False if the cache is gone. A panic of a listener or a drop has been reported by then; the janitor goes on.
fn purge<K, V, S>(cache: &Weak<Cache<K, V, S>>) -> bool {
    let Some(cache) = cache.upgrade() else { return false };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.purge_expired()));
    true
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // A listener or a value that owns the handle may drop it on the janitor's own thread.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Janitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Janitor").finish_non_exhaustive()
    }
}
