//! Nodes that are not in the list yet, and their owners.

use super::{Core, Ptr};
use crate::flight::node::Node;
use crate::reclaim::Pin;

/// A node that is not in the list yet. Dropping this frees the node.
pub(super) struct OwnedNode<'c, K, V>(pub(super) &'c Core<K, V>, pub(super) Ptr<K, V>);

impl<K, V> OwnedNode<'_, K, V> {
    /// Gives up the ownership: the node is in the list now, or hangs from an entry.
    pub(super) fn linked(self) -> Ptr<K, V> {
        let node = self.1;
        core::mem::forget(self);
        node
    }
}

impl<K, V> Drop for OwnedNode<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: the node came from this limbo's arena. No other caller has ever been able to
        // reach it, and its owner ends here.
        unsafe { self.0.limbo.dispose(self.1) };
    }
}

/// A node for a flight that this caller may begin, kept over attempts. Callers declare it outside
/// of the operation, so that an unused key is not dropped under the pin.
pub(crate) struct PendingNode<'c, K, V>(&'c Core<K, V>, Option<OwnedNode<'c, K, V>>);

impl<'c, K, V> PendingNode<'c, K, V> {
    pub(crate) fn none(core: &'c Core<K, V>) -> Self {
        Self(core, None)
    }

    pub(super) fn ready(&mut self, pin: &Pin, key: impl FnOnce() -> K, order: u32, shares: u32) -> Ptr<K, V> {
        let fresh = || OwnedNode(self.0, Node::flight(self.0.limbo(), pin, key(), order));
        let node = self.1.get_or_insert_with(fresh).1;
        // SAFETY: the node is this caller's own, and not yet shared.
        unsafe { node.as_ref() }.set_refcount(shares);
        node
    }

    /// Returns whether there is no node: it was used, or none was needed.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.1.is_none()
    }

    pub(super) fn used(&mut self) {
        if let Some(node) = self.1.take() {
            node.linked();
        }
    }
}
