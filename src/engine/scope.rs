//! What an operation runs in: a pin, and what is to be done once the pin is gone.

use super::{Core, Pressure, Ptr, RemovalCause};
use crate::flight::node::Node;
use crate::link::Link;
use crate::reclaim::{Pin, Retired};
use crate::unwind;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// What an operation needs while it runs: a pin, and what is to be done once the pin is gone.
///
/// Under the pin run Hash, Eq, Clone and the closures of `retain` and `iter`; listeners and drops of values run after
/// it, in [`Scope`]'s own drop.
pub(crate) struct Scope<'c, K, V> {
    pub(crate) core: &'c Core<K, V>,
    pin: ManuallyDrop<Pin>,
    pub(super) after: RefCell<Vec<(Ptr<K, V>, RemovalCause)>>,
    sealed: Cell<bool>,
}

impl<'c, K, V> Scope<'c, K, V> {
    #[inline]
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Gives back a share.
    ///
    /// # Safety
    /// The caller owns the share, and from now on uses the node only under this scope's pin.
    pub(crate) unsafe fn release(&self, node: Ptr<K, V>) {
        // SAFETY: the share keeps the node alive until it is given back in the next step.
        if unsafe { node.as_ref() }.unshare() {
            // SAFETY: that was the last share.
            unsafe { self.retire(node) };
        }
    }

    /// # Safety
    /// The last share of `node` was given back, by the caller: so it is out of the list and the ring, nobody who pins
    /// from now on can find it, and nobody else retires it.
    pub(super) unsafe fn retire(&self, node: Ptr<K, V>) {
        // SAFETY: handed on; nodes come from `allocate`.
        let retired = unsafe { self.core.limbo.retire(&self.pin, node, self.core.heavy()) };
        if retired == Retired::Sealed {
            self.sealed.set(true);
        }
    }

    /// The node around a link of this core's tables.
    pub(super) fn node(&self, link: NonNull<Link>) -> &Node<K, V> {
        // SAFETY: the tables of this core hold nodes of this type only, and links are only had under this pin.
        unsafe { Node::of_link(link) }
    }
}

impl<K, V> Drop for Scope<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.pin) };
        let removed = core::mem::take(self.after.get_mut());
        if !removed.is_empty() {
            self.core.announce(removed);
        }
        let due = self.sealed.get() || self.core.pressure() != Pressure::Normal;
        if due && !unwind::panicking() {
            self.core.limbo.collect();
        }
    }
}

impl<K, V> Core<K, V> {
    /// Tells the listener about removed values, and gives back the shares that kept them for it.
    fn announce(&self, removed: Vec<(Ptr<K, V>, RemovalCause)>) {
        struct Release<'c, K, V>(&'c Core<K, V>, Ptr<K, V>);
        impl<K, V> Drop for Release<'_, K, V> {
            fn drop(&mut self) {
                // SAFETY: the share was taken for this announcement; this is its end.
                unsafe { self.0.release_unpinned(self.1) };
            }
        }
        unwind::each(removed.into_iter(), |(node, cause)| {
            let kept = Release(self, node);
            if let Some(listener) = &self.config.listener {
                // SAFETY: `kept` has a share; only nodes whose word was valued are announced.
                let (key, value) = unsafe { (kept.1.as_ref().key(), kept.1.as_ref().value()) };
                listener(key, value, cause);
            }
        });
    }
}

impl<K, V> Core<K, V> {
    /// A place for an operation to run in.
    #[inline]
    pub(crate) fn scope(&self, pin: Pin) -> Scope<'_, K, V> {
        Scope {
            core: self,
            pin: ManuallyDrop::new(pin),
            after: RefCell::new(Vec::new()),
            sealed: Cell::new(false),
        }
    }

    /// Gives back a share from outside of any pin.
    ///
    /// # Safety
    /// The caller owns the share, and does not use it again.
    pub(crate) unsafe fn release_unpinned(&self, node: Ptr<K, V>) {
        // SAFETY: the share keeps the node alive until it is given back in the next step.
        if unsafe { node.as_ref() }.unshare() {
            let scope = self.scope(self.limbo.enter());
            // SAFETY: that was the last share.
            unsafe { scope.retire(node) };
        }
    }
}
