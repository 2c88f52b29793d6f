//! The total weight of a cache, and its number of entries.
//!
//! Without a weigher each entry weighs one, so the weight is the number. Only a cache with a
//! weigher counts the entries, too, shard by shard.

use super::rejected::RejectionCause;
use super::{Core, Operation, Pressure, Shard};
use crate::flight::node::Node;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;

/// The change of the total weight by a newcomer, and by the entry that it replaces, or that was
/// [displaced](Displaced) for it.
///
/// An increase is added before the newcomer can be found, so that no remover subtracts it first. A
/// decrease is subtracted after the newcomer is in place. So no caller ever sees the sum of both
/// weights and evicts for it.
#[must_use]
pub(super) struct WeightDelta {
    new: u64,
    /// The weight that counted before: that of the replaced entry, or of the displaced one.
    counted: u64,
    /// The weight of the replaced entry; 0: there is none that counts.
    pub(super) old: u32,
}

impl WeightDelta {
    fn increase(&self) -> u64 {
        self.new.saturating_sub(self.counted)
    }

    fn decrease(&self) -> u64 {
        self.counted.saturating_sub(self.new)
    }
}

/// The weight of an entry that was evicted for a newcomer that is not stored yet. It still counts,
/// until the newcomer's takes its place: [`Operation::reserve_weight`]. (An entry of the same
/// weight changes the total, which all threads share, by no write at all.)
#[must_use]
pub(super) struct Displaced(u64);

impl Displaced {
    pub(super) const NOTHING: Self = Self(0);

    pub(super) fn of(weight: u64) -> Self {
        Self(weight)
    }

    pub(super) fn is_any(&self) -> bool {
        self.0 != 0
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Returns why a value of this weight is not kept, or `None` if it is.
    #[inline]
    pub(crate) fn rejects(core: &Core<K, V>, weight: u32) -> Option<RejectionCause> {
        match u64::from(weight) <= core.capacity() {
            false => Some(RejectionCause::TooHeavy),
            true if core.pressure() == Pressure::Normal => None,
            true => Some(RejectionCause::RetiredMemory),
        }
    }

    /// Accounts for a value that is about to be stored, in the place of `old` or of nothing.
    #[inline]
    pub(super) fn reserve_weight(
        &self,
        shard: &Shard<K, V>,
        new: u32,
        old: Option<&Node<K, V>>,
        displaced: Displaced,
    ) -> WeightDelta {
        // If `old` is a flight, its publisher will add its weight, and the winner of its mark
        // subtract it. If `old` has a value, or a kept failure, it keeps that, and its weight is
        // fixed until it is marked; the newcomer's CAS tells whether it was.
        let old = old.filter(|old| old.word.load().weighs()).map_or(0, Node::stored_weight);
        let weighed = WeightDelta { new: new.into(), counted: u64::from(old) + displaced.0, old };
        let increase = weighed.increase();
        if increase != 0 {
            self.core.weight.fetch_add(increase, Ordering::Relaxed);
        }
        if old == 0 {
            self.count_entries(shard, 1);
        }
        weighed
    }

    /// Subtracts the weight of a displaced entry: there is no newcomer to take its place.
    pub(super) fn release_displaced(&self, displaced: Displaced) {
        if !mutant("displaced weight kept") {
            self.subtract_weight(displaced.0);
        }
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
        // The replaced entry still counts. A displaced one is gone.
        let displaced = if mutant("displaced weight kept") { weighed.counted } else { weighed.old.into() };
        self.subtract_weight(weighed.new.max(weighed.counted) - displaced);
        if weighed.old == 0 {
            self.count_entries(shard, -1);
        }
    }

    /// Subtracts the weight of a stored value that is removed.
    pub(super) fn release_weight<'s>(&self, shard: impl FnOnce() -> &'s Shard<K, V>, weight: u32)
    where
        K: 's,
        V: 's,
    {
        self.subtract_weight(weight.into());
        self.count_out(shard);
    }

    /// Counts an entry out whose weight is dealt with elsewhere.
    #[inline(always)]
    pub(super) fn count_out<'s>(&self, shard: impl FnOnce() -> &'s Shard<K, V>)
    where
        K: 's,
        V: 's,
    {
        if self.core.counts_entries() {
            self.count_entries(shard(), -1);
        }
    }

    fn count_entries(&self, shard: &Shard<K, V>, change: isize) {
        if self.core.counts_entries() {
            shard.entries.fetch_add(change as usize, Ordering::Relaxed);
        }
    }
}
