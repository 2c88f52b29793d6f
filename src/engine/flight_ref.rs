//! A counted reference to a flight, with the entry that it refreshes.

use super::{Operation, Ptr};
use crate::flight::node::Node;

/// A flight, with the entry that it refreshes. Whoever holds this owns a share of each.
pub(crate) struct Flight<K, V> {
    pub(crate) node: Ptr<K, V>,
    pub(crate) old: Option<Ptr<K, V>>,
}

impl<K, V> Clone for Flight<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Flight<K, V> {}

impl<K, V> Flight<K, V> {
    /// The node that is in the list, if any is: what is loaded is stored only if that was not removed.
    pub(crate) fn listed(self) -> Ptr<K, V> {
        self.old.unwrap_or(self.node)
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Shares of both nodes of a flight; false (and none taken) if either has none left.
    pub(super) fn inc_refs(&self, flight: Flight<K, V>) -> bool {
        // SAFETY: both were found under this scope's pin.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        if !node.inc_ref() {
            return false;
        }
        if old.is_none_or(Node::inc_ref) {
            return true;
        }
        // SAFETY: the share taken above.
        unsafe { self.release(flight.node) };
        false
    }

    /// Gives back the shares of a flight.
    ///
    /// # Safety
    /// The caller owns them, and from now on uses the nodes only under this scope's pin.
    pub(crate) unsafe fn release_flight(&self, flight: Flight<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.release(flight.node) };
        if let Some(old) = flight.old {
            // SAFETY: as for this function.
            unsafe { self.release(old) };
        }
    }
}
