//! The tasks that sleep at a bell. They wait on an [`event_listener::Event`].
//!
//! The event keeps its listeners in a list under a lock. It wakes wakers, and drops them, under
//! that lock. A waker is user code: it may panic, drop a waiter (which takes the lock), or call the
//! cache. So the event never gets a user's waker. It gets a [`Sleeper`], which holds the user's
//! waker. When the event wakes a sleeper, the sleeper only puts itself on a list. The ringer takes
//! that list after the event has released its lock, and wakes the users' wakers from there.
//!
//! This file relies on three facts:
//! 1. The event wakes a waker only within `notify`, or within the drop of a listener that was
//!    notified and not discarded. This file discards every listener, so only ringers wake sleepers.
//! 2. A slot holds its sleeper for as long as the event may hold it. So the event never drops the
//!    last handle of a sleeper, and no user's waker is dropped under the lock.
//! 3. With std the lock is a mutex. Without std it is a spinlock, or a critical section if the
//!    program enables event-listener's feature of that name.

use crate::sys::mutants::mutant;
use crate::sys::stack::{Below, Chain, Linked, Stack};
use crate::sys::sync::under_lock::AtomicBool;
use crate::sys::sync::{Ordering, UnsafeCell};
use crate::sys::unwind;
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
    /// The sleepers that a ringer's `notify` has woken. The ringer wakes their tasks next.
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
    /// Used by the slot alone: see `WakerSlot`.
    listener: UnsafeCell<Option<EventListener>>,
}

// SAFETY: the waker and the listener may be sent. Only the one `WakerSlot` of a sleeper uses the
// listener. Only the list, which owns the sleeper while it is in there, uses
// the link. The list is used by shared reference: it is made of an atomic.
unsafe impl Send for Sleeper {}
// SAFETY: as above. A shared sleeper shares the waker, which is `Sync`, and an atomic.
unsafe impl Sync for Sleeper {}

impl Linked for Sleeper {
    fn below(&self) -> &Below {
        &self.below
    }
}

impl Wake for Sleeper {
    /// Runs under the event's lock.
    fn wake(self: Arc<Self>) {
        // A sleeper is put on a list at most once. Relaxed: the RMW alone decides that. For
        // `WakerSlot::is_of` see there.
        if self.woken.swap(true, Ordering::Relaxed) {
            return;
        }
        let list = self.list;
        let this = Arc::into_raw(self);
        // SAFETY: the pointer is from an `Arc`, so it is not null. The list takes over that handle,
        // and `Woken` turns it back into an `Arc`: the sleeper is alive while it is in the list.
        // The bell that the list is part of is alive: its ringer is within `notify` (fact 1).
        unsafe { list.as_ref().push(NonNull::new_unchecked(this.cast_mut())) };
    }
}

/// A task's place among the listeners: the only one of its sleeper. Its drop takes the place back.
#[must_use]
pub(super) struct WakerSlot(Arc<Sleeper>);

impl WakerSlot {
    /// Returns whether the task sleeps and this waker wakes it.
    pub(super) fn is_of(&self, waker: &Waker) -> bool {
        // Relaxed: the ringer sets the flag before it wakes the task. So the poll that the wake-up
        // brings about sees the flag. A poll that misses it is an earlier one.
        let woken = self.0.woken.load(Ordering::Relaxed) && !mutant("sleeps on after a ring");
        !woken && self.0.task.will_wake(waker)
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        // SAFETY: only the one slot of a sleeper uses the listener, and this is the slot's last
        // use.
        let Some(listener) = self.0.listener.with_mut(|listener| unsafe { (*listener).take() }) else { return };
        if mutant("leaves its listener") {
            return core::mem::forget(listener);
        }
        // The listener is discarded, not dropped: a drop would pass a notification on to another
        // listener. The event's handle of the sleeper is dropped here, and the slot's afterwards,
        // perhaps with the user's waker (fact 2).
        listener.discard();
    }
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { event: Event::new(), woken: Stack::new() }
    }

    /// Has the next ring wake a task, once the bell's word says that a task listens.
    ///
    /// # Safety
    /// The slot is dropped before these wakers are, and these do not move until then.
    pub(super) unsafe fn listen(&self, task: Waker) -> WakerSlot {
        let (woken, list) = (AtomicBool::new(false), NonNull::from(&self.woken));
        let listener = UnsafeCell::new(None);
        let sleeper = Arc::new(Sleeper { task, woken, list, below: Below::nothing(), listener });
        let waker = Waker::from(sleeper.clone());
        loop {
            let mut listener = self.event.listen();
            // A ringer may notify the listener before that has the waker. The next listener is for
            // the ring after that.
            if Pin::new(&mut listener).poll(&mut Context::from_waker(&waker)).is_pending() {
                // SAFETY: the slot made here is the only one of the sleeper. The event has a handle
                // of the sleeper, and does not use its listener.
                sleeper.listener.with_mut(|place| unsafe { *place = Some(listener) });
                return WakerSlot(sleeper);
            }
        }
    }

    /// Wakes every task that listens. If a waker panics, the others are woken, and then the panic
    /// goes on.
    pub(super) fn wake_all(&self) {
        // The relaxed form leaves out a fence. The ringer has acquired, by the bell's word, what
        // the tasks did before they noted there that they listen.
        self.event.notify_relaxed(usize::MAX);
        // The sleepers of this ring are in the list now, or another ringer has taken them and wakes
        // them. The list may have sleepers of other rings, too.
        let mut woken = Woken(self.woken.take());
        if mutant("a task is left asleep") {
            drop(woken.next());
        }
        // The lock is free, and the list is this ringer's alone. The last sleeper is woken first.
        // To reverse the list made no difference to the last task.
        unwind::each(woken.0.iter(), |sleeper| sleeper.task.wake_by_ref());
        // `woken` is dropped here, or as the panic goes on. A waker that panics as it is dropped
        // does not keep the others from being dropped.
    }
}

/// Sleepers that were taken from a list.
struct Woken(Chain<Sleeper>);

impl Iterator for Woken {
    type Item = Arc<Sleeper>;

    fn next(&mut self) -> Option<Arc<Sleeper>> {
        // SAFETY: the pointer came from `Arc::into_raw`, with the handle that the list took over.
        // It is taken off once.
        self.0.pop().map(|sleeper| unsafe { Arc::from_raw(sleeper.as_ptr().cast_const()) })
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        unwind::each(self, drop);
    }
}
