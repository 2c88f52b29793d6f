//! Sweeps: operations that visit all entries, a few hundred under one pin, then the next few
//! hundred.
//!
//! So a sweep over millions of entries holds up no reclamation. The listener is told of removed
//! values, and these are dropped, as the sweep goes on. A walk resumes behind the order of the last
//! node that it met, so it misses no node that was in the list throughout.

#[cfg(feature = "std")]
use super::taken::{Taken, Taker};
use super::{Core, Operation, Ptr, RemovalCause, Shard};
use crate::flight::node::Node;
#[cfg(feature = "std")]
use crate::flight::word::Snapshot;
use crate::flight::word::{Closing, State};
use crate::reclaim::Pin;
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
#[cfg(feature = "std")]
use crate::sys::mutants::sized;
#[cfg(feature = "std")]
use crate::sys::unwind;
use core::ptr::NonNull;

/// Nodes visited under one pin. There may be a few more: nodes of one order are visited under the
/// same pin.
#[cfg(feature = "std")]
const SLICE: usize = sized(256, 2, 1);

enum At<K, V> {
    Start,
    /// At this node, under the pin under which the walk met it.
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

    /// Begins a walk behind all nodes of this order.
    pub(super) fn behind(order: u32) -> Self {
        Self(At::Behind(order))
    }

    /// Returns the next node, in any state. If a node is replaced after the walk met it, its
    /// replacement follows.
    ///
    /// # Safety
    /// All steps of a walk are on the same core. They are under one pin that is held throughout, or
    /// the walk was [paused](Self::pause) after its last step under another pin.
    pub(crate) unsafe fn step<'p>(&mut self, core: &'p Core<K, V>, pin: &'p Pin) -> Option<&'p Node<K, V>> {
        let link = match self.0 {
            At::Start => core.table.first(pin),
            // SAFETY: the walk met the node in the step before, under the pin that is still held,
            // so it is alive.
            At::Node(at) => core.table.after(pin, unsafe { at.as_ref() }.link()),
            At::Behind(order) => core.table.behind(pin, order),
        }?;
        // SAFETY: the table of this core holds nodes of this type only; the pin keeps them alive.
        let node = unsafe { Node::of_link(link) };
        self.0 = At::Node(NonNull::from(node));
        Some(node)
    }

    /// Forgets the present node, so that its pin may end: the next step is behind all nodes of this
    /// order.
    fn pause(&mut self, order: u32) {
        self.0 = At::Behind(order);
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Visits at least `most` nodes, if there are so many. Returns whether there are more.
    pub(super) fn visit(&self, walk: &mut Walk<K, V>, most: usize, visit: &mut impl FnMut(&Self, &Node<K, V>)) -> bool {
        let mut left = most;
        let mut order = 0;
        // SAFETY: this operation's pin is held throughout; the walk was paused after its last step
        // under another pin.
        while let Some(node) = unsafe { walk.step(self.core, self.pin()) } {
            if left == 0 && node.link().order() != order {
                // This node begins the next slice. Orders of nodes are odd, so no node has the
                // order just below.
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

    /// Returns whether a value may not be served any more, not even as stale.
    fn beyond_use(&self, node: &Node<K, V>) -> bool {
        self.core.is_expired(node) && !self.core.within_grace(node, self.core.config.limits.max_stale())
    }

    /// Removes a stored value if `doomed` says so, and with it the load that refreshes it. The
    /// refresh of a value that stays goes on. A load of a key is always removed if the key has no
    /// value, or one that may not even be served as stale. So no value whose load began before this
    /// call is stored after it, unless it refreshes a value that stays.
    fn remove_doomed(&self, node: &Node<K, V>, doomed: &mut impl FnMut(&K, &V) -> bool) {
        if node.link().is_marked() {
            return;
        }
        let word = node.word.load();
        // SAFETY: this is called only if the word has a value, and the pin keeps the node alive.
        let value = || unsafe { node.value() };
        let nothing_to_keep = !word.has_value() || word.in_flight() && self.beyond_use(node);
        if nothing_to_keep || doomed(node.key(), value()) {
            // If a replacement wins the mark, that does no harm: this walk visits the newer node
            // next.
            self.remove(self.core.shard_of_order(node.link().order()), node, RemovalCause::Explicit);
        }
    }

    /// Does as [`Core::remove_where`], under this pin.
    pub(crate) fn remove_where(&self, mut doomed: impl FnMut(&K, &V) -> bool) {
        self.visit(&mut Walk::start(), usize::MAX, &mut |operation, node| operation.remove_doomed(node, &mut doomed));
        self.seal_and_reclaim();
    }

    /// Does as [`Core::purge`], under this pin.
    pub(crate) fn purge(&self) -> usize {
        let mut purged = 0;
        self.visit(&mut Walk::start(), usize::MAX, &mut |operation, node| purged += usize::from(operation.sweep(node)));
        self.seal_and_reclaim();
        purged
    }

    /// Removes an entry that has expired, or a flight that was given up and not claimed. Returns
    /// whether it removed an entry.
    fn sweep(&self, node: &Node<K, V>) -> bool {
        let shard = self.core.shard_of_order(node.link().order());
        let now = || self.core.config.time.now();
        match node.word.load().state() {
            State::Ready => !self.core.never_ends(node) && self.sweep_entry(node, now()),
            State::Failed(_) => {
                self.sweep_failure(node, now());
                false
            }
            // `end_empty` is a transition of its own: a caller that claims the flight meanwhile may
            // make a fresh entry of it, which must stay.
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

    /// Removes an entry, which was READY, if it is beyond grace at the time `now` or one of its
    /// tags was invalidated. Returns whether it did.
    pub(super) fn sweep_entry(&self, node: &Node<K, V>, now: u64) -> bool {
        if self.core.never_ends(node) || node.link().is_marked() {
            return false;
        }
        let cause = match self.core.beyond_grace_at(node, now) {
            true => RemovalCause::Expired,
            false => {
                let tags = self.core.tag_state(node);
                let over = tags.over_since != NEVER;
                match tags.invalidated {
                    true => RemovalCause::Explicit,
                    false if over && self.core.past_grace(node, tags.over_since, now) => RemovalCause::Expired,
                    false => return false,
                }
            }
        };
        let shard = self.core.shard_of_order(node.link().order());
        node.word.close() == Closing::Entry && self.remove(shard, node, cause)
    }

    /// Removes a kept failure whose time is over at `now`. Returns whether it did.
    pub(super) fn sweep_failure(&self, node: &Node<K, V>, now: u64) -> bool {
        let shard = self.core.shard_of_order(node.link().order());
        let over = !node.kept_failure(self.core.nodes(), now) && !node.link().is_marked();
        over && self.remove(shard, node, RemovalCause::Expired)
    }

    /// Ends a successor that was given up and not claimed.
    fn sweep_successor(&self, shard: &Shard<K, V>, old: &Node<K, V>, successor: Ptr<K, V>) {
        // SAFETY: read from an entry that is unmarked under the present pin, which keeps the
        // successor alive.
        let next = unsafe { successor.as_ref() };
        // The reference keeps the node's address from being reused before the entry's word has lost
        // it.
        if !next.inc_ref() {
            return;
        }
        if next.word.end_empty() {
            old.word.refresh_ended(successor.cast());
            // The hand could not evict the entry while it was being refreshed.
            self.make_room_anew(shard);
            self.ring(successor);
        }
        // SAFETY: the reference was taken above; the node is used only under this operation's pin.
        unsafe { self.release(successor) };
    }
}

#[cfg(feature = "std")]
impl<K, V> Core<K, V> {
    /// Visits all nodes, with a new pin for each slice.
    ///
    /// A panic of `visit` ends the visit. A panic of a listener or a drop, at the end of a slice,
    /// resumes after the last slice: values from before the call must not stay in the cache.
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

    /// Removes the values that `doomed` chooses, and all loads in flight but for refreshes of
    /// values that stay.
    pub(crate) fn remove_where(&self, mut doomed: impl FnMut(&K, &V) -> bool) {
        self.visit_all(|operation, node| operation.remove_doomed(node, &mut doomed));
    }

    /// Removes all nodes behind an order, as far as one slice goes, and hands each value that it
    /// removed to `taken`, with a reference and the word before. `behind` becomes the order behind
    /// which the next slice begins; None: there is none.
    pub(crate) fn take_slice(
        &self,
        behind: &mut Option<u32>,
        mut taken: impl FnMut(&Operation<'_, K, V>, Ptr<K, V>, Snapshot),
    ) {
        let Some(from) = behind.take() else { return };
        let operation = self.operation(self.limbo.enter());
        let mut walk = Walk::behind(from);
        let more = operation.visit(&mut walk, SLICE, &mut |operation, node| {
            let (mut value, shard) = (Taken::nothing(), self.shard_of_order(node.link().order()));
            value.removes(operation, node, false, || operation.remove_with(shard, node, RemovalCause::Explicit));
            if let Some((node, before)) = value.into_inner() {
                taken(operation, node, before);
            }
        });
        operation.seal_and_reclaim();
        if let (true, At::Behind(order)) = (more, walk.0) {
            *behind = Some(order);
        }
    }

    /// Removes expired entries, and flights that were given up and not claimed. Returns how many
    /// entries it removed.
    pub(crate) fn purge(&self) -> usize {
        let mut purged = 0;
        self.visit_all(|operation, node| purged += usize::from(operation.sweep(node)));
        purged
    }
}
