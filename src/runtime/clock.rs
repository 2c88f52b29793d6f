//! Where the time comes from. All times are nanoseconds since an origin of the clock's own choice; inside a cache,
//! since the cache was built (`time.rs`).

/// A source of time, in nanoseconds since a fixed origin.
///
/// It should not go backwards. One that stands still or steps back is harmless: an entry then lives longer. It should not
/// panic, either. If it does, the panic reaches the caller whose operation has read it: before anything is changed, or, where
/// the operation cannot be undone any more, once that has been seen through.
pub trait Clock: Send + Sync {
    /// The time now, cheap and possibly coarse: it is read on hits of entries that expire.
    fn now(&self) -> u64;

    /// The time now, as precise as can be had: it is read around loads only, to measure how long they take.
    fn precise(&self) -> u64 {
        self.now()
    }
}

impl<C: Clock + ?Sized> Clock for alloc::sync::Arc<C> {
    fn now(&self) -> u64 {
        (**self).now()
    }
    fn precise(&self) -> u64 {
        (**self).precise()
    }
}

/// The default clock: the system's monotonic clock, read coarsely where the system has a coarse one.
///
/// On Linux `now` is `CLOCK_MONOTONIC_COARSE` (a tick of 1 to 4 ms, about 5 ns a read, no serialising instruction),
/// elsewhere `Instant::now`. `precise` is the exact monotonic clock.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock(());

#[cfg(feature = "std")]
impl CoarseClock {
    /// The system's clock.
    pub const fn new() -> Self {
        Self(())
    }
}

#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
impl CoarseClock {
    #[inline]
    fn read(id: libc::clockid_t) -> u64 {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid, writable timespec for the length of the call; both clock ids that this file
        // passes exist since Linux 2.6.32, so the call cannot fail.
        unsafe { libc::clock_gettime(id, &mut t) };
        // A monotonic clock counts from boot: neither field is negative, and 584 years fit.
        (t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64
    }
}

#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> u64 {
        Self::read(libc::CLOCK_MONOTONIC_COARSE)
    }
    #[inline]
    fn precise(&self) -> u64 {
        Self::read(libc::CLOCK_MONOTONIC)
    }
}

#[cfg(all(feature = "std", not(any(target_os = "linux", target_os = "android"))))]
impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> u64 {
        use std::{sync::OnceLock, time::Instant};
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
