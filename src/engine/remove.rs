//! Removal: the duties of the winner of a mark.
//!
//! A remover wins the mark of a node by marking the node or by replacing it. Then it does the
//! following, in this order.
//!
//! 1. It sets REMOVED in the state word, unless the node is READY or CLOSED.
//! 2. It subtracts weight and count, if the node had a stored value. (If the publisher had not
//!    stored the value yet, the publisher does this part.)
//! 3. It clears the node's slot, and gets the slot's reference.
//! 4. It unlinks the node.
//! 5. It gives back both references, or passes the list's on to the listener.
//!
//! User code that is needed meanwhile (the clock, an entry's tags) is called through
//! [`Operation::ask`], so no panic can leave a removal half done.

use super::events::CacheEvent;
use super::stats::Event;
use super::taken::Taker;
use super::weight::WeightDelta;
use super::{Operation, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::{Closing, Snapshot};
use crate::sys::mutants::mutant;
use crate::table::link::Link;
use core::cell::Cell;
use core::ptr::NonNull;

impl<K, V> Operation<'_, K, V> {
    /// Marks `node`, and does the duties of the winner. Returns false if another remover has won
    /// the mark: look the key up again, as the winner may have put a newer value in the node's
    /// place.
    pub(crate) fn remove(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> bool {
        self.remove_with(shard, node, cause).is_some()
    }

    /// Does the same as [`remove`](Self::remove). Returns the word before the removal.
    pub(crate) fn remove_with(&self, shard: &Shard<K, V>, node: &Node<K, V>, cause: RemovalCause) -> Option<Snapshot> {
        let cause = self.cause_at_present(node, cause);
        if !self.core.table.mark(node.link()) {
            return None;
        }
        let before = self.removed(shard, node, 0);
        let held = self.clear_slot(node);
        self.unlist_and_release(node, held, before, cause);
        Some(before)
    }

    /// Removes a node that the hand holds, and gives back the slot's reference. The node is in no
    /// slot. A caller that put it in one, and now rechecks its mark, does not find it there.
    ///
    /// If `displaced` is given, the node's weight is added to it, instead of being subtracted from
    /// the total. Returns false if another remover has won the mark.
    #[inline(always)]
    pub(super) fn remove_held(
        &self,
        node: &Node<K, V>,
        closing: Closing,
        cause: RemovalCause,
        displaced: Option<&Cell<u64>>,
    ) -> bool {
        let won = self.core.table.mark(node.link());
        let listed = won
            && match closing {
                // No caller changes a CLOSED word any more.
                Closing::Entry => self.unlist_held(node, (Snapshot::CLOSED, node.stored_weight()), cause, displaced),
                Closing::Flight | Closing::Refused => self.unlist_held_failure(node, cause, displaced),
            };
        // SAFETY: the hand owns the slot's reference, and passes it to this call. The list's
        // reference is this call's if it won the mark and was left it here (`listed`).
        unsafe { self.release_removed(NonNull::from(node), 1 + u32::from(listed)) };
        won
    }

    /// Subtracts the weight of a node that the hand holds, or adds it to `displaced`, and unlinks
    /// the node. Returns whether the list's reference is left for the caller to give back.
    #[inline(always)]
    fn unlist_held(
        &self,
        node: &Node<K, V>,
        (before, weight): (Snapshot, u32),
        cause: RemovalCause,
        displaced: Option<&Cell<u64>>,
    ) -> bool {
        if weight != 0 {
            let shard = || self.core.shard_of_order(node.link().order());
            match displaced {
                Some(displaced) => {
                    displaced.set(displaced.get() + u64::from(weight));
                    self.count_out(shard);
                }
                None => self.release_weight(shard, weight),
            }
        }
        !self.unlist(node, before, cause)
    }

    /// Does the same for a failure that was kept.
    #[cold]
    #[inline(never)]
    fn unlist_held_failure(&self, node: &Node<K, V>, cause: RemovalCause, displaced: Option<&Cell<u64>>) -> bool {
        self.unlist_held(node, Self::set_removed(node), cause, displaced)
    }

    /// Sets REMOVED. Returns the word before, and the weight that counts, which is 0 if none does.
    fn set_removed(node: &Node<K, V>) -> (Snapshot, u32) {
        let before = node.word.set_removed();
        (before, if before.weighs() { node.stored_weight() } else { 0 })
    }

    /// Sets REMOVED, and subtracts the value's weight unless a newcomer has accounted for it.
    /// Returns the word before.
    fn removed(&self, shard: &Shard<K, V>, node: &Node<K, V>, accounted: u32) -> Snapshot {
        let (before, weight) = Self::set_removed(node);
        if weight != 0 && (accounted == 0 || mutant("old weight twice")) {
            self.release_weight(|| shard, weight);
        }
        before
    }

    /// Unlinks a node for the winner of its mark. The list's reference goes to the listener, or is
    /// given back. So are as many references as the caller holds.
    fn unlist_and_release(&self, node: &Node<K, V>, held: u32, before: Snapshot, cause: RemovalCause) {
        let listed = !self.unlist(node, before, cause);
        let shares = held + u32::from(listed);
        if shares != 0 {
            // SAFETY: the references that the caller holds are passed to this call. The winner of
            // the mark owns the list's once the node is unlinked.
            unsafe { self.release_removed(NonNull::from(node), shares) };
        }
    }

    /// Unlinks a node for the winner of its mark, and reports the removal. Returns whether the
    /// list's reference went to the listener. If not, the caller must give it back.
    #[must_use]
    #[inline(always)]
    fn unlist(&self, node: &Node<K, V>, before: Snapshot, cause: RemovalCause) -> bool {
        self.core.table.unlink(self.pin(), node.link());
        // The hand or a sweep closed the node before, and this remover only marked it first. The
        // closing is the cause.
        let overtook = matches!(cause, RemovalCause::Explicit | RemovalCause::Replaced) && before.closed();
        let cause = if overtook { self.cause_of_overtaken(node) } else { cause };
        let had_value = before.has_value() && node.stored_weight() != 0;
        let counts = had_value || (cause == RemovalCause::Explicit && before.in_flight());
        if !self.core.tells_removals {
            if counts {
                self.count_removal(cause);
            }
            return false;
        }
        self.tell_removal(node, had_value, counts, cause)
    }

    /// Returns the cause for which another caller has closed the node.
    #[cold]
    fn cause_of_overtaken(&self, node: &Node<K, V>) -> RemovalCause {
        // This calls user code: the clock and `tags_with`. The remaining duties must be done even
        // if it panics.
        self.ask(|| self.cause_of_closing(node)).unwrap_or(RemovalCause::Size)
    }

    /// Counts a removal in a cache with tags, a listener or an observer, and has these told of it.
    /// Returns as [`unlist`](Self::unlist).
    #[inline(never)]
    fn tell_removal(&self, node: &Node<K, V>, had_value: bool, counts: bool, cause: RemovalCause) -> bool {
        let untagged = had_value && cause != RemovalCause::Explicit && self.ended_by_tag(node);
        // A newcomer that takes the place of such a value replaces it. All other removals of it are
        // due to the tag.
        let cause = if untagged && cause != RemovalCause::Replaced { RemovalCause::Explicit } else { cause };
        if untagged {
            self.count_removal(RemovalCause::Explicit);
        } else if counts {
            self.count_removal(cause);
        }
        if had_value {
            self.observe_of(node, || CacheEvent::Removed { cause });
        }
        let told = had_value && self.core.config.listener.is_some();
        if told {
            // SAFETY: the winner of the mark owns the list's reference once the node is unlinked,
            // and passes it on. The node has a value.
            unsafe { self.announce(NonNull::from(node), cause) };
        }
        told
    }

    /// Does the duties of the winner after `new`, which owns references for the list and its slot,
    /// was put in the place of `old`.
    /// Returns the old entry's word before.
    pub(super) fn replaced(
        &self,
        shard: &Shard<K, V>,
        old: &Node<K, V>,
        new: &Node<K, V>,
        weighed: &WeightDelta,
    ) -> Snapshot {
        self.commit_weight(weighed);
        let cause = self.cause_by_time(old, new.born(), RemovalCause::Replaced);
        let before = self.removed(shard, old, weighed.old);
        let held = self.inherit_slot(shard, new, old);
        self.unlist_and_release(old, held, before, cause);
        before
    }

    /// Returns the cause of a removal at the time `now`: `Expired` if the value has expired, else
    /// `cause`.
    fn cause_by_time(&self, node: &Node<K, V>, now: u64, cause: RemovalCause) -> RemovalCause {
        // The common case is a value that never expires.
        if !self.core.never_ends(node) && self.core.is_expired_at(node, now) { RemovalCause::Expired } else { cause }
    }

    /// Returns the cause of a removal at the present time of the user's clock.
    fn cause_at_present(&self, node: &Node<K, V>, cause: RemovalCause) -> RemovalCause {
        if self.core.never_ends(node) {
            return cause;
        }
        let now = self.ask(|| self.core.config.time.now());
        now.map_or(cause, |now| self.cause_by_time(node, now, cause))
    }

    /// Removes a key: its entry or flight. Returns the node, which is alive under the pin, and the
    /// word before the removal. `None` if there was none.
    pub(crate) fn remove_key(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        cause: RemovalCause,
        taker: &mut impl Taker<K, V>,
    ) -> Option<(&Node<K, V>, Snapshot)> {
        let shard = self.core.shard(hash);
        loop {
            let hit = |link: NonNull<Link>| is_key(self.node(link).key());
            let node = self.node(self.core.table.search(self.pin(), hash, hit).found?);
            if let Some(before) = taker.removes(self, node, false, || self.remove_with(shard, node, cause)) {
                return Some((node, before));
            }
        }
    }

    /// Returns whether a removed value was stored and still fresh, so that `remove` returns it. A
    /// value that the hand or a sweep had closed was not: readers have found the key absent since.
    pub(crate) fn was_fresh(&self, node: &Node<K, V>, before: Snapshot) -> bool {
        let served = before.is_entry() || before.has_value() && mutant("closed counts");
        served && (node.stored_weight() != 0 || mutant("handed over counts")) && !self.core.is_expired(node)
    }

    /// Helps to remove a node that a finder met in a terminal state.
    pub(super) fn clear_away(&self, shard: &Shard<K, V>, node: &Node<K, V>) {
        self.remove(shard, node, self.cause_of_closing(node));
    }

    /// Returns whether the invalidation of a tag ended a removed value that had not expired by
    /// itself. Calls the user's `tags_with`, but only if a tag was invalidated since the value was
    /// loaded.
    fn ended_by_tag(&self, node: &Node<K, V>) -> bool {
        if self.core.config.groups.is_none() {
            return false;
        }
        node.tag_sequence(self.core.nodes()).is_some_and(|start| self.core.epochs.any_since(start))
            // This calls user code: the clock and `tags_with`. If it panics, the value counts as
            // one without tags.
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
        self.core.counters.count_under(self.pin(), event);
    }

    fn cause_of_closing(&self, node: &Node<K, V>) -> RemovalCause {
        if self.core.is_expired(node) { RemovalCause::Expired } else { RemovalCause::Size }
    }
}
