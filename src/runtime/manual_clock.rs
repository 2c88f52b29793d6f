//! A clock for tests, which moves only when the test moves it.

use super::clock::Clock;
use super::timer::{Pending, Taken, Timer};
use crate::sys::sync::{AtomicU64, Ordering, fence};
use crate::sys::unwind;
use alloc::sync::Arc;
use core::{fmt, task::Waker, time::Duration};

/// A clock and a timer for tests. The clock moves only when it is told to, and the timer fires as
/// the clock moves.
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
    /// Returns a clock that reads zero.
    pub fn new() -> Self {
        Self { inner: Arc::new(Manual { now: AtomicU64::new(0), pending: Pending::new() }) }
    }

    /// Moves the time on (saturating) and wakes all wakers that are due.
    ///
    /// # Panics
    /// If a waker panics. All other due wakers are woken first; then the panic of the first one
    /// goes on.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let step = |now: u64| Some(now.saturating_add(by));
        let _ = self.inner.now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        self.fire();
    }

    /// Sets the time, also backwards, and wakes all wakers that are due.
    ///
    /// # Panics
    /// As [`advance`](Self::advance).
    pub fn set(&self, ns: u64) {
        self.inner.now.store(ns, Ordering::SeqCst);
        self.fire();
    }

    /// Wakes all wakers that are due. A waker runs after it was taken out of the list, so it may
    /// call back into this clock. If one panics, the panic goes on after all others were woken.
    fn fire(&self) {
        unwind::each(Firing { clock: self, round: None }, Waker::wake);
    }
}

/// An iterator over the wakers that are due, until none is left.
struct Firing<'c> {
    clock: &'c ManualClock,
    round: Option<Round>,
}

/// One pass over all pending wakers, at one reading of the clock.
struct Round {
    now: u64,
    alarms: Taken,
    /// The earliest time of a waker that was put back; `u64::MAX` if none was.
    earliest: u64,
}

impl Iterator for Firing<'_> {
    type Item = Waker;

    fn next(&mut self) -> Option<Waker> {
        let pending = &self.clock.inner.pending;
        loop {
            let begin = || Round { now: self.clock.now(), alarms: pending.take(), earliest: u64::MAX };
            let round = self.round.get_or_insert_with(begin);
            for (at, waker) in &mut round.alarms {
                if at <= round.now {
                    return Some(waker);
                }
                pending.push(at, waker);
                round.earliest = round.earliest.min(at);
            }
            // A waker that was put back may have come due: an `advance` that ran while the waker
            // was taken did not see it. So read the time again. The fence pairs with the SeqCst
            // update of the time: either that `advance` sees the push, or this load sees its time.
            fence(Ordering::SeqCst);
            if round.earliest == u64::MAX || self.clock.now() < round.earliest {
                return None;
            }
            self.round = None;
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
    /// # Panics
    /// As [`advance`](ManualClock::advance), if the time has already come.
    fn wake_at(&self, ns: u64, waker: Waker) {
        self.inner.pending.push(ns, waker);
        // Read the time again: an `advance` that ran before the push did not see it. The fence
        // pairs with the SeqCst update of the time: either that `advance` sees the push, or this
        // load sees its time.
        fence(Ordering::SeqCst);
        if self.now() >= ns {
            self.fire();
        }
    }
}
