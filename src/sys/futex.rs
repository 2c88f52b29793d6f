//! A word that threads sleep on until it changes, and that wakes all of them by one system call.
//!
//! Linux has that. Where the system has not ([`Futex::NATIVE`]), threads sleep as tasks do: see `flight::bell`. (So they do under
//! Miri, to which the kernel's look at one half of the word is a race with accesses to all of it.)

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
        /// Whether threads can sleep on it.
        pub(crate) const NATIVE: bool = true;

        /// The lower half of the word: the kernel compares 32 bits.
        fn lower(&self) -> *const u32 {
            self.word.as_ptr().cast::<u32>().wrapping_add(usize::from(cfg!(target_endian = "big")))
        }

        /// Sleeps while the lower half of the word is that of `seen`, for that long at most; may return early.
        pub(crate) fn wait(&self, seen: u64, longest: Option<Duration>) {
            // Longer than the kernel can count is for ever.
            let longest = longest.and_then(|l| Some((i64::try_from(l.as_secs()).ok()?, l.subsec_nanos())));
            let longest = longest.map(|(tv_sec, nanos)| libc::timespec { tv_sec, tv_nsec: nanos.into() });
            let timeout = longest.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: FUTEX_WAIT takes the address of an aligned word of 32 bits, a value, and a relative time (of two 64-bit
            // halves, on these targets) or null. It only reads them, and both outlive the call. However it returns (woken,
            // changed, over, interrupted), the caller looks again.
            unsafe {
                let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.lower(), op, seen as u32, timeout);
            }
        }

        /// Wakes all who sleep on what the word was before it was changed. The kernel compares and queues a sleeper under the
        /// lock that it wakes under: whoever is not asleep by now sees the change.
        pub(crate) fn wake_all(&self) {
            // SAFETY: FUTEX_WAKE takes an address, which it does not access, and a number.
            unsafe {
                let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.lower(), op, i32::MAX);
            }
        }
    }
}

/// For models. Loom and shuttle switch threads where an atomic is used, or a thread woken, and nowhere else: what lies between
/// two of those is as one step, as the kernel's are under its lock.
#[cfg(all(feature = "std", any(loom, shuttle)))]
mod system {
    use super::Futex;
    use crate::sys::mutants::mutant;
    use crate::sys::sync::{Ordering, Thread, current, park};
    use alloc::vec::Vec;
    use core::{cell::RefCell, mem::take, time::Duration};

    #[derive(Default)]
    pub(super) struct Asleep(RefCell<Vec<Thread>>);

    // SAFETY: loom's threads, and shuttle's, take turns on one of the system's.
    unsafe impl Send for Asleep {}
    // SAFETY: as above; and none gives its turn away while it borrows the list.
    unsafe impl Sync for Asleep {}

    impl Futex {
        pub(crate) const NATIVE: bool = true;

        pub(crate) fn wait(&self, seen: u64, longest: Option<Duration>) {
            assert!(longest.is_none(), "no model knows the time");
            // By an RMW, which reads what the word is: a load may read what it was.
            if self.word.fetch_or(0, Ordering::Relaxed) as u32 == seen as u32 {
                self.asleep.0.borrow_mut().push(current());
                park();
            }
        }

        pub(crate) fn wake_all(&self) {
            // Others may come in between the change and the waking.
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
