//! The back end on Linux: a pin is a few plain loads and stores, and the fence that it would need is issued for it by
//! who frees ([`barrier`]). [`collector`] has the protocol, and the argument for it.
//!
//! A pin of `crossbeam-epoch` executes a locked instruction, through which the cache misses of successive calls do not overlap.
//! What this one costs is a system call for each batch of retired nodes ([`limbo`](super::limbo)).

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
    /// The thread's registration. Without a destructor, so that reading it is one load.
    static CURRENT: Cell<Option<&'static Participant>> = const { Cell::new(None) };
    /// Ends the registration with the thread.
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

/// One for all caches of the process. (A static of which each pin knows the address.)
static COLLECTOR: Collector = Collector::new();

/// Has a child of this process let go of what other threads had pinned.
fn watch_forks() {
    #[cfg(not(miri))]
    {
        static WATCHED: OnceLock<()> = OnceLock::new();
        // SAFETY: it takes functions, of which `forked` may be called as a child begins: see there. If there is no memory for it
        // nothing is registered, and a child cannot free what other threads had pinned.
        WATCHED.get_or_init(|| unsafe {
            libc::pthread_atfork(None, None, Some(forked));
        });
    }
}

/// What no other thread has that lives: the address of a thread-local. A child's thread has that of the one that forked.
fn this_thread() -> usize {
    CURRENT.with(|current| core::ptr::from_ref(current).addr())
}

/// Called in a child of this process, by its only thread, before `fork` returns there. It only stores to atomics: it takes no lock,
/// allocates nothing and does not unwind.
#[cfg(not(miri))]
extern "C" fn forked() {
    COLLECTOR.forked(this_thread());
}

/// The source of pins.
pub(crate) struct Epoch(());

impl Epoch {
    pub(crate) fn new() -> Self {
        // Here, and not as the first one reads: see there how long it may take.
        let _ = barrier::readers_fence();
        watch_forks();
        Self(())
    }

    fn collector(&self) -> &'static Collector {
        &COLLECTOR
    }

    /// Registers the calling thread, by a registration of its own.
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

    /// Registers the thread first; while it is being torn down, for just this once.
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

/// While it is held, nothing that was reachable when it was taken is freed. Re-entrant, `!Send`.
pub(crate) struct Pin(&'static Participant, PhantomData<*const ()>);

impl Pin {
    #[inline(always)]
    fn of(participant: &'static Participant) -> Self {
        participant.pin(&COLLECTOR);
        Self(participant, PhantomData)
    }
}

impl Drop for Pin {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.unpin();
    }
}
