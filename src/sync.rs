//! Atomics, cells and threads: `portable-atomic`'s and std's; loom's under `cfg(loom)`, and shuttle's under `cfg(shuttle)`. The
//! only file that names any of them.
//!
//! Everything else in the crate is written against this module, so that a loom model, or a schedule of shuttle's, runs the very
//! code that ships.

#[cfg(bellwether_count)]
use counted as atomics;
#[cfg(not(bellwether_count))]
use portable_atomic as atomics;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use atomics::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Atomics that neither loom nor shuttle watches: for numbers that steer a heuristic, or only report.
pub(crate) mod untracked {
    pub(crate) use super::atomics::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

/// Atomics that are used while another crate's lock is held (`flight::bell::wakers`). Shuttle does not know that lock: a thread of
/// its that gave its turn away there would have the next one block all of them. So it does not watch these.
pub(crate) mod under_lock {
    #[cfg(shuttle)]
    pub(crate) use super::atomics::{AtomicBool, AtomicPtr};
    #[cfg(not(shuttle))]
    pub(crate) use super::{AtomicBool, AtomicPtr};
}

#[cfg(all(feature = "std", loom))]
pub(crate) use loom::thread_local;
#[cfg(all(feature = "std", shuttle))]
pub(crate) use shuttle::thread_local;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
pub(crate) use std::thread_local;

/// To start threads, and to park them. (Not loom's: there a thread that waits for a time is parked unseen.)
#[cfg(all(feature = "std", shuttle))]
pub(crate) use shuttle::thread;
#[cfg(all(feature = "std", not(shuttle)))]
pub(crate) use std::thread;

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// For the stand-in of the system's futex.
#[cfg(all(feature = "std", loom))]
pub(crate) use loom::thread::{Thread, current, park};
#[cfg(all(feature = "std", shuttle))]
pub(crate) use shuttle::thread::{Thread, current, park};

/// A cell whose content is reached only through closures, as loom's is, so that loom sees every access.
#[cfg(not(loom))]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A value on cache lines of its own (two, for the adjacent-line prefetcher of x86).
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> core::ops::Deref for Padded<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Has the processor fetch what is at an address, while it goes on with other things. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: every x86_64 has SSE, and a prefetch neither faults nor changes anything, whatever the address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    let _ = address;
}

/// Bytes of a huge page, by which memory for them is laid out.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to back this memory, which it has not touched yet, with huge pages. Where it cannot be asked, or says
/// no, nothing happens.
pub(crate) fn advise_huge(start: *mut u8, size: usize) {
    #[cfg(all(feature = "std", target_os = "linux", not(any(loom, miri))))]
    {
        // Whole pages, from the one that the memory begins in: a large block of the allocator's has a mapping of its own, of
        // which only the beginning is the allocator's.
        const PAGE: usize = 4096;
        let first = start.map_addr(|address| address & !(PAGE - 1));
        let size = (start.addr() + size - first.addr()) & !(PAGE - 1);
        // SAFETY: the range is of this process's memory, and advice for huge pages changes nothing of what is in it. (If
        // pages are larger here, the call fails.)
        unsafe { libc::madvise(first.cast(), size, libc::MADV_HUGEPAGE) };
    }
    let _ = (start, size);
}

/// An acquire fence, after a relaxed access of this atomic.
///
/// ThreadSanitizer knows no fences: for it, a load that acquires. (To loom that would be one more step, of which it would try
/// every order.)
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn acquire(_after: &AtomicU32) {
    #[cfg(bellwether_tsan)]
    _after.load(Ordering::Acquire);
    #[cfg(not(bellwether_tsan))]
    fence(Ordering::Acquire);
}

/// Lets another thread go on, where this one can only look again.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn yield_now() {
    core::hint::spin_loop();
    #[cfg(feature = "std")]
    std::thread::yield_now();
}

#[cfg(loom)]
pub(crate) use loom::thread::yield_now;
#[cfg(shuttle)]
pub(crate) use shuttle::thread::yield_now;

/// A size: as it ships; for shuttle, and stress under sanitizers (`bellwether_shrunk`), small enough to be exceeded all the time;
/// for loom, the least that will do.
pub(crate) const fn sized(ships: usize, shrunk: usize, loom: usize) -> usize {
    if cfg!(loom) {
        loom
    } else if cfg!(any(shuttle, bellwether_shrunk)) {
        shrunk
    } else {
        ships
    }
}

/// Whether the deliberate bug `name` is switched on: models and schedules must see it. Constant `false` outside loom and shuttle.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// See above: there the environment variable `BELLWETHER_MUTANT` names the bug.
#[cfg(any(loom, shuttle))]
pub(crate) fn mutant(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("BELLWETHER_MUTANT").ok()).as_deref() == Some(name)
}

/// An ordering that the mutant `name` weakens to `Relaxed`.
#[inline(always)]
pub(crate) fn order(name: &str, strong: Ordering) -> Ordering {
    if mutant(name) { Ordering::Relaxed } else { strong }
}

/// Atomics that tell of each access, for `benches/src/writes`: only under `cfg(bellwether_count)`.
///
/// They have no `Deref`: what the crate does to an atomic and this file does not tell of is an error of the compiler.
#[cfg(bellwether_count)]
mod counted {
    use core::mem::size_of;
    use core::panic::Location;
    pub(crate) use portable_atomic::{Ordering, fence};

    unsafe extern "Rust" {
        /// Defined by the program that counts. A read-modify-write writes, whether or not it changes anything: it takes the line
        /// for itself.
        safe fn bellwether_access(address: usize, size: usize, kind: u8, from: &'static Location<'static>);
    }

    const LOAD: u8 = 0;
    const STORE: u8 = 1;
    const UPDATE: u8 = 2;

    macro_rules! counted {
        ($name:ident $([$t:ident])?, $value:ty, updates: [$($update:ident),*]) => {
            #[repr(transparent)]
            pub(crate) struct $name $(<$t>)? (portable_atomic::$name $(<$t>)?);

            #[allow(dead_code)]
            impl $(<$t>)? $name $(<$t>)? {
                pub(crate) const fn new(value: $value) -> Self {
                    Self(portable_atomic::$name::new(value))
                }

                #[track_caller]
                fn told(&self, kind: u8) -> &portable_atomic::$name $(<$t>)? {
                    bellwether_access(&raw const self.0 as usize, size_of::<Self>(), kind, Location::caller());
                    &self.0
                }

                /// For the kernel, which compares a futex's word: no access of ours.
                pub(crate) const fn as_ptr(&self) -> *mut $value {
                    self.0.as_ptr()
                }

                #[track_caller]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.told(LOAD).load(order)
                }

                #[track_caller]
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.told(STORE).store(value, order);
                }

                $(#[track_caller]
                pub(crate) fn $update(&self, value: $value, order: Ordering) -> $value {
                    self.told(UPDATE).$update(value, order)
                })*

                #[track_caller]
                pub(crate) fn compare_exchange(
                    &self, from: $value, to: $value, success: Ordering, failure: Ordering,
                ) -> Result<$value, $value> {
                    self.told(UPDATE).compare_exchange(from, to, success, failure)
                }

                #[track_caller]
                pub(crate) fn compare_exchange_weak(
                    &self, from: $value, to: $value, success: Ordering, failure: Ordering,
                ) -> Result<$value, $value> {
                    self.told(UPDATE).compare_exchange_weak(from, to, success, failure)
                }

                /// One update, if it meets nobody.
                #[track_caller]
                pub(crate) fn fetch_update(
                    &self, success: Ordering, failure: Ordering, new: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    self.told(UPDATE).fetch_update(success, failure, new)
                }
            }
        };
    }

    counted!(AtomicPtr[T], *mut T, updates: [swap]);
    counted!(AtomicBool, bool, updates: [swap, fetch_and, fetch_or]);
    counted!(AtomicU32, u32, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
    counted!(AtomicU64, u64, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
    counted!(AtomicUsize, usize, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
}
