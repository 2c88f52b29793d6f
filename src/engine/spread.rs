//! How many shards the keys are spread over.
//!
//! A cache is built with as many shards as its expected entries are worth. Where the entries become
//! fewer, a shard has room for so few that its rings are too short to tell which entries are used,
//! and the hit ratio falls. So keys are then spread over fewer shards, the *active* ones. Their
//! number is halved, again and again, while a shard has fewer than [`FEW`] entries. It is doubled
//! when a shard has more than [`MANY`], up to the number that was built. A caller that needs room
//! checks this.
//!
//! A slot's number tells the shard that the slot is in. So an entry whose key belongs to another
//! shard by now stays where it is, and a remover finds it there. An entry in a shard that is no
//! longer active is a *stray*. Each caller that needs room moves some strays to the shards of their
//! keys.
//!
//! In a cache with a weigher, an entry is *counted* in the shard that its key belongs to; ghosts
//! and sketch are sized by these counts. When the spread changes, the counts are moved. From then
//! on they are right only in sum. Without a weigher, an active shard's part of all entries takes
//! their place.
//!
//! All numbers here are Relaxed: whichever number of shards a caller goes by, it stores in a shard
//! that exists.

use super::{Core, Operation, Shard};
use crate::flight::node::Node;
use crate::policy::{Policy, home_of};
use crate::sys::sync::{
    Ordering, fence,
    untracked::{AtomicBool, AtomicU32},
};

/// Entries in a shard below which the number of shards is halved.
const FEW: usize = 2048;
/// Entries in a shard above which the number of shards is doubled.
const MANY: usize = 8192;
/// Strays that a caller moves for each entry that it evicts.
const TAKEN: usize = 8;

/// The number of active shards.
pub(super) struct Spread {
    /// As the exponent of a power of two.
    active: AtomicU32,
    /// Whether there may be entries in shards that are not active.
    strays: AtomicBool,
}

impl Spread {
    pub(super) fn over(shards: usize) -> Self {
        Self { active: AtomicU32::new(shards.trailing_zeros()), strays: AtomicBool::new(false) }
    }
}

impl<K, V> Shard<K, V> {
    pub(super) fn counted(&self) -> usize {
        let entries = self.entries.load(Ordering::Relaxed);
        if entries as isize > 0 { entries } else { 0 }
    }
}

impl<K, V> Core<K, V> {
    /// Returns whether the entries are counted apart from their weight.
    pub(super) fn counts_entries(&self) -> bool {
        self.config.weigher.is_some()
    }

    /// Returns the number of entries whose keys belong to a shard. Where these are not counted,
    /// returns the shard's part of all entries, as hashes spread them evenly.
    #[inline]
    pub(super) fn entries_of(&self, shard: &Shard<K, V>) -> usize {
        match self.counts_entries() {
            true => shard.counted(),
            // (Not the entries in the shard's slots: that number may be off for a while, and the
            // table and the ghosts would follow it.)
            false => self.entries() >> self.active_bits(),
        }
    }

    #[inline]
    pub(super) fn active_bits(&self) -> u32 {
        self.spread.active.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn active(&self) -> usize {
        1 << self.active_bits()
    }

    /// Returns whether all entries are in the one shard that is active.
    pub(super) fn one_shard(&self) -> bool {
        self.active() == 1 && !self.spread.strays.load(Ordering::Relaxed)
    }

    /// Returns the index of the shard that a slot is in, by the slot's number.
    pub(super) fn index_of(&self, slot: u32) -> usize {
        home_of(slot, self.shards.len().trailing_zeros())
    }

    pub(super) fn policy_of(&self, slot: u32) -> &Policy<Node<K, V>> {
        &self.shards[self.index_of(slot)].policy
    }

    /// Notes that an entry may have been put in a slot of this shard, or put back there by a hand
    /// that held it. The caller may not have known that the shard is no longer active.
    ///
    /// The fence in `Seats::recheck`, which the caller passes after it has filled the slot, and
    /// the fence in `take_strays` are partners. Either this caller sees that the shard is not
    /// active, or the caller that ends the search for strays sees the entry.
    pub(super) fn note_stray(&self, shard: &Shard<K, V>) {
        if shard.index >= self.active() {
            self.spread.strays.store(true, Ordering::Relaxed);
        }
    }

    /// Halves or doubles the number of active shards, and joins or halves their counts.
    fn spread_over(&self, active: usize, next: usize) {
        let spread = &self.spread;
        if spread
            .active
            .compare_exchange(active.trailing_zeros(), next.trailing_zeros(), Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        let (fewer, more) = (active.min(next), active.max(next));
        for (to, from) in self.shards[..fewer].iter().zip(&self.shards[fewer..more]) {
            let (giver, taker, given) = match next < active {
                true => (from, to, from.entries.load(Ordering::Relaxed)),
                false => (to, from, to.counted() / 2),
            };
            giver.entries.fetch_sub(given, Ordering::Relaxed);
            taker.entries.fetch_add(given, Ordering::Relaxed);
        }
        if next < active {
            spread.strays.store(true, Ordering::Relaxed);
        }
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Adapts the number of active shards to the number of entries, before an entry is evicted for
    /// a newcomer that belongs in `home`.
    #[inline]
    pub(super) fn respread(&self, home: &Shard<K, V>) {
        let (core, all) = (self.core, self.core.shards.len());
        if all == 1 {
            return;
        }
        let (active, entries) = (core.active(), core.entries_of(home));
        let few = entries < FEW && active > 1;
        if few || (entries > MANY && active < all) || core.spread.strays.load(Ordering::Relaxed) {
            self.respread_now(active);
        }
    }

    #[cold]
    fn respread_now(&self, active: usize) {
        let (core, entries) = (self.core, self.core.entries());
        if entries < FEW * active && active > 1 {
            core.spread_over(active, active / 2);
        } else if entries > MANY * active && active < core.shards.len() {
            core.spread_over(active, active * 2);
        }
        if core.spread.strays.load(Ordering::Relaxed) {
            self.take_strays();
        }
    }

    /// Moves some of the strays to the shards of their keys.
    ///
    /// While an entry is in this caller's hand, other callers that need room cannot find it. But
    /// this caller evicts afterwards, until there is room.
    fn take_strays(&self) {
        let core = self.core;
        let inactive = || core.shards[core.active()..].iter();
        let evictor = self.evictor();
        let mut left = TAKEN;
        for shard in inactive() {
            while left > 0 {
                let Some(given) = shard.policy.give(&evictor) else { break };
                // SAFETY: this caller owns the slot's reference.
                let order = unsafe { given.1.as_ref() }.link().order();
                core.shard_of_order(order).policy.receive(given, self);
                left -= 1;
            }
        }
        if left == TAKEN {
            core.spread.strays.store(false, Ordering::Relaxed);
            // Partner of the fence in `Seats::recheck`: see `note_stray`.
            fence(Ordering::SeqCst);
            if inactive().any(|shard| shard.policy.may_hold()) {
                core.spread.strays.store(true, Ordering::Relaxed);
            }
        }
    }
}
