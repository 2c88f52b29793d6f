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
use super::{Operation, Ptr};
use crate::flight::node::Node;
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
        let large = self.is_large(shard);
        let fetch = |step| {
            if large {
                table.prefetch(self.pin(), order, step)
            }
        };
        fetch(0);
        let meta = meta(&key, &value);
        if let Some(cause) = meta.rejected {
            // The old value is out of date even though the new one is not kept.
            if self.remove_key(hash, |k| is_key(k, &key), RemovalCause::Replaced, taker).is_some() {
                self.promptly();
            }
            self.core.counters.count(Event::Rejection);
            return Err(Rejected::new((key, value), cause, order));
        }
        let node = Node::entry(self.core.nodes(), order, (key, value), meta.weight, &meta.stamps);
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
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key(), entry.key());
            let place = table.search(self.pin(), hash, hit);
            let old = place.found.map(|link| self.node(link));
            if let Some(old) = old.filter(|_| guess) {
                self.cost_as(entry, old, &meta.stamps);
            }
            let weighed = self.reserve_weight(shard, meta.weight, old);
            let linked = match old {
                Some(old) => table.replace(old.link(), Node::as_link(node)),
                None => table.insert(&place, Node::as_link(node)),
            };
            if linked {
                new.linked();
                match old {
                    Some(old) => {
                        taker.removes(self, old, || Some(self.replaced(shard, old, entry, &weighed)));
                    }
                    None => {
                        self.core.grow_table(shard, 0);
                        self.assign_slot(shard, entry, None);
                    }
                }
                self.make_room(shard, Some(&Newcomer::new(entry, old.is_some())));
                return Ok(node);
            }
            self.undo_weight(shard, &weighed);
        }
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
