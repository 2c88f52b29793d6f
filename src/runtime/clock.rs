//! Sources of time. A clock counts nanoseconds from an origin of its own choice. Inside a cache,
//! times count from the moment at which the cache was built (`cache_time.rs`).

/// A source of time, in nanoseconds since a fixed origin.
///
/// A clock should not go backwards. One that stands still or steps back is harmless: an entry then
/// lives longer.
///
/// A clock should not panic, either. If it does, the panic reaches the caller whose operation read
/// the clock. If the operation can still be undone, it has changed nothing; if not, it is completed
/// before the panic goes on.
pub trait Clock: Send + Sync {
    /// Returns the time now. It should be cheap and may be coarse: the cache calls it on hits of
    /// entries that expire.
    fn now(&self) -> u64;

    /// Returns the time now, as precisely as the clock can. The cache calls it around loads and
    /// waits only, to measure how long they take.
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

/// The default clock: the system's monotonic clock, read coarsely where the system has a coarse
/// one.
///
/// On Linux `now` reads `CLOCK_MONOTONIC_COARSE` (a tick of 1 to 4 ms, about 5 ns a read, no
/// serialising instruction), elsewhere `Instant::now`. `precise` reads the exact monotonic clock.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock(());

#[cfg(feature = "std")]
impl CoarseClock {
    /// The most by which `now` is behind `precise`, in ns: the longest tick that a Linux kernel can
    /// be built with.
    pub(crate) const BEHIND: u64 = if cfg!(any(target_os = "linux", target_os = "android")) { 10_000_000 } else { 0 };

    /// Returns the system's clock.
    pub const fn new() -> Self {
        Self(())
    }
}

#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
impl CoarseClock {
    #[inline]
    fn read(id: libc::clockid_t) -> u64 {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid, writable timespec for the length of the call. Both clock ids that
        // this file passes exist since Linux 2.6.32, so the call cannot fail.
        unsafe { libc::clock_gettime(id, &mut t) };
        // A monotonic clock counts from boot: neither field is negative, and the sum fits for 584
        // years.
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
