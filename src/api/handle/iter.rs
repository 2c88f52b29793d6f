//! Iteration over the entries of a cache.

use crate::api::handle::entry::Ref;
use crate::engine::{Core, Walk};
use crate::reclaim::Pin;
use core::fmt;
use core::ptr::NonNull;

/// An iterator over the live entries of a cache, in no order. From
/// [`Cache::iter`](crate::Cache::iter).
///
/// The iteration is weakly consistent: an entry that is there throughout is seen once; an entry
/// that comes or goes meanwhile may be seen or not. The iterator holds a pin.
pub struct Iter<'p, K, V> {
    core: &'p Core<K, V>,
    walk: Walk<K, V>,
    pin: Held<'p>,
}

/// The iterator's pin. If the iterator owns it, each reference that it returns has a pin of its
/// own, because the reference may outlive the iterator.
enum Held<'p> {
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    Own(Pin),
    Borrowed(&'p Pin),
}

impl<'p, K, V> Iter<'p, K, V> {
    #[cfg(feature = "std")]
    pub(crate) fn new(core: &'p Core<K, V>) -> Self {
        Self { core, walk: Walk::start(), pin: Held::Own(core.limbo().enter()) }
    }

    pub(crate) fn within(core: &'p Core<K, V>, pin: &'p Pin) -> Self {
        Self { core, walk: Walk::start(), pin: Held::Borrowed(pin) }
    }
}

impl<'p, K, V> Iterator for Iter<'p, K, V> {
    type Item = Ref<'p, K, V>;

    fn next(&mut self) -> Option<Ref<'p, K, V>> {
        let pin = match &self.pin {
            Held::Own(pin) => pin,
            Held::Borrowed(pin) => pin,
        };
        loop {
            // SAFETY: all steps are on the same core, and the pin is held from before the first
            // step of the walk.
            let node = unsafe { self.walk.step(self.core, pin) }?;
            if node.link().is_marked() || !node.word.load().is_entry() || self.core.is_expired(node) {
                continue;
            }
            let nested = match &self.pin {
                Held::Own(_) => Some(self.core.limbo().enter()),
                Held::Borrowed(_) => None,
            };
            // SAFETY: the word was seen to have a value under a pin that is still held. The
            // reference has a nested pin, or borrows one for all of 'p.
            return Some(unsafe { Ref::new(self.core, NonNull::from(node), nested) });
        }
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
