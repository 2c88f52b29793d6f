//! Beginning a flight: for a key that is missing, or for one whose value is to be replaced.

use super::events::{CacheEvent, LoadKind};
use super::key::ToKey;
use super::role::Intent;
use super::spare::PendingNode;
use super::stats::Event;
use super::{Operation, Ptr};
use crate::flight::node::Node;
use crate::table::link::Link;
use crate::table::split_order::split_order;
use core::ptr::NonNull;
use equivalent::Equivalent;

/// One flight in so many asks how many others are in progress, when it begins.
const ASKING: u64 = 128;

/// What a caller meets as it looks a key up.
pub(crate) enum Place<K, V> {
    /// Nothing. The caller leads a flight in this new node, under its first lease.
    Led(Ptr<K, V>),
    /// The key's node.
    Found(NonNull<Link>),
    /// The list has changed: look again.
    Changed,
    /// No more loads may begin.
    Full,
}

impl<'c, K, V> Operation<'c, K, V> {
    /// Looks the key `q` up, and begins a flight if it is missing.
    #[inline(always)]
    pub(crate) fn lead_if_missing<Q>(
        &self,
        hash: u64,
        q: &Q,
        intent: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
    ) -> Place<K, V>
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        let hit = |link: NonNull<Link>| q.equivalent(self.node(link).key());
        let place = self.core.table.search(self.pin(), hash, hit);
        if let Some(found) = place.found {
            return Place::Found(found);
        }
        let bounded = intent.counted() && self.core.loads_bounded();
        // Asked here and again below: `to_key` is user code. It is not to be called in vain, nor
        // while a lease is counted, which a panic would lose.
        if bounded && self.core.leases_full(self.most_leases(intent)) {
            return Place::Full;
        }
        // Two references: one for the list, one for the lease, which becomes the slot's.
        let node = self.begin(spare, || q.to_key(), (hash, intent), 2);
        if bounded && !self.core.lease_begins(self.most_leases(intent)) {
            return Place::Full;
        }
        if self.core.table.insert(&place, Node::as_link(node)) {
            spare.used();
            self.make_table_room(hash, node);
            // SAFETY: the lease that the caller is given owns a reference.
            self.note_lead(unsafe { node.as_ref() }, intent.or(LoadKind::Missing));
            return Place::Led(node);
        }
        if bounded {
            self.core.lease_ends();
        }
        Place::Changed
    }

    /// Counts a lease that is given out, and defers telling the observer of it.
    #[inline]
    pub(super) fn note_lead(&self, node: &Node<K, V>, kind: LoadKind) {
        self.core.counters.count_under(self.pin(), Event::Load);
        self.observe_of(node, || CacheEvent::LoadStarted { kind });
    }

    /// Makes room in the table for the flight that begins in this node, if need be.
    ///
    /// The other flights are in the table, too. But each thread counts those that it begins and
    /// ends, so their number is dear. One node in [`ASKING`] asks for it, by its address: many
    /// flights have many nodes. (In models, where addresses depend on the schedule, each asks.)
    fn make_table_room(&self, hash: u64, node: Ptr<K, V>) {
        let spread = (node.addr().get() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        match cfg!(loom) || spread < u64::MAX / ASKING {
            true => self.make_table_room_for_all(hash),
            false => self.core.grow_table(hash, 1),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_table_room_for_all(&self, hash: u64) {
        let flights = self.core.counters.held() + 1;
        let buckets = || self.core.table.buckets.bucket(u32::MAX);
        loop {
            let before = buckets();
            // Doubles the buckets at most.
            self.core.grow_table(hash, flights);
            if cfg!(loom) || buckets() == before {
                return;
            }
        }
    }

    /// Prepares a node for a flight that begins now.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        spare: &mut PendingNode<'c, K, V>,
        key: impl FnOnce() -> K,
        (hash, intent): (u64, Intent<'_>),
        shares: u32,
    ) -> Ptr<K, V> {
        let node = spare.ready(self.pin(), key, split_order(hash), shares);
        // SAFETY: the node is this caller's own, and not yet shared.
        unsafe { node.as_ref() }.set_begun(self.core.config.lease_now(intent.timed()), intent.counted());
        node
    }
}
