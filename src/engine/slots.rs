//! Slots: every stored entry sits in one of its shard's rings, and the slot owns a share of it.
//!
//! Seating and removing meet like this: who seats writes the slot number, fills the cell, and then looks at the mark;
//! who removes sets the mark, and then looks at the slot number and the cell. A fence in the middle of each makes one
//! of them see the other, so no slot keeps a removed node. (The hand itself need not look for what it holds: that is in no
//! slot, and nobody else can put it in one.)

use super::{Operation, Ptr, Shard};
use crate::flight::node::Node;
use crate::policy::Evictor;
use crate::sys::mutants::mutant;
use crate::sys::sync::{Ordering, fence};
use core::ptr::NonNull;

/// Fewer entries than these are in the processor's caches anyway: a thousand of them are some 100 KB.
const LARGE: usize = 12 << 10;

impl<K, V> Operation<'_, K, V> {
    pub(super) fn fence_slots(&self) {
        if !mutant("no slot fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Has what it will take to store a newcomer fetched, and what to evict another for it.
    #[inline]
    pub(super) fn prefetch_insert(&self, shard: &Shard<K, V>, newcomer: u32) {
        let follow = |node: &Node<K, V>, step| self.core.table.prefetch(self.pin(), node.link().order(), step);
        shard.policy.prefetch_insert(newcomer, self.room(shard), follow);
    }

    /// Whether there are so many entries that it pays to fetch some before they are needed.
    #[inline]
    pub(super) fn is_large(&self, shard: &Shard<K, V>) -> bool {
        // (To loom it would be some loads more for each insertion, and nothing else.)
        let part = LARGE >> self.core.active_bits();
        !cfg!(loom) && shard.entries() >= part
    }

    /// Gives a stored node its slot, with the share that the caller has taken for it: that of `old`, which it replaced, or a
    /// new one.
    #[inline(always)]
    pub(super) fn assign_slot(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: Option<&Node<K, V>>) {
        let this = NonNull::from(node);
        match old.map(NonNull::from) {
            Some(old) if self.replace_slot(old, this) => self.evictor().recheck(node),
            _ => {
                shard.policy.admit(this, self.room(shard), &self.evictor());
                self.core.note_stray(shard);
            }
        }
    }

    fn replace_slot(&self, old: Ptr<K, V>, new: Ptr<K, V>) -> bool {
        // SAFETY: the caller keeps it alive.
        let slot = unsafe { old.as_ref() }.cold().slot.load(Ordering::Relaxed);
        let taken = self.core.policy_of(slot).take_over(slot, old, new);
        if taken && !mutant("seat not checked") {
            // SAFETY: the share was the slot's, and the slot has let go of it.
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
        // Read once: the number says which shard's slot it is, and one of another shard would lead to nobody's.
        let slot = node.cold().slot.load(Ordering::Relaxed);
        if self.core.policy_of(slot).clear(slot, this) {
            // SAFETY: as in `take_seat`.
            unsafe { self.release(this) };
        }
    }

    /// Empties the rings of a cache that is being dropped.
    pub(super) fn clear_rings(&self, shard: &Shard<K, V>) {
        while let Some(held) = shard.policy.drain() {
            // SAFETY: the slot's share. It is not the last one: the list has one, until its nodes are retired.
            let last = unsafe { Node::dec_ref(held, 1) };
            debug_assert!(!last, "a slot kept a removed node");
        }
    }
}
