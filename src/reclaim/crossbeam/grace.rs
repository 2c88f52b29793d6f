//! The waiting bags, for a back end that says of each bag when its wait has ended.

use super::{Epoch, Pin};
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicBool, AtomicUsize, Ordering};
use alloc::sync::Arc;

/// The most tries to move the epoch on in one call.
const TRIES: usize = 256;
/// The number of epochs until a node retired now is ripe. After as many tries without effect, some
/// thread is pinned.
const GENERATIONS: usize = 3;

/// A bag's flag, which says that every pin held as the bag was sealed has ended.
pub(crate) struct Grace(Arc<Flag>);

/// The state that a bag waits for. It is empty, because the flag says it.
#[derive(Clone, Copy)]
pub(crate) struct Mark;

impl Grace {
    pub(crate) fn mark(&self) -> Mark {
        Mark
    }
}

pub(crate) struct Flag {
    over: AtomicBool,
    /// The number of bags of the same limbo that are ripe and not yet taken, so that no thread
    /// looks for one in vain.
    ripened: Arc<AtomicUsize>,
}

impl Flag {
    /// Ends the wait, called by the back end. Release: the reads under the pins that ended happen
    /// before this is seen (together with the back end's own ordering between their end and this
    /// call). Pairs with the Acquire in `passed`.
    pub(super) fn ripen(&self) {
        self.ripened.fetch_add(1, Ordering::Relaxed);
        self.over.store(true, Ordering::Release);
    }
}

/// The waiting bags of a cache.
pub(crate) struct Graces {
    ripened: Arc<AtomicUsize>,
}

/// The moment of a look at the waiting bags.
pub(crate) struct Horizon<'g>(&'g Graces);

impl Graces {
    pub(crate) fn new() -> Self {
        Self { ripened: Arc::new(AtomicUsize::new(0)) }
    }

    pub(crate) fn grace(&self) -> Grace {
        Grace(Arc::new(Flag { over: AtomicBool::new(false), ripened: self.ripened.clone() }))
    }

    /// Begins the grace period of a sealed bag. All of its nodes are unlinked.
    pub(crate) fn seal(&self, pin: &Pin, grace: &Grace) {
        pin.after_grace(grace.0.clone());
        pin.flush();
    }

    /// Returns whether it is worth while to begin waits. It always is.
    pub(crate) fn ready(&self, _epoch: &Epoch) -> bool {
        true
    }

    /// Begins the wait of bags that the caller took from the list of sealed bags: tries to move the
    /// epoch on. A bag is ripe some epochs after it was sealed, and the back end ripens only a few
    /// bags in one try. So this tries as long as that helps.
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

    /// Records that a bag is in the list of waiting bags. Does nothing here.
    pub(crate) fn waits(&self, _mark: Mark) {}

    /// Returns whether the wait of some bag may have ended.
    pub(crate) fn due(&self, _epoch: &Epoch) -> bool {
        self.ripened.load(Ordering::Relaxed) > 0 || mutant("no grace")
    }

    /// Takes all waiting bags by `take`, and returns the horizon that tells which of them are ripe.
    pub(crate) fn look<B>(&self, _epoch: &Epoch, take: impl FnOnce() -> B) -> (B, Horizon<'_>) {
        (take(), Horizon(self))
    }
}

impl Horizon<'_> {
    /// Returns whether the wait of a bag has ended: no reader has its nodes any more.
    pub(crate) fn passed(&self, grace: &Grace) -> bool {
        if grace.0.over.load(Ordering::Acquire) {
            self.0.ripened.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        mutant("no grace")
    }
}
