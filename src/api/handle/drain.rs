//! Taking all entries out of a cache.

use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::Core;
use crate::sys::unwind;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

/// An iterator that takes all entries out of a cache. From [`Cache::drain`](crate::Cache::drain).
///
/// It holds no pin, so it can be kept, and sent. Dropping it removes the entries that are left.
#[must_use = "dropping it removes all entries: that is `Cache::invalidate_all`"]
pub struct Drain<'c, K, V> {
    core: CoreRef<'c, K, V>,
    /// The walk goes on behind this order. None: it is over.
    behind: Option<u32>,
    /// Values that were removed, and not yet returned.
    taken: Vec<Entry<'c, K, V>>,
}

impl<'c, K, V> Drain<'c, K, V> {
    pub(crate) fn new(core: &'c Core<K, V>) -> Self {
        Self { core: CoreRef::borrowed(core), behind: Some(0), taken: Vec::new() }
    }

    /// Takes the values of the next slice out. If user code panics meanwhile, they are in `taken`
    /// all the same.
    fn take_slice(&mut self) {
        let Self { core, behind, taken } = self;
        core.get().take_slice(behind, |operation, node, before| {
            // SAFETY: the reference that is handed over keeps the node alive.
            let was_fresh = || operation.was_fresh(unsafe { node.as_ref() }, before);
            // If the user's clock or `tags_with` panics, the value counts as expired.
            if operation.ask(was_fresh) == Some(true) {
                // SAFETY: the reference is handed over, to a node whose word had a value.
                taken.push(unsafe { Entry::new(core.clone(), node) });
            } else {
                // SAFETY: the reference is given back once, and the node is not used afterwards.
                unsafe { operation.release(node) };
            }
        });
    }
}

impl<'c, K, V> Iterator for Drain<'c, K, V> {
    type Item = Entry<'c, K, V>;

    fn next(&mut self) -> Option<Entry<'c, K, V>> {
        while self.taken.is_empty() && self.behind.is_some() {
            self.take_slice();
        }
        self.taken.pop()
    }
}

impl<K, V> Drop for Drain<'_, K, V> {
    fn drop(&mut self) {
        // A panic in one slice, of a listener or a drop, does not keep the others in the cache.
        let this = RefCell::new(self);
        let left = || (this.borrow().behind.is_some() || !this.borrow().taken.is_empty()).then_some(());
        unwind::each(core::iter::from_fn(left), |()| {
            let taken = core::mem::take(&mut this.borrow_mut().taken);
            if taken.is_empty() {
                this.borrow_mut().take_slice();
            }
            drop(taken);
        });
    }
}

impl<K, V> fmt::Debug for Drain<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
