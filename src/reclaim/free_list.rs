//! A lock-free stack of numbers: the free nodes of an arena.
//!
//! The caller keeps each number's link to the one below it. The link must stay readable as long as
//! the stack is used, even once the number was popped. So a popper may read the link of a number
//! that another popper has taken meanwhile, even while the new owner writes something else there.
//! The link is an atomic, and the popper throws away the value that it read, because the top has
//! changed.
//!
//! The tag makes the change visible (ABA): a popper reads top A and its link to B. Another popper
//! takes A and B, and pushes A. Now A is on top again, and B is not below it. Each pop adds one to
//! the tag, which shares a word with the top, so the first popper's CAS fails. (The tag has 32
//! bits: a popper would have to sleep through a multiple of 2³² pops between load and CAS, and then
//! find the very number on top. A grace period between push and pop would rule that out, too, but a
//! node that was never linked into the list is freed without one.)

use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// The stack. 0 is not a number of it.
pub(crate) struct FreeList {
    top: AtomicU64,
}

/// The number in the low half (0 for none), the tag in the high half.
#[derive(Clone, Copy)]
struct Top(u64);

impl Top {
    fn number(self) -> u32 {
        self.0 as u32
    }

    fn with_number(self, number: u32) -> Self {
        Self(self.0 & !u64::from(u32::MAX) | u64::from(number))
    }

    fn popped(self) -> Self {
        if mutant("free list without tag") { self } else { Self(self.0.wrapping_add(1 << 32)) }
    }
}

impl FreeList {
    pub(crate) fn new() -> Self {
        Self { top: AtomicU64::new(0) }
    }

    /// Pushes a chain: `first`, on top, is linked to others, and they to the last one, whose link
    /// is `below_last`. The caller owns all of them.
    pub(crate) fn push(&self, first: u32, below_last: &AtomicU32) {
        let mut top = Top(self.top.load(Ordering::Relaxed));
        loop {
            below_last.store(top.number(), Ordering::Relaxed);
            let new = top.with_number(first);
            // Release: for the links, and for all that was done with the numbers before they were
            // free. Pairs with the Acquire loads in `pop`. Later changes of the top are RMWs, so
            // they carry it on to a popper of the numbers further down.
            let release = weakened("free list push", Ordering::Release);
            match self.top.compare_exchange_weak(top.0, new.0, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = Top(now),
            }
        }
    }

    /// Takes the number on top. `find` returns the link of a number, and what the caller gets for
    /// it.
    pub(crate) fn pop<'a, R>(&self, find: impl Fn(u32) -> (&'a AtomicU32, R)) -> Option<R> {
        // Acquire, here and in the failing CAS: pairs with the Release in `push`.
        let mut top = Top(self.top.load(Ordering::Acquire));
        while top.number() != 0 {
            // Relaxed: if no thread has popped the number since, the Acquire load covers the
            // pusher's store. If one has, the value may be anything, and the CAS fails.
            let (below, found) = find(top.number());
            let next = below.load(Ordering::Relaxed);
            let new = top.with_number(next).popped();
            // Relaxed on success: this thread hands nothing on, and the load above has acquired
            // what was pushed.
            match self.top.compare_exchange_weak(top.0, new.0, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Some(found),
                Err(now) => top = Top(now),
            }
        }
        None
    }
}
