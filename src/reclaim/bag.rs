//! A bag of retired nodes, and how its nodes are freed.

use super::epoch::Grace;
use super::freed::Freed;
use super::{Arena, Retire};
use crate::sys::mutants::{mutant, sized};
use crate::sys::stack::{Below, Linked};
use crate::sys::sync::{AtomicPtr, AtomicU64, Ordering, untracked};
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
    /// Whether some node here owns what must be dropped. Written as the pointers to the nodes are.
    pub(super) owns: untracked::AtomicBool,
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

    /// Returns so many nodes without weight.
    pub(super) const fn of_nodes(nodes: usize) -> Self {
        Self(nodes as u64 * NODE)
    }

    /// Adds a node of this weight.
    #[inline(always)]
    pub(super) fn and_node(self, weight: u64) -> Self {
        Self(self.0 + NODE + weight)
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
            owns: untracked::AtomicBool::new(false),
            items: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            grace,
            below: Below::nothing(),
        }
    }

    /// Returns the nodes, for a caller that owns the bag.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NonNull<T>> {
        let mut place = 0;
        core::iter::from_fn(move || {
            loop {
                let item = self.items.get(place)?;
                place += 1;
                if let Some(later) = self.items.get(place + AHEAD) {
                    Arena::prefetch_to_free(later.load(Ordering::Relaxed));
                }
                if let Some(node) = NonNull::new(item.load(Ordering::Relaxed)) {
                    return Some(node);
                }
            }
        })
    }

    /// Takes the next place for a node of this weight. Returns it, and the content with that node,
    /// or None if no place is left.
    ///
    /// A retirer that comes too late leaves its trace in `taken`, and sees to it then that the bag
    /// is not the open one. Each thread does so once at most for each bag, and there is room for
    /// 65,000 of them.
    #[inline(always)]
    pub(super) fn take_place(&self, weight: u64) -> Option<(&AtomicPtr<T>, Content)> {
        let before = if mutant("torn bag") {
            let before = self.taken.load(Ordering::Relaxed);
            self.taken.store(Content(before).and_node(weight).0, Ordering::Relaxed);
            before
        } else {
            // AcqRel: the sealer comes after all that the other retirers did to unlink their nodes.
            self.taken.fetch_add(NODE + weight, Ordering::AcqRel)
        };
        Some((self.items.get(Content(before).nodes())?, Content(before).and_node(weight)))
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
