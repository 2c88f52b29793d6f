//! A thread that removes expired entries at intervals, so that their memory does not wait until
//! another entry needs room.

use crate::api::cache::Cache;
use crate::engine::wait::thread::ParkUntil;
use crate::runtime::xfetch::nanos;
use crate::sys::sync::thread::{self, JoinHandle};
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::time::Duration;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The handle of a cache's janitor. Dropping it ends the thread. From [`Cache::start_janitor`].
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
    /// Starts a thread that calls [`purge_expired`](Self::purge_expired) at intervals of `every`.
    /// An expired value then stays for at most the sum of that interval, the value's window for
    /// `stale_while_refresh`, the time of one such call, and, if a reader holds a pin, the time
    /// until that pin ends.
    ///
    /// The system's monotonic clock measures `every`; under a custom clock, that clock and its
    /// timer do. The eviction listener and the drops of values run on the thread.
    ///
    /// The thread ends with the handle, or at its next turn after the cache was dropped: it holds a
    /// weak reference. (Under a custom clock, only the timer or the drop of the handle wakes the
    /// thread for that. If the last `Arc` is dropped while the thread purges, the thread drops the
    /// cache, a moment later.)
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

/// Sleeps until the next purge is due. Returns false if the cache or the handle was dropped.
fn nap<K, V, S>(cache: &Weak<Cache<K, V, S>>, every: Duration, stop: &AtomicBool) -> bool {
    let mut deadline = None;
    loop {
        // Acquire: pairs with the Release store in the handle's drop.
        if stop.load(Ordering::Acquire) {
            return false;
        }
        // The clock belongs to the cache. The thread must not keep the cache alive for it while it
        // sleeps, so it upgrades its weak reference for each look.
        let Some(cache) = cache.upgrade() else { return false };
        let deadline = *deadline.get_or_insert_with(|| cache.core().config.wait_end(nanos(every)));
        if cache.core().config.has_come(deadline) {
            return true;
        }
        // Built anew on each round: the clock may have stepped back since the thread was woken.
        let nap = ParkUntil::until(cache.core(), deadline);
        drop(cache);
        nap.park();
    }
}

/// Purges the cache. Returns false if the cache was dropped. A panic of a listener or of a drop has
/// been reported by the panic hook; the janitor goes on.
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
        // A listener or a value may own the handle, and so drop it on the janitor's own thread,
        // which cannot join itself.
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
