//! Insertion, and everything that follows a won mark.
//!
//! Whoever wins the mark of a node, by marking or by replacing it, does the rest, in this order: GONE in the state
//! word; weight and count, if the node had a stored value (the publisher does that part if it had not got there yet);
//! the slot; the unlinking; and then gives back the list's share, or passes it on to the listener. What user code is asked
//! meanwhile (the clock, an entry's tags) is asked by [`Operation::ask`], so no panic can leave it half-done.

use super::events::CacheEvent;
use super::stats::Event;
use super::weight::WeightDelta;
use super::{Operation, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::Snapshot;
use crate::sys::mutants::mutant;
use crate::table::link::Link;
use core::ptr::NonNull;

impl<K, V> Operation<'_, K, V> {
    /// Marks `node` and does what follows. False if somebody else has marked it: look the key up again, the winner may
    /// have put a newer value in its place.
    pub(crate) fn remove(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> bool {
        self.remove_with(shard, node, cause).is_some()
    }

    /// The same; gives the word as it was before.
    pub(crate) fn remove_with(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> Option<Snapshot> {
        let cause = self.cause_at_present(node, cause);
        if !self.core.table.mark(node.link()) {
            return None;
        }
        let before = self.removed(shard, node, 0);
        self.clear_slot(node);
        self.unlist_and_release(node, before, cause);
        Some(before)
    }

    /// The same for a node that the hand holds: it is in no slot, and whoever put it in one before looks there in vain. The
    /// slot's share is given back.
    pub(super) fn remove_held(&self, node: &Node<K, V>, cause: RemovalCause) {
        let listed = self.core.table.mark(node.link()) && {
            let before = self.removed(self.core.shard_of_order(node.link().order()), node, 0);
            !self.unlist(node, before, cause)
        };
        // SAFETY: the slot's share is the hand's, and by that ours; so is the list's if `listed`.
        unsafe { self.release_shares(NonNull::from(node), 1 + u32::from(listed)) };
    }

    /// GONE, and the value's weight, unless a newcomer has accounted for it.
    fn removed(&self, shard: &Shard<K, V>, node: &Node<K, V>, accounted: u32) -> Snapshot {
        let before = node.word.set_removed();
        if before.weighs() && node.stored_weight() != 0 && (accounted == 0 || mutant("old weight twice")) {
            self.release_weight(shard, node.stored_weight());
        }
        before
    }

    /// Out of the list for good, by the winner of the mark; the list's share goes to the listener, or back.
    fn unlist_and_release(&self, node: &Node<K, V>, before: Snapshot, cause: RemovalCause) {
        if !self.unlist(node, before, cause) {
            // SAFETY: the list's share is the mark winner's to give back, once the node is unlinked.
            unsafe { self.release(NonNull::from(node)) };
        }
    }

    /// The same; whether the list's share has gone to the listener. If not it is the caller's to give back.
    #[must_use]
    fn unlist(&self, node: &Node<K, V>, before: Snapshot, cause: RemovalCause) -> bool {
        self.core.table.unlink(self.pin(), node.link());
        // Closed, it was gone before this removal, which only came first to the mark.
        let overtook = before.closed() && matches!(cause, RemovalCause::Explicit | RemovalCause::Replaced);
        let cause = match overtook {
            // (User code: the clock, and `tags_with`. What follows is owed, whatever becomes of that.)
            true => self.ask(|| self.cause_of_closing(node)).unwrap_or(RemovalCause::Size),
            false => cause,
        };
        let (this, had_value) = (NonNull::from(node), before.has_value() && node.stored_weight() != 0);
        let untagged = had_value && cause != RemovalCause::Explicit && self.ended_by_tag(node);
        // What takes the place of such a value replaces it; whatever else removes it does so because of its tag.
        let cause = if untagged && cause != RemovalCause::Replaced { RemovalCause::Explicit } else { cause };
        if untagged {
            self.count_removal(RemovalCause::Explicit);
        } else if had_value || (cause == RemovalCause::Explicit && before.in_flight()) {
            self.count_removal(cause);
        }
        if had_value {
            self.observe_of(node, || CacheEvent::Removed { cause });
        }
        let told = had_value && self.core.config.listener.is_some();
        if told {
            // SAFETY: the list's share is the mark winner's to hand on, once the node is unlinked; it has its value.
            unsafe { self.announce(this, cause) };
        }
        told
    }

    /// What follows when `new`, with the list's share and its slot's, was put in the place of `old`.
    pub(super) fn replaced(&self, shard: &Shard<K, V>, old: &Node<K, V>, new: &Node<K, V>, weighed: &WeightDelta) {
        self.commit_weight(weighed);
        let cause = self.cause_by_time(old, new.born(), RemovalCause::Replaced);
        let before = self.removed(shard, old, weighed.old);
        self.assign_slot(shard, new, Some(old));
        self.clear_slot(old);
        self.unlist_and_release(old, before, cause);
    }

    /// What ended a value that is removed for this cause at this time: its time, if that was over.
    fn cause_by_time(&self, node: &Node<K, V>, now: u64, cause: RemovalCause) -> RemovalCause {
        // (Most often it has none.)
        if !node.hot().never_expires() && self.core.is_expired_at(node, now) { RemovalCause::Expired } else { cause }
    }

    /// The same at present, by the user's clock.
    fn cause_at_present(&self, node: &Node<K, V>, cause: RemovalCause) -> RemovalCause {
        if node.hot().never_expires() {
            return cause;
        }
        let now = self.ask(|| self.core.config.time.now());
        now.map_or(cause, |now| self.cause_by_time(node, now, cause))
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
            let node = self.node(self.core.table.search(self.pin(), hash, hit).found?);
            if let Some(before) = self.remove_with(shard, node, cause) {
                return Some((node, before));
            }
        }
    }

    /// Whether a removed value was stored and still good: what `remove` gives back. (Not what the hand or a sweep had closed:
    /// others have found the key absent since.)
    pub(crate) fn was_fresh(&self, node: &Node<K, V>, before: Snapshot) -> bool {
        let served = before.is_entry() || before.has_value() && mutant("closed counts");
        served && (node.stored_weight() != 0 || mutant("handed over counts")) && !self.core.is_expired(node)
    }

    /// What is left of a node that a finder met in a terminal state: helps to get rid of it.
    pub(super) fn clear_away(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        self.remove(shard, node, self.cause_of_closing(node));
    }

    /// Whether a removed value's time was ended by the invalidation of a tag, and not over by itself. Asks the user's `tags_with`,
    /// and only where a tag was invalidated since the value was loaded.
    fn ended_by_tag(&self, node: &Node<K, V>) -> bool {
        let Some(groups) = &self.core.config.groups else { return false };
        node.tag_sequence(self.core.nodes()).is_some_and(|start| groups.any_since(start))
            // (User code: the clock, and `tags_with`. If it panics the value counts as one without tags.)
            && self
                .ask(|| !self.core.is_expired_at(node, self.core.config.time.now()) && self.core.tag_invalidated(node))
                .unwrap_or(false)
    }

    pub(super) fn count_removal(&self, cause: RemovalCause) {
        let event = match cause {
            RemovalCause::Explicit => Event::Invalidation,
            RemovalCause::Expired => Event::Expiration,
            RemovalCause::Size => Event::Eviction,
            RemovalCause::Replaced | RemovalCause::Rejected => return,
        };
        self.core.counters.count(event);
    }

    fn cause_of_closing(&self, node: &Node<K, V>) -> RemovalCause {
        if self.core.is_expired(node) { RemovalCause::Expired } else { RemovalCause::Size }
    }
}
