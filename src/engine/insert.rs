//! Storing a value in place of any other.

use super::events::{CacheEvent, RemovalCause};
use super::evict::Newcomer;
use super::observe::About;
use super::operation::Deferred;
use super::rejected::Rejected;
use super::spare::OwnedNode;
use super::stats::Event;
use super::taken::Taker;
use super::terms::EntryMeta;
use super::weight::Displaced;
use super::{Operation, Ptr, Shard};
use crate::flight::node::Node;
use crate::policy::Which;
use crate::table::SearchPosition;
use crate::table::link::Link;
use crate::table::split_order::split_order;
use alloc::boxed::Box;
use core::ptr::NonNull;

/// The references that a writer gets to the value that it stores.
fn shares<K, V, T: Taker<K, V>>(_: &T) -> u32 {
    T::STORED
}

impl<K, V> Operation<'_, K, V> {
    /// Stores a value, in place of any entry or flight of the key.
    ///
    /// `guess`: the δ in the terms is a guess. The duration of the key's last load is a better one,
    /// and takes its place.
    ///
    /// Returns the node of the value, with the references that `taker` gets to it. Returns the key
    /// and value if they are not kept. The rejection has been counted. The caller must not drop
    /// them under the pin.
    #[inline(always)]
    pub(crate) fn insert(
        &self,
        hash: u64,
        (key, value): (K, V),
        (meta, guess): (impl FnOnce(&K, &V) -> EntryMeta, bool),
        is_key: impl Fn(&K, &K) -> bool,
        taker: &mut impl Taker<K, V>,
    ) -> Result<Ptr<K, V>, Rejected<K, V>> {
        let (table, order) = (&self.core.table, split_order(hash));
        let shard = self.core.shard(hash);
        // The lookup is a chain of cache misses. Each link of the chain is prefetched, and other
        // work is done meanwhile.
        let large = self.is_large();
        let fetch = |step| {
            if large {
                table.prefetch(self.pin(), order, step)
            }
        };
        fetch(0);
        let meta = meta(&key, &value);
        if let Some(cause) = meta.rejected {
            // The old value is out of date even though the new one is not kept.
            if let Some((_, old)) = self.remove_key(hash, |k| is_key(k, &key), RemovalCause::Replaced, taker) {
                self.promptly(old.failed());
            }
            self.core.counters.count(Event::Rejection);
            return Err(Rejected::new((key, value), cause, order));
        }
        let node = Node::entry((self.core.limbo(), Some(self.pin())), order, (key, value), meta.weight, &meta.stamps);
        fetch(1);
        let new = OwnedNode(self.core, node);
        // SAFETY: the node is this caller's own, and not shared before it is linked. The pin keeps
        // it alive afterwards.
        let entry = unsafe { node.as_ref() };
        // One reference for the list, one for the slot.
        entry.set_refcount(2 + shares(taker));
        if large {
            self.prefetch_insert(shard, order);
        }
        fetch(2);
        let mut ring = None;
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key(), entry.key());
            let place = table.search(self.pin(), hash, hit);
            let linked = match place.found {
                None => self.link_new(shard, &place, entry, (&mut ring, meta.stamps.born)),
                Some(link) => {
                    let old = self.node(link);
                    if guess {
                        self.cost_as(entry, old, &meta.stamps);
                    }
                    self.link_over(shard, old, entry, taker)
                }
            };
            if linked {
                new.linked();
                return Ok(node);
            }
        }
    }

    /// Links a newcomer whose key is not there, and gives it a slot, after making room for both.
    /// Returns false if the list has changed at `place`. Then the caller searches again.
    #[inline]
    fn link_new(
        &self,
        shard: &Shard<K, V>,
        place: &SearchPosition<'_>,
        entry: &Node<K, V>,
        (ring, born): (&mut Option<Which>, u64),
    ) -> bool {
        let (weight, budget) = (entry.stored_weight(), self.budget(shard));
        // (Only once: the ghost of a key is gone once it was asked for.)
        let choose = || shard.policy.choose(entry.link().order(), budget, || self.evictor());
        let ring = *ring.get_or_insert_with(choose);
        let displaced = self.displace(shard, (ring, weight, born), budget);
        let displaced_any = displaced.is_any();
        let weighed = self.reserve_weight(shard, weight, None, displaced);
        if !self.core.table.insert(place, Node::as_link(NonNull::from(entry))) {
            self.undo_weight(shard, &weighed);
            self.give_up_room(shard);
            return false;
        }
        self.commit_weight(&weighed);
        // (The newcomer is not in the budget. If it takes the place of another entry, there are as
        // many entries as before.)
        if !displaced_any {
            self.core.grow_table_for(budget.entries + 1, 0);
        }
        self.admit(shard, entry, ring, budget);
        self.make_room(shard, Some(&Newcomer::new(entry, false)));
        true
    }

    /// Puts a newcomer in the place of `old`. Returns false if `old` was removed meanwhile.
    fn link_over(
        &self,
        shard: &Shard<K, V>,
        old: &Node<K, V>,
        entry: &Node<K, V>,
        taker: &mut impl Taker<K, V>,
    ) -> bool {
        let weighed = self.reserve_weight(shard, entry.stored_weight(), Some(old), Displaced::NOTHING);
        if !self.core.table.replace(old.link(), Node::as_link(NonNull::from(entry))) {
            self.undo_weight(shard, &weighed);
            return false;
        }
        taker.removes(self, old, true, || Some(self.replaced(shard, old, entry, &weighed)));
        self.make_room(shard, Some(&Newcomer::new(entry, true)));
        true
    }

    /// Defers telling the listener and the observer of a key and value that were not kept, and
    /// dropping them.
    #[cold]
    pub(crate) fn turn_away(&self, rejected: Rejected<K, V>) {
        self.push(Deferred::Rejected(Box::new(rejected)));
    }

    /// Defers telling the observer of a key and value that are given back to the caller.
    #[cold]
    pub(crate) fn give_back(&self, rejected: Rejected<K, V>) -> Rejected<K, V> {
        if self.core.observed() {
            let event = CacheEvent::Rejected { cause: rejected.cause() };
            self.push(Deferred::Happened(event, About::hash(rejected.order())));
        }
        rejected
    }
}
