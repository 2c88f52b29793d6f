//! Nodes that are not in the list yet, and their owners.

use super::{Core, Ptr};
use crate::flight::node::Node;

/// A node that is not in the list yet; frees it if it never gets there.
pub(super) struct OwnedNode<'c, K, V>(pub(super) &'c Core<K, V>, pub(super) Ptr<K, V>);

impl<K, V> OwnedNode<'_, K, V> {
    /// The node is in the list, or hangs from an entry: it is no longer ours.
    pub(super) fn linked(self) -> Ptr<K, V> {
        let node = self.1;
        core::mem::forget(self);
        node
    }
}

impl<K, V> Drop for OwnedNode<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: nobody else has ever been able to reach the node, and this is its owner's end.
        unsafe { self.0.limbo.dispose(self.1) };
    }
}

/// A node for a flight that this caller might begin, kept over attempts. Declared outside of the scope, so that an
/// unused key is not dropped under the pin.
pub(crate) struct PendingNode<'c, K, V>(&'c Core<K, V>, Option<OwnedNode<'c, K, V>>);

impl<'c, K, V> PendingNode<'c, K, V> {
    pub(crate) fn none(core: &'c Core<K, V>) -> Self {
        Self(core, None)
    }

    pub(super) fn ready(&mut self, key: impl FnOnce() -> K, order: u32, shares: u32) -> Ptr<K, V> {
        let fresh = || OwnedNode(self.0, Node::flight(self.0.nodes(), key(), order));
        let node = self.1.get_or_insert_with(fresh).1;
        // SAFETY: our own node, not yet shared.
        unsafe { node.as_ref() }.set_refcount(shares);
        node
    }

    pub(super) fn used(&mut self) {
        if let Some(node) = self.1.take() {
            node.linked();
        }
    }
}
