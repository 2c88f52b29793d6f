//! A word on which threads sleep until it changes. One system call wakes all of them.
//!
//! Linux has such a call. On other systems ([`Futex::NATIVE`] is false) threads sleep as tasks do:
//! see `flight::bell`. (They also do under Miri, which takes the kernel's read of one half of the
//! word for a race with accesses to all of it.)

use super::sync::AtomicU64;
use core::ops::Deref;

/// An atomic word, to be used as one, and a place to sleep.
pub(crate) struct Futex {
    word: AtomicU64,
    #[cfg(all(feature = "std", any(loom, shuttle)))]
    asleep: system::Asleep,
}

impl Futex {
    pub(crate) fn new(word: u64) -> Self {
        Self {
            word: AtomicU64::new(word),
            #[cfg(all(feature = "std", any(loom, shuttle)))]
            asleep: system::Asleep::default(),
        }
    }
}

impl Deref for Futex {
    type Target = AtomicU64;
    #[inline(always)]
    fn deref(&self) -> &AtomicU64 {
        &self.word
    }
}

#[cfg(all(
    feature = "std",
    not(any(loom, shuttle, miri)),
    target_pointer_width = "64",
    any(target_os = "linux", target_os = "android")
))]
mod system {
    use super::Futex;
    use core::{ptr, time::Duration};

    impl Futex {
        /// True if threads can sleep on the word.
        pub(crate) const NATIVE: bool = true;

        /// Returns the address of the lower half of the word: the kernel compares 32 bits.
        fn lower(&self) -> *const u32 {
            self.word.as_ptr().cast::<u32>().wrapping_add(usize::from(cfg!(target_endian = "big")))
        }

        /// Sleeps while the lower half of the word equals that of `seen`, for `longest` at most.
        /// May return early.
        pub(crate) fn wait(&self, seen: u64, longest: Option<Duration>) {
            // A time longer than the kernel can count means for ever.
            let longest = longest.and_then(|l| Some((i64::try_from(l.as_secs()).ok()?, l.subsec_nanos())));
            let longest = longest.map(|(tv_sec, nanos)| libc::timespec { tv_sec, tv_nsec: nanos.into() });
            let timeout = longest.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: FUTEX_WAIT takes the address of an aligned word of 32 bits, a value, and a
            // relative time (of two 64-bit halves, on these targets) or null. It only reads them,
            // and both outlive the call. Its result does not matter (woken, changed, timed out,
            // interrupted): the caller looks again.
            unsafe {
                let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.lower(), op, seen as u32, timeout);
            }
        }

        /// Wakes all threads that sleep on the value that the word had before it was changed. The
        /// kernel compares and queues a sleeper under the lock under which it wakes: a thread that
        /// is not asleep by now sees the change.
        pub(crate) fn wake_all(&self) {
            // SAFETY: FUTEX_WAKE takes an address, which it does not access, and a number.
            unsafe {
                let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.lower(), op, i32::MAX);
            }
        }
    }
}

/// For models. Loom and shuttle switch threads only where an atomic is used or a thread is woken.
/// So the code between two such points is one step, as the kernel's code is under its lock.
#[cfg(all(feature = "std", any(loom, shuttle)))]
mod system {
    use super::Futex;
    use crate::sys::mutants::mutant;
    use crate::sys::sync::{Ordering, Thread, current, park};
    use alloc::vec::Vec;
    use core::{cell::RefCell, mem::take, time::Duration};

    #[derive(Default)]
    pub(super) struct Asleep(RefCell<Vec<Thread>>);

    // SAFETY: the threads of loom and of shuttle take turns on one thread of the system.
    unsafe impl Send for Asleep {}
    // SAFETY: as above, and none gives its turn away while it borrows the list.
    unsafe impl Sync for Asleep {}

    impl Futex {
        pub(crate) const NATIVE: bool = true;

        pub(crate) fn wait(&self, seen: u64, longest: Option<Duration>) {
            assert!(longest.is_none(), "no model knows the time");
            // An RMW reads the present value of the word. A load may read an older one.
            if self.word.fetch_or(0, Ordering::Relaxed) as u32 == seen as u32 {
                self.asleep.0.borrow_mut().push(current());
                park();
            }
        }

        pub(crate) fn wake_all(&self) {
            // Lets other threads run between the change and the waking.
            let _ = self.word.load(Ordering::Relaxed);
            let mut asleep = take(&mut *self.asleep.0.borrow_mut());
            if mutant("one is woken") {
                asleep.truncate(1);
            }
            asleep.iter().for_each(Thread::unpark);
        }
    }
}

#[cfg(not(all(
    feature = "std",
    any(loom, shuttle, all(not(miri), target_pointer_width = "64", any(target_os = "linux", target_os = "android")))
)))]
mod system {
    use super::Futex;

    impl Futex {
        #[cfg(feature = "std")]
        pub(crate) const NATIVE: bool = false;

        #[cfg(feature = "std")]
        pub(crate) fn wait(&self, _: u64, _: Option<core::time::Duration>) {}

        pub(crate) fn wake_all(&self) {}
    }
}
