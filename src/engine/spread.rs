//! Over how many shards the keys are spread.
//!
//! A cache is built with as many shards as its entries are worth. Where these become fewer, a shard
//! with room for a few has rings too short to tell anything by, and the cache's hits get fewer. So
//! keys are spread over fewer shards then, the *active* ones: half as many, again and again, while
//! a shard has fewer than [`FEW`] entries; and over twice as many when it has more than [`MANY`],
//! up to those that were built. That is looked at when room is needed.
//!
//! What shard an entry's slot is in, the slot's number says. So entries of keys that belong to
//! another shard by now stay where they are, and whoever removes them finds them. Those in a shard
//! that is no longer active are *strays*: each caller that needs room takes some of them to the
//! shard of their keys. Entries are *counted*, to size what is sized by them, in the shard that
//! their keys belong to; when that changes, so do the counts, which are only right in sum from then
//! on.
//!
//! All numbers here are Relaxed: whatever number of shards a caller goes by, it stores in one that
//! exists.

use super::{Core, Operation, Shard};
use crate::flight::node::Node;
use crate::policy::{Policy, home_of};
use crate::sys::sync::{
    Ordering, fence,
    untracked::{AtomicBool, AtomicU32},
};

/// Fewer entries than these in a shard, and there are half as many shards.
const FEW: usize = 2048;
/// More than these, and there are twice as many.
const MANY: usize = 8192;
/// Strays that a caller takes along for each entry that it evicts.
const TAKEN: usize = 8;

/// How many of the shards are active.
pub(super) struct Spread {
    /// As a power of two.
    active: AtomicU32,
    /// Whether there may be entries in shards that are not.
    strays: AtomicBool,
}

impl Spread {
    pub(super) fn over(shards: usize) -> Self {
        Self { active: AtomicU32::new(shards.trailing_zeros()), strays: AtomicBool::new(false) }
    }
}

impl<K, V> Shard<K, V> {
    pub(super) fn entries(&self) -> usize {
        let entries = self.entries.load(Ordering::Relaxed);
        if entries as isize > 0 { entries } else { 0 }
    }
}

impl<K, V> Core<K, V> {
    #[inline]
    pub(super) fn active_bits(&self) -> u32 {
        self.spread.active.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn active(&self) -> usize {
        1 << self.active_bits()
    }

    /// Whether all entries are in the one shard that is active.
    pub(super) fn one_shard(&self) -> bool {
        self.active() == 1 && !self.spread.strays.load(Ordering::Relaxed)
    }

    /// Which shard a slot is in, by its number.
    pub(super) fn index_of(&self, slot: u32) -> usize {
        home_of(slot, self.shards.len().trailing_zeros())
    }

    pub(super) fn policy_of(&self, slot: u32) -> &Policy<Node<K, V>> {
        &self.shards[self.index_of(slot)].policy
    }

    /// An entry was put in a slot of this shard, by a caller that may not have known that it is no
    /// longer active.
    ///
    /// The fence in `settle` and the one in `take_strays`: either this caller sees that, or who
    /// ends the search for strays sees the entry.
    pub(super) fn note_stray(&self, shard: &Shard<K, V>) {
        if shard.index >= self.active() {
            self.spread.strays.store(true, Ordering::Relaxed);
        }
    }

    /// Half as many, or twice as many, of the shards are active from now on, and their counts are
    /// put together or halved.
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
                false => (to, from, to.entries() / 2),
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
    /// Before an entry is evicted for one that belongs in `home`: has the keys spread over as many
    /// shards as there should be.
    #[inline]
    pub(super) fn respread(&self, home: &Shard<K, V>) {
        let (core, all) = (self.core, self.core.shards.len());
        if all == 1 {
            return;
        }
        let (active, entries) = (core.active(), home.entries());
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

    /// Takes some of the strays to the shards of their keys.
    ///
    /// While one is in this caller's hand others look for room in vain; but this caller does so
    /// after it, until there is.
    fn take_strays(&self) {
        let core = self.core;
        let inactive = || core.shards[core.active()..].iter();
        let seats = self.evictor();
        let mut left = TAKEN;
        for shard in inactive() {
            while left > 0 {
                let Some(given) = shard.policy.give(&seats) else { break };
                // SAFETY: its slot's share is ours.
                let order = unsafe { given.1.as_ref() }.link().order();
                core.shard_of_order(order).policy.receive(given, &seats);
                left -= 1;
            }
        }
        if left == TAKEN {
            core.spread.strays.store(false, Ordering::Relaxed);
            // See `note_stray`.
            fence(Ordering::SeqCst);
            if inactive().any(|shard| shard.policy.total() != 0) {
                core.spread.strays.store(true, Ordering::Relaxed);
            }
        }
    }
}
