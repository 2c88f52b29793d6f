//! The tasks that sleep at a bell: a lock-free stack, pushed by anyone, taken whole by whoever rings.
//!
//! A place in it has two owners: the task, and the stack (whoever has taken that). The first of them to let go, by a swap of
//! the place's state, has the waker, to wake it or to drop it. The second one frees the place.

use crate::sys::memory::prefetch;
use crate::sys::mutants::{sized, weakened};
use crate::sys::stack::{Below, Chain, Linked, Stack};
use crate::sys::sync::untracked;
use crate::sys::sync::{AtomicU32, Ordering, UnsafeCell};
use crate::sys::unwind;
use alloc::boxed::Box;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::task::Waker;

/// So many may leave before those who sleep are woken, to have the stack cleared of what was left behind.
const LITTER: u32 = sized(64, 1, 0) as u32;

/// Both owners are there.
const SLEEPS: u32 = 0;
/// The ringer has let go.
const RUNG: u32 = 1;
/// The task has let go.
const LEFT: u32 = 2;

/// A place in the stack.
struct Place {
    state: AtomicU32,
    /// Never changed. Read by both owners before they let go; it is the first one's.
    waker: UnsafeCell<ManuallyDrop<Waker>>,
    below: Below,
}

impl Linked for Place {
    fn below(&self) -> &Below {
        &self.below
    }
}

impl Place {
    /// The waker's bits.
    ///
    /// # Safety
    /// The place is alive; the copy is used only by the owner who lets go first, once.
    unsafe fn waker(this: *const Self) -> ManuallyDrop<Waker> {
        // SAFETY: alive, by contract; never written again.
        unsafe { (*this).waker.with(|waker| ptr::read(waker)) }
    }

    /// One of the owners lets go: whether it is the first, and has the waker.
    ///
    /// # Safety
    /// The place is alive, and this owner does not use it again.
    unsafe fn let_go(this: *mut Self, how: u32) -> Option<Waker> {
        // SAFETY: alive; used only if we are the first.
        let waker = unsafe { Self::waker(this) };
        // AcqRel: each owner has read all that it will before its swap, and the second one frees after its own.
        // SAFETY: alive.
        if unsafe { (*this).state.swap(how, weakened("let go unordered", Ordering::AcqRel)) } == SLEEPS {
            return Some(ManuallyDrop::into_inner(waker));
        }
        // SAFETY: the other has let go.
        unsafe { Self::free(this) };
        None
    }

    /// # Safety
    /// It came from `Box::into_raw`, and both owners have let go, the other one in what happened before.
    unsafe fn free(this: *mut Self) {
        // SAFETY: as for this function.
        let mut place = unsafe { Box::from_raw(this) };
        // For loom, to which this is a write.
        place.waker.with_mut(|_| ());
        place.below.end();
    }
}

/// A task's place, which it lets go of by [`rise`](Self::rise).
#[must_use]
pub(super) struct Sleeper(NonNull<Place>);

impl Sleeper {
    fn state(&self) -> u32 {
        // SAFETY: ours to use until we let go. Acquire: RUNG comes after all that the ringer did with the place.
        unsafe { self.0.as_ref() }.state.load(weakened("rung unordered", Ordering::Acquire))
    }

    /// Whether it sleeps, to be woken by this waker.
    pub(super) fn is_of(&self, waker: &Waker) -> bool {
        // SAFETY: ours to use until we let go. If it is another's by now it is compared, and not used; but then it may be gone,
        // and another one be at its address: hence the look at the state, after that. (Whatever was compared, so that no model's
        // steps depend on addresses.)
        let same = unsafe { Place::waker(self.0.as_ptr()) }.will_wake(waker);
        self.state() == SLEEPS && same
    }

    /// Lets go; None: it was woken before.
    pub(super) fn rise(self) -> Option<Waker> {
        if self.state() == RUNG {
            // SAFETY: the other owner has let go, and this one does now.
            unsafe { Place::free(self.0.as_ptr()) };
            return None;
        }
        // SAFETY: ours until now.
        unsafe { Place::let_go(self.0.as_ptr(), LEFT) }
    }
}

pub(super) struct Sleepers {
    stack: Stack<Place>,
    /// How many were pushed since the stack was taken, and how many of those have left: roughly.
    pushed: untracked::AtomicU32,
    left: untracked::AtomicU32,
}

impl Sleepers {
    pub(super) fn new() -> Self {
        let (pushed, left) = (untracked::AtomicU32::new(0), untracked::AtomicU32::new(0));
        Self { stack: Stack::new(), pushed, left }
    }

    pub(super) fn push(&self, waker: Waker) -> Sleeper {
        let waker = UnsafeCell::new(ManuallyDrop::new(waker));
        let place = Place { state: AtomicU32::new(SLEEPS), waker, below: Below::nothing() };
        // SAFETY: from a box.
        let new = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(place))) };
        self.pushed.fetch_add(1, Ordering::Relaxed);
        // SAFETY: just made, and freed once both of its owners have let go: the stack's lets go as it takes it off. The link
        // is that owner's.
        unsafe { self.stack.push(new) };
        Sleeper(new)
    }

    /// Everyone so far, the last one first. (All of them are woken. To turn them around first, by a walk over all, made no
    /// difference to the last one that could be told from the noise, with 64 tasks or 500.)
    pub(super) fn take(&self) -> Taken {
        let taken = self.stack.take();
        self.pushed.store(0, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
        Taken(taken)
    }

    /// One has left, whose place stays in the stack until that is taken. Whether it is high time for that: places do not pile
    /// up, and no more are woken for it than have left.
    pub(super) fn left(&self) -> bool {
        let left = self.left.fetch_add(1, Ordering::Relaxed) + 1;
        left > LITTER && left > self.pushed.load(Ordering::Relaxed) / 2
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A stack that was taken: the wakers of those who still sleep.
pub(super) struct Taken(Chain<Place>);

impl Iterator for Taken {
    type Item = Waker;

    fn next(&mut self) -> Option<Waker> {
        while let Some(place) = self.0.pop() {
            // Another processor wrote it last. It comes while this one's task is being woken.
            prefetch(self.0.first());
            // SAFETY: the stack's half of it is ours; let go of once, as it was taken off.
            let woken = unsafe { Place::let_go(place.as_ptr(), RUNG) };
            if woken.is_some() {
                return woken;
            }
        }
        None
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        unwind::each(self, drop);
    }
}
