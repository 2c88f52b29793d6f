//! The back end on Linux. A pin is a few plain loads and stores. The thread that frees issues the
//! fence that a pin would need ([`barrier`]). [`collector`] has the protocol, and the argument for
//! it.
//!
//! A pin of `crossbeam-epoch` executes a locked instruction, and the cache misses of successive
//! calls do not overlap across that. This back end costs a system call for each batch of retired
//! nodes ([`limbo`](super::limbo)).

mod barrier;
mod collector;
mod grace;

use collector::{Collector, Participant};
use core::cell::Cell;
use core::marker::PhantomData;
#[cfg(not(miri))]
use std::sync::OnceLock;

pub(crate) use grace::{Grace, Graces};

std::thread_local! {
    /// The thread's registration. It has no destructor, so that reading it is one load.
    static CURRENT: Cell<Option<&'static Participant>> = const { Cell::new(None) };
    /// Ends the registration when the thread ends.
    static EXIT: Exit = const { Exit(Cell::new(None)) };
}

struct Exit(Cell<Option<&'static Participant>>);

impl Drop for Exit {
    fn drop(&mut self) {
        CURRENT.set(None);
        if let Some(participant) = self.0.get() {
            participant.leave();
        }
    }
}

/// The collector of all caches of the process. It is a static, so that each pin knows its address.
static COLLECTOR: Collector = Collector::new();

/// The threads that have memory of their own in a cache, at most. (One more than 64: one thread
/// that only begins the others.)
pub(crate) const CELLS: usize = 72;

/// Registers [`forked`], so that a child of this process drops the pins of its parent's other
/// threads.
fn watch_forks() {
    #[cfg(not(miri))]
    {
        static WATCHED: OnceLock<()> = OnceLock::new();
        // SAFETY: the call takes functions. `forked` may be called as a child begins: see there. If
        // there is no memory for the registration, nothing is registered, and a child cannot free
        // what other threads had pinned.
        WATCHED.get_or_init(|| unsafe {
            libc::pthread_atfork(None, None, Some(forked));
        });
    }
}

/// Returns an address that no other living thread has: that of a thread-local. The thread of a
/// child process has the address of the thread that forked.
fn this_thread() -> usize {
    CURRENT.with(|current| core::ptr::from_ref(current).addr())
}

/// Ends the pins of other threads. The only thread of a child process calls this before `fork`
/// returns there. It only stores to atomics: it takes no lock, allocates nothing and does not
/// unwind.
#[cfg(not(miri))]
extern "C" fn forked() {
    COLLECTOR.forked(this_thread());
}

/// The source of pins.
pub(crate) struct Epoch(());

impl Epoch {
    pub(crate) fn new() -> Self {
        // The membarrier is registered here, and not by the first reader, because the call may take
        // long (see there).
        let _ = barrier::readers_fence();
        watch_forks();
        Self(())
    }

    fn collector(&self) -> &'static Collector {
        &COLLECTOR
    }

    /// Calls `user` in the place of the thread whose registration has this number, if that thread
    /// has ended and no other has taken the registration over.
    pub(crate) fn adopt(&self, number: usize, user: impl FnOnce()) {
        COLLECTOR.adopt(this_thread(), number, user);
    }

    /// Registers the calling thread, with a registration of its own.
    pub(crate) fn register(&self) -> Handle {
        Handle(COLLECTOR.join(this_thread()), PhantomData)
    }

    /// Pins the calling thread.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Pin {
        match CURRENT.get() {
            Some(participant) => Pin::of(participant),
            None => self.enter_first(),
        }
    }

    /// Registers the thread and pins it. While the thread is being torn down, the registration is
    /// for this pin alone.
    #[cold]
    #[inline(never)]
    fn enter_first(&self) -> Pin {
        let handle = self.register();
        let kept = EXIT.try_with(|exit| {
            exit.0.set(Some(handle.0));
            CURRENT.set(Some(handle.0));
        });
        let pin = handle.enter();
        if kept.is_ok() {
            core::mem::forget(handle);
        }
        pin
    }
}

/// A thread's registration.
pub(crate) struct Handle(&'static Participant, PhantomData<*const ()>);

impl Handle {
    #[inline]
    pub(crate) fn enter(&self) -> Pin {
        Pin::of(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A pin. While it is held, nothing that was reachable when it was taken is freed. Re-entrant,
/// `!Send`.
pub(crate) struct Pin(&'static Participant, PhantomData<*const ()>);

impl Pin {
    #[inline(always)]
    fn of(participant: &'static Participant) -> Self {
        participant.pin(&COLLECTOR);
        Self(participant, PhantomData)
    }

    /// Returns the number of the thread's registration. No other registration of the process has
    /// it, and no other thread has the registration.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.0.number()
    }
}

impl Drop for Pin {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.unpin();
    }
}
