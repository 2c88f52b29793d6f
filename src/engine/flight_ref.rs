//! A counted reference to a flight, and to the entry that it refreshes.

use super::{Operation, Ptr};
use crate::flight::node::Node;

/// A flight, and the entry that it refreshes. A holder owns a reference to each.
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
    /// Returns the node that is in the list, unless it was removed: then the loaded value is not
    /// stored.
    pub(crate) fn listed(self) -> Ptr<K, V> {
        self.old.unwrap_or(self.node)
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Takes a reference to each node of a flight. Returns false, and takes none, if either node
    /// was removed.
    pub(super) fn inc_refs(&self, flight: Flight<K, V>) -> bool {
        // SAFETY: both nodes were found under this operation's pin, which keeps them alive.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        if !node.inc_ref() {
            return false;
        }
        if old.is_none_or(Node::inc_ref) {
            return true;
        }
        // SAFETY: the reference was taken above; the node is used only under this operation's pin.
        unsafe { self.release(flight.node) };
        false
    }

    /// Takes one more reference to each node of a flight, for a holder of both: it is never
    /// refused, even if the nodes were removed.
    pub(super) fn add_refs(&self, flight: Flight<K, V>) {
        // SAFETY: the caller's references keep both nodes alive.
        unsafe { flight.node.as_ref() }.add_refs(1);
        // SAFETY: as above.
        flight.old.into_iter().for_each(|old| unsafe { old.as_ref() }.add_refs(1));
    }

    /// Gives back the references of a flight.
    ///
    /// # Safety
    /// The caller owns the references. From now on it uses the nodes only under this operation's
    /// pin.
    pub(crate) unsafe fn release_flight(&self, flight: Flight<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.release(flight.node) };
        if let Some(old) = flight.old {
            // SAFETY: as for this function.
            unsafe { self.release(old) };
        }
    }
}
