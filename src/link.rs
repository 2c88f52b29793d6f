//! What a node and a bucket cell have in common: a place in the list.

use crate::sync::{AtomicPtr, AtomicU32, Ordering, mutant, order};
use core::ptr;

const MARK: usize = 1;

/// The link to the next in the list. Its lowest bit is the mark: the owner of the link is removed, and the pointer
/// never changes again.
#[repr(C)]
pub(crate) struct Link {
    next: AtomicPtr<Link>,
    /// The reversed hash: odd in nodes, even in cells. Fixed before the link is in the list, so Relaxed.
    order: AtomicU32,
    /// A node's count of shares; a cell's state.
    tally: AtomicU32,
}

/// A value of [`Link::next`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next(*mut Link);

impl Next {
    pub(crate) fn marked(self) -> bool {
        self.0.addr() & MARK != 0
    }

    /// The mark by itself: 0 if there is none.
    #[inline(always)]
    pub(crate) fn mark(self) -> usize {
        self.0.addr() & MARK
    }

    /// The pointer without the mark.
    pub(crate) fn link(self) -> *mut Link {
        self.0.map_addr(|a| a & !MARK)
    }
}

impl Link {
    /// For a node with this many shares.
    pub(crate) fn node(order: u32, shares: u32) -> Self {
        debug_assert_eq!(order & 1, 1);
        Self { next: AtomicPtr::new(ptr::null_mut()), order: AtomicU32::new(order), tally: AtomicU32::new(shares) }
    }

    /// For a cell that is not in the list yet: all zero.
    pub(crate) fn cell() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), order: AtomicU32::new(0), tally: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn order(&self) -> u32 {
        self.order.load(Ordering::Relaxed)
    }

    pub(crate) fn set_order(&self, order: u32) {
        self.order.store(order, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn tally(&self) -> &AtomicU32 {
        &self.tally
    }

    /// Acquire: pairs with the Release of the CAS that put the link there, so what it points at is initialised.
    #[inline]
    pub(crate) fn next(&self) -> Next {
        Next(self.next.load(order("next load", Ordering::Acquire)))
    }

    /// Whether this has been removed.
    pub(crate) fn is_marked(&self) -> bool {
        self.next().marked()
    }

    /// Before it is in the list. Relaxed: the CAS that links it publishes it.
    pub(crate) fn prepare(&self, next: *mut Link) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// Replaces an unmarked `from` by an unmarked `to`: links or unlinks.
    pub(crate) fn swing(&self, from: *mut Link, to: *mut Link) -> bool {
        self.change(from, to)
    }

    /// Marks; false if somebody else has.
    pub(crate) fn mark(&self) -> bool {
        self.mark_with(|next| next)
    }

    /// Marks and in the same step puts `new` behind this: the key is never absent. `new` must not be in the list;
    /// its own `next` is set to what followed. False if this is marked already.
    pub(crate) fn replace_by(&self, new: &Link, new_ptr: *mut Link) -> bool {
        self.mark_with(|next| {
            new.prepare(next);
            new_ptr
        })
    }

    fn mark_with(&self, mut target: impl FnMut(*mut Link) -> *mut Link) -> bool {
        loop {
            let next = self.next();
            if next.marked() && !mutant("marked twice") {
                return false;
            }
            let to = target(next.link());
            if self.change(next.0, to.map_addr(|a| a | MARK)) {
                return true;
            }
        }
    }

    // Release: what is linked was initialised before. Acquire: a loser goes on from what the winner linked.
    fn change(&self, from: *mut Link, to: *mut Link) -> bool {
        let strong = order("link release", Ordering::AcqRel);
        self.next.compare_exchange(from, to, strong, Ordering::Acquire).is_ok()
    }
}
