//! Slots, and the hand that goes over them: what the [`policy`](crate::policy) needs from the rest of the cache.
//!
//! Every stored entry sits in a slot of its shard's rings, and the slot owns a share of it. Which entry goes is the policy's
//! affair; an entry that is being refreshed never does.
//!
//! Seating and removing meet like this: who seats writes the slot number, fills the cell, and then looks at the mark;
//! who removes sets the mark, and then looks at the slot number and the cell. A fence in the middle of each makes one
//! of them see the other, so no slot keeps a removed node. (The hand itself need not look for what it holds: that is in no
//! slot, and nobody else can put it in one.)

use super::{Core, Pressure, Ptr, RemovalCause, Scope, Shard};
use crate::expiry::NEVER;
use crate::flight::node::Node;
use crate::flight::word::{Closing, State};
use crate::policy::{Keeper, Member, Room};
use crate::rejected::RejectionCause;
use crate::stats::Event;
use crate::sync::{AtomicU32, Ordering, fence, mutant};
use core::cell::Cell;
use core::ptr::NonNull;

/// Fewer entries than these are in the processor's caches anyway: a thousand of them are some 100 KB.
const LARGE: usize = 12 << 10;

impl<K, V> Member for Node<K, V> {
    fn hash(&self) -> u32 {
        self.link().order()
    }
    fn weight(&self) -> u32 {
        self.stored_weight()
    }
    fn uses(&self) -> u32 {
        Node::uses(self)
    }
    fn set_uses(&self, uses: u32) {
        Node::set_uses(self, uses);
    }
    fn slot(&self) -> &AtomicU32 {
        &self.cold().slot
    }
}

/// What a shard's policy may do with its entries, within an operation.
pub(super) struct Seats<'s, 'c, K, V> {
    scope: &'s Scope<'c, K, V>,
    newcomer: Option<&'s Newcomer<'s, K, V>>,
    /// Read before anything is taken if the clock is the user's, else when an entry asks for it.
    now: Cell<Option<u64>>,
}

impl<K, V> Keeper<Node<K, V>> for Seats<'_, '_, K, V> {
    fn removed(&self, node: &Node<K, V>) -> bool {
        node.link().is_marked()
    }

    fn any_expires(&self) -> bool {
        let core = self.scope.core;
        core.config.idle != NEVER || core.nodes().has_extras()
    }

    fn expired(&self, node: &Node<K, V>) -> bool {
        !node.hot().eternal() && self.scope.core.spent_at(node, self.now())
    }

    fn settle(&self, node: &Node<K, V>) {
        self.scope.fence_slots();
        if node.link().is_marked() {
            self.scope.clear_cell(node);
        }
    }

    fn release(&self, held: Ptr<K, V>) {
        // SAFETY: the slot's share is given to who takes an entry out of it, and by that to here.
        unsafe { self.scope.release(held) };
    }

    fn spared(&self, node: &Node<K, V>) -> Option<bool> {
        let newcomer = self.newcomer.filter(|newcomer| core::ptr::eq(newcomer.node, node))?;
        Some(newcomer.last.replace(true))
    }

    fn evict(&self, node: &Node<K, V>) -> bool {
        let over = !node.hot().eternal() && self.scope.core.over_at(node, self.now());
        let cause = if over { RemovalCause::Expired } else { RemovalCause::Size };
        // A failure is at its end already: nobody can refresh it, and the mark alone decides.
        if node.word.close() == Closing::Refused && !matches!(node.word.load().state(), State::Failed(_)) {
            return false;
        }
        self.scope.remove_held(node, cause);
        true
    }

    fn reopened(&self, node: &Node<K, V>) -> bool {
        // The fence in `settle` and the one in `make_room_anew`: the leader sees the slot, or we see the state.
        // (A failure takes the place of an entry before it is FAILED.)
        matches!(node.word.load().state(), State::Ready | State::Failed(_)) && !mutant("hand looks once")
    }
}

impl<K, V> Seats<'_, '_, K, V> {
    fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            // If the user's clock panics, nothing is over.
            let now = self.scope.ask(|| self.scope.core.config.time.now()).unwrap_or(0);
            self.now.set(Some(now));
            now
        })
    }
}

/// For whom room is made.
pub(crate) struct Newcomer<'n, K, V> {
    node: &'n Node<K, V>,
    /// Whether it was put at the end of its ring, and not where what it replaced had been.
    last: Cell<bool>,
}

impl<'n, K, V> Newcomer<'n, K, V> {
    pub(super) fn new(node: &'n Node<K, V>, replaces: bool) -> Self {
        Self { node, last: Cell::new(!replaces) }
    }

    fn weight(&self) -> u64 {
        self.node.stored_weight().into()
    }
}

/// What a newcomer adds to the total weight, beside what it replaces.
///
/// What it weighs more goes in before it can be found, so that nobody takes it out first; what it weighs less comes out
/// once it is there. So nobody ever sees both weights, and evicts for it.
#[must_use]
pub(super) struct Weighed {
    new: u32,
    /// What was there and already counted.
    pub(super) old: u32,
}

impl<K, V> Scope<'_, K, V> {
    pub(super) fn fence_slots(&self) {
        if !mutant("no slot fence") {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn seats(&self) -> Seats<'_, '_, K, V> {
        let time = &self.core.config.time;
        // If the user's clock panics, nothing is over.
        let now = || self.ask(|| time.now()).unwrap_or(0);
        Seats { scope: self, newcomer: None, now: Cell::new(time.is_users().then(now)) }
    }

    pub(super) fn room(&self, shard: &Shard<K, V>) -> Room {
        Room { capacity: self.part(), entries: shard.entries() }
    }

    /// A shard's part of the capacity; `u64::MAX` for no bounds.
    fn part(&self) -> u64 {
        match self.core.capacity() {
            u64::MAX => u64::MAX,
            // By a power of two; a division would be felt.
            capacity => capacity >> self.core.active_bits(),
        }
    }

    /// Whether there are so many entries that it pays to fetch some before they are needed.
    #[inline]
    pub(super) fn is_large(&self, shard: &Shard<K, V>) -> bool {
        // (To loom it would be some loads more for each insertion, and nothing else.)
        let part = LARGE >> self.core.active_bits();
        !cfg!(loom) && shard.entries() >= part
    }

    /// Has what it will take to store a newcomer fetched, and what to evict another for it.
    #[inline]
    pub(super) fn foresee(&self, shard: &Shard<K, V>, newcomer: u32) {
        let follow = |node: &Node<K, V>, step| self.core.table.prefetch(self.pin(), node.link().order(), step);
        shard.policy.foresee(newcomer, self.room(shard), follow);
    }

    /// Gives a stored node its slot, with the share that the caller has taken for it: that of `old`, which it replaced, or a
    /// new one.
    #[inline(always)]
    pub(super) fn seat(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: Option<&Node<K, V>>) {
        let this = NonNull::from(node);
        match old.map(NonNull::from) {
            Some(old) if self.take_seat(old, this) => self.seats().settle(node),
            _ => {
                shard.policy.admit(this, self.room(shard), &self.seats());
                self.core.note_stray(shard);
            }
        }
    }

    fn take_seat(&self, old: Ptr<K, V>, new: Ptr<K, V>) -> bool {
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
    pub(super) fn unseat(&self, node: &Node<K, V>) {
        self.fence_slots();
        self.clear_cell(node);
    }

    fn clear_cell(&self, node: &Node<K, V>) {
        let this = NonNull::from(node);
        // Read once: the number says which shard's slot it is, and one of another shard would lead to nobody's.
        let slot = node.cold().slot.load(Ordering::Relaxed);
        if self.core.policy_of(slot).clear(slot, this) {
            // SAFETY: as in `take_seat`.
            unsafe { self.release(this) };
        }
    }

    /// Evicts until the weight is within the capacity, on behalf of a newcomer in `home`, if there is one. That stays, unless no
    /// other may go.
    ///
    /// The last caller to leave a slot filled looks at the weight afterwards, so however many add at once, it is within
    /// the capacity when all have returned. Entries that are being refreshed are passed over; their leader comes by
    /// here when it ends.
    pub(super) fn make_room(&self, home: &Shard<K, V>, newcomer: Option<&Newcomer<'_, K, V>>) {
        match newcomer {
            Some(&Newcomer { node: stored, .. }) if self.is_untidy(stored) => {
                // What is over goes first. That may run user code (`tags_with`), and room is to be made all the same.
                let _ = self.ask(|| self.tidy(home, stored.born()));
                if self.is_over_full() {
                    self.evict_down(home, newcomer);
                }
            }
            _ if self.is_over_full() => self.evict_down(home, newcomer),
            _ => {}
        }
    }

    pub(super) fn is_over_full(&self) -> bool {
        self.core.weight() > self.core.capacity()
    }

    #[inline(never)]
    fn evict_down(&self, home: &Shard<K, V>, newcomer: Option<&Newcomer<'_, K, V>>) {
        // (What would not fit even alone, as the capacity is by now, may go as any other.)
        let mut newcomer = newcomer.filter(|newcomer| newcomer.weight() <= self.core.capacity());
        let mut looked_behind = false;
        while self.is_over_full() {
            self.respread(home);
            let first = self.heaviest(home, newcomer.map_or(0, Newcomer::weight));
            let evict = |shard: &Shard<K, V>| shard.policy.evict(self.room(shard), &Seats { newcomer, ..self.seats() });
            let mut others = self.core.shards.iter().map(|s| &s.0).filter(|s| !core::ptr::eq(*s, first));
            if evict(first) || others.any(evict) {
                looked_behind = false;
            } else if let Some(newcomer) = newcomer.filter(|_| self.core.shards.len() > 1 && !looked_behind) {
                // Strays come to the end of their ring, behind the newcomer: it is to pass them, too.
                newcomer.last.set(false);
                looked_behind = true;
            } else if newcomer.take().is_none() {
                // Nothing else may go: then the newcomer, if there was one still.
                return;
            }
        }
    }

    /// Evicts the first entry of one of the shard's rings, if it is over at this time.
    pub(super) fn evict_ended(&self, shard: &Shard<K, V>, now: u64) -> bool {
        shard.policy.evict_expired(self.room(shard), &Seats { now: Cell::new(Some(now)), ..self.seats() })
    }

    /// [`Self::make_room`] for who lowered the capacity, or made an entry evictable again.
    ///
    /// Whoever adds weight passes a fence (in `settle`) before the hand looks at the capacity and at entries; with the
    /// fence here one of the two sees the other.
    pub(crate) fn make_room_anew(&self, home: &Shard<K, V>) {
        if !mutant("no room fence") {
            fence(Ordering::SeqCst);
        }
        self.make_room(home, None);
    }

    /// The shard that gives: `home` if it has more than its part of the capacity even without the newcomer, else the
    /// one that has most. (A heavy newcomer does not have the others of its shard go first.)
    fn heaviest<'s>(&'s self, home: &'s Shard<K, V>, newcomer: u64) -> &'s Shard<K, V> {
        let total = |shard: &Shard<K, V>| {
            let own = if core::ptr::eq(shard, home) { newcomer } else { 0 };
            shard.policy.total().saturating_sub(own)
        };
        if self.core.one_shard() || total(home) >= self.part().max(1) {
            return home;
        }
        self.core.shards.iter().map(|s| &s.0).max_by_key(|&shard| total(shard)).unwrap_or(home)
    }

    /// Empties the rings of a cache that is being dropped.
    pub(super) fn clear_rings(&self, shard: &Shard<K, V>) {
        while let Some(held) = shard.policy.drain() {
            // SAFETY: the slot's share. It is not the last one: the list has one, until its nodes are retired.
            let last = unsafe { Node::unshare(held, 1) };
            debug_assert!(!last, "a slot kept a removed node");
        }
    }

    /// Why a value of this weight is not kept at all; None: it is.
    pub(crate) fn rejects(core: &Core<K, V>, weight: u32) -> Option<RejectionCause> {
        match u64::from(weight) <= core.capacity() {
            false => Some(RejectionCause::TooHeavy),
            true if core.pressure() == Pressure::Normal => None,
            true => Some(RejectionCause::RetiredMemory),
        }
    }

    /// Accounts for a value that is about to be stored, in the place of `old` or of nothing.
    pub(super) fn weigh_in(&self, shard: &Shard<K, V>, new: u32, old: Option<&Node<K, V>>) -> Weighed {
        // A flight's value will be counted by its publisher, and taken out with its mark. What is valued stays so, and
        // its weight is fixed while it is not marked: that it is not is what the newcomer's CAS tells.
        let old = old.filter(|old| old.word.load().weighs()).map_or(0, Node::stored_weight);
        self.core.weight.fetch_add(u64::from(new.saturating_sub(old)), Ordering::Relaxed);
        if old == 0 {
            shard.entries.fetch_add(1, Ordering::Relaxed);
        }
        Weighed { new, old }
    }

    /// The newcomer is in the place of what was there.
    pub(super) fn weighed(&self, weighed: &Weighed) {
        self.core.weight.fetch_sub(u64::from(weighed.old.saturating_sub(weighed.new)), Ordering::Relaxed);
    }

    /// It did not get there.
    pub(super) fn weigh_back(&self, shard: &Shard<K, V>, weighed: &Weighed) {
        if mutant("weight not undone") {
            return;
        }
        self.core.weight.fetch_sub(u64::from(weighed.new.saturating_sub(weighed.old)), Ordering::Relaxed);
        if weighed.old == 0 {
            shard.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A stored value is removed.
    pub(super) fn weigh_out(&self, shard: &Shard<K, V>, weight: u32) {
        self.core.weight.fetch_sub(u64::from(weight), Ordering::Relaxed);
        shard.entries.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count_removal(&self, cause: RemovalCause) {
        let event = match cause {
            RemovalCause::Explicit => Event::Invalidation,
            RemovalCause::Expired => Event::Expiration,
            RemovalCause::Size => Event::Eviction,
            RemovalCause::Replaced | RemovalCause::Rejected => return,
        };
        self.core.counters.count(event);
    }
}
