//! Waking a task at a given time: deadlines of async callers, and of every caller under a custom clock.

use crate::clock::Clock;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, fence};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, ptr, task::Waker, time::Duration};

/// Wakes wakers at given times of the cache's clock.
pub trait Timer: Send + Sync {
    /// Wakes `waker` once the clock reads `ns` or later; at once if it already does.
    ///
    /// A wake-up that nobody needs any more is harmless: whoever is woken looks again.
    fn wake_at(&self, ns: u64, waker: Waker);
}

impl<T: Timer + ?Sized> Timer for Arc<T> {
    fn wake_at(&self, ns: u64, waker: Waker) {
        (**self).wake_at(ns, waker);
    }
}

/// Wakers that wait for their time: a lock-free stack, pushed by anyone, taken whole by whoever fires.
pub(crate) struct Pending {
    head: AtomicPtr<Alarm>,
}

struct Alarm {
    at: u64,
    waker: Waker,
    next: *mut Alarm,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn push(&self, at: u64, waker: Waker) {
        let alarm = Box::into_raw(Box::new(Alarm { at, waker, next: ptr::null_mut() }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: `alarm` came from `Box::into_raw` above and is not yet published, so it is ours alone.
            unsafe { (*alarm).next = head };
            // Release: the alarm's fields are written before it can be taken (pairs with `take`'s Acquire).
            match self.head.compare_exchange_weak(head, alarm, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Everything pushed so far, out of order.
    pub(crate) fn take(&self) -> Vec<(u64, Waker)> {
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut all = Vec::new();
        while !next.is_null() {
            // SAFETY: every pointer in the stack came from `Box::into_raw`, and the swap made the whole stack ours.
            let alarm = unsafe { Box::from_raw(next) };
            next = alarm.next;
            all.push((alarm.at, alarm.waker));
        }
        all
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// SAFETY: an `Alarm` owns its waker (Send + Sync) and is reached by one thread at a time: its pusher before the
// publishing CAS, its taker after the swap.
unsafe impl Send for Pending {}
// SAFETY: as above.
unsafe impl Sync for Pending {}

/// A clock that stands still until it is told to move, and a timer that fires as it moves: for tests.
///
/// Clones share one time. It starts at zero.
///
/// ```
/// use bellwether::{Cache, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let cache: Cache<u32, &str> = Cache::builder()
///     .max_capacity(10)
///     .time_to_live(Duration::from_secs(60))
///     .clock(clock.clone())
///     .build()?;
/// cache.insert(1, "one");
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get(&1), Some("one"));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get(&1), None);
/// # Ok::<(), bellwether::BuildError>(())
/// ```
#[derive(Clone)]
pub struct ManualClock {
    inner: Arc<Manual>,
}

struct Manual {
    now: AtomicU64,
    pending: Pending,
}

impl ManualClock {
    /// A clock that reads zero.
    pub fn new() -> Self {
        Self { inner: Arc::new(Manual { now: AtomicU64::new(0), pending: Pending::new() }) }
    }

    /// Moves the time on (saturating) and wakes what is due.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let step = |now: u64| Some(now.saturating_add(by));
        let _ = self.inner.now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        self.fire();
    }

    /// Sets the time, backwards too, and wakes what is due.
    pub fn set(&self, ns: u64) {
        self.inner.now.store(ns, Ordering::SeqCst);
        self.fire();
    }

    /// Wakes all that is due. Wakers run outside of any structure: they may call back into this clock.
    ///
    /// Whoever puts an alarm back looks at the time again: an `advance` in between did not see that alarm.
    fn fire(&self) {
        loop {
            let now = self.now();
            let mut earliest = u64::MAX;
            for (at, waker) in self.inner.pending.take() {
                if at <= now {
                    waker.wake();
                } else {
                    self.inner.pending.push(at, waker);
                    earliest = earliest.min(at);
                }
            }
            fence(Ordering::SeqCst);
            if earliest == u64::MAX || self.now() < earliest {
                return;
            }
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.inner.now.load(Ordering::SeqCst)
    }
}

impl Timer for ManualClock {
    fn wake_at(&self, ns: u64, waker: Waker) {
        self.inner.pending.push(ns, waker);
        // Look again: an `advance` that ran before the push did not see it. The fence pairs with the SeqCst update
        // of the time: either that sees the push, or this sees the time.
        fence(Ordering::SeqCst);
        if self.now() >= ns {
            self.fire();
        }
    }
}
