//! How a flight ends with a value.

use super::events::CacheEvent;
use super::evict::Newcomer;
use super::flight_ref::Flight;
use super::rejected::RejectionCause;
use super::stats::Event;
use super::terms::EntryMeta;
use super::weight::WeightDelta;
use super::{Operation, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::sys::mutants::mutant;
use core::ptr::NonNull;

/// What became of a leader's value.
#[must_use]
pub(crate) enum Published<V> {
    Stored,
    HandedOver,
    /// The lease was taken over: nobody has got it.
    Fenced(V),
}

impl<K, V> Operation<'_, K, V> {
    /// The leader's value becomes the entry, or is handed to those who wait and no more.
    ///
    /// # Safety
    /// The caller holds this lease of this flight, with its shares; the lease ends here.
    pub(crate) unsafe fn publish(&self, flight: Flight<K, V>, lease: u32, value: V, terms: EntryMeta) -> Published<V> {
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        node.reserve(self.core.nodes(), &terms.stamps);
        if !node.word.begin_publish(lease) {
            return Published::Fenced(value);
        }
        if self.is_large(shard) {
            self.prefetch_insert(shard, node.link().order());
        }
        // SAFETY: the transition into PUBLISHING was just won.
        unsafe { node.write(self.core.nodes(), value, terms.stamps) };
        let stored = match old {
            None => self.publish_cold(shard, node, terms.weight),
            Some(old) => self.publish_successor(shard, node, old, terms.weight),
        };
        if stored && old.is_none() {
            // The slot's share. It cannot fail: the lease has one.
            let shared = node.inc_ref();
            debug_assert!(shared);
            self.assign_slot(shard, node, None);
        }
        let newcomer = stored.then(|| Newcomer::new(node, old.is_some()));
        self.make_room(shard, newcomer.as_ref());
        self.ring(flight.node);
        if let Some(cause) = terms.rejected {
            self.hand_back(node, cause);
        }
        if stored { Published::Stored } else { Published::HandedOver }
    }

    /// A loaded value that was published and not kept is counted, and told to the listener.
    #[cold]
    fn hand_back(&self, node: &Node<K, V>, cause: RejectionCause) {
        self.core.counters.count(Event::Rejection);
        self.observe_of(node, || CacheEvent::Rejected { cause });
        if self.core.config.listener.is_some() {
            // It cannot fail: the lease has a share.
            let shared = node.inc_ref();
            debug_assert!(shared);
            // SAFETY: the share just taken; the caller has published the value.
            unsafe { self.announce(NonNull::from(node), RemovalCause::Rejected) };
        }
    }

    fn publish_cold(&self, shard: &Shard<K, V>, node: &Node<K, V>, weight: u32) -> bool {
        // A flight that was removed is not stored. If the mark comes after this look, the remover finds READY, or
        // leaves GONE behind for us to find; the two RMWs on the word decide which, so the weight is taken out once.
        let weight = if node.link().is_marked() { 0 } else { weight };
        node.set_weight(weight);
        if weight == 0 {
            // Nobody finds it any more, before it can be taken for an entry.
            self.remove(shard, node, RemovalCause::Expired);
            node.word.publish();
            return false;
        }
        let weighed = self.reserve_weight(shard, weight, None);
        let gone = node.word.publish().removed();
        if gone && !mutant("weight left behind") {
            self.undo_weight(shard, &weighed);
            // Its remover found no value yet, and is done with the weight.
            node.set_weight(0);
        }
        !gone
    }

    fn publish_successor(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: &Node<K, V>, weight: u32) -> bool {
        node.set_weight(weight);
        if weight == 0 {
            node.word.publish();
            self.remove(shard, old, RemovalCause::Replaced);
            return false;
        }
        let weighed = self.reserve_weight(shard, weight, Some(old));
        node.word.publish();
        if self.put_in_place(shard, node, old, &weighed) {
            return true;
        }
        if mutant("lost swap stays") {
            return true;
        }
        // The old entry was removed meanwhile, and with it the right to be stored.
        self.undo_weight(shard, &weighed);
        node.set_weight(0);
        false
    }

    /// Puts a successor in the place of its old entry; false if that was removed meanwhile.
    pub(super) fn put_in_place(
        &self,
        shard: &Shard<K, V>,
        node: &Node<K, V>,
        old: &Node<K, V>,
        weighed: &WeightDelta,
    ) -> bool {
        // The list's share, and the slot's. It cannot fail: the lease has one.
        let shared = node.inc_ref() && node.inc_ref();
        debug_assert!(shared);
        if self.core.table.replace(old.link(), Node::as_link(NonNull::from(node))) {
            self.replaced(shard, old, node, weighed);
            return true;
        }
        if !mutant("lost swap stays") {
            // SAFETY: the shares taken above; the lease's is still there.
            unsafe { self.release_shares(NonNull::from(node), 2) };
        }
        false
    }
}
