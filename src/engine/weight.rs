//! The total weight of a cache, and its number of entries.
//!
//! Without a weigher each entry weighs one, so the weight is the number. Only a cache with a
//! weigher counts the entries, too, shard by shard.

use super::rejected::RejectionCause;
use super::{Core, Operation, Pressure, Shard};
use crate::flight::node::Node;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;

/// The change of the total weight by a newcomer, and by the entry that it replaces.
///
/// An increase is added before the newcomer can be found, so that no remover subtracts it first. A
/// decrease is subtracted after the newcomer is in place. So no caller ever sees the sum of both
/// weights and evicts for it.
#[must_use]
pub(super) struct WeightDelta {
    new: u32,
    /// The weight of the replaced entry, which is already counted.
    pub(super) old: u32,
}

impl WeightDelta {
    fn increase(&self) -> u64 {
        self.new.saturating_sub(self.old).into()
    }

    fn decrease(&self) -> u64 {
        self.old.saturating_sub(self.new).into()
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Returns why a value of this weight is not kept, or `None` if it is.
    pub(crate) fn rejects(core: &Core<K, V>, weight: u32) -> Option<RejectionCause> {
        match u64::from(weight) <= core.capacity() {
            false => Some(RejectionCause::TooHeavy),
            true if core.pressure() == Pressure::Normal => None,
            true => Some(RejectionCause::RetiredMemory),
        }
    }

    /// Accounts for a value that is about to be stored, in the place of `old` or of nothing.
    pub(super) fn reserve_weight(&self, shard: &Shard<K, V>, new: u32, old: Option<&Node<K, V>>) -> WeightDelta {
        // If `old` is a flight, its publisher will add its weight, and the winner of its mark
        // subtract it. If `old` has a value, or a kept failure, it keeps that, and its weight is
        // fixed until it is marked; the newcomer's CAS tells whether it was.
        let old = old.filter(|old| old.word.load().weighs()).map_or(0, Node::stored_weight);
        let weighed = WeightDelta { new, old };
        let increase = weighed.increase();
        if increase != 0 {
            self.core.weight.fetch_add(increase, Ordering::Relaxed);
        }
        if old == 0 {
            self.count_entries(shard, 1);
        }
        weighed
    }

    fn subtract_weight(&self, weight: u64) {
        // (No zero, which would take the line from other threads for nothing.)
        if weight != 0 {
            self.core.weight.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    /// Completes the change: the newcomer is in the place of the old entry.
    pub(super) fn commit_weight(&self, weighed: &WeightDelta) {
        self.subtract_weight(weighed.decrease());
    }

    /// Takes the change back: the newcomer was not stored.
    pub(super) fn undo_weight(&self, shard: &Shard<K, V>, weighed: &WeightDelta) {
        if mutant("weight not undone") {
            return;
        }
        self.subtract_weight(weighed.increase());
        if weighed.old == 0 {
            self.count_entries(shard, -1);
        }
    }

    /// Subtracts the weight of a stored value that is removed.
    pub(super) fn release_weight(&self, shard: &Shard<K, V>, weight: u32) {
        self.subtract_weight(weight.into());
        self.count_entries(shard, -1);
    }

    fn count_entries(&self, shard: &Shard<K, V>, change: isize) {
        if self.core.counts_entries() {
            shard.entries.fetch_add(change as usize, Ordering::Relaxed);
        }
    }
}
