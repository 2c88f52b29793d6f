//! Free nodes of one thread: a full bag whose nodes have been disposed of, and are taken one by
//! one.
//!
//! A full bag that is ripe goes to the [`depot`](super::depot) as it is, once its nodes are
//! disposed of. A thread that allocates takes a bag from there as its *magazine*, and then takes
//! the bag's nodes by plain loads and stores. The nodes are not linked, and not even touched, until
//! they are used again. (Bonwick and Adams, *Magazines and Vmem: Extending the Slab Allocator to
//! Many CPUs and Arbitrary Resources*, USENIX 2001, section 3.)
//!
//! A bag is ripe when it comes here, so no slow retirer has its address any more. From then on it
//! has one owner: the depot, or a magazine. It is emptied once, and its memory then goes to the
//! global allocator.

use super::arena::Arena;
use super::bag::{BAG, Bag};
use crate::sys::sync::{AtomicPtr, AtomicUsize, Ordering};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// A thread's bag of free nodes. Only the thread uses it, so all is Relaxed unless stated
/// otherwise.
pub(super) struct Magazine<T> {
    bag: AtomicPtr<Bag<T>>,
    /// The number of nodes that are left: those at the first places of the bag.
    left: AtomicUsize,
}

impl<T> Magazine<T> {
    pub(super) fn new() -> Self {
        Self { bag: AtomicPtr::new(ptr::null_mut()), left: AtomicUsize::new(0) }
    }

    /// Takes a node.
    ///
    /// In a child of the process another thread may own this by now, and finds it as it was at some
    /// point. A node that was used there was published by a Release after `left` was stored.
    #[inline(always)]
    pub(super) fn take(&self, arena: &Arena<T>) -> Option<NonNull<T>> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(1)?;
        // SAFETY: nodes are left, so there is a bag, which is this thread's.
        let items = unsafe { &(*self.bag.load(Ordering::Relaxed)).items };
        self.left.store(left, Ordering::Relaxed);
        // The next allocation will need this node. (If none is left, another one does no harm.)
        arena.prefetch_to_use(items[left.wrapping_sub(1) % BAG].load(Ordering::Relaxed));
        // (In a child of the process, a retirer of the parent may never have written its pointer.
        // Then the caller has another bag, as if there were no more nodes in this one.)
        NonNull::new(items[left % BAG].load(Ordering::Relaxed))
    }

    /// Returns whether nodes are left. Called by any thread.
    pub(super) fn holds_any(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Fills the empty magazine with a full bag. Returns the empty one.
    /// (In a child of the process, nodes may be left, which are then lost.)
    ///
    /// A child of the process that finds not all of the stores finds an empty magazine, with either
    /// bag. (Release, because the other processors see the stores in their order then.)
    pub(super) fn fill(&self, full: Box<Bag<T>>) -> Option<Box<Bag<T>>> {
        let empty = NonNull::new(self.bag.load(Ordering::Relaxed));
        self.bag.store(Box::into_raw(full), Ordering::Release);
        self.left.store(BAG, Ordering::Release);
        // SAFETY: it came from `Box::into_raw` above, and is not the magazine's any more.
        empty.map(|empty| unsafe { Box::from_raw(empty.as_ptr()) })
    }
}

impl<T> Drop for Magazine<T> {
    fn drop(&mut self) {
        if let Some(bag) = NonNull::new(self.bag.load(Ordering::Relaxed)) {
            // SAFETY: it came from `Box::into_raw` in `fill`, and is this magazine's alone.
            drop(unsafe { Box::from_raw(bag.as_ptr()) });
        }
    }
}
