//! Slots, and the hand that goes over them: what the [`policy`](crate::policy) needs from the rest of the cache.
//!
//! Every stored entry sits in a slot of its shard's rings, and the slot owns a share of it. Which entry goes is the policy's
//! affair; an entry that is being refreshed never does.

use super::{Operation, Ptr, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::{Closing, State};
use crate::policy::{Budget, Evictor, PolicyEntry};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicU32, Ordering, fence};
use core::cell::Cell;

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

/// What a shard's policy may do with its entries, within an operation.
pub(super) struct ShardEvictor<'s, 'c, K, V> {
    operation: &'s Operation<'c, K, V>,
    newcomer: Option<&'s Newcomer<'s, K, V>>,
    /// Read before anything is taken if the clock is the user's, else when an entry asks for it.
    now: Cell<Option<u64>>,
}

impl<K, V> Evictor<Node<K, V>> for ShardEvictor<'_, '_, K, V> {
    fn removed(&self, node: &Node<K, V>) -> bool {
        node.link().is_marked()
    }

    fn any_expires(&self) -> bool {
        let core = self.operation.core;
        core.config.idle != NEVER || core.nodes().has_extras()
    }

    fn expired(&self, node: &Node<K, V>) -> bool {
        !node.hot().never_expires() && self.operation.core.beyond_grace_at(node, self.now())
    }

    fn recheck(&self, node: &Node<K, V>) {
        self.operation.fence_slots();
        if node.link().is_marked() {
            self.operation.clear_cell(node);
        }
    }

    fn release(&self, held: Ptr<K, V>) {
        // SAFETY: the slot's share is given to who takes an entry out of it, and by that to here.
        unsafe { self.operation.release(held) };
    }

    fn spared(&self, node: &Node<K, V>) -> Option<bool> {
        let newcomer = self.newcomer.filter(|newcomer| core::ptr::eq(newcomer.node, node))?;
        Some(newcomer.last.replace(true))
    }

    fn evict(&self, node: &Node<K, V>) -> bool {
        let over = !node.hot().never_expires() && self.operation.core.is_expired_at(node, self.now());
        let cause = if over { RemovalCause::Expired } else { RemovalCause::Size };
        // A failure is at its end already: nobody can refresh it, and the mark alone decides.
        if node.word.close() == Closing::Refused && !matches!(node.word.load().state(), State::Failed(_)) {
            return false;
        }
        self.operation.remove_held(node, cause);
        true
    }

    fn reopened(&self, node: &Node<K, V>) -> bool {
        // The fence in `settle` and the one in `make_room_anew`: the leader sees the slot, or we see the state.
        // (A failure takes the place of an entry before it is FAILED.)
        matches!(node.word.load().state(), State::Ready | State::Failed(_)) && !mutant("hand looks once")
    }
}

impl<K, V> ShardEvictor<'_, '_, K, V> {
    fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            // If the user's clock panics, nothing is over.
            let now = self.operation.ask(|| self.operation.core.config.time.now()).unwrap_or(0);
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

impl<K, V> Operation<'_, K, V> {
    pub(super) fn evictor(&self) -> ShardEvictor<'_, '_, K, V> {
        let time = &self.core.config.time;
        // If the user's clock panics, nothing is over.
        let now = || self.ask(|| time.now()).unwrap_or(0);
        ShardEvictor { operation: self, newcomer: None, now: Cell::new(time.is_users().then(now)) }
    }

    pub(super) fn room(&self, shard: &Shard<K, V>) -> Budget {
        Budget { capacity: self.part(), entries: shard.entries() }
    }

    /// A shard's part of the capacity; `u64::MAX` for no bounds.
    fn part(&self) -> u64 {
        match self.core.capacity() {
            u64::MAX => u64::MAX,
            // By a power of two; a division would be felt.
            capacity => capacity >> self.core.active_bits(),
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
        while self.is_over_full() {
            self.respread(home);
            let first = self.heaviest(home, newcomer.map_or(0, Newcomer::weight));
            let evict = |shard: &Shard<K, V>| {
                shard.policy.evict(self.room(shard), &ShardEvictor { newcomer, ..self.evictor() })
            };
            let mut others = self.core.shards.iter().map(|s| &s.0).filter(|s| !core::ptr::eq(*s, first));
            // Nothing else may go: then the newcomer, if there is one still.
            if !evict(first) && !others.any(evict) && newcomer.take().is_none() {
                return;
            }
        }
    }

    /// Evicts the first entry of one of the shard's rings, if it is over at this time.
    pub(super) fn evict_ended(&self, shard: &Shard<K, V>, now: u64) -> bool {
        shard.policy.evict_expired(self.room(shard), &ShardEvictor { now: Cell::new(Some(now)), ..self.evictor() })
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
}
