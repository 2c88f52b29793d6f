//! The forms in which callers get values.

use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::key::ToKey;
use crate::engine::outcome::Outcome;
use crate::flight::node::Node;
use core::ptr::NonNull;

/// The form in which a caller gets a value.
///
/// Its implementations have no bounds on `'c`, `K` and `V`. A task that holds an `Out` across an
/// `.await` is `Send` only if the compiler finds the implementation for lifetimes of which it knows
/// nothing.
pub(crate) trait ReturnAs<'c, K, V> {
    type Out;
    /// Makes the result of a borrowed value, if this form needs no counted handle.
    const OF_BORROWED: Option<fn(&V) -> Self::Out>;
    /// Makes the result of a hit. None: the node was removed meanwhile; look the key up again.
    ///
    /// # Safety
    /// The caller has seen, in the node's word, that the node has a value, under a pin that is
    /// still held.
    unsafe fn of_hit(core: &CoreRef<'c, K, V>, node: &Node<K, V>, outcome: Outcome) -> Option<Self::Out>;
    /// Makes the result of a counted handle.
    fn of_entry(entry: Entry<'c, K, V>, outcome: Outcome) -> Self::Out;
    /// Makes the result of a value that this caller has loaded for itself alone.
    fn alone<Q: ?Sized + ToKey<K>>(core: &CoreRef<'c, K, V>, q: &Q, hash: u64, value: V) -> Self::Out;
}

/// The form of a clone of the value.
pub(crate) struct AsValue;

impl<'c, K, V: Clone> ReturnAs<'c, K, V> for AsValue {
    type Out = V;
    const OF_BORROWED: Option<fn(&V) -> V> = Some(V::clone);
    unsafe fn of_hit(_: &CoreRef<'c, K, V>, node: &Node<K, V>, _: Outcome) -> Option<V> {
        // SAFETY: the node has a value and a pin is held, by the contract of this function.
        Some(unsafe { node.value() }.clone())
    }
    fn of_entry(entry: Entry<'c, K, V>, _: Outcome) -> V {
        Entry::into_value(entry)
    }
    fn alone<Q: ?Sized + ToKey<K>>(_: &CoreRef<'c, K, V>, _: &Q, _: u64, value: V) -> V {
        value
    }
}

/// The form of a counted handle, with its outcome.
pub(crate) struct AsEntry;

impl<'c, K, V> ReturnAs<'c, K, V> for AsEntry {
    type Out = (Entry<'c, K, V>, Outcome);
    const OF_BORROWED: Option<fn(&V) -> Self::Out> = None;
    unsafe fn of_hit(core: &CoreRef<'c, K, V>, node: &Node<K, V>, outcome: Outcome) -> Option<Self::Out> {
        // SAFETY: called only if `inc_ref` has added a reference, which passes to the entry. The
        // node has a value, by the contract of this function.
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
