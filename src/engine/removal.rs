//! Insertion, and everything that follows a won mark.
//!
//! Whoever wins the mark of a node, by marking or by replacing it, does the rest, in this order: GONE in the state
//! word; weight and count, if the node had a stored value (the publisher does that part if it had not got there yet);
//! the slot; the unlinking; and then gives back the list's share, or passes it on to the listener. None of it is
//! user code, so no panic can leave it half-done.

use super::land::Terms;
use super::{Ptr, RemovalCause, Scope, Shard, Walk};
use crate::flight::node::Node;
use crate::flight::word::{Closing, Snapshot, State};
use crate::link::Link;
use crate::sync::mutant;
use crate::table::order_of;
use core::ptr::NonNull;

/// A node that is not in the list yet; frees it if it never gets there.
pub(super) struct Unlinked<K, V>(pub(super) Ptr<K, V>);

impl<K, V> Unlinked<K, V> {
    /// The node is in the list, or hangs from an entry: it is no longer ours.
    pub(super) fn linked(self) -> Ptr<K, V> {
        let node = self.0;
        core::mem::forget(self);
        node
    }
}

impl<K, V> Drop for Unlinked<K, V> {
    fn drop(&mut self) {
        use crate::reclaim::Retire;
        // SAFETY: nobody else has ever been able to reach the node, and this is its owner's end.
        unsafe { Node::dispose(self.0) };
    }
}

impl<K, V> Scope<'_, K, V> {
    /// Marks `node` and does what follows. False if somebody else has marked it: look the key up again, the winner may
    /// have put a newer value in its place.
    pub(crate) fn remove(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> bool {
        self.remove_with(shard, node, cause).is_some()
    }

    /// The same; gives the word as it was before.
    pub(crate) fn remove_with(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> Option<Snapshot> {
        if !shard.table.mark(node.link()) {
            return None;
        }
        let before = self.gone(shard, node);
        self.unseat(shard, node);
        self.unlisted(shard, node, before, cause);
        Some(before)
    }

    /// GONE, and the value's weight.
    fn gone(&self, shard: &Shard<K, V>, node: &Node<K, V>) -> Snapshot {
        let before = node.word.set_gone();
        if before.valued() && node.stored_weight() != 0 {
            self.weigh_out(shard, node.stored_weight());
        }
        before
    }

    /// Out of the list for good; the list's share goes to the listener, or back.
    fn unlisted(&self, shard: &Shard<K, V>, node: &Node<K, V>, before: Snapshot, cause: RemovalCause) {
        shard.table.unlink(self.pin(), node.link().order());
        let (this, had_value) = (NonNull::from(node), before.valued() && node.stored_weight() != 0);
        if had_value || (cause == RemovalCause::Explicit && before.loading()) {
            self.count_removal(cause);
        }
        if had_value && self.core.config.listener.is_some() {
            self.after.borrow_mut().push((this, cause));
        } else {
            // SAFETY: the list's share is the mark winner's to give back, once the node is unlinked.
            unsafe { self.release(this) };
        }
    }

    /// What follows when `new`, with its list share, was put in the place of `old`.
    pub(super) fn replaced(&self, shard: &Shard<K, V>, old: &Node<K, V>, new: &Node<K, V>) {
        let before = self.gone(shard, old);
        self.seat(shard, new, Some(old));
        self.unseat(shard, old);
        self.unlisted(shard, old, before, RemovalCause::Replaced);
    }

    /// Stores a value, whatever was there, in flight or not. What is not to be kept comes back: it must not be dropped
    /// under the pin.
    pub(crate) fn insert(
        &self,
        hash: u64,
        (key, value): (K, V),
        terms: Terms,
        is_key: impl Fn(&K, &K) -> bool,
    ) -> Option<(K, V)> {
        let shard = self.core.shard(hash);
        if terms.weight == 0 {
            // What was there is no longer true all the same.
            self.remove_key(hash, |k| is_key(k, &key), RemovalCause::Replaced);
            return Some((key, value));
        }
        let node = Node::entry(key, order_of(hash), value, terms.weight, terms.stamps);
        let new = Unlinked(node);
        // SAFETY: our own node, not shared before it is linked; alive under the pin afterwards.
        let entry = unsafe { node.as_ref() };
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key(), entry.key());
            let place = shard.table.search(self.pin(), hash, hit);
            // The weight goes in before the node can be found, so that nobody takes it out first.
            self.weigh_in(shard, terms.weight);
            let old = place.found.map(|link| self.node(link));
            let linked = match old {
                Some(old) => shard.table.replace(old.link(), Node::as_link(node)),
                None => shard.table.insert(&place, Node::as_link(node)),
            };
            if linked {
                new.linked();
                match old {
                    Some(old) => self.replaced(shard, old, entry),
                    None => self.seat(shard, entry, None),
                }
                self.make_room(shard);
                return None;
            }
            self.weigh_out(shard, terms.weight);
        }
    }

    /// Removes a key, entry or flight. The node (alive under the pin) and its word, if there was one.
    pub(crate) fn remove_key(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        cause: RemovalCause,
    ) -> Option<(&Node<K, V>, Snapshot)> {
        let shard = self.core.shard(hash);
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key());
            let node = self.node(shard.table.search(self.pin(), hash, hit).found?);
            if let Some(before) = self.remove_with(shard, node, cause) {
                return Some((node, before));
            }
        }
    }

    /// Removes what `doomed` says, of all shards. Loads in flight are always removed: nothing that was loaded from
    /// before this call is stored after it.
    pub(crate) fn remove_where(&self, mut doomed: impl FnMut(&K, &V) -> bool) {
        let mut walk = Walk::start();
        // SAFETY: under this scope's pin.
        while let Some(node) = unsafe { walk.step(self.core, self.pin()) } {
            if node.link().is_marked() {
                continue;
            }
            let word = node.word.load();
            // What is in flight cannot be asked about.
            let asked = word.valued() && !word.loading();
            // SAFETY: called where the word is valued, and we are pinned.
            let value = || unsafe { node.value() };
            if !asked || doomed(node.key(), value()) {
                // Losing the mark to a swap is no loss: the newer node is the next one of this walk.
                self.remove(self.core.shard_of_order(node.link().order()), node, RemovalCause::Explicit);
            }
        }
        self.let_go();
    }

    /// Removes what has expired, and flights that were given up and not taken on. How many entries went.
    pub(crate) fn purge(&self) -> usize {
        let mut purged = 0;
        let mut walk = Walk::start();
        // SAFETY: under this scope's pin.
        while let Some(node) = unsafe { walk.step(self.core, self.pin()) } {
            let shard = self.core.shard_of_order(node.link().order());
            purged += usize::from(self.sweep(shard, node));
        }
        self.let_go();
        purged
    }

    fn sweep(&self, shard: &Shard<K, V>, node: &Node<K, V>) -> bool {
        match node.word.load().state() {
            State::Ready if !self.core.over(node) || node.link().is_marked() => false,
            State::Ready => node.word.close() == Closing::Entry && self.remove(shard, node, RemovalCause::Expired),
            // By a transition of its own: whoever claims the flight meanwhile may make a good entry of it.
            State::Empty { .. } if node.word.end_empty() || mutant("sweep of a stale look") => {
                self.remove(shard, node, RemovalCause::Explicit);
                self.ring(NonNull::from(node));
                false
            }
            State::Refreshing(successor) if !node.link().is_marked() => {
                self.sweep_successor(node, successor.cast());
                false
            }
            _ => false,
        }
    }

    /// Ends a successor that was given up and not taken on.
    fn sweep_successor(&self, old: &Node<K, V>, successor: Ptr<K, V>) {
        // SAFETY: read from an entry that is unmarked under the present pin, so alive under it.
        let next = unsafe { successor.as_ref() };
        // The share keeps its address from being used anew before the entry's word has let go of it.
        if !next.share() {
            return;
        }
        if next.word.end_empty() {
            old.word.refresh_ended(successor.cast());
            self.ring(successor);
        }
        // SAFETY: the share taken above.
        unsafe { self.release(successor) };
    }

    /// Whether a removed value was stored and still good: what `remove` gives back.
    pub(crate) fn was_good(&self, node: &Node<K, V>, before: Snapshot) -> bool {
        before.valued() && (node.stored_weight() != 0 || mutant("handed over counts")) && !self.core.over(node)
    }

    /// What is left of a node that a finder met in a terminal state: helps to get rid of it.
    pub(super) fn clear_away(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        let cause = if self.core.over(node) { RemovalCause::Expired } else { RemovalCause::Size };
        self.remove(shard, node, cause);
    }
}
