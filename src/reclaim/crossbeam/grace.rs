//! The bags that wait, where the back end says of each when its wait is over.

use super::{Epoch, Pin};
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicBool, AtomicUsize, Ordering};
use alloc::sync::Arc;

/// The most tries to move the epoch on in one call.
const TRIES: usize = 256;
/// Epochs until what is retired now is ripe: after so many tries without effect somebody is pinned.
const GENERATIONS: usize = 3;

/// How a bag learns that every pin that was held as it was sealed has ended.
pub(crate) struct Grace(Arc<Flag>);

/// What a bag waits for.
#[derive(Clone, Copy)]
pub(crate) struct Mark;

impl Grace {
    pub(crate) fn mark(&self) -> Mark {
        Mark
    }
}

pub(crate) struct Flag {
    over: AtomicBool,
    /// Bags of the same limbo whose wait is over, so that nobody looks for one in vain.
    ripened: Arc<AtomicUsize>,
}

impl Flag {
    /// The back end's call. Release: whatever ran under the pins that ended happens before this is seen (with the back
    /// end's own ordering between their end and this call). Pairs with the Acquire in `passed`.
    pub(super) fn ripen(&self) {
        self.ripened.fetch_add(1, Ordering::Relaxed);
        self.over.store(true, Ordering::Release);
    }
}

/// The bags of a cache that wait.
pub(crate) struct Graces {
    ripened: Arc<AtomicUsize>,
}

/// The moment for which it is asked what is over.
pub(crate) struct Horizon<'g>(&'g Graces);

impl Graces {
    pub(crate) fn new() -> Self {
        Self { ripened: Arc::new(AtomicUsize::new(0)) }
    }

    pub(crate) fn grace(&self) -> Grace {
        Grace(Arc::new(Flag { over: AtomicBool::new(false), ripened: self.ripened.clone() }))
    }

    /// A bag is sealed: its nodes are unlinked, all of them.
    pub(crate) fn seal(&self, pin: &Pin, grace: &Grace) {
        pin.after_grace(grace.0.clone());
        pin.flush();
    }

    /// Whether it is worth while to begin: always.
    pub(crate) fn ready(&self, _epoch: &Epoch) -> bool {
        true
    }

    /// Begins the wait of bags that the caller took from the list of the sealed ones: tries to move the epoch on. A bag is
    /// ripe some epochs after it was sealed, and a back end ripens only a few bags a try: so it is tried as long as that helps.
    pub(crate) fn begin<'b>(&self, epoch: &Epoch, _bags: impl Iterator<Item = &'b Grace>) -> bool {
        let mut vain = 0;
        for _ in 0..TRIES {
            let before = self.ripened.load(Ordering::Relaxed);
            epoch.enter().flush();
            vain = if self.ripened.load(Ordering::Relaxed) == before { vain + 1 } else { 0 };
            if vain == GENERATIONS {
                break;
            }
        }
        true
    }

    /// A bag is in the list of those that wait.
    pub(crate) fn waits(&self, _mark: Mark) {}

    /// Whether the wait of some bag may be over.
    pub(crate) fn due(&self, _epoch: &Epoch) -> bool {
        self.ripened.load(Ordering::Relaxed) > 0 || mutant("no grace")
    }

    /// Takes all bags that wait by `take`, and says for which of them the wait is over.
    pub(crate) fn look<B>(&self, _epoch: &Epoch, take: impl FnOnce() -> B) -> (B, Horizon<'_>) {
        (take(), Horizon(self))
    }
}

impl Horizon<'_> {
    /// Whether the wait of a bag is over: all readers of its nodes are done.
    pub(crate) fn passed(&self, grace: &Grace) -> bool {
        if grace.0.over.load(Ordering::Acquire) {
            self.0.ripened.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        mutant("no grace")
    }
}
