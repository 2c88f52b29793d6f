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

use super::{Operation, Ptr, Shard};
use crate::flight::node::Node;
use crate::policy::Evictor;
use crate::sys::mutants::mutant;
use crate::sys::sync::{Ordering, fence};
use core::ptr::NonNull;

/// The number of entries from which prefetching pays. Fewer entries fit in the processor's caches
/// anyway (some 100 bytes each).
const LARGE: usize = 12 << 10;

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
        shard.policy.prefetch_insert(newcomer, self.budget(shard), follow);
    }

    /// Returns whether there are so many entries that prefetching pays.
    #[inline]
    pub(super) fn is_large(&self, shard: &Shard<K, V>) -> bool {
        // Never under loom: to it prefetching would only be some more loads in each insertion.
        let part = LARGE >> self.core.active_bits();
        !cfg!(loom) && self.core.entries_of(shard) >= part
    }

    /// Gives a stored node its slot: the slot of `old`, which it replaced, or a new one. The caller
    /// has taken the slot's reference.
    #[inline(always)]
    pub(super) fn assign_slot(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: Option<&Node<K, V>>) {
        let this = NonNull::from(node);
        match old.map(NonNull::from) {
            Some(old) if self.replace_slot(old, this) => self.evictor().recheck(node),
            _ => {
                shard.policy.admit(this, self.budget(shard), &self.evictor());
                self.core.note_stray(shard);
            }
        }
    }

    fn replace_slot(&self, old: Ptr<K, V>, new: Ptr<K, V>) -> bool {
        // SAFETY: the caller keeps `old` alive.
        let slot = unsafe { old.as_ref() }.cold().slot.load(Ordering::Relaxed);
        let taken = self.core.policy_of(slot).take_over(slot, old, new);
        if taken && !mutant("seat not checked") {
            // SAFETY: the slot owned this reference to `old`, and has given it to this caller. The
            // node is used only under this operation's pin.
            unsafe { self.release(old) };
        }
        taken || mutant("seat not checked")
    }

    /// Empties the slot of a node that was just marked.
    pub(super) fn clear_slot(&self, node: &Node<K, V>) {
        self.fence_slots();
        self.clear_cell(node);
    }

    pub(super) fn clear_cell(&self, node: &Node<K, V>) {
        let this = NonNull::from(node);
        // Read once: the number tells both the shard and the slot in it. Two reads might pair a
        // shard with a slot number of another shard.
        let slot = node.cold().slot.load(Ordering::Relaxed);
        if self.core.policy_of(slot).clear(slot, this) {
            // SAFETY: as in `replace_slot`.
            unsafe { self.release(this) };
        }
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
