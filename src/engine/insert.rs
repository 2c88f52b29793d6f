//! Storing a value, whatever is there.

use super::Operation;
use super::events::{CacheEvent, RemovalCause};
use super::evict::Newcomer;
use super::observe::About;
use super::operation::Deferred;
use super::rejected::Rejected;
use super::spare::OwnedNode;
use super::stats::Event;
use super::terms::EntryMeta;
use crate::flight::node::Node;
use crate::table::link::Link;
use crate::table::split_order::split_order;
use alloc::boxed::Box;
use core::ptr::NonNull;

impl<K, V> Operation<'_, K, V> {
    /// `guess`: the terms' δ is a guess, and what the key's last load took is a better one.
    ///
    /// Stores a value, whatever was there, in flight or not. What is not kept comes back, counted: it must not be dropped under
    /// the pin.
    pub(crate) fn insert(
        &self,
        hash: u64,
        (key, value): (K, V),
        (terms, guess): (impl FnOnce(&K, &V) -> EntryMeta, bool),
        is_key: impl Fn(&K, &K) -> bool,
    ) -> Result<(), Rejected<K, V>> {
        let (table, order) = (&self.core.table, split_order(hash));
        let shard = self.core.shard(hash);
        // One miss leads to the next. So something else is done while each is on its way.
        let large = self.is_large(shard);
        let fetch = |step| {
            if large {
                table.prefetch(self.pin(), order, step)
            }
        };
        fetch(0);
        let terms = terms(&key, &value);
        if let Some(cause) = terms.rejected {
            // What was there is no longer true all the same.
            if self.remove_key(hash, |k| is_key(k, &key), RemovalCause::Replaced).is_some() {
                self.promptly();
            }
            self.core.counters.count(Event::Rejection);
            return Err(Rejected::new((key, value), cause, order));
        }
        let node = Node::entry(self.core.nodes(), order, (key, value), terms.weight, terms.stamps);
        fetch(1);
        let new = OwnedNode(self.core, node);
        // SAFETY: our own node, not shared before it is linked; alive under the pin afterwards.
        let entry = unsafe { node.as_ref() };
        // The list's, and the slot's.
        entry.set_refcount(2);
        if large {
            self.prefetch_insert(shard, order);
        }
        fetch(2);
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key(), entry.key());
            let place = table.search(self.pin(), hash, hit);
            let old = place.found.map(|link| self.node(link));
            if let Some(old) = old.filter(|_| guess) {
                self.cost_as(entry, old, &terms.stamps);
            }
            let weighed = self.reserve_weight(shard, terms.weight, old);
            let linked = match old {
                Some(old) => table.replace(old.link(), Node::as_link(node)),
                None => table.insert(&place, Node::as_link(node)),
            };
            if linked {
                new.linked();
                match old {
                    Some(old) => self.replaced(shard, old, entry, &weighed),
                    None => self.assign_slot(shard, entry, None),
                }
                self.make_room(shard, Some(&Newcomer::new(entry, old.is_some())));
                return Ok(());
            }
            self.undo_weight(shard, &weighed);
        }
    }

    /// Has a key and value that were not kept told to the listener, and dropped, once the pin is gone.
    #[cold]
    pub(crate) fn turn_away(&self, rejected: Rejected<K, V>) {
        self.push(Deferred::Rejected(Box::new(rejected)));
    }

    /// Has the observer told of a key and value that the caller gets back, once the pin is gone.
    #[cold]
    pub(crate) fn give_back(&self, rejected: Rejected<K, V>) -> Rejected<K, V> {
        if self.core.observed() {
            let event = CacheEvent::Rejected { cause: rejected.cause() };
            self.push(Deferred::Happened(event, About::hash(rejected.order())));
        }
        rejected
    }
}
