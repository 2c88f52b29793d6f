//! What a thread has for itself: a [`magazine`](super::magazine) of free nodes, and an open bag for
//! nodes that own nothing.
//!
//! So a full cache of plain keys and values allocates and retires by plain loads and stores, on
//! cache lines that no other thread uses. What a thread keeps is memory only: a bag of its own
//! holds no node whose key, value or error has to be dropped, and a cache with a weigher has none
//! (so that the weight that waits is known).
//!
//! A thread has these if the cache has carved many nodes for each thread (`NODES_PER_THREAD`).
//! Others use the arena's free list and the one open bag that all threads share.

use super::arena::Arena;
use super::bag::{BAG, Bag, Content};
use super::cells::Cells;
use super::depot::Depot;
use super::epoch::{CELLS, Pin};
use super::magazine::Magazine;
use crate::sys::sync::{AtomicPtr, AtomicU64, CachePadded, Ordering};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// A thread has memory of its own if the cache has carved this many nodes for it and for each
/// registration with a lower number. So magazines hold at most a quarter of all nodes that were
/// carved, as do the threads' open bags, and the depot holds 16 bags at most.
const NODES_PER_THREAD: usize = 4 * BAG;

/// What the threads of a cache have for themselves, and the full bags that wait for one of them.
pub(super) struct Owned<T> {
    pub(super) depot: Depot<Bag<T>>,
    pub(super) cells: CachePadded<Cells<Own<T>>>,
}

/// What one thread has.
pub(super) struct Own<T> {
    pub(super) magazine: Magazine<T>,
    pub(super) retired: OpenBag<T>,
}

impl<T> Own<T> {
    fn new() -> Self {
        Self { magazine: Magazine::new(), retired: OpenBag::new() }
    }
}

impl<T> Owned<T> {
    pub(super) fn new() -> Self {
        Self { depot: Depot::new(), cells: CachePadded(Cells::new()) }
    }

    /// Returns the number of threads that may have memory of their own.
    #[allow(clippy::unnecessary_min_or_max, reason = "back ends differ in CELLS")]
    fn threads(arena: &Arena<T>) -> usize {
        if Arena::<T>::SINGLE { 0 } else { (arena.carved() / NODES_PER_THREAD).min(CELLS) }
    }

    /// Keeps a bag of free nodes, which is ripe, or gives it back.
    pub(super) fn keep(&self, bag: Box<Bag<T>>, arena: &Arena<T>) -> Result<(), Box<Bag<T>>> {
        match bag.held.nodes.load(Ordering::Relaxed) {
            BAG => self.depot.put(bag, Self::threads(arena)),
            _ => Err(bag),
        }
    }

    /// Returns what the thread that holds this pin has, if it has anything yet.
    #[inline(always)]
    pub(super) fn of<'o>(&'o self, pin: &'o Pin) -> Option<&'o Own<T>> {
        self.cells.0.own(pin)
    }

    /// Returns what the thread that holds this pin has, or makes it, if it may have anything.
    #[cold]
    #[inline(never)]
    pub(super) fn of_or_make<'o>(&'o self, pin: &'o Pin, arena: &Arena<T>) -> Option<&'o Own<T>> {
        self.cells.0.own_or_make(pin, Self::threads(arena), Own::new)
    }

    /// Puts a node, which owns nothing, in the thread's own bag. Returns false if that is full, or
    /// if there is none.
    #[inline(always)]
    pub(super) fn retire(&self, pin: &Pin, node: NonNull<T>, weight: u32) -> bool {
        self.of(pin).is_some_and(|own| own.retired.put(node, weight))
    }

    /// Returns the number of nodes in the threads' open bags, and their weight.
    pub(super) fn retired(&self) -> (usize, u64) {
        let contents = self.cells.0.iter().map(|own| own.retired.content());
        contents.fold((0, 0), |(nodes, weight), content| (nodes + content.nodes(), weight + content.weight()))
    }
}

/// The bag that a thread retires into. Only the thread uses it, so all is Relaxed unless stated
/// otherwise.
pub(super) struct OpenBag<T> {
    bag: AtomicPtr<Bag<T>>,
    /// What is in the bag, as a [`Content`]. [`FULL`](Self::FULL) if there is none.
    taken: AtomicU64,
}

impl<T> OpenBag<T> {
    const FULL: Content = Content::of_nodes(BAG);

    fn new() -> Self {
        Self { bag: AtomicPtr::new(ptr::null_mut()), taken: AtomicU64::new(Self::FULL.0) }
    }

    /// Puts a node of this weight in the bag. Returns false if the bag is full, or there is none.
    #[inline(always)]
    pub(super) fn put(&self, node: NonNull<T>, weight: u32) -> bool {
        let taken = Content(self.taken.load(Ordering::Relaxed));
        let place = taken.nodes();
        if place >= BAG {
            return false;
        }
        // SAFETY: the bag is not full, so there is one, which is this thread's.
        let items = unsafe { &(*self.bag.load(Ordering::Relaxed)).items };
        items[place].store(node.as_ptr(), Ordering::Relaxed);
        // Release: a child of the process that finds the number finds the node.
        self.taken.store(taken.and_node(weight.into()).0, Ordering::Release);
        true
    }

    /// Takes the bag with its content, if there is one, and leaves an empty one instead, or none.
    ///
    /// A child of the process that finds not all of the stores finds a bag that seems full, in
    /// which places are empty. (Release, because the other processors see the stores in their order
    /// then.)
    pub(super) fn exchange(&self, empty: Option<Box<Bag<T>>>) -> Option<(NonNull<Bag<T>>, Content)> {
        let bag = NonNull::new(self.bag.load(Ordering::Relaxed));
        let taken = Content(self.taken.load(Ordering::Relaxed));
        self.taken.store(Self::FULL.0, Ordering::Release);
        if let Some(empty) = empty {
            self.bag.store(Box::into_raw(empty), Ordering::Release);
            self.taken.store(0, Ordering::Release);
        } else {
            self.bag.store(ptr::null_mut(), Ordering::Release);
        }
        Some((bag?, taken))
    }

    /// Returns what is in the bag. Called by any thread. The number may be off by a bag while the
    /// owner changes bags.
    pub(super) fn content(&self) -> Content {
        match self.bag.load(Ordering::Relaxed).is_null() {
            true => Content(0),
            false => Content(self.taken.load(Ordering::Relaxed)),
        }
    }
}

impl<T> Drop for OpenBag<T> {
    fn drop(&mut self) {
        // The nodes own nothing, and their memory is the arena's.
        if let Some((bag, _)) = self.exchange(None) {
            // SAFETY: bags are made in boxes, and this one is the thread's alone.
            drop(unsafe { Box::from_raw(bag.as_ptr()) });
        }
    }
}
