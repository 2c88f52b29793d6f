//! Walking over a cache.

use crate::api::handle::entry::Ref;
use crate::engine::{Core, Walk};
use crate::reclaim::Pin;
use core::fmt;
use core::ptr::NonNull;

/// The live entries of a cache, in no order. From [`Cache::iter`](crate::Cache::iter).
///
/// Weakly consistent: an entry that is there throughout is seen once; one that comes or goes meanwhile may be seen or
/// not. It holds a pin.
pub struct Iter<'p, K, V> {
    core: &'p Core<K, V>,
    walk: Walk<K, V>,
    pin: Held<'p>,
}

/// An iterator with a pin of its own gives references with pins of their own: they may outlive it.
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
            // SAFETY: the pin is held from before the first step of the walk.
            let node = unsafe { self.walk.step(self.core, pin) }?;
            if node.link().is_marked() || !node.word.load().is_entry() || self.core.is_expired(node) {
                continue;
            }
            let nested = match &self.pin {
                Held::Own(_) => Some(self.core.limbo().enter()),
                Held::Borrowed(_) => None,
            };
            // SAFETY: seen valued under a pin that is held still: it has a nested one, or borrows one for 'p.
            return Some(unsafe { Ref::new(self.core, NonNull::from(node), nested) });
        }
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
