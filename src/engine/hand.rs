//! Slots, and the hand that goes over them.
//!
//! Every stored entry sits in a slot of its shard's ring, and the slot owns a share of it. The hand takes entries in
//! the order of their storing; one that was used since gets another round, up to [`CHANCES`] times for one eviction,
//! then the next one goes as it is. An entry that is being refreshed is never taken.
//!
//! Seating and removing meet like this: who seats writes the slot number, fills the cell, and then looks at the mark;
//! who removes sets the mark, and then looks at the slot number and the cell. A fence in the middle of each makes one
//! of them see the other, so no slot keeps a removed node.

use super::{Core, Pressure, Ptr, RemovalCause, Scope, Shard};
use crate::flight::node::Node;
use crate::flight::word::{Closing, State};
use crate::policy::ring::Popped;
use crate::stats::Event;
use crate::sync::{Ordering, fence, mutant};
use core::ptr::NonNull;

/// Used entries that the hand passes over before it takes one in any case.
const CHANCES: usize = 8;
/// Slots that a push moves on while the ring is mostly holes.
const MOVES: usize = 2;

enum Step {
    Freed,
    Spared,
    Skipped,
    /// Passed over, and might go by now.
    Reopened,
    Empty,
}

impl<K, V> Scope<'_, K, V> {
    fn fence_slots(&self) {
        if !mutant("no slot fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Gives a stored node its slot: that of `old`, which it replaced, or a new one at the end of the ring.
    pub(super) fn seat(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: Option<&Node<K, V>>) {
        let this = NonNull::from(node);
        if !node.share() {
            return; // Removed already, and everybody has let go of it.
        }
        if old.is_none_or(|old| !self.take_seat(shard, this, old)) {
            shard.ring.push(this, |slot| node.slot.store(slot, Ordering::Relaxed));
        }
        self.settle(shard, node);
        self.compact(shard);
    }

    /// After the cell was filled: if the node was removed meanwhile, its remover may have looked too early.
    fn settle(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        self.fence_slots();
        if node.link().is_marked() {
            self.clear_cell(shard, node);
        }
    }

    fn take_seat(&self, shard: &Shard<K, V>, new: Ptr<K, V>, old: &Node<K, V>) -> bool {
        let slot = old.slot.load(Ordering::Relaxed);
        if slot == 0 {
            return false;
        }
        // SAFETY: the caller owns a share of `new`. Its slot is written before the ring can show it to anyone.
        unsafe { new.as_ref() }.slot.store(slot, Ordering::Relaxed);
        let old = NonNull::from(old);
        let taken = shard.ring.replace(slot, old, new);
        if mutant("seat not checked") {
            return true;
        }
        if taken {
            // SAFETY: the share was the slot's, and the slot has let go of it.
            unsafe { self.release(old) };
        }
        taken
    }

    /// Empties the slot of a node that was just marked.
    pub(super) fn unseat(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        self.fence_slots();
        self.clear_cell(shard, node);
    }

    fn clear_cell(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        let this = NonNull::from(node);
        if shard.ring.clear(node.slot.load(Ordering::Relaxed), this) {
            // SAFETY: as in `take_seat`.
            unsafe { self.release(this) };
        }
    }

    /// Keeps a ring that is mostly holes from growing: each push moves two slots from the head on.
    fn compact(&self, shard: &Shard<K, V>) {
        if cfg!(loom) || shard.ring.window() <= 2 * shard.entries.load(Ordering::Relaxed) + 64 {
            return;
        }
        for _ in 0..MOVES {
            match shard.ring.pop() {
                Popped::Entry(node) => self.reseat(shard, node),
                Popped::Hole => {}
                Popped::Empty => return,
            }
        }
    }

    /// Puts back at the end what the hand holds, with its share.
    fn reseat(&self, shard: &Shard<K, V>, held: Ptr<K, V>) {
        // SAFETY: the slot's share is ours until it is in a slot again; after that the pin covers the node.
        let node = unsafe { held.as_ref() };
        shard.ring.push(held, |slot| node.slot.store(slot, Ordering::Relaxed));
        self.settle(shard, node);
    }

    /// Evicts until the weight is within the capacity.
    ///
    /// The last caller to leave a slot filled looks at the weight afterwards, so however many add at once, it is within
    /// the capacity when all have returned. Entries that are being refreshed are passed over; their leader comes by
    /// here when it ends.
    pub(crate) fn make_room(&self, home: &Shard<K, V>) {
        while self.core.weight() > self.core.capacity() {
            let fullest = self.fullest(home);
            let others = self.core.shards.iter().map(|s| &s.0).filter(|s| !core::ptr::eq(*s, fullest));
            if !core::iter::once(fullest).chain(others).any(|shard| self.evict_one(shard)) {
                return;
            }
        }
    }

    /// [`Self::make_room`] for who lowered the capacity, or made an entry evictable again.
    ///
    /// Whoever adds weight passes a fence (in [`Self::settle`]) before the hand looks at the capacity and at entries;
    /// with the fence here one of the two sees the other.
    pub(crate) fn make_room_anew(&self, home: &Shard<K, V>) {
        if !mutant("no room fence") {
            fence(Ordering::SeqCst);
        }
        self.make_room(home);
    }

    /// The shard with the most entries; another one than `home` if they are equal, so that a heavy newcomer is not its
    /// own victim.
    fn fullest<'s>(&'s self, home: &'s Shard<K, V>) -> &'s Shard<K, V> {
        if self.core.shards.len() == 1 {
            return home;
        }
        let entries = |shard: &Shard<K, V>| shard.entries.load(Ordering::Relaxed);
        let other = |shard: &Shard<K, V>| !core::ptr::eq(shard, home);
        let shards = self.core.shards.iter().map(|s| &s.0);
        shards.max_by_key(|&shard| (entries(shard), other(shard))).unwrap_or(home)
    }

    /// Evicts one entry of a shard, unless a whole round finds none that may go.
    fn evict_one(&self, shard: &Shard<K, V>) -> bool {
        let mut chances = CHANCES;
        let round = if cfg!(loom) { 4 } else { shard.ring.window() + CHANCES };
        let mut steps = round;
        while steps > 0 {
            steps -= 1;
            match self.step(shard, chances > 0) {
                Step::Freed => return true,
                Step::Reopened => steps = round,
                Step::Spared => chances = chances.saturating_sub(1),
                Step::Skipped => {}
                Step::Empty => return false,
            }
        }
        false
    }

    fn step(&self, shard: &Shard<K, V>, merciful: bool) -> Step {
        let held = match shard.ring.pop() {
            Popped::Entry(held) => held,
            Popped::Hole => return Step::Skipped,
            Popped::Empty => return Step::Empty,
        };
        // SAFETY: the slot's share is ours now.
        let node = unsafe { held.as_ref() };
        let over = self.core.over(node);
        if node.link().is_marked() {
            // SAFETY: the slot's share.
            unsafe { self.release(held) };
            return Step::Skipped;
        }
        if !over && node.take_use() && merciful {
            self.reseat(shard, held);
            return Step::Spared;
        }
        if node.word.close() == Closing::Refused {
            self.reseat(shard, held);
            // If its refresh has ended meanwhile, the leader's own look for room missed it: it was in our hand. (The
            // fence in `settle` and the one in `make_room_anew`: the leader sees the slot, or we see the state.)
            let ready = matches!(node.word.load().state(), State::Ready) && !mutant("hand looks once");
            return if ready { Step::Reopened } else { Step::Skipped };
        }
        let cause = if over { RemovalCause::Expired } else { RemovalCause::Size };
        self.remove(shard, node, cause);
        // SAFETY: the slot's share.
        unsafe { self.release(held) };
        Step::Freed
    }

    /// Empties the ring of a cache that is being dropped.
    pub(super) fn clear_ring(&self, shard: &Shard<K, V>) {
        loop {
            match shard.ring.pop() {
                Popped::Entry(held) => {
                    // SAFETY: the slot's share. It is not the last one: the list has one, until its nodes are retired.
                    let last = unsafe { held.as_ref() }.unshare();
                    debug_assert!(!last, "a slot kept a removed node");
                }
                Popped::Hole => {}
                Popped::Empty => return,
            }
        }
    }

    /// Whether a value of this weight is kept at all.
    pub(crate) fn keeps(core: &Core<K, V>, weight: u32) -> bool {
        u64::from(weight) <= core.capacity() && core.pressure() == Pressure::Normal
    }

    /// Accounts for a stored value.
    pub(super) fn weigh_in(&self, shard: &Shard<K, V>, weight: u32) {
        self.core.weight.fetch_add(u64::from(weight), Ordering::Relaxed);
        shard.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes that back.
    pub(super) fn weigh_out(&self, shard: &Shard<K, V>, weight: u32) {
        self.core.weight.fetch_sub(u64::from(weight), Ordering::Relaxed);
        shard.entries.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count_removal(&self, cause: RemovalCause) {
        let event = match cause {
            RemovalCause::Explicit => Event::Invalidation,
            RemovalCause::Expired => Event::Expiration,
            RemovalCause::Size => Event::Eviction,
            RemovalCause::Replaced => return,
        };
        self.core.counters.count(event);
    }
}
