//! What the cache holds: the total weight, and the number of entries.

use super::rejected::RejectionCause;
use super::{Core, Operation, Pressure, Shard};
use crate::flight::node::Node;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;

/// What a newcomer adds to the total weight, beside what it replaces.
///
/// What it weighs more goes in before it can be found, so that nobody takes it out first; what it weighs less comes out
/// once it is there. So nobody ever sees both weights, and evicts for it.
#[must_use]
pub(super) struct WeightDelta {
    new: u32,
    /// What was there and already counted.
    pub(super) old: u32,
}

impl<K, V> Operation<'_, K, V> {
    /// Why a value of this weight is not kept at all; None: it is.
    pub(crate) fn rejects(core: &Core<K, V>, weight: u32) -> Option<RejectionCause> {
        match u64::from(weight) <= core.capacity() {
            false => Some(RejectionCause::TooHeavy),
            true if core.pressure() == Pressure::Normal => None,
            true => Some(RejectionCause::RetiredMemory),
        }
    }

    /// Accounts for a value that is about to be stored, in the place of `old` or of nothing.
    pub(super) fn reserve_weight(&self, shard: &Shard<K, V>, new: u32, old: Option<&Node<K, V>>) -> WeightDelta {
        // A flight's value will be counted by its publisher, and taken out with its mark. What is valued stays so, and
        // its weight is fixed while it is not marked: that it is not is what the newcomer's CAS tells.
        let old = old.filter(|old| old.word.load().weighs()).map_or(0, Node::stored_weight);
        self.core.weight.fetch_add(u64::from(new.saturating_sub(old)), Ordering::Relaxed);
        if old == 0 {
            shard.entries.fetch_add(1, Ordering::Relaxed);
        }
        WeightDelta { new, old }
    }

    /// The newcomer is in the place of what was there.
    pub(super) fn commit_weight(&self, weighed: &WeightDelta) {
        self.core.weight.fetch_sub(u64::from(weighed.old.saturating_sub(weighed.new)), Ordering::Relaxed);
    }

    /// It did not get there.
    pub(super) fn undo_weight(&self, shard: &Shard<K, V>, weighed: &WeightDelta) {
        if mutant("weight not undone") {
            return;
        }
        self.core.weight.fetch_sub(u64::from(weighed.new.saturating_sub(weighed.old)), Ordering::Relaxed);
        if weighed.old == 0 {
            shard.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A stored value is removed.
    pub(super) fn release_weight(&self, shard: &Shard<K, V>, weight: u32) {
        self.core.weight.fetch_sub(u64::from(weight), Ordering::Relaxed);
        shard.entries.fetch_sub(1, Ordering::Relaxed);
    }
}
