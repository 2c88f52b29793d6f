//! Atomics, cells and threads. They are `portable-atomic`'s and std's, loom's under `cfg(loom)`,
//! and shuttle's under `cfg(shuttle)`. No other file names any of these.
//!
//! All other code of the crate uses this module. So a loom model, or a schedule of shuttle's, runs
//! the very code that ships.

#[cfg(bellwether_count)]
use super::counted as atomics;
#[cfg(not(bellwether_count))]
use portable_atomic as atomics;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use atomics::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Atomics that neither loom nor shuttle watches: for numbers that steer a heuristic, or only
/// report, and for the pointers to arrays of such numbers.
pub(crate) mod untracked {
    #[cfg(feature = "std")]
    pub(crate) use super::atomics::AtomicPtr;
    pub(crate) use super::atomics::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

/// Atomics that are used while another crate's lock is held (`flight::bell::wakers`). Shuttle does
/// not know that lock. A thread of shuttle's that yielded there would let the next one block all
/// threads. So shuttle does not watch these atomics.
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

/// Declares a thread-local that begins with a constant, so that each access is one load: a macro as
/// std's is, of which loom's and shuttle's have no such form.
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
#[allow(unused_macros, reason = "this file is also included by models that do not need it")]
macro_rules! thread_local_const {
    (static $name:ident: $type:ty = $init:expr;) => {
        std::thread_local! {
            static $name: $type = const { $init };
        }
    };
}
#[cfg(all(feature = "std", any(loom, shuttle)))]
#[allow(unused_macros, reason = "this file is also included by models that do not need it")]
macro_rules! thread_local_const {
    (static $name:ident: $type:ty = $init:expr;) => {
        $crate::sys::sync::thread_local! {
            static $name: $type = $init;
        }
    };
}
#[cfg(feature = "std")]
#[allow(unused_imports, reason = "as above")]
pub(crate) use thread_local_const;

/// To start threads, and to park them. (Not loom's: under loom, a thread that waits for a time is
/// parked unseen.)
#[cfg(all(feature = "std", shuttle))]
pub(crate) use shuttle::thread;
#[cfg(all(feature = "std", not(shuttle)))]
pub(crate) use std::thread;

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// For the model of the system's futex.
#[cfg(all(feature = "std", loom))]
pub(crate) use loom::thread::{Thread, current, park};
#[cfg(all(feature = "std", shuttle))]
pub(crate) use shuttle::thread::{Thread, current, park};

/// A cell whose content is reached only through closures, as loom's is, so that loom sees every
/// access.
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
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> core::ops::Deref for CachePadded<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Executes an acquire fence, after a relaxed access of this atomic.
///
/// ThreadSanitizer knows no fences, so under it this is a load that acquires. (Under loom that load
/// would be one more step, and loom would try every order of it.)
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn acquire(_after: &AtomicU32) {
    #[cfg(bellwether_tsan)]
    _after.load(Ordering::Acquire);
    #[cfg(not(bellwether_tsan))]
    fence(Ordering::Acquire);
}

/// Under loom, executes the fence that stands in for the order of two SeqCst accesses: loom takes
/// such an access for an AcqRel one.
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn model_fence() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Lets another thread run, where this one can only look again.
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
