//! A clock that is one load: a thread writes the time down.

use super::clock::{Clock, CoarseClock};
use crate::sys::sync::untracked::{AtomicU64, Ordering};
use alloc::sync::{Arc, Weak};
use core::time::Duration;
use std::{io, thread};

/// A clock that a thread of its own winds: to read it is one load, where the default clock takes some 5 to 10 ns.
///
/// For caches with a time to live whose hits are to cost hardly more than without. The thread wakes once a period, reads the system's
/// monotonic clock and writes it down; clones share it, and it ends at the tick after the last of them. So the time is late by up to
/// a period, and by as much longer as the system does not let the thread run. An entry may live longer by that much, and
/// shorter as well, if the time was late when it came: choose a period far below the shortest time to live. (In a child process after a `fork` there is no such thread, and the time stands still: make a new one there.)
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
    /// `InvalidInput` for a period of zero; else what the system says if it has no room for a thread.
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

fn wind(time: &Weak<AtomicU64>, period: Duration) {
    loop {
        thread::sleep(period);
        let Some(time) = time.upgrade() else { return };
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
