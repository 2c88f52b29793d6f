//! Atomics and cells: `portable-atomic`, or loom's under `cfg(loom)`. The only file that names either.
//!
//! Everything else in the crate is written against this module, so that a loom model runs the very code that ships.

#[cfg(not(loom))]
pub(crate) use portable_atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Atomics that loom does not watch: for numbers that steer a heuristic, or only report.
pub(crate) mod untracked {
    pub(crate) use portable_atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(all(feature = "std", loom))]
pub(crate) use loom::thread_local;
#[cfg(all(feature = "std", not(loom)))]
pub(crate) use std::thread_local;

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// For the stand-in of the system's futex.
#[cfg(all(feature = "std", loom))]
pub(crate) use loom::thread::{Thread, current, park};

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

/// `n` elements made by `make`, as pages that the system zeroes lazily.
///
/// # Safety
/// The all-zero bit pattern is the value that `make` gives, and `T` is not zero-sized.
#[cfg(not(loom))]
pub(crate) unsafe fn zeroed_slice<T>(n: usize, _make: impl Fn() -> T) -> alloc::boxed::Box<[T]> {
    use alloc::alloc::{alloc_zeroed, handle_alloc_error};
    let layout = core::alloc::Layout::array::<T>(n).expect("a table of this size cannot exist");
    assert!(layout.size() > 0);
    // SAFETY: the layout is not of size zero (checked above).
    let raw = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if raw.is_null() {
        handle_alloc_error(layout);
    }
    let slice = core::ptr::slice_from_raw_parts_mut(raw, n);
    // SAFETY: `raw` was allocated by the global allocator with the layout of `[T; n]`, and by this function's
    // contract its zeroed bytes are `n` valid elements.
    unsafe { alloc::boxed::Box::from_raw(slice) }
}

/// See above; loom's atomics cannot be zeroed memory.
///
/// # Safety
/// None needed here; the same signature as above.
#[cfg(loom)]
pub(crate) unsafe fn zeroed_slice<T>(n: usize, make: impl Fn() -> T) -> alloc::boxed::Box<[T]> {
    (0..n).map(|_| make()).collect()
}

/// Has the processor fetch what will be used soon, where `core` has a way to say so.
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse", not(miri)))]
    // SAFETY: needs SSE, which the target has. A hint accesses nothing, so any address will do.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse", not(miri))))]
    let _ = at;
}

/// Lets another thread go on, where this one can only look again.
#[cfg(not(loom))]
pub(crate) fn yield_now() {
    core::hint::spin_loop();
    #[cfg(feature = "std")]
    std::thread::yield_now();
}

#[cfg(loom)]
pub(crate) use loom::thread::yield_now;

/// Whether the deliberate bug `name` is switched on: the models must see it. Constant `false` outside loom.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// See above: under loom the environment variable `BELLWETHER_MUTANT` names the bug.
#[cfg(loom)]
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

/// AcqRel, of which the mutant `unacquired` leaves the Release, and `unreleased` the Acquire.
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn both(unacquired: &str, unreleased: &str) -> Ordering {
    match (mutant(unacquired), mutant(unreleased)) {
        (true, _) => Ordering::Release,
        (_, true) => Ordering::Acquire,
        _ => Ordering::AcqRel,
    }
}
