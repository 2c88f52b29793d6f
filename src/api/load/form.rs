//! In what form callers want values.

use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::key::ToKey;
use crate::engine::outcome::Outcome;
use crate::flight::node::Node;
use core::ptr::NonNull;

/// In what form a caller wants a value.
///
/// Its implementations have no bounds on `'c`, `K` and `V`: a task that holds an `Out` across an
/// `.await` is `Send` only if the compiler finds the implementation for lifetimes of which it knows
/// nothing.
pub(crate) trait ReturnAs<'c, K, V> {
    type Out;
    /// Of what was found; None: look again.
    ///
    /// # Safety
    /// The node's word was seen valued, under a pin that is held.
    unsafe fn of_hit(core: &CoreRef<'c, K, V>, node: &Node<K, V>, outcome: Outcome) -> Option<Self::Out>;
    fn of_entry(entry: Entry<'c, K, V>, outcome: Outcome) -> Self::Out;
    /// Of a value that this caller has loaded for itself alone.
    fn alone<Q: ?Sized + ToKey<K>>(core: &CoreRef<'c, K, V>, q: &Q, hash: u64, value: V) -> Self::Out;
}

/// A clone of the value.
pub(crate) struct AsValue;

impl<'c, K, V: Clone> ReturnAs<'c, K, V> for AsValue {
    type Out = V;
    unsafe fn of_hit(_: &CoreRef<'c, K, V>, node: &Node<K, V>, _: Outcome) -> Option<V> {
        // SAFETY: as for this function.
        Some(unsafe { node.value() }.clone())
    }
    fn of_entry(entry: Entry<'c, K, V>, _: Outcome) -> V {
        // A local as the entry goes, which may drop values of the user's: what is just being returned would be lost if that panics.
        let value = V::clone(&entry);
        drop(entry);
        value
    }
    fn alone<Q: ?Sized + ToKey<K>>(_: &CoreRef<'c, K, V>, _: &Q, _: u64, value: V) -> V {
        value
    }
}

/// A counted handle, with how it was come by.
pub(crate) struct AsEntry;

impl<'c, K, V> ReturnAs<'c, K, V> for AsEntry {
    type Out = (Entry<'c, K, V>, Outcome);
    unsafe fn of_hit(core: &CoreRef<'c, K, V>, node: &Node<K, V>, outcome: Outcome) -> Option<Self::Out> {
        // SAFETY: the share just taken is handed over; seen valued, as for this function.
        let entry = || unsafe { Entry::new(core.clone(), NonNull::from(node)) };
        node.inc_ref().then(|| (entry(), outcome))
    }
    fn of_entry(entry: Entry<'c, K, V>, outcome: Outcome) -> Self::Out {
        (entry, outcome)
    }
    fn alone<Q: ?Sized + ToKey<K>>(core: &CoreRef<'c, K, V>, q: &Q, hash: u64, value: V) -> Self::Out {
        (Entry::detached(core.clone(), q.to_key(), hash, value), Outcome::Computed)
    }
}
