//! The tasks that sleep at a bell: they wait on an [`event_listener::Event`].
//!
//! The event keeps its listeners in a list under a lock, and wakes wakers, and drops them, under that
//! lock. A waker is user code: it may panic, drop a waiter (which takes the lock), or call the cache.
//! So the event is never given a user's waker. It is given a [`Sleeper`]: that holds the user's waker
//! and, when the event wakes it, only puts itself on a list. The ringer takes that list after the
//! event has let go of its lock, and wakes the users' wakers from there.
//!
//! Facts on which this file relies:
//! 1. The event wakes a waker only within `notify`, or within the drop of a listener that was notified
//!    and not discarded. This file discards every listener, so only ringers wake sleepers.
//! 2. A registration holds its sleeper for as long as the event may hold one. So the event never drops
//!    the last handle of a sleeper, and no user's waker is dropped under the lock.
//! 3. With std the lock is a mutex. Without std it is a spinlock, or a critical section if the program
//!    enables event-listener's feature of that name.

use crate::stack::{Below, Chain, Linked, Stack};
use crate::sync::under_lock::AtomicBool;
use crate::sync::{Ordering, UnsafeCell, mutant};
use crate::unwind;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Waker};
use event_listener::{Event, EventListener, Listener};

/// The tasks that sleep at one bell.
pub(super) struct Wakers {
    event: Event,
    /// The sleepers that a ringer's `notify` has woken, and whose tasks it wakes next.
    woken: Stack<Sleeper>,
}

/// What the event wakes in place of a task.
struct Sleeper {
    /// The user's waker.
    task: Waker,
    /// The event has woken this sleeper.
    woken: AtomicBool,
    /// The list of the bell.
    list: NonNull<Stack<Sleeper>>,
    below: Below,
    /// The registration's alone: see `Asleep`.
    listener: UnsafeCell<Option<EventListener>>,
}

// SAFETY: the waker and the listener may be sent. The link is used only by the list's owner of this
// sleeper, the listener by its one `Asleep`, and the list by shared reference: it is made of an
// atomic.
unsafe impl Send for Sleeper {}
// SAFETY: as above; what is shared is the waker, which is `Sync`, and an atomic.
unsafe impl Sync for Sleeper {}

impl Linked for Sleeper {
    fn below(&self) -> &Below {
        &self.below
    }
}

impl Wake for Sleeper {
    /// Runs under the event's lock.
    fn wake(self: Arc<Self>) {
        // A sleeper is put on a list at most once. Relaxed: the RMW decides that by itself; for
        // `Asleep::is_of`, see there.
        if self.woken.swap(true, Ordering::Relaxed) {
            return;
        }
        let list = self.list;
        let this = Arc::into_raw(self);
        // SAFETY: not null: from an `Arc`. The list takes over that handle, and `Woken` turns it
        // back into one. The bell that the list is part of is alive: its ringer is within `notify`
        // (fact 1).
        unsafe { list.as_ref().push(NonNull::new_unchecked(this.cast_mut())) };
    }
}

/// A task's place among the listeners: the one of its sleeper. Dropping it takes the place back.
#[must_use]
pub(super) struct Asleep(Arc<Sleeper>);

impl Asleep {
    /// Whether the task sleeps, to be woken by this waker.
    pub(super) fn is_of(&self, waker: &Waker) -> bool {
        // Relaxed: a poll that misses the flag is not the one that the wake-up brings. The ringer
        // sets the flag before it wakes the task, so that one sees it.
        let woken = self.0.woken.load(Ordering::Relaxed) && !mutant("sleeps on after a ring");
        !woken && self.0.task.will_wake(waker)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        // SAFETY: of a sleeper's handles only its one `Asleep` uses the listener, and this is the
        // last use.
        let Some(listener) = self.0.listener.with_mut(|listener| unsafe { (*listener).take() }) else { return };
        if mutant("leaves its listener") {
            return core::mem::forget(listener);
        }
        // Discarded, not dropped: that would pass a notification on to another listener. The
        // event's handle of the sleeper goes here, and then the registration's, with which the
        // user's waker may go (fact 2).
        listener.discard();
    }
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { event: Event::new(), woken: Stack::new() }
    }

    /// Has the next ring wake a task, once it is noted on the bell's word that one listens.
    ///
    /// # Safety
    /// What is returned is dropped before these wakers are, and these do not move until then.
    pub(super) unsafe fn listen(&self, task: Waker) -> Asleep {
        let (woken, list) = (AtomicBool::new(false), NonNull::from(&self.woken));
        let listener = UnsafeCell::new(None);
        let sleeper = Arc::new(Sleeper { task, woken, list, below: Below::nothing(), listener });
        let waker = Waker::from(sleeper.clone());
        loop {
            let mut listener = self.event.listen();
            // A ringer may notify the listener before it has the waker. The next one is for the
            // ring after that.
            if Pin::new(&mut listener).poll(&mut Context::from_waker(&waker)).is_pending() {
                // SAFETY: this is to be the one `Asleep` of the sleeper. The event has a handle,
                // but not of its listener.
                sleeper.listener.with_mut(|place| unsafe { *place = Some(listener) });
                return Asleep(sleeper);
            }
        }
    }

    /// Wakes every task that listens. If a waker panics, the others are woken, and then the panic
    /// goes on.
    pub(super) fn wake_all(&self) {
        // Relaxed leaves out a fence: the ringer has acquired, by the bell's word, what the tasks
        // did before they noted there that they listen.
        self.event.notify_relaxed(usize::MAX);
        // This ringer's sleepers are in the list now, or another ringer has taken them and wakes
        // them. Also those of others.
        let mut woken = Woken(self.woken.take());
        if mutant("a task is left asleep") {
            drop(woken.next());
        }
        // The lock is free, and the list is this ringer's alone. The last one first: to turn the
        // list around made no difference to the last task, with 64 tasks or 500.
        unwind::each(woken.0.iter(), |sleeper| sleeper.task.wake_by_ref());
        // (`woken` goes here, or as the panic goes on: a waker that panics as it is dropped keeps
        // no other from being dropped.)
    }
}

/// Sleepers that were taken from a list.
struct Woken(Chain<Sleeper>);

impl Iterator for Woken {
    type Item = Arc<Sleeper>;

    fn next(&mut self) -> Option<Arc<Sleeper>> {
        // SAFETY: came from `Arc::into_raw`, with the handle that the list took over; taken off
        // once.
        self.0.pop().map(|sleeper| unsafe { Arc::from_raw(sleeper.as_ptr().cast_const()) })
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        unwind::each(self, drop);
    }
}
