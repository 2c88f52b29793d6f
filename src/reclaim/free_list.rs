//! A lock-free stack of numbers: the free nodes of an arena.
//!
//! Where a number's link to the one below is kept is the caller's affair; it must stay readable as long as the stack is
//! used, whatever becomes of the number. So a popper may read the link of one that another has popped meanwhile, even
//! while that one's owner writes something else there: it is an atomic, and what was read is thrown away, because the
//! top has changed.
//!
//! That it has is what the tag says (ABA): a popper reads top A and its link to B, another pops A and B and pushes A, and A
//! is on top again with B not below it. Each pop adds one to the tag, which shares the top's word, so the first popper's
//! CAS fails. (The tag has 32 bits: between load and CAS a popper would have to sleep through a multiple of 2³² pops,
//! and find the very number on top. A grace period between push and pop would rule that out, too, but what was never
//! linked into the list is freed without one.)

use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// The stack. A number is not 0.
pub(crate) struct FreeList {
    top: AtomicU64,
}

/// Number in the low half, 0 for none; tag in the high half.
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

    /// Pushes a chain: `first`, on top, is linked to others, and they to `last`, whose link is `below_last`. All are the caller's.
    pub(crate) fn push(&self, first: u32, below_last: &AtomicU32) {
        let mut top = Top(self.top.load(Ordering::Relaxed));
        loop {
            below_last.store(top.number(), Ordering::Relaxed);
            let new = top.with_number(first);
            // Release: the links, and all that was done with the numbers before they were free. Pairs with the Acquire
            // loads in `pop`; later changes of the top are RMWs, and so carry it on to who pops what is further down.
            let release = weakened("free list push", Ordering::Release);
            match self.top.compare_exchange_weak(top.0, new.0, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = Top(now),
            }
        }
    }

    /// Takes the number on top; `below` says where its link is.
    pub(crate) fn pop<'a>(&self, below: impl Fn(u32) -> &'a AtomicU32) -> Option<u32> {
        // Acquire, here and in the failing CAS: pairs with the Release in `push`.
        let mut top = Top(self.top.load(Ordering::Acquire));
        while top.number() != 0 {
            // Relaxed: if nobody has popped it since, the Acquire has what its pusher wrote. Else it may be anything.
            let next = below(top.number()).load(Ordering::Relaxed);
            let new = top.with_number(next).popped();
            // Relaxed on success: nothing of ours is handed on, and the load above has acquired what was pushed.
            match self.top.compare_exchange_weak(top.0, new.0, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Some(top.number()),
                Err(now) => top = Top(now),
            }
        }
        None
    }
}
