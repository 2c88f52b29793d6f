//! Eviction: the part of the cache that the [`policy`](crate::policy) calls, and the hand that
//! makes room.
//!
//! The policy chooses the entry that goes. An entry that is being refreshed is never evicted.

use super::config::KeepWhile;
use super::{Operation, Ptr, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::Closing;
use crate::policy::{Budget, Evictor, PolicyEntry, Seats};
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicU32, Ordering, fence};
use core::cell::Cell;
use core::ptr;

impl<K, V> PolicyEntry for Node<K, V> {
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

/// The operations that a shard's policy may do on its entries, within an operation of the cache.
pub(super) struct ShardEvictor<'s, 'c, K, V> {
    operation: &'s Operation<'c, K, V>,
    newcomer: Option<&'s Newcomer<'s, K, V>>,
    /// The newcomer, once no other entry may go: the user cannot keep it.
    last_resort: *const Node<K, V>,
    /// The last entry that was not evicted because the user keeps it.
    kept: Cell<*const Node<K, V>>,
    /// If the weight of what is evicted stays in the total, it is added up here.
    pub(super) displaced: Option<Cell<u64>>,
    /// Whether any entry could end, when this was made.
    any_expires: bool,
    /// The time. A clock of the user's is read before the hand takes an entry; any other, when it
    /// is first needed.
    now: Cell<Option<u64>>,
}

impl<K, V> Seats<Node<K, V>> for Operation<'_, K, V> {
    #[inline]
    fn recheck(&self, node: &Node<K, V>) {
        self.recheck_slot(node);
    }
}

impl<K, V> Seats<Node<K, V>> for ShardEvictor<'_, '_, K, V> {
    #[inline]
    fn recheck(&self, node: &Node<K, V>) {
        self.operation.recheck_slot(node);
    }
}

impl<K, V> Evictor<Node<K, V>> for ShardEvictor<'_, '_, K, V> {
    fn removed(&self, node: &Node<K, V>) -> bool {
        node.link().is_marked()
    }

    fn any_expires(&self) -> bool {
        self.any_expires
    }

    #[inline]
    fn expired(&self, node: &Node<K, V>) -> bool {
        self.any_expires && self.beyond_grace(node)
    }

    fn release(&self, held: Ptr<K, V>) {
        // SAFETY: a slot's reference goes to the caller that takes the entry out of the slot, which
        // passes it on to here.
        unsafe { self.operation.release(held) };
    }

    fn spared(&self, node: &Node<K, V>) -> Option<bool> {
        let newcomer = self.newcomer.filter(|newcomer| ptr::eq(newcomer.node, node))?;
        Some(newcomer.last.replace(true))
    }

    #[inline]
    fn evict(&self, node: &Node<K, V>) -> bool {
        let over = self.any_expires && self.is_over(node);
        let cause = if over { RemovalCause::Expired } else { RemovalCause::Size };
        if !over && self.is_kept(node) {
            self.kept.set(node);
            return false;
        }
        let Some(won) = self.operation.evict_closing(node, cause, self.displaced.as_ref()) else { return false };
        if won && ptr::eq(self.last_resort, node) {
            node.word.note_turned_away();
        }
        true
    }

    fn reopened(&self, node: &Node<K, V>) -> bool {
        // (An entry that the user keeps is asked about once a round.)
        self.operation.is_reopened(node) && !ptr::eq(self.kept.get(), node)
    }
}

impl<K, V> ShardEvictor<'_, '_, K, V> {
    /// Has the weight of what is evicted stay in the total.
    pub(super) fn displacing(self) -> Self {
        Self { displaced: Some(Cell::new(0)), ..self }
    }

    #[inline(never)]
    fn beyond_grace(&self, node: &Node<K, V>) -> bool {
        !self.operation.core.never_ends(node) && self.operation.core.beyond_grace_at(node, self.now())
    }

    #[inline(never)]
    fn is_over(&self, node: &Node<K, V>) -> bool {
        !self.operation.core.never_ends(node) && self.operation.core.is_expired_at(node, self.now())
    }

    /// Returns whether the user keeps this entry from eviction. Runs `keep_while`; if that panics,
    /// the entry may go.
    #[inline]
    fn is_kept(&self, node: &Node<K, V>) -> bool {
        self.operation.core.config.keep_while.as_ref().is_some_and(|keep_while| self.user_keeps(node, keep_while))
    }

    #[inline(never)]
    fn user_keeps(&self, node: &Node<K, V>, keep_while: &KeepWhile<K, V>) -> bool {
        if !node.word.load().is_entry() || ptr::eq(self.last_resort, node) {
            return false;
        }
        // SAFETY: the word has a value, and the hand's pin keeps the node alive.
        self.operation.ask(|| keep_while(node.key(), unsafe { node.value() })).unwrap_or(false)
    }

    fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            // If the user's clock panics, no entry counts as expired.
            let now = self.operation.ask(|| self.operation.core.config.time.now()).unwrap_or(0);
            self.now.set(Some(now));
            now
        })
    }
}

/// A newcomer that room is made for.
pub(crate) struct Newcomer<'n, K, V> {
    node: &'n Node<K, V>,
    /// Whether it was put at the end of its ring, rather than in the slot of the entry that it
    /// replaced.
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

impl<K, V> Operation<'_, K, V> {
    pub(super) fn evictor(&self) -> ShardEvictor<'_, '_, K, V> {
        let time = &self.core.config.time;
        // If the user's clock panics, no entry counts as expired.
        let now = || self.ask(|| time.now()).unwrap_or(0);
        ShardEvictor {
            operation: self,
            newcomer: None,
            last_resort: ptr::null(),
            kept: Cell::new(ptr::null()),
            displaced: None,
            any_expires: self.core.any_ends(),
            now: Cell::new(time.is_users().then(now)),
        }
    }

    pub(super) fn budget(&self, shard: &Shard<K, V>) -> Budget {
        Budget { capacity: self.part(), entries: self.core.entries_of(shard) }
    }

    /// Returns a shard's part of the capacity; `u64::MAX` for no bounds.
    fn part(&self) -> u64 {
        match self.core.capacity() {
            u64::MAX => u64::MAX,
            // The number of active shards is a power of two, so a shift replaces a slow division.
            capacity => capacity >> self.core.active_bits(),
        }
    }

    /// Ends the search for room for a newcomer that was not stored. The hand may have put an entry
    /// back, and other callers may have missed it meanwhile.
    #[cold]
    pub(super) fn give_up_room(&self, home: &Shard<K, V>) {
        self.core.note_stray(home);
        self.make_room(home, None);
    }

    /// Evicts until the weight is within the capacity, on behalf of a newcomer in `home`, if there
    /// is one. The newcomer stays, unless no other entry may go.
    ///
    /// Each caller looks at the weight after it has filled its slot. So of all callers that add at
    /// the same time, the last one sees the whole weight, and when all have returned, the weight is
    /// within the capacity. Entries that are being refreshed are passed over; their leaders make
    /// room when they end.
    #[inline(always)]
    pub(super) fn make_room(&self, home: &Shard<K, V>, newcomer: Option<&Newcomer<'_, K, V>>) {
        if let Some(&Newcomer { node: stored, .. }) = newcomer.filter(|newcomer| self.is_untidy(newcomer.node)) {
            self.tidy_first(home, stored.born());
        }
        if self.is_over_full() {
            self.evict_down(home, newcomer);
        }
    }

    /// Has expired entries go first. That may run user code (`tags_with`), and room must be made
    /// even if it panics.
    #[inline(never)]
    fn tidy_first(&self, home: &Shard<K, V>, now: u64) {
        let _ = self.ask(|| self.tidy(home, now));
    }

    #[inline]
    pub(super) fn is_over_full(&self) -> bool {
        self.core.weight() > self.core.capacity()
    }

    #[inline(never)]
    fn evict_down(&self, home: &Shard<K, V>, newcomer: Option<&Newcomer<'_, K, V>>) {
        let mut evictor = self.evictor();
        match newcomer {
            // A newcomer that is heavier than the whole capacity, which may have been lowered
            // meanwhile, may go like any other entry.
            Some(newcomer) if newcomer.weight() > self.core.capacity() => evictor.last_resort = newcomer.node,
            _ => evictor.newcomer = newcomer,
        }
        let mut looked_behind = false;
        while self.is_over_full() {
            self.respread(home);
            let first = self.heaviest(home, evictor.newcomer);
            if self.evict_from(first, &evictor) {
                looked_behind = false;
            } else if !self.evict_from_others(first, &mut evictor, &mut looked_behind) {
                return;
            }
        }
    }

    fn evict_from(&self, shard: &Shard<K, V>, evictor: &ShardEvictor<'_, '_, K, V>) -> bool {
        let evicted = shard.policy.evict(self.budget(shard), evictor);
        // The hand may have put an entry back.
        self.core.note_stray(shard);
        evicted
    }

    /// Evicts an entry of another shard than `first`, where none may go. If there is none either,
    /// prepares the next attempt: at last the newcomer may go. Returns false if no attempt is left.
    #[cold]
    fn evict_from_others<'n>(
        &self,
        first: &Shard<K, V>,
        evictor: &mut ShardEvictor<'n, '_, K, V>,
        looked_behind: &mut bool,
    ) -> bool {
        let mut others = self.core.shards.iter().map(|s| &s.0).filter(|s| !ptr::eq(*s, first));
        evictor.kept.set(ptr::null());
        if others.any(|shard| self.evict_from(shard, evictor)) {
            *looked_behind = false;
        } else if let Some(newcomer) = evictor.newcomer.filter(|_| self.core.shards.len() > 1 && !*looked_behind) {
            // Strays come to the end of their ring, behind the newcomer. The hand passes them, too,
            // before the newcomer goes.
            newcomer.last.set(false);
            *looked_behind = true;
        } else if let Some(rejected) = evictor.newcomer.take() {
            // No other entry may go. Then the newcomer may, even if the user would keep it.
            evictor.last_resort = rejected.node;
        } else {
            // SAFETY: null, or made from a reference that the caller holds until this returns.
            self.evict_held(unsafe { evictor.last_resort.as_ref() });
            return false;
        }
        evictor.kept.set(ptr::null());
        true
    }

    /// Evicts a newcomer that was not found in its ring: it has gone before, or another hand holds
    /// it, and would put it back as an entry that the user keeps.
    fn evict_held(&self, newcomer: Option<&Node<K, V>>) {
        let Some(node) = newcomer.filter(|_| self.core.config.keep_while.is_some()) else { return };
        let shard = || self.core.shard_of_order(node.link().order());
        if node.word.close() != Closing::Refused && self.remove(shard(), node, RemovalCause::Size) {
            node.word.note_turned_away();
        }
    }

    /// Evicts the first entry of one of the shard's rings, if it has expired at the time `now`.
    pub(super) fn evict_ended(&self, shard: &Shard<K, V>, now: u64) -> bool {
        let seats = ShardEvictor { now: Cell::new(Some(now)), ..self.evictor() };
        let freed = shard.policy.evict_expired(self.budget(shard), &seats);
        self.core.note_stray(shard);
        freed
    }

    /// Makes room ([`Self::make_room`]) for a caller that lowered the capacity, or made an entry
    /// evictable again.
    ///
    /// A caller that adds weight passes a fence (in `Seats::recheck`) before the hand looks at
    /// the capacity and at entries. That fence and the one here are partners: one of the two
    /// callers sees the change of the other.
    pub(crate) fn make_room_anew(&self, home: &Shard<K, V>) {
        if !mutant("no room fence") {
            fence(Ordering::SeqCst);
        }
        self.make_room(home, None);
    }

    /// Returns the shard that gives an entry: `home` if it is above its part of the capacity even
    /// without the newcomer, else the heaviest one. So a heavy newcomer does not push out the other
    /// entries of its shard first.
    #[inline]
    pub(super) fn heaviest<'s>(
        &'s self,
        home: &'s Shard<K, V>,
        newcomer: Option<&Newcomer<'_, K, V>>,
    ) -> &'s Shard<K, V> {
        if self.core.one_shard() { home } else { self.heaviest_of_all(home, newcomer.map_or(0, Newcomer::weight)) }
    }

    #[inline(never)]
    fn heaviest_of_all<'s>(&'s self, home: &'s Shard<K, V>, newcomer: u64) -> &'s Shard<K, V> {
        let total = |shard: &Shard<K, V>| {
            let own = if ptr::eq(shard, home) { newcomer } else { 0 };
            shard.policy.total().saturating_sub(own)
        };
        if total(home) >= self.part().max(1) {
            return home;
        }
        self.core.shards.iter().map(|s| &s.0).max_by_key(|&shard| total(shard)).unwrap_or(home)
    }
}
