//! How a flight ends with a value.

use super::events::CacheEvent;
use super::evict::Newcomer;
use super::flight_ref::Flight;
use super::rejected::RejectionCause;
use super::stats::Event;
use super::terms::EntryMeta;
use super::weight::{Displaced, WeightDelta};
use super::{Operation, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::policy::Which;
use crate::sys::mutants::mutant;
use core::ptr::NonNull;

/// The fate of a leader's value.
#[must_use]
pub(crate) enum Published<V> {
    Stored,
    HandedOver,
    /// The lease was taken over: no waiter got the value.
    Fenced(V),
}

impl<K, V> Operation<'_, K, V> {
    /// Publishes a leader's value: stores it as the entry, or only hands it to the waiters.
    ///
    /// # Safety
    /// The caller holds this lease of this flight, with its references. The lease ends here.
    pub(crate) unsafe fn publish(&self, flight: Flight<K, V>, lease: u32, value: V, meta: &EntryMeta) -> Published<V> {
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        node.reserve(self.core.nodes(), &meta.stamps);
        if self.is_large(shard) {
            self.prefetch_insert(shard, node.link().order());
        }
        let published = match old {
            None => self.publish_new(shard, node, (lease, value), meta),
            Some(old) => self.publish_successor(shard, (node, old), (lease, value), meta),
        };
        let stored = match published {
            Ok(stored) => stored,
            Err(value) => return Published::Fenced(value),
        };
        let newcomer = stored.then(|| Newcomer::new(node, old.is_some()));
        self.make_room(shard, newcomer.as_ref());
        self.ring(flight.node);
        if let Some(cause) = meta.rejected {
            self.hand_back(node, cause);
        }
        if stored { Published::Stored } else { Published::HandedOver }
    }

    /// Counts a loaded value that was published and not kept, and announces it to the observer and
    /// the listener.
    #[cold]
    fn hand_back(&self, node: &Node<K, V>, cause: RejectionCause) {
        self.core.counters.count(Event::Rejection);
        self.observe_of(node, || CacheEvent::Rejected { cause });
        if self.core.config.listener.is_some() {
            // The listener's reference. It cannot be refused: the lease owns one.
            let shared = node.inc_ref();
            debug_assert!(shared);
            // SAFETY: the reference was taken above. The caller has published the value, so the
            // word has one.
            unsafe { self.announce(NonNull::from(node), RemovalCause::Rejected) };
        }
    }

    /// Moves the value in, with its times, if the lease is in force. If not, returns the value.
    ///
    /// The node is PUBLISHING then. Until it is READY the caller runs no user code.
    fn move_in(&self, node: &Node<K, V>, (lease, value): (u32, V), meta: &EntryMeta) -> Result<(), V> {
        if !node.word.begin_publish(lease) {
            return Err(value);
        }
        // SAFETY: this leader has just won the transition into PUBLISHING, and not left it yet.
        unsafe { node.write(self.core.nodes(), value, &meta.stamps) };
        Ok(())
    }

    /// Publishes the value of a key that had none. Returns whether the value is stored, or the
    /// value, if the lease was taken over.
    fn publish_new(&self, shard: &Shard<K, V>, node: &Node<K, V>, load: (u32, V), meta: &EntryMeta) -> Result<bool, V> {
        let (budget, evictor, weight) = (self.budget(shard), self.evictor(), meta.weight);
        // Room is made first, because that may run user code. (Not in vain, if the lease was taken
        // over, or the flight was removed.)
        let (mut ring, mut displaced) = (Which::Small, Displaced::NOTHING);
        if weight != 0 && node.word.led_by(load.0) && !node.link().is_marked() {
            ring = shard.policy.choose(node.link().order(), budget, &evictor);
            displaced = self.displace(shard, (ring, weight), meta.stamps.born, &evictor);
        }
        if let Err(value) = self.move_in(node, load, meta) {
            self.release_displaced(displaced);
            self.give_up_room(shard);
            return Err(value);
        }
        let stored = self.publish_cold(shard, node, weight, displaced);
        if stored {
            // The slot's reference. It cannot be refused: the lease owns one.
            let shared = node.inc_ref();
            debug_assert!(shared);
            self.admit(shard, node, (ring, budget), &evictor);
        }
        Ok(stored)
    }

    fn publish_cold(&self, shard: &Shard<K, V>, node: &Node<K, V>, weight: u32, displaced: Displaced) -> bool {
        // A flight that was removed is not stored. If a remover marks the node after this look, it
        // finds READY, or leaves REMOVED in the word for this publisher to find. The order of the
        // two RMWs on the word decides which, so exactly one of the two subtracts the weight.
        let weight = if node.link().is_marked() { 0 } else { weight };
        node.set_weight(weight);
        if weight == 0 {
            self.release_displaced(displaced);
            // The node is unlinked before it is READY, so that no finder takes it for an entry.
            self.remove(shard, node, RemovalCause::Expired);
            node.word.publish();
            return false;
        }
        let weighed = self.reserve_weight(shard, weight, None, displaced);
        let removed = node.word.publish().removed();
        if removed && !mutant("weight left behind") {
            self.undo_weight(shard, &weighed);
            // The remover found no value in the word, so it left the weight to this publisher.
            node.set_weight(0);
        } else {
            self.commit_weight(&weighed);
        }
        !removed
    }

    /// Publishes the value of a key that has an old one. Returns the same as
    /// [`publish_new`](Self::publish_new).
    fn publish_successor(
        &self,
        shard: &Shard<K, V>,
        (node, old): (&Node<K, V>, &Node<K, V>),
        load: (u32, V),
        meta: &EntryMeta,
    ) -> Result<bool, V> {
        self.move_in(node, load, meta)?;
        node.set_weight(meta.weight);
        if meta.weight == 0 {
            node.word.publish();
            self.remove(shard, old, RemovalCause::Replaced);
            return Ok(false);
        }
        let weighed = self.reserve_weight(shard, meta.weight, Some(old), Displaced::NOTHING);
        node.word.publish();
        if self.put_in_place(shard, node, old, &weighed) {
            return Ok(true);
        }
        if mutant("lost swap stays") {
            return Ok(true);
        }
        // The old entry was removed meanwhile. So the value may not be stored.
        self.undo_weight(shard, &weighed);
        node.set_weight(0);
        Ok(false)
    }

    /// Puts a successor in the place of its old entry. Returns false if the old entry was removed
    /// meanwhile.
    pub(super) fn put_in_place(
        &self,
        shard: &Shard<K, V>,
        node: &Node<K, V>,
        old: &Node<K, V>,
        weighed: &WeightDelta,
    ) -> bool {
        // The references of the list and of the slot. They cannot be refused: the lease owns one.
        let shared = node.inc_ref() && node.inc_ref();
        debug_assert!(shared);
        if self.core.table.replace(old.link(), Node::as_link(NonNull::from(node))) {
            let _ = self.replaced(shard, old, node, weighed);
            return true;
        }
        if !mutant("lost swap stays") {
            // SAFETY: the references were taken above. The lease's own reference remains, so these
            // are not the last ones.
            unsafe { self.release_shares(NonNull::from(node), 2) };
        }
        false
    }
}
