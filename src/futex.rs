//! A word that threads sleep on until it changes, and that wakes all of them by one system call.
//!
//! Linux has that. Where the system has not ([`Futex::NATIVE`]), threads sleep as tasks do: see `flight::bell`.

use crate::sync::AtomicU32;
use core::ops::Deref;

/// An atomic word, to be used as one, and a place to sleep.
pub(crate) struct Futex {
    word: AtomicU32,
    #[cfg(all(feature = "std", loom))]
    standin: (crate::sync::Mutex<()>, crate::sync::Condvar),
}

impl Futex {
    pub(crate) fn new(word: u32) -> Self {
        Self {
            word: AtomicU32::new(word),
            #[cfg(all(feature = "std", loom))]
            standin: (crate::sync::Mutex::new(()), crate::sync::Condvar::new()),
        }
    }
}

impl Deref for Futex {
    type Target = AtomicU32;
    #[inline(always)]
    fn deref(&self) -> &AtomicU32 {
        &self.word
    }
}

#[cfg(all(feature = "std", not(loom), target_pointer_width = "64", any(target_os = "linux", target_os = "android")))]
mod system {
    use super::Futex;
    use core::{ptr, time::Duration};

    impl Futex {
        /// Whether threads can sleep on it.
        pub(crate) const NATIVE: bool = true;

        /// Sleeps while the word is `seen`, for that long at most; may return early.
        pub(crate) fn wait(&self, seen: u32, longest: Option<Duration>) {
            // Longer than the kernel can count is for ever.
            let longest = longest.and_then(|l| Some((i64::try_from(l.as_secs()).ok()?, l.subsec_nanos())));
            let longest = longest.map(|(tv_sec, nanos)| libc::timespec { tv_sec, tv_nsec: nanos.into() });
            let timeout = longest.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: FUTEX_WAIT takes the address of an aligned word of 32 bits, a value, and a relative time (of two 64-bit
            // halves, on these targets) or null. It only reads them, and both outlive the call. However it returns (woken,
            // changed, over, interrupted), the caller looks again.
            unsafe {
                let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.word.as_ptr(), op, seen, timeout);
            }
        }

        /// Wakes all who sleep on what the word was before it was changed. The kernel compares and queues a sleeper under the
        /// lock that it wakes under: whoever is not asleep by now sees the change.
        pub(crate) fn wake_all(&self) {
            // SAFETY: FUTEX_WAKE takes an address, which it does not access, and a number.
            unsafe {
                let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.word.as_ptr(), op, i32::MAX);
            }
        }
    }
}

/// For models: a condition that is looked at under a lock, as the kernel does.
#[cfg(all(feature = "std", loom))]
mod system {
    use super::Futex;
    use crate::sync::{Ordering, mutant};
    use core::time::Duration;

    impl Futex {
        pub(crate) const NATIVE: bool = true;

        pub(crate) fn wait(&self, seen: u32, longest: Option<Duration>) {
            assert!(longest.is_none(), "no model knows the time");
            let lock = self.standin.0.lock().unwrap();
            if self.word.load(Ordering::Relaxed) == seen {
                drop(self.standin.1.wait(lock).unwrap());
            }
        }

        pub(crate) fn wake_all(&self) {
            drop(self.standin.0.lock().unwrap());
            if mutant("one is woken") { self.standin.1.notify_one() } else { self.standin.1.notify_all() }
        }
    }
}

#[cfg(not(all(
    feature = "std",
    any(loom, all(target_pointer_width = "64", any(target_os = "linux", target_os = "android")))
)))]
mod system {
    use super::Futex;

    impl Futex {
        #[cfg(feature = "std")]
        pub(crate) const NATIVE: bool = false;

        #[cfg(feature = "std")]
        pub(crate) fn wait(&self, _: u32, _: Option<core::time::Duration>) {}

        pub(crate) fn wake_all(&self) {}
    }
}
