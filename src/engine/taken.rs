//! Whether a writer wants the value that it removes.

use super::{Operation, Ptr};
use crate::flight::node::Node;
use crate::flight::word::Snapshot;
use core::ptr::NonNull;

/// What a writer does with the value that it removes.
pub(crate) trait Taker<K, V> {
    /// The references that the writer gets to the value that it stores.
    const STORED: u32;

    /// Calls `remove`, which removes the node, and returns the word before the removal. Returns
    /// None, as `remove` does, if another remover won the mark. `marked` says that the caller has
    /// won the mark already.
    fn removes(
        &mut self,
        operation: &Operation<'_, K, V>,
        node: &Node<K, V>,
        marked: bool,
        remove: impl FnOnce() -> Option<Snapshot>,
    ) -> Option<Snapshot>;
}

/// A writer that wants none.
impl<K, V> Taker<K, V> for () {
    const STORED: u32 = 0;

    #[inline]
    fn removes(
        &mut self,
        _: &Operation<'_, K, V>,
        _: &Node<K, V>,
        _marked: bool,
        remove: impl FnOnce() -> Option<Snapshot>,
    ) -> Option<Snapshot> {
        remove()
    }
}

/// A value that was removed, for the writer that removed it: a reference to its node, and the word
/// before the removal.
/// (A `Taken` that is dropped, and not taken apart, leaks the reference.)
#[must_use]
pub(crate) struct Taken<K, V>(Option<(Ptr<K, V>, Snapshot)>);

impl<K, V> Taken<K, V> {
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Hands the reference over. The word had a value.
    pub(crate) fn into_inner(self) -> Option<(Ptr<K, V>, Snapshot)> {
        self.0
    }
}

impl<K, V> Taker<K, V> for Taken<K, V> {
    const STORED: u32 = 1;

    fn removes(
        &mut self,
        operation: &Operation<'_, K, V>,
        node: &Node<K, V>,
        marked: bool,
        remove: impl FnOnce() -> Option<Snapshot>,
    ) -> Option<Snapshot> {
        // The reference is taken before the removal, which may give the last one back. It is
        // refused if another remover has marked the node. The winner of the mark owns the list's.
        if marked {
            node.add_refs(1);
        }
        let shared = marked || node.inc_ref();
        let before = remove();
        let this = NonNull::from(node);
        match before.filter(|_| shared) {
            Some(before) if before.has_value() && self.0.is_none() => self.0 = Some((this, before)),
            // SAFETY: the reference was taken above; the node is used only under the pin.
            _ if shared => unsafe { operation.release(this) },
            _ => {}
        }
        before
    }
}
