//! What a node and a bucket cell have in common: a place in the list.

use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, AtomicU32, Ordering};
use core::ptr::{self, NonNull};

// The lowest bits of a pointer, which is to a multiple of 8: see `Next`, and nodes begin with one.
/// Of a node's: that node is removed, and the pointer never changes again.
const MARK: usize = 1;
/// What it leads to is a node; if not, a cell, or nothing.
const NODE: usize = 2;
/// Of a cell's: that cell is in the list.
const LINKED: usize = 4;
const BITS: usize = MARK | NODE | LINKED;

/// The pointer to what is next in the list. A cell is this and no more; a node begins with it.
///
/// A cell is UNINIT (all zero), CLAIMED by who puts it in the list, then LINKED.
// (A pointer of 32 bits alone would be to a multiple of 4.)
#[repr(C, align(8))]
pub(crate) struct Next(AtomicPtr<Next>);

const _: () = assert!(align_of::<Next>() > BITS);

/// A value of [`Next`]: where it leads, and its bits.
#[derive(Clone, Copy)]
pub(crate) struct Target(*mut Next);

impl Target {
    pub(crate) const UNINIT: Self = Self(ptr::null_mut());
    /// Of a cell that leads nowhere yet. Nobody mistakes it for a mark: nobody gets there.
    const CLAIMED: Self = Self(ptr::without_provenance_mut(MARK));
    /// The end of the list: no cell is there.
    pub(crate) const END: Self = Self(ptr::without_provenance_mut(BITS + 1));

    pub(crate) fn to_node(node: NonNull<Link>) -> Self {
        Self(node.as_ptr().cast::<Next>().map_addr(|a| a | NODE))
    }

    pub(crate) fn to_cell(cell: &Next) -> Self {
        Self(ptr::from_ref(cell).cast_mut())
    }

    /// The node that it leads to, if it is one.
    #[inline(always)]
    pub(crate) fn node(self) -> Option<NonNull<Link>> {
        // SAFETY: NODE is set beside an address that is not null, by `to_node`, and goes wherever that goes.
        (self.0.addr() & NODE != 0).then(|| unsafe { NonNull::new_unchecked(self.address().cast()) })
    }

    /// As a cell's that is LINKED: the node that it leads to, if it is one.
    #[inline(always)]
    pub(crate) fn first_node(self) -> Option<NonNull<Link>> {
        // SAFETY: as in `node`.
        let first = || unsafe { NonNull::new_unchecked(self.address().cast()) };
        (self.0.addr() & (NODE | LINKED) == NODE | LINKED).then(first)
    }

    /// The cell that it leads to, if it is one.
    pub(crate) fn cell(self) -> Option<NonNull<Next>> {
        let address = self.address();
        if self.0.addr() & NODE != 0 || address == Self::END.0 { None } else { NonNull::new(address) }
    }

    #[inline(always)]
    fn address(self) -> *mut Next {
        self.0.map_addr(|a| a & !BITS)
    }

    pub(crate) fn marked(self) -> bool {
        self.mark() != 0
    }

    /// The mark by itself: 0 if there is none.
    #[inline(always)]
    pub(crate) fn mark(self) -> usize {
        self.0.addr() & MARK
    }

    /// As a cell's: whether that is in the list.
    #[inline(always)]
    pub(crate) fn linked(self) -> bool {
        self.0.addr() & LINKED != 0
    }

    /// As a cell's: whether nobody has begun to put that in the list.
    pub(crate) fn uninit(self) -> bool {
        self.0.is_null()
    }

    /// This, or the other. Without a branch.
    #[inline(always)]
    pub(crate) fn if_else(self, stay: bool, other: Self) -> Self {
        let stay = usize::from(stay).wrapping_neg();
        let chosen = self.0.expose_provenance() & stay | other.0.expose_provenance() & !stay;
        Self(ptr::with_exposed_provenance_mut(chosen))
    }

    /// Leads where `to` does; of the same link as this, so with its LINKED.
    pub(crate) fn led_to(self, to: Self) -> Self {
        Self(to.bare().0.map_addr(|a| a | self.0.addr() & LINKED))
    }

    /// Without what it says about the link that it is of.
    fn bare(self) -> Self {
        Self(self.0.map_addr(|a| a & !(MARK | LINKED)))
    }

    fn with_mark(self) -> Self {
        Self(self.0.map_addr(|a| a | MARK))
    }
}

impl Next {
    /// Of a cell that is not in the list yet: all zero.
    pub(crate) fn cell() -> Self {
        Self(AtomicPtr::new(Target::UNINIT.0))
    }

    /// Acquire: pairs with the Release of the CAS that put the pointer there, so what it leads to is initialised; or, of a cell that was
    /// just linked, with that of [`set_linked`](Self::set_linked).
    #[inline]
    pub(crate) fn load(&self) -> Target {
        Target(self.0.load(weakened("next load", Ordering::Acquire)))
    }

    /// Before it is in the list. Relaxed: the CAS that links it publishes it.
    pub(crate) fn prepare(&self, to: Target) {
        self.0.store(to.bare().0, Ordering::Relaxed);
    }

    /// Leads to `to` instead, if it is still `from`, unmarked: links or unlinks.
    pub(crate) fn swing(&self, from: Target, to: Target) -> bool {
        self.change(from, from.led_to(to))
    }

    /// The same whatever it is: never to be done.
    pub(crate) fn force(&self, from: Target, to: Target) {
        self.0.store(from.led_to(to).0, Ordering::Relaxed);
    }

    /// UNINIT to CLAIMED; false if somebody else was first.
    pub(crate) fn claim(&self) -> bool {
        let (uninit, claimed) = (Target::UNINIT.0, Target::CLAIMED.0);
        self.0.compare_exchange(uninit, claimed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// To LINKED, by who has claimed it and put it in the list.
    pub(crate) fn set_linked(&self) {
        // Release: for what it was prepared to lead to. Acquire: what a CAS has put there since then is handed on.
        let release = weakened("cell linked", Ordering::AcqRel);
        let mut now = self.load();
        loop {
            let linked = now.0.map_addr(|a| a | LINKED);
            if mutant("blind linked") {
                return self.0.store(linked, Ordering::Release);
            }
            match self.0.compare_exchange_weak(now.0, linked, release, Ordering::Acquire) {
                Ok(_) => return,
                Err(other) => now = Target(other),
            }
        }
    }

    // Release: what is linked was initialised before. Acquire: a loser goes on from what the winner linked.
    fn change(&self, from: Target, to: Target) -> bool {
        let strong = weakened("link release", Ordering::AcqRel);
        self.0.compare_exchange(from.0, to.0, strong, Ordering::Acquire).is_ok()
    }
}

/// What a node begins with.
#[repr(C)]
pub(crate) struct Link {
    next: Next,
    /// Odd. Fixed before the node is in the list, so Relaxed.
    order: AtomicU32,
    /// A node's count of shares.
    refcount: AtomicU32,
}

impl Link {
    /// For a node with this many shares.
    pub(crate) fn node(order: u32, shares: u32) -> Self {
        debug_assert_eq!(order & 1, 1);
        let next = Next(AtomicPtr::new(ptr::null_mut()));
        Self { next, order: AtomicU32::new(order), refcount: AtomicU32::new(shares) }
    }

    #[inline]
    pub(crate) fn order(&self) -> u32 {
        self.order.load(Ordering::Relaxed)
    }

    pub(crate) fn set_order(&self, order: u32) {
        self.order.store(order, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn refcount(&self) -> &AtomicU32 {
        &self.refcount
    }

    /// The place of the count, without a reference to the link.
    ///
    /// # Safety
    /// The link is alive.
    #[inline]
    pub(crate) unsafe fn refcount_of(this: NonNull<Self>) -> NonNull<AtomicU32> {
        // SAFETY: alive, so the place is within it, and is not null.
        unsafe { NonNull::new_unchecked((&raw const (*this.as_ptr()).refcount).cast_mut()) }
    }

    #[inline]
    pub(crate) fn next(&self) -> &Next {
        &self.next
    }

    /// Whether this has been removed.
    pub(crate) fn is_marked(&self) -> bool {
        self.next.load().marked()
    }

    /// Marks; false if somebody else has.
    pub(crate) fn mark(&self) -> bool {
        self.mark_with(|next| next)
    }

    /// Marks and in the same step puts `new` behind this: the key is never absent. `new` must not be in the list;
    /// its own pointer is set to what followed. False if this is marked already.
    pub(crate) fn replace_by(&self, new: &Link, to_new: Target) -> bool {
        self.mark_with(|next| {
            new.next.prepare(next);
            to_new
        })
    }

    fn mark_with(&self, mut target: impl FnMut(Target) -> Target) -> bool {
        loop {
            let next = self.next.load();
            if next.marked() && !mutant("marked twice") {
                return false;
            }
            if self.next.change(next, target(next).bare().with_mark()) {
                return true;
            }
        }
    }
}
