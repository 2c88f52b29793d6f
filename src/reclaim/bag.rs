//! A bag of retired nodes, and how it is freed.

use super::arena::Freed;
use super::epoch::Grace;
use super::{Arena, Retire};
use crate::sys::mutants::{mutant, sized};
use crate::sys::stack::{Below, Chain, Linked};
use crate::sys::sync::{AtomicPtr, AtomicU64, Ordering, untracked};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// The nodes in a bag.
pub(super) const BAG: usize = sized(64, 2, 2);
/// One node, in the units of [`Content`]. The bits below hold the weight, which 2¹⁶ nodes of the
/// greatest weight do not exceed.
const NODE: u64 = 1 << 48;
/// The prefetch distance: while one node is freed, the node this many places later is fetched.
const AHEAD: usize = 4;

/// A bag. The life of a bag is described in [`limbo`](super::limbo).
pub(super) struct Bag<T> {
    /// The places that are taken, as a [`Content`].
    pub(super) taken: AtomicU64,
    /// The bag's content, set as it is sealed.
    pub(super) held: Held,
    pub(super) items: [AtomicPtr<T>; BAG],
    pub(super) grace: Grace,
    below: Below,
}

/// The number of nodes in a bag, and their weight.
#[derive(Clone, Copy)]
pub(super) struct Content(pub(super) u64);

impl Content {
    pub(super) fn nodes(self) -> usize {
        (self.0 / NODE) as usize
    }

    pub(super) fn weight(self) -> u64 {
        self.0 % NODE
    }
}

/// The number of nodes, and their weight.
pub(super) struct Held {
    pub(super) nodes: untracked::AtomicUsize,
    pub(super) weight: untracked::AtomicU64,
}

impl Held {
    pub(super) fn nothing() -> Self {
        Self { nodes: untracked::AtomicUsize::new(0), weight: untracked::AtomicU64::new(0) }
    }
}

impl<T> Bag<T> {
    pub(super) fn new(grace: Grace) -> Self {
        Self {
            taken: AtomicU64::new(0),
            held: Held::nothing(),
            items: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            grace,
            below: Below::nothing(),
        }
    }

    /// Takes the next place for a node of this weight. Returns the content with that node, or None
    /// if no place is left.
    pub(super) fn take_place(&self, weight: u64) -> Option<Content> {
        let with = |before: u64| (Content(before).nodes() < BAG).then(|| before + NODE + weight);
        if mutant("torn bag") {
            let after = with(self.taken.load(Ordering::Relaxed))?;
            self.taken.store(after, Ordering::Relaxed);
            return Some(Content(after));
        }
        // AcqRel: the sealer comes after all that the other retirers did to unlink their nodes.
        let before = self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with).ok()?;
        Some(Content(before + NODE + weight))
    }

    /// Takes all places that are left. Returns the content, or None if no place was left.
    pub(super) fn take_rest(&self) -> Option<Content> {
        let full = |before| (Content(before).nodes() < BAG).then(|| BAG as u64 * NODE + Content(before).weight());
        // AcqRel: as in `take_place`.
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, full).ok().map(Content)
    }
}

impl<T> Linked for Bag<T> {
    fn below(&self) -> &Below {
        &self.below
    }
}

/// Frees bags, and subtracts their content from `held`. If a user's drop panics, the panic goes on
/// only after the rest has been freed.
///
/// # Safety
/// The bags came from `Box::into_raw`. They are ripe: no thread reads their nodes any more. The
/// nodes are from this arena.
pub(super) unsafe fn free<T: Retire>(bags: Chain<Bag<T>>, arena: &Arena<T>, held: &Held) {
    let mut freed = arena.freed();
    let mut bags = Emptying { bags, open: None, held };
    crate::sys::unwind::each(core::iter::from_fn(|| bags.next_node()), |node| {
        // SAFETY: by contract no thread reads the node any more, and it is taken out of the bag
        // once.
        unsafe { dispose(node, &mut freed) }
    });
}

/// Disposes of a node, and frees its memory even if the disposal panics.
///
/// # Safety
/// As for [`Retire::dispose`]. `node` came from the arena to which it is freed.
pub(super) unsafe fn dispose<T: Retire>(node: NonNull<T>, freed: &mut Freed<'_, T>) {
    struct Free<'f, 'a, T>(NonNull<T>, &'f mut Freed<'a, T>);
    impl<T> Drop for Free<'_, '_, T> {
        fn drop(&mut self) {
            // SAFETY: `dispose` made this, and its contract covers the call.
            unsafe { self.1.add(self.0) };
        }
    }
    let memory = Free(node, freed);
    // SAFETY: as for this function.
    unsafe { T::dispose(memory.0) };
}

/// An iterator over the nodes of bags, which frees the bags.
struct Emptying<'h, T> {
    bags: Chain<Bag<T>>,
    /// The bag in progress, and the place of its next node.
    open: Option<(NonNull<Bag<T>>, usize)>,
    held: &'h Held,
}

impl<T: Retire> Emptying<'_, T> {
    /// Returns the next node of the open bag, or of the bag after it. Frees each bag that has run
    /// empty.
    fn next_node(&mut self) -> Option<NonNull<T>> {
        loop {
            let (bag, mut place) = match self.open.take() {
                Some(open) => open,
                None => (self.bags.pop()?, 0),
            };
            // SAFETY: the bag was in the chain, which this owns, and it is freed no earlier than
            // below.
            let shared = unsafe { bag.as_ref() };
            while let Some(item) = shared.items.get(place) {
                place += 1;
                if let Some(later) = shared.items.get(place + AHEAD) {
                    Arena::prefetch_to_free(later.load(Ordering::Relaxed));
                }
                if let Some(node) = NonNull::new(item.load(Ordering::Relaxed)) {
                    self.open = Some((bag, place));
                    return Some(node);
                }
            }
            self.held.nodes.fetch_sub(shared.held.nodes.load(Ordering::Relaxed), Ordering::Relaxed);
            self.held.weight.fetch_sub(shared.held.weight.load(Ordering::Relaxed), Ordering::Relaxed);
            // SAFETY: by the contract of `free` it came from `Box::into_raw`. None of it is used
            // after this.
            drop(unsafe { Box::from_raw(bag.as_ptr()) });
        }
    }
}
