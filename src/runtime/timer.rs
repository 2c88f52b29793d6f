//! Waking a task at a given time. Deadlines of async callers need it, and under a custom clock
//! those of all callers.

use crate::sys::stack::{Below, Chain, Linked, Stack};
use crate::sys::unwind;
use alloc::{boxed::Box, sync::Arc};
use core::{ptr::NonNull, task::Waker};

/// Wakes wakers at given times of the cache's clock.
pub trait Timer: Send + Sync {
    /// Wakes `waker` once the clock reads `ns` or later; at once if it already does.
    ///
    /// A wake-up that is not needed any more is harmless: the caller that it wakes checks its
    /// condition again.
    fn wake_at(&self, ns: u64, waker: Waker);
}

impl<T: Timer + ?Sized> Timer for Arc<T> {
    fn wake_at(&self, ns: u64, waker: Waker) {
        (**self).wake_at(ns, waker);
    }
}

/// Wakers that wait for their time, in no order. Any thread pushes; the thread that fires takes all
/// of them at once.
///
/// (The automatic `Send` and `Sync` are right: a `Waker` is both, and only one thread at a time
/// reaches a given `PendingWaker`.)
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

/// Wakers that were taken out of a [`Pending`]. Dropping this drops those that are left.
pub(crate) struct Taken(Chain<PendingWaker>);

impl Pending {
    pub(crate) fn new() -> Self {
        Self(Stack::new())
    }

    pub(crate) fn push(&self, at: u64, waker: Waker) {
        let alarm = Box::into_raw(Box::new(PendingWaker { at, waker, below: Below::nothing() }));
        // SAFETY: the pointer comes from a box, so it is not null, and the box is ours to give
        // away. Only the owner of a chain frees it, after taking it off that chain, through a
        // pointer with all rights of the box.
        unsafe { self.0.push(NonNull::new_unchecked(alarm)) };
    }

    /// Takes all wakers pushed so far.
    pub(crate) fn take(&self) -> Taken {
        Taken(self.0.take())
    }
}

impl Iterator for Taken {
    type Item = (u64, Waker);

    fn next(&mut self) -> Option<(u64, Waker)> {
        let alarm = self.0.pop()?;
        // SAFETY: each pointer in the chain came from `Box::into_raw`, and its owner takes it off
        // once.
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
