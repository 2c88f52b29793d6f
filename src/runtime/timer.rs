//! Waking a task at a given time: deadlines of async callers, and of every caller under a custom clock.

use crate::sys::stack::{Below, Chain, Linked, Stack};
use crate::sys::unwind;
use alloc::{boxed::Box, sync::Arc};
use core::{ptr::NonNull, task::Waker};

/// Wakes wakers at given times of the cache's clock.
pub trait Timer: Send + Sync {
    /// Wakes `waker` once the clock reads `ns` or later; at once if it already does.
    ///
    /// A wake-up that nobody needs any more is harmless: whoever is woken looks again.
    fn wake_at(&self, ns: u64, waker: Waker);
}

impl<T: Timer + ?Sized> Timer for Arc<T> {
    fn wake_at(&self, ns: u64, waker: Waker) {
        (**self).wake_at(ns, waker);
    }
}

/// Wakers that wait for their time, out of order: pushed by anyone, taken whole by whoever fires.
///
/// (It may be sent and shared as it is: wakers may, and one thread at a time reaches an alarm.)
pub(crate) struct Pending(Stack<PendingWaker>);

struct PendingWaker {
    at: u64,
    waker: Waker,
    below: Below,
}

impl Linked for PendingWaker {
    fn below(&self) -> &Below {
        &self.below
    }
}

/// Alarms that were taken. Those that are left when it is dropped are dropped.
pub(crate) struct Taken(Chain<PendingWaker>);

impl Pending {
    pub(crate) fn new() -> Self {
        Self(Stack::new())
    }

    pub(crate) fn push(&self, at: u64, waker: Waker) {
        let alarm = Box::into_raw(Box::new(PendingWaker { at, waker, below: Below::nothing() }));
        // SAFETY: from a box: not null. Ours, and freed by who takes it off a chain only, with all of the box's rights.
        unsafe { self.0.push(NonNull::new_unchecked(alarm)) };
    }

    /// Everything pushed so far.
    pub(crate) fn take(&self) -> Taken {
        Taken(self.0.take())
    }
}

impl Iterator for Taken {
    type Item = (u64, Waker);

    fn next(&mut self) -> Option<(u64, Waker)> {
        let alarm = self.0.pop()?;
        // SAFETY: each came from `Box::into_raw`, and is taken off once, by its owner.
        let PendingWaker { at, waker, .. } = *unsafe { Box::from_raw(alarm.as_ptr()) };
        Some((at, waker))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        unwind::each(self, drop);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        drop(self.take());
    }
}
