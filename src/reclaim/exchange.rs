//! How bags go between what a thread has for itself and the limbo: free ones come from the depot,
//! and filled ones are sealed.

use super::Retire;
use super::bag::{BAG, Bag};
use super::epoch::Pin;
use super::limbo::{Batch, Limbo, Upkeep};
use super::own::Own;
use crate::sys::sync::Ordering;
use alloc::boxed::Box;
use core::ptr::NonNull;

impl<T: Retire> Limbo<T> {
    /// Moves `value` to the memory of a node, with a cold pair that is all zero: for a caller with
    /// a pin, to memory from its thread's magazine, if there is any.
    #[inline]
    pub(crate) fn allocate(&self, pin: Option<&Pin>, value: T) -> NonNull<T> {
        let own = pin.and_then(|pin| self.own.of(pin));
        let place = match own.and_then(|own| own.magazine.take(&self.arena)) {
            // SAFETY: the node was free, and taken from the magazine, so it is this thread's alone.
            Some(node) => unsafe { self.arena.place_of(node) },
            None => self.place_shared(pin),
        };
        // SAFETY: the memory is this thread's alone, for a `T`, and aligned.
        unsafe { place.write(value) };
        place
    }

    /// Returns memory for a node of a thread whose magazine is empty, or that has none.
    #[inline(never)]
    fn place_shared(&self, pin: Option<&Pin>) -> NonNull<T> {
        match pin.and_then(|pin| self.own.of_or_make(pin, &self.arena)) {
            Some(own) => self.refill(own),
            None => self.arena.place(),
        }
    }

    /// Fills a thread's magazine, which has no more nodes to give, from the depot, or with nodes
    /// that were never used, and takes a node from it; or takes one from the free list.
    fn refill(&self, own: &Own<T>) -> NonNull<T> {
        let full = match self.own.depot.take() {
            Some(full) => full,
            None => match self.arena.place_freed() {
                Some(place) => return place,
                None => self.new_bag_of(self.arena.carve_many(BAG)),
            },
        };
        drop(own.magazine.fill(full));
        match own.magazine.take(&self.arena) {
            // SAFETY: as in `allocate`.
            Some(node) => unsafe { self.arena.place_of(node) },
            // (In a child of the process the bag may have been empty.)
            None => self.arena.place(),
        }
    }

    /// Makes a full bag of these nodes, of which the first is taken first.
    fn new_bag_of(&self, nodes: impl Iterator<Item = NonNull<T>>) -> Box<Bag<T>> {
        let bag = Box::new(Bag::new(self.graces.grace()));
        bag.items.iter().rev().zip(nodes).for_each(|(item, node)| item.store(node.as_ptr(), Ordering::Relaxed));
        bag
    }

    /// Puts a node, which owns nothing, in a new bag of the thread's own, and seals the full one.
    /// Returns the work that is due after the pin, or None if the thread has no memory of its own.
    pub(super) fn change_bags(&self, pin: &Pin, (node, weight): (NonNull<T>, u32), batch: Batch) -> Option<Upkeep> {
        let own = self.own.of_or_make(pin, &self.arena)?;
        let full = own.retired.exchange(Some(Box::new(Bag::new(self.graces.grace()))));
        let put = own.retired.put(node, weight);
        debug_assert!(put, "a new bag has room");
        let Some((full, content)) = full else { return Some(Upkeep::Nothing) };
        self.seal(pin, full, content);
        // The bag that threads share may hold errors (of failures that were kept), and so few that
        // it would not fill.
        self.seal_open(pin, |bag| bag.owns.load(Ordering::Relaxed));
        let owed = self.owed.load(Ordering::Relaxed) != 0;
        Some(self.usual(batch).max(if owed { Upkeep::Promptly } else { Upkeep::Nothing }))
    }

    /// Seals the bag of this thread, and those of threads that have ended, whose free nodes go to
    /// the free list.
    pub(super) fn seal_own(&self, pin: &Pin) {
        let seal = |own: &Own<T>| {
            if let Some((bag, content)) = own.retired.exchange(None) {
                self.seal(pin, bag, content);
            }
        };
        self.own.of(pin).into_iter().for_each(seal);
        for (number, own) in self.own.cells.0.numbered() {
            if own.retired.content().nodes() > 0 || own.magazine.holds_any() {
                self.epoch.adopt(number, || {
                    seal(own);
                    let (mut freed, free) = (self.arena.freed(), || own.magazine.take(&self.arena));
                    // SAFETY: the nodes are of this arena and free, and taken once.
                    core::iter::from_fn(free).for_each(|node| unsafe { freed.add(node) });
                });
            }
        }
    }
}
