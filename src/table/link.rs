//! The part that a node and a bucket cell have in common: a link of the list.

use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, AtomicU32, Ordering};
use core::ptr::{self, NonNull};

// A pointer of the list is to a multiple of 8 (see `Next`; nodes begin with one). Its three low
// bits have these meanings.
/// The bit of a removed node: the node's pointer never changes again.
const MARK: usize = 1;
/// The bit of a pointer that leads to a node. Without it, the pointer leads to a cell or nowhere.
const NODE: usize = 2;
/// The bit of a cell that is in the list.
const LINKED: usize = 4;
const BITS: usize = MARK | NODE | LINKED;

/// The pointer to the next link of the list. A cell is just this pointer. A node begins with it.
///
/// A cell is UNINIT (all zero), then CLAIMED by the thread that puts it in the list, then LINKED.
// (Without `align`, a 32-bit pointer would be aligned to 4.)
#[repr(C, align(8))]
pub(crate) struct Next(AtomicPtr<Next>);

const _: () = assert!(align_of::<Next>() > BITS);

/// A value of [`Next`]: an address and its bits.
#[derive(Clone, Copy)]
pub(crate) struct Target(*mut Next);

impl Target {
    pub(crate) const UNINIT: Self = Self(ptr::null_mut());
    /// The value of a claimed cell, which leads nowhere yet. No walk reaches such a cell, so none
    /// mistakes this for a mark.
    const CLAIMED: Self = Self(ptr::without_provenance_mut(MARK));
    /// The end of the list. No cell has this address.
    pub(crate) const END: Self = Self(ptr::without_provenance_mut(BITS + 1));

    pub(crate) fn to_node(node: NonNull<Link>) -> Self {
        Self(node.as_ptr().cast::<Next>().map_addr(|a| a | NODE))
    }

    pub(crate) fn to_cell(cell: &Next) -> Self {
        Self(ptr::from_ref(cell).cast_mut())
    }

    /// Returns the node that this leads to, if it is a node.
    #[inline(always)]
    pub(crate) fn node(self) -> Option<NonNull<Link>> {
        // SAFETY: only `to_node` sets NODE, beside an address that is not null. The two stay
        // together.
        (self.0.addr() & NODE != 0).then(|| unsafe { NonNull::new_unchecked(self.address().cast()) })
    }

    /// Returns the node that this leads to, if this is the value of a LINKED cell and leads to a
    /// node.
    #[inline(always)]
    pub(crate) fn first_node(self) -> Option<NonNull<Link>> {
        // SAFETY: as in `node`.
        let first = || unsafe { NonNull::new_unchecked(self.address().cast()) };
        (self.0.addr() & (NODE | LINKED) == NODE | LINKED).then(first)
    }

    /// Returns the cell that this leads to, if it is a cell.
    #[inline]
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

    /// Returns the MARK bit in place, or 0 without it.
    #[inline(always)]
    pub(crate) fn mark(self) -> usize {
        self.0.addr() & MARK
    }

    /// Returns whether the cell with this value is in the list.
    #[inline(always)]
    pub(crate) fn linked(self) -> bool {
        self.0.addr() & LINKED != 0
    }

    /// Returns whether no thread has begun to put the cell with this value in the list.
    pub(crate) fn uninit(self) -> bool {
        self.0.is_null()
    }

    /// Returns `self` if `stay`, else `other`. Compiles without a branch.
    #[inline(always)]
    pub(crate) fn if_else(self, stay: bool, other: Self) -> Self {
        let stay = usize::from(stay).wrapping_neg();
        let chosen = self.0.expose_provenance() & stay | other.0.expose_provenance() & !stay;
        Self(ptr::with_exposed_provenance_mut(chosen))
    }

    /// Returns a value for the same link that leads where `to` does. It keeps this link's LINKED
    /// bit.
    #[inline]
    pub(crate) fn led_to(self, to: Self) -> Self {
        Self(to.bare().0.map_addr(|a| a | self.0.addr() & LINKED))
    }

    /// Returns the address and NODE, without the bits that describe the link itself.
    fn bare(self) -> Self {
        Self(self.0.map_addr(|a| a & !(MARK | LINKED)))
    }

    fn with_mark(self) -> Self {
        Self(self.0.map_addr(|a| a | MARK))
    }
}

impl Next {
    /// Makes a cell that is not in the list yet: all zero.
    pub(crate) fn cell() -> Self {
        Self(AtomicPtr::new(Target::UNINIT.0))
    }

    /// Reads the pointer. Acquire: pairs with the Release of the CAS that put the pointer there, so
    /// the target is initialised. In a cell that was just linked, it pairs with the Release of
    /// [`set_linked`](Self::set_linked).
    #[inline]
    pub(crate) fn load(&self) -> Target {
        Target(self.0.load(weakened("next load", Ordering::Acquire)))
    }

    /// Sets the pointer of a link that is not in the list yet. Relaxed: the CAS that links it
    /// publishes it.
    #[inline]
    pub(crate) fn prepare(&self, to: Target) {
        self.0.store(to.bare().0, Ordering::Relaxed);
    }

    /// Changes the pointer from `from`, unmarked, to `to`, which links or unlinks. Returns false if
    /// the pointer was not `from` any more.
    #[inline]
    pub(crate) fn swing(&self, from: Target, to: Target) -> bool {
        self.change(from, from.led_to(to))
    }

    /// Changes the pointer without comparing it. Only mutants do this.
    pub(crate) fn force(&self, from: Target, to: Target) {
        self.0.store(from.led_to(to).0, Ordering::Relaxed);
    }

    /// Changes UNINIT to CLAIMED. Returns false if another thread was first.
    pub(crate) fn claim(&self) -> bool {
        let (uninit, claimed) = (Target::UNINIT.0, Target::CLAIMED.0);
        self.0.compare_exchange(uninit, claimed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Sets LINKED. The caller has claimed the cell and put it in the list.
    pub(crate) fn set_linked(&self) {
        // Release: publishes the pointer that `prepare` stored. Acquire: since the cell is in the
        // list, another thread's CAS may have changed the pointer, and this RMW passes on what that
        // CAS released.
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

    // Release: the new target was initialised before. Acquire: a loser goes on from what the winner
    // linked.
    #[inline]
    fn change(&self, from: Target, to: Target) -> bool {
        let strong = weakened("link release", Ordering::AcqRel);
        self.0.compare_exchange(from.0, to.0, strong, Ordering::Acquire).is_ok()
    }
}

/// The beginning of every node.
#[repr(C)]
pub(crate) struct Link {
    next: Next,
    /// The place in the split order, odd. Relaxed, because it is fixed before the node is in the
    /// list.
    order: AtomicU32,
    /// The node's reference count.
    refcount: AtomicU32,
}

impl Link {
    /// Makes the link of a node with this many references.
    #[inline]
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

    /// Returns the place of the count, without making a reference to the link.
    ///
    /// # Safety
    /// The link is alive.
    #[inline]
    pub(crate) unsafe fn refcount_of(this: NonNull<Self>) -> NonNull<AtomicU32> {
        // SAFETY: the link is alive, so the place lies within it and is not null.
        unsafe { NonNull::new_unchecked((&raw const (*this.as_ptr()).refcount).cast_mut()) }
    }

    #[inline]
    pub(crate) fn next(&self) -> &Next {
        &self.next
    }

    /// Returns whether this link is marked: its node is removed.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        self.next.load().marked()
    }

    /// Returns the same, for a caller that has just added a reference to the node. SeqCst, as the
    /// mark is: see `Node::inc_ref`.
    pub(crate) fn is_marked_by_now(&self) -> bool {
        Target(self.next.0.load(Ordering::SeqCst)).marked()
    }

    /// Marks this link. Returns false if another thread has marked it.
    #[inline]
    pub(crate) fn mark(&self) -> bool {
        self.mark_with(|next| next)
    }

    /// Marks this link, and in the same step puts `new` behind it, so the key is never absent.
    /// `new` must not be in the list. Its own pointer is set to the link that followed this one.
    /// Returns false if this link is marked already.
    #[inline]
    pub(crate) fn replace_by(&self, new: &Link, to_new: Target) -> bool {
        self.mark_with(|next| {
            new.next.prepare(next);
            to_new
        })
    }

    #[inline]
    fn mark_with(&self, mut target: impl FnMut(Target) -> Target) -> bool {
        loop {
            let next = self.next.load();
            if next.marked() && !mutant("marked twice") {
                return false;
            }
            // As `Next::change`. SeqCst: see `Node::inc_ref`.
            let (marked, strong) = (target(next).bare().with_mark(), weakened("link release", Ordering::SeqCst));
            if self.next.0.compare_exchange(next.0, marked.0, strong, Ordering::Acquire).is_ok() {
                return true;
            }
        }
    }
}
