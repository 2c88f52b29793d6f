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

/// The fate of a leader's value, and of the lease's reference to the flight's node.
#[must_use]
pub(crate) enum Published<V> {
    /// The reference is the slot's now. The caller has another one if it asked for that.
    Stored,
    /// The reference is the caller's.
    HandedOver,
    /// The lease was taken over: no waiter got the value. The reference is the caller's.
    Fenced(V),
}

impl<K, V> Operation<'_, K, V> {
    /// Publishes a leader's value: stores it as the entry, or only hands it to the waiters. If the
    /// value is stored, the lease's reference to the flight's node becomes the slot's. A caller
    /// that `keeps` the value gets another one.
    ///
    /// # Safety
    /// The caller holds this lease of this flight, with its references. The lease ends here. From
    /// now on the caller uses the flight's node only under this operation's pin, unless
    /// [`Published`] says that it owns a reference.
    #[inline(always)]
    pub(crate) unsafe fn publish(
        &self,
        flight: Flight<K, V>,
        lease: u32,
        (value, meta): (V, &EntryMeta),
        keeps: bool,
    ) -> Published<V> {
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        node.reserve(self.core.nodes(), &meta.stamps);
        if self.is_large() {
            self.prefetch_insert(shard, node.link().order());
        }
        let alone = mutant("waiters sought too early") && !self.core.bells.has_waiters(flight.node.addr().get());
        let published = match old {
            None => self.publish_new(shard, node, (lease, value), (meta, keeps)),
            Some(old) => self.publish_successor(shard, (node, old), (lease, value), (meta, keeps)),
        };
        let stored = match published {
            Ok(stored) => stored,
            Err(value) => return Published::Fenced(value),
        };
        let newcomer = stored.then(|| Newcomer::new(node, old.is_some()));
        self.make_room(shard, newcomer.as_ref());
        if !alone {
            self.ring(flight.node);
        }
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
            // The listener's reference, beside the caller's: the value was not stored.
            node.add_refs(1);
            // SAFETY: the reference was taken above. The caller has published the value, so the
            // word has one.
            unsafe { self.announce(NonNull::from(node), RemovalCause::Rejected) };
        }
    }

    /// Moves the value in, if the lease is in force. If not, returns the value.
    ///
    /// The node is PUBLISHING then. Until it is READY the caller runs no user code. It stamps the
    /// node with weight and times.
    fn move_in(node: &Node<K, V>, (lease, value): (u32, V)) -> Result<(), V> {
        if !node.word.begin_publish(lease) {
            return Err(value);
        }
        // SAFETY: this leader has just won the transition into PUBLISHING, and not left it yet.
        unsafe { node.write(value) };
        Ok(())
    }

    /// Publishes the value of a key that had none. Returns whether the value is stored, or the
    /// value, if the lease was taken over.
    #[inline(always)]
    fn publish_new(
        &self,
        shard: &Shard<K, V>,
        node: &Node<K, V>,
        load: (u32, V),
        (meta, keeps): (&EntryMeta, bool),
    ) -> Result<bool, V> {
        let (budget, weight) = (self.budget(shard), meta.weight);
        // Room is made first, because that may run user code. (Not in vain, if the lease was taken
        // over, or the flight was removed.)
        let (mut ring, mut displaced) = (Which::Small, Displaced::NOTHING);
        if weight != 0 && node.word.led_by(load.0) && !node.link().is_marked() {
            ring = shard.policy.choose(node.link().order(), budget, || self.evictor());
            displaced = self.displace(shard, (ring, weight, meta.stamps.born), budget);
        }
        if let Err(value) = Self::move_in(node, load) {
            self.release_displaced(displaced);
            self.give_up_room(shard);
            return Err(value);
        }
        let stored = self.publish_cold(shard, node, meta, displaced);
        if stored {
            if keeps && !mutant("slot without a reference") {
                node.add_refs(1);
            }
            self.admit(shard, node, ring, budget);
        }
        Ok(stored)
    }

    #[inline(always)]
    fn publish_cold(&self, shard: &Shard<K, V>, node: &Node<K, V>, meta: &EntryMeta, displaced: Displaced) -> bool {
        // A flight that was removed is not stored. If a remover marks the node after this look, it
        // finds READY, or leaves REMOVED in the word for this publisher to find. The order of the
        // two RMWs on the word decides which, so exactly one of the two subtracts the weight.
        let weight = if node.link().is_marked() { 0 } else { meta.weight };
        node.stamp(self.core.nodes(), weight, &meta.stamps);
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
        (meta, keeps): (&EntryMeta, bool),
    ) -> Result<bool, V> {
        Self::move_in(node, load)?;
        match mutant("successor stamped blindly") {
            true => node.stamp(self.core.nodes(), meta.weight, &meta.stamps),
            false => node.stamp_successor(self.core.nodes(), meta.weight, &meta.stamps),
        }
        if meta.weight == 0 {
            node.word.publish();
            self.remove(shard, old, RemovalCause::Replaced);
            return Ok(false);
        }
        let weighed = self.reserve_weight(shard, meta.weight, Some(old), Displaced::NOTHING);
        node.word.publish();
        // The list's reference. The slot's is the lease's.
        let more = 1 + u32::from(keeps && !mutant("slot without a reference"));
        if self.put_in_place(shard, (node, old), more, &weighed) {
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

    /// Puts a successor in the place of its old entry, and hands two of the caller's references to
    /// it over, to the list and to the slot. The caller owns one, and gets `more` before. Returns
    /// false, and takes the `more` back, if the old entry was removed meanwhile.
    pub(super) fn put_in_place(
        &self,
        shard: &Shard<K, V>,
        (node, old): (&Node<K, V>, &Node<K, V>),
        more: u32,
        weighed: &WeightDelta,
    ) -> bool {
        node.add_refs(more);
        if self.core.table.replace(old.link(), Node::as_link(NonNull::from(node))) {
            let _ = self.replaced(shard, old, node, weighed);
            return true;
        }
        if !mutant("lost swap stays") {
            // SAFETY: the references were taken above. The lease's own reference remains, so these
            // are not the last ones.
            unsafe { self.release_shares(NonNull::from(node), more) };
        }
        false
    }
}
