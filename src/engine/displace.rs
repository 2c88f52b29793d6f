//! Displacing: one entry goes for a newcomer that is not stored yet.

use super::weight::Displaced;
use super::{Operation, Ptr, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::{Closing, State};
use crate::policy::{Budget, Coming, Evictor, Seats, Which};
use crate::sys::mutants::mutant;
use core::cell::Cell;
use core::ptr;

/// The operations that a shard's policy may do on the entries of a cache in which none ends, and
/// which the user keeps none of.
struct PlainEvictor<'s, 'c, K, V> {
    operation: &'s Operation<'c, K, V>,
    /// The weight of what is evicted. It stays in the total.
    displaced: Cell<u64>,
}

impl<K, V> Seats<Node<K, V>> for PlainEvictor<'_, '_, K, V> {
    #[inline]
    fn recheck(&self, node: &Node<K, V>) {
        self.operation.recheck_slot(node);
    }
}

impl<K, V> Evictor<Node<K, V>> for PlainEvictor<'_, '_, K, V> {
    #[inline(always)]
    fn removed(&self, node: &Node<K, V>) -> bool {
        node.link().is_marked()
    }

    #[inline(always)]
    fn any_expires(&self) -> bool {
        false
    }

    #[inline(always)]
    fn expired(&self, _: &Node<K, V>) -> bool {
        false
    }

    fn release(&self, held: Ptr<K, V>) {
        // SAFETY: a slot's reference goes to the caller that takes the entry out of the slot, which
        // passes it on to here.
        unsafe { self.operation.release(held) };
    }

    #[inline(always)]
    fn spared(&self, _: &Node<K, V>) -> Option<bool> {
        None
    }

    #[inline(always)]
    fn evict(&self, node: &Node<K, V>) -> bool {
        self.operation.evict_closing(node, RemovalCause::Size, Some(&self.displaced)).is_some()
    }

    fn reopened(&self, node: &Node<K, V>) -> bool {
        self.operation.is_reopened(node)
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Evicts an entry for a newcomer that is about to enter this ring, if there is no room for it.
    /// So the weight does not exceed the capacity even for a moment, and where one weight takes the
    /// place of another, the total is not written.
    ///
    /// This is the common case. Where expired entries are to go first, or this entry's weight is
    /// not enough, or none may go, [`make_room`](Self::make_room) does the rest once the newcomer
    /// is stored.
    ///
    /// `budget` is that of `home`.
    #[inline(always)]
    pub(super) fn displace(
        &self,
        home: &Shard<K, V>,
        (ring, weight, born): (Which, u32, u64),
        budget: Budget,
    ) -> Displaced {
        if self.core.weight() + u64::from(weight) <= self.core.capacity() || self.is_time_to_tidy(born) {
            return Displaced::NOTHING;
        }
        self.respread(home);
        let first = self.heaviest(home, None);
        let (budget, coming) = match ptr::eq(first, home) {
            true => (budget, Coming::into(ring, weight)),
            false => (self.budget(first), Coming::NONE),
        };
        let displaced = match self.core.any_ends() || self.core.config.keep_while.is_some() {
            true => self.displace_by_terms(first, budget, coming),
            false => self.displace_from(first, budget, coming),
        };
        self.core.note_stray(first);
        Displaced::of(displaced)
    }

    /// Evicts an entry of this shard. Returns its weight, or 0.
    #[inline(never)]
    fn displace_from(&self, shard: &Shard<K, V>, budget: Budget, coming: Coming) -> u64 {
        let evictor = PlainEvictor { operation: self, displaced: Cell::new(0) };
        let _evicted = shard.policy.displace(budget, coming, &evictor);
        evictor.displaced.get()
    }

    /// Does the same, where entries end, or where the user keeps some.
    #[inline(never)]
    fn displace_by_terms(&self, shard: &Shard<K, V>, budget: Budget, coming: Coming) -> u64 {
        let evictor = self.evictor().displacing();
        let _evicted = shard.policy.displace(budget, coming, &evictor);
        evictor.displaced.map_or(0, Cell::into_inner)
    }

    /// Closes and removes a node that the hand holds, and gives back the slot's reference. Returns
    /// whether this call has removed it, or None if the node may not go now: it is being refreshed.
    ///
    /// `displaced`: as for [`remove_held`](Self::remove_held).
    #[inline(always)]
    pub(super) fn evict_closing(
        &self,
        node: &Node<K, V>,
        cause: RemovalCause,
        displaced: Option<&Cell<u64>>,
    ) -> Option<bool> {
        // A failure has ended already. No caller can refresh it, so the mark alone decides.
        let closing = node.word.close();
        if closing == Closing::Refused && !node.word.load().failed() {
            return None;
        }
        Some(self.remove_held(node, closing, cause, displaced))
    }

    /// Returns whether a node that could not be evicted, and is back in a slot, may be evicted by
    /// now.
    pub(super) fn is_reopened(&self, node: &Node<K, V>) -> bool {
        // The fence in `recheck`, which this hand has passed as it put the entry back, has its
        // partner in `make_room_anew`, where the leader passes it after it has changed the state.
        // Either the leader sees the entry in its slot, or this hand sees the new state. (A failure
        // takes the place of an entry before it is FAILED.)
        matches!(node.word.load().state(), State::Ready | State::Failed(_)) && !mutant("hand looks once")
    }
}
