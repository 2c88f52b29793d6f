//! A clock that costs one load to read: a thread of its own stores the time.

use super::clock::{Clock, CoarseClock};
use crate::sys::sync::untracked::{AtomicU64, Ordering};
use alloc::sync::{Arc, Weak};
use core::time::Duration;
use std::{io, thread};

/// A clock that a thread of its own keeps current. Reading it is one load, where the default clock
/// takes some 5 to 10 ns.
///
/// It is for caches with a time to live whose hits should cost hardly more than without one. The
/// thread wakes once a period, reads the system's monotonic clock and stores the time. Clones share
/// the thread; it ends at the first tick after the last clone was dropped.
///
/// The time is late by up to a period, and by more if the system delays the thread. An entry may
/// live longer by that much. It may also live shorter by that much, if the time was late when the
/// entry was stored. So choose a period far below the shortest time to live.
///
/// In a child process after a `fork` the thread does not exist, and the time stands still: make a
/// new clock there.
///
/// ```
/// use bellwether::{Cache, TickerClock};
/// use std::time::Duration;
/// let cache: Cache<u32, &str> = Cache::builder()
///     .max_capacity(10)
///     .time_to_live(Duration::from_secs(60))
///     .clock(TickerClock::new(Duration::from_millis(1))?)
///     .build()?;
/// cache.insert(1, "one");
/// assert_eq!(cache.get(&1), Some("one"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TickerClock(Arc<AtomicU64>);

impl TickerClock {
    /// Starts the thread. A period of 1 ms costs some 0.1 % of a core.
    ///
    /// # Errors
    /// `InvalidInput` for a period of zero; otherwise the system's error if it cannot start a
    /// thread.
    pub fn new(period: Duration) -> io::Result<Self> {
        if period.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a clock cannot tick once every 0 seconds"));
        }
        let time = Arc::new(AtomicU64::new(CoarseClock::new().precise()));
        let wound = Arc::downgrade(&time);
        thread::Builder::new().name("bellwether ticker".into()).spawn(move || wind(&wound, period))?;
        Ok(Self(time))
    }
}

/// Runs on the clock's thread: stores the time once a period, until all clones are dropped.
fn wind(time: &Weak<AtomicU64>, period: Duration) {
    loop {
        thread::sleep(period);
        let Some(time) = time.upgrade() else { return };
        // Relaxed: the time is a number of its own, and orders nothing.
        time.store(CoarseClock::new().precise(), Ordering::Relaxed);
    }
}

impl core::fmt::Debug for TickerClock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TickerClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock for TickerClock {
    #[inline]
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn precise(&self) -> u64 {
        CoarseClock::new().precise()
    }
}
