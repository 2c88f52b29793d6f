//! Slots: each stored entry is in a slot of one of its shard's rings. The slot owns a reference to
//! the entry.
//!
//! A caller that assigns a slot and a remover that clears it may meet.
//!
//! * The assigning caller writes the slot number into the node, fills the slot, passes a fence, and
//!   then looks at the mark.
//! * The remover sets the mark, passes a fence, and then looks at the slot number and the slot.
//!
//! The two fences make one of the two see the other. So no slot keeps a removed node. The hand need
//! not look for an entry that it holds: the entry is in no slot, and no other caller can put it in
//! one.

use super::{Operation, Shard};
use crate::flight::node::Node;
use crate::policy::{Budget, Which};
use crate::sys::mutants::mutant;
use crate::sys::sync::{Ordering, fence};
use core::ptr::NonNull;

impl<K, V> Operation<'_, K, V> {
    pub(super) fn fence_slots(&self) {
        if !mutant("no slot fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Prefetches the memory that is needed to store a newcomer, and to evict another entry for it.
    #[inline]
    pub(super) fn prefetch_insert(&self, shard: &Shard<K, V>, newcomer: u32) {
        let follow = |node: &Node<K, V>, step| self.core.table.prefetch(self.pin(), node.link().order(), step);
        shard.policy.prefetch_insert((newcomer, self.pin().number()), self.budget(shard), follow);
    }

    /// Returns whether there are so many entries that prefetching pays, by the size of the table.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        // Never under loom: to it prefetching would only be some more loads in each insertion.
        !cfg!(loom) && self.core.table.buckets.is_large()
    }

    /// Gives a stored node a slot. The caller has taken the slot's reference.
    pub(super) fn assign_slot(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        let budget = self.budget(shard);
        let ring = shard.policy.choose(node.link().order(), budget, || self.evictor());
        self.admit(shard, node, ring, budget);
    }

    /// Gives a stored node the slot of `old`, which it replaced, or a new one. The caller has taken
    /// the slot's reference. `old`, which is marked, is in no slot afterwards. Returns how many
    /// references to it the caller has got.
    #[must_use]
    pub(super) fn inherit_slot(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: &Node<K, V>) -> u32 {
        let slot = old.cold().slot.load(Ordering::Relaxed);
        let taken = self.core.policy_of(slot).take_over(slot, NonNull::from(old), NonNull::from(node));
        if taken || mutant("seat not checked") {
            self.recheck_slot(node);
            return u32::from(taken && !mutant("seat not checked"));
        }
        self.assign_slot(shard, node);
        // A hand may have moved `old` meanwhile, or holds it.
        self.clear_slot(old)
    }

    /// Gives a newcomer a slot in the ring that was chosen for it. The caller has taken the slot's
    /// reference.
    #[inline]
    pub(super) fn admit(&self, shard: &Shard<K, V>, node: &Node<K, V>, ring: Which, budget: Budget) {
        shard.policy.admit(ring, NonNull::from(node), budget, self);
        self.core.note_stray(shard);
    }

    /// Looks again at an entry that was just put in a slot. If the entry was removed meanwhile, its
    /// remover may have looked at the slot too early.
    #[inline]
    pub(super) fn recheck_slot(&self, node: &Node<K, V>) {
        self.fence_slots();
        if node.link().is_marked() && self.clear_cell(node) {
            // SAFETY: the slot owned this reference, and has given it to this caller. The node is
            // used only under this operation's pin.
            unsafe { self.release(NonNull::from(node)) };
        }
    }

    /// Empties the slot of a node that was just marked. Returns how many references to the node the
    /// caller has got: the slot's, if the node was in it.
    #[must_use]
    pub(super) fn clear_slot(&self, node: &Node<K, V>) -> u32 {
        self.fence_slots();
        u32::from(self.clear_cell(node))
    }

    /// Returns whether the caller has got the slot's reference.
    fn clear_cell(&self, node: &Node<K, V>) -> bool {
        // Read once: the number tells both the shard and the slot in it. Two reads might pair a
        // shard with a slot number of another shard.
        let slot = node.cold().slot.load(Ordering::Relaxed);
        self.core.policy_of(slot).clear(slot, NonNull::from(node))
    }

    /// Empties the rings of a cache that is being dropped.
    pub(super) fn clear_rings(&self, shard: &Shard<K, V>) {
        while let Some(held) = shard.policy.drain() {
            // SAFETY: the slot owned this reference. It is not the last one: the list owns one
            // until its nodes are retired.
            let last = unsafe { Node::dec_ref(held, 1) };
            debug_assert!(!last, "a slot kept a removed node");
        }
    }
}
