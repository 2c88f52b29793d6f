//! Bells: where those who wait for a flight sleep, and how they are woken.
//!
//! A cache has a small array of bells, and a node's address picks one, so nodes carry no event. A bell may wake
//! waiters of another flight; they look at their own flight's word and park again.
//!
//! Waiting is `event-listener`'s: one listener that a thread can wait on and a task can poll. Its list of listeners is
//! guarded by a mutex of its own (a spin lock or critical section without std). That is the only lock in the crate,
//! and only callers who wait, or who ring while somebody waits, touch it. `parked` keeps everybody else away.

use crate::sync::{AtomicUsize, Ordering, Padded, mutant};
use alloc::boxed::Box;
use core::ptr::NonNull;
use event_listener::{Event, EventListener, IntoNotification};

const BELLS: usize = if cfg!(loom) { 1 } else { 64 };

/// Waiters that are woken under one hold of the event's lock.
const BATCH: usize = if cfg!(loom) { 1 } else { 32 };

struct Bell {
    event: Event,
    parked: AtomicUsize,
}

/// The bells of a cache.
pub(crate) struct Bells(Box<[Padded<Bell>]>);

/// Registered to be woken. Dropping it takes the registration back.
pub(crate) struct Listening {
    bell: NonNull<Bell>,
    /// Used up by a wake-up; registered anew by [`Self::renew`].
    pub(crate) listener: Option<EventListener>,
}

// SAFETY: a shared reference to a bell, which is made of atomics and an `Event`, and a listener that may be sent.
unsafe impl Send for Listening {}
// SAFETY: as above.
unsafe impl Sync for Listening {}

impl Bells {
    pub(crate) fn new() -> Self {
        let bell = || Padded(Bell { event: Event::new(), parked: AtomicUsize::new(0) });
        Self((0..BELLS).map(|_| bell()).collect())
    }

    fn of(&self, address: usize) -> &Bell {
        // Nodes are 16 bytes apart at least; a multiplicative hash spreads them.
        let hash = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
        &self.0[(hash >> (usize::BITS - 8)) % BELLS]
    }

    /// Registers for the flight at `address`. The caller must then look at the flight's word once more, by an RMW,
    /// before it sleeps.
    ///
    /// # Safety
    /// The registration is dropped before these bells are.
    pub(crate) unsafe fn listen(&self, address: usize) -> Listening {
        let bell = self.of(address);
        // Relaxed suffices: see `ring`.
        bell.parked.fetch_add(1, Ordering::Relaxed);
        Listening { bell: NonNull::from(bell), listener: Some(bell.event.listen()) }
    }

    /// Wakes everyone who waits for the flight at `address`, after a transition of its word.
    ///
    /// Nobody is missed. A waiter registers (and counts itself in `parked`) before its RMW on the word; the ringer
    /// changes the word by an RMW before it reads `parked`. The two RMWs are ordered: if the waiter's is first, the
    /// ringer's acquires from it and sees the count; if the ringer's is first, the waiter sees the new state and
    /// does not sleep.
    pub(crate) fn ring(&self, address: usize) {
        let bell = self.of(address);
        let mut left = if mutant("silent bell") { 0 } else { bell.parked.load(Ordering::Relaxed) };
        // In batches: the event's lock is let go of in between, so that who is awake need not wait until all others are.
        // So many and no more: those that were there come first, and whoever registers anew is not waited for.
        while left > 0 {
            let woken = bell.event.notify(BATCH.additional());
            if woken < BATCH || mutant("one is woken") {
                return;
            }
            left = left.saturating_sub(woken);
        }
    }
}

impl Listening {
    fn bell(&self) -> &Bell {
        // SAFETY: the bells outlive the registration, by the contract of `listen`.
        unsafe { self.bell.as_ref() }
    }

    /// Registers anew, after a wake-up: a listener that was notified is used up.
    pub(crate) fn renew(&mut self) {
        self.listener = Some(self.bell().event.listen());
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listener = None;
        self.bell().parked.fetch_sub(1, Ordering::Relaxed);
    }
}
