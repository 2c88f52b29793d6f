//! What goes over all entries: a few hundred under one pin, then the next few hundred.
//!
//! So a sweep over millions of entries holds up no reclamation, and what it removes is told to the listener and dropped as
//! it goes. A walk is resumed behind the order of the last node that it met: it misses nothing that was there throughout.

use super::{Core, Operation, Ptr, RemovalCause, Shard};
use crate::flight::node::Node;
use crate::flight::word::{Closing, State};
use crate::reclaim::Pin;
use crate::sys::mutants::mutant;
#[cfg(feature = "std")]
use crate::sys::mutants::sized;
#[cfg(feature = "std")]
use crate::sys::unwind;
use core::ptr::NonNull;

/// Nodes visited under one pin, or a few more: those of one order are not parted.
#[cfg(feature = "std")]
const SLICE: usize = sized(256, 2, 1);

enum At<K, V> {
    Start,
    /// At this node, under the pin that it was met under.
    Node(Ptr<K, V>),
    /// Behind all nodes of this order.
    Behind(u32),
}

/// A walk over all nodes, one at a time.
pub(crate) struct Walk<K, V>(At<K, V>);

impl<K, V> Walk<K, V> {
    pub(crate) fn start() -> Self {
        Self(At::Start)
    }

    /// Begins behind all nodes of this order.
    pub(super) fn behind(order: u32) -> Self {
        Self(At::Behind(order))
    }

    /// The next node, whatever its state; a node that is replaced meanwhile is followed by its replacement.
    ///
    /// # Safety
    /// All steps of a walk are on the same core and under a pin that is held throughout, or from the last
    /// [`pause`](Self::pause) on.
    pub(crate) unsafe fn step<'p>(&mut self, core: &'p Core<K, V>, pin: &'p Pin) -> Option<&'p Node<K, V>> {
        let link = match self.0 {
            At::Start => core.table.first(pin),
            // SAFETY: met in the step before, so alive under the pin.
            At::Node(at) => core.table.after(pin, unsafe { at.as_ref() }.link()),
            At::Behind(order) => core.table.behind(pin, order),
        }?;
        // SAFETY: the table of this core holds nodes of this type only, alive under the pin.
        let node = unsafe { Node::of_link(link) };
        self.0 = At::Node(NonNull::from(node));
        Some(node)
    }

    /// Lets go of the pin: the next step is behind all nodes of this order.
    fn pause(&mut self, order: u32) {
        self.0 = At::Behind(order);
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Visits at least so many nodes; whether there are more.
    pub(super) fn visit(&self, walk: &mut Walk<K, V>, most: usize, visit: &mut impl FnMut(&Self, &Node<K, V>)) -> bool {
        let mut left = most;
        let mut order = 0;
        // SAFETY: under this scope's pin; the walk was paused under any other.
        while let Some(node) = unsafe { walk.step(self.core, self.pin()) } {
            if left == 0 && node.link().order() != order {
                // This node is for the next slice: its order is odd, and no other node's is just below.
                if mutant("walk stays on its node") {
                    visit(self, node);
                } else {
                    walk.pause(node.link().order() - 1);
                }
                return true;
            }
            order = node.link().order();
            left = left.saturating_sub(1);
            visit(self, node);
        }
        false
    }

    /// Whether a value is over, past every window in which it may be served as stale.
    fn beyond_use(&self, node: &Node<K, V>) -> bool {
        !node.hot().never_expires()
            && (self.core.beyond_grace_at(node, self.core.config.time.now()) || self.core.tag_invalidated(node))
    }

    /// Removes a stored value if `doomed` says so, and with it the load that refreshes it, if one does;
    /// the refresh of a value that stays goes on. The load of a key without a value, or with one that
    /// is beyond all use, is always removed: there is nothing to keep, and nothing that was loaded from
    /// before this call is stored after it.
    fn remove_doomed(&self, node: &Node<K, V>, doomed: &mut impl FnMut(&K, &V) -> bool) {
        if node.link().is_marked() {
            return;
        }
        let word = node.word.load();
        // SAFETY: called where the word is valued, and we are pinned.
        let value = || unsafe { node.value() };
        let nothing_to_keep = !word.has_value() || word.in_flight() && self.beyond_use(node);
        if nothing_to_keep || doomed(node.key(), value()) {
            // Losing the mark to a swap is no loss: the newer node is the next one of this walk.
            self.remove(self.core.shard_of_order(node.link().order()), node, RemovalCause::Explicit);
        }
    }

    /// As [`Core::remove_where`], under this pin.
    pub(crate) fn remove_where(&self, mut doomed: impl FnMut(&K, &V) -> bool) {
        self.visit(&mut Walk::start(), usize::MAX, &mut |operation, node| operation.remove_doomed(node, &mut doomed));
        self.seal_and_reclaim();
    }

    /// As [`Core::purge`], under this pin.
    pub(crate) fn purge(&self) -> usize {
        let mut purged = 0;
        self.visit(&mut Walk::start(), usize::MAX, &mut |operation, node| purged += usize::from(operation.sweep(node)));
        self.seal_and_reclaim();
        purged
    }

    /// Removes an entry that has expired (true), or a flight that was given up and not taken on.
    fn sweep(&self, node: &Node<K, V>) -> bool {
        let shard = self.core.shard_of_order(node.link().order());
        let now = || self.core.config.time.now();
        match node.word.load().state() {
            State::Ready => !node.hot().never_expires() && self.sweep_entry(node, now()),
            State::Failed(_) => {
                self.sweep_failure(node, now());
                false
            }
            // By a transition of its own: whoever claims the flight meanwhile may make a good entry of it.
            State::Empty { .. } if node.word.end_empty() || mutant("sweep of a stale look") => {
                self.remove(shard, node, RemovalCause::Explicit);
                self.ring(NonNull::from(node));
                false
            }
            State::Refreshing(successor) if !node.link().is_marked() => {
                self.sweep_successor(shard, node, successor.cast());
                false
            }
            _ => false,
        }
    }

    /// Removes an entry, which was READY, if it has expired at this time, or one of its tags was invalidated; whether it did.
    pub(super) fn sweep_entry(&self, node: &Node<K, V>, now: u64) -> bool {
        if node.hot().never_expires() || node.link().is_marked() {
            return false;
        }
        let cause = match self.core.beyond_grace_at(node, now) {
            true => RemovalCause::Expired,
            false if self.core.tag_invalidated(node) => RemovalCause::Explicit,
            false => return false,
        };
        let shard = self.core.shard_of_order(node.link().order());
        node.word.close() == Closing::Entry && self.remove(shard, node, cause)
    }

    /// Removes a failure that was kept, and is not at this time; whether it did.
    pub(super) fn sweep_failure(&self, node: &Node<K, V>, now: u64) -> bool {
        let shard = self.core.shard_of_order(node.link().order());
        let over = !node.kept_failure(self.core.nodes(), now) && !node.link().is_marked();
        over && self.remove(shard, node, RemovalCause::Expired)
    }

    /// Ends a successor that was given up and not taken on.
    fn sweep_successor(&self, shard: &Shard<K, V>, old: &Node<K, V>, successor: Ptr<K, V>) {
        // SAFETY: read from an entry that is unmarked under the present pin, so alive under it.
        let next = unsafe { successor.as_ref() };
        // The share keeps its address from being used anew before the entry's word has let go of it.
        if !next.inc_ref() {
            return;
        }
        if next.word.end_empty() {
            old.word.refresh_ended(successor.cast());
            // While it was being refreshed the hand could not take it.
            self.make_room_anew(shard);
            self.ring(successor);
        }
        // SAFETY: the share taken above.
        unsafe { self.release(successor) };
    }
}

#[cfg(feature = "std")]
impl<K, V> Core<K, V> {
    /// Visits all nodes, with a new pin every now and then.
    ///
    /// A panic of `visit` ends it. One of a listener or a drop, at the end of a slice, goes on after the last slice: what
    /// began before the call must not be left behind.
    fn visit_all(&self, mut visit: impl FnMut(&Operation<'_, K, V>, &Node<K, V>)) {
        let (mut walk, mut more) = (Walk::start(), true);
        let slices = core::iter::from_fn(|| {
            more.then(|| {
                let operation = self.operation(self.limbo.enter());
                more = operation.visit(&mut walk, SLICE, &mut visit);
                if !more {
                    operation.seal_and_reclaim();
                }
                operation
            })
        });
        unwind::each(slices, drop);
    }

    /// Removes what `doomed` says, and all that is in flight.
    pub(crate) fn remove_where(&self, mut doomed: impl FnMut(&K, &V) -> bool) {
        self.visit_all(|operation, node| operation.remove_doomed(node, &mut doomed));
    }

    /// Removes what has expired, and flights that were given up and not taken on. How many entries went.
    pub(crate) fn purge(&self) -> usize {
        let mut purged = 0;
        self.visit_all(|operation, node| purged += usize::from(operation.sweep(node)));
        purged
    }
}
