//! The waiting bags, and their stamps.

use super::Epoch;
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicU64, Ordering, untracked};

/// A bag's stamp. 0 means that it has none yet.
pub(crate) struct Grace(AtomicU64);

/// The stamp that a bag waits for.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

/// The waiting bags of a cache.
pub(crate) struct Graces {
    /// A lower bound of the stamps of all waiting bags that were recorded. `u64::MAX` if there is
    /// none.
    lowest: AtomicU64,
    /// True if the last attempt to begin a wait failed.
    refused: untracked::AtomicBool,
}

impl Grace {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::Relaxed))
    }
}

/// The earliest epoch since which a thread is pinned.
pub(crate) struct Horizon(u64);

impl Graces {
    pub(crate) fn new() -> Self {
        Self { lowest: AtomicU64::new(u64::MAX), refused: untracked::AtomicBool::new(false) }
    }

    pub(crate) fn grace(&self) -> Grace {
        Grace(AtomicU64::new(0))
    }

    /// Does nothing here: a bag gets its stamp when its wait begins.
    pub(crate) fn seal(&self, _pin: &super::Pin, _grace: &Grace) {}

    /// Returns whether it is worth while to take sealed bags and begin their wait. While the fence
    /// is refused, it is not, and the sealed bags become ever more.
    pub(crate) fn ready(&self, epoch: &Epoch) -> bool {
        !self.refused.load(Ordering::Relaxed) || epoch.collector().stamp().is_some()
    }

    /// Begins the wait of bags that the caller took from the list of sealed bags. Returns false if
    /// that is not possible now.
    pub(crate) fn begin<'b>(&self, epoch: &Epoch, bags: impl Iterator<Item = &'b Grace>) -> bool {
        let mut bags = bags.peekable();
        if bags.peek().is_none() {
            return true;
        }
        let stamp = epoch.collector().stamp();
        self.refused.store(stamp.is_none(), Ordering::Relaxed);
        let Some(stamp) = stamp else { return false };
        // Relaxed: a thread that reads the stamp has the bag from a list, which orders the two.
        bags.for_each(|grace| grace.0.store(stamp, Ordering::Relaxed));
        true
    }

    /// Records a waiting bag, after it was put into the list. AcqRel, for the reason in `look`.
    pub(crate) fn waits(&self, mark: Mark) {
        self.lowest.fetch_min(mark.0, Ordering::AcqRel);
    }

    /// Returns whether the wait of some bag may have ended. This is only a hint: a look too many
    /// finds nothing, and a missed look comes later.
    pub(crate) fn due(&self, epoch: &Epoch) -> bool {
        let lowest = self.lowest.load(Ordering::Relaxed);
        lowest != u64::MAX && epoch.collector().least() > lowest
    }

    /// Takes all waiting bags by `take`, and returns the horizon that tells which of them are ripe.
    pub(crate) fn look<B>(&self, epoch: &Epoch, take: impl FnOnce() -> B) -> (B, Horizon) {
        let least = || epoch.collector().least();
        let early = mutant("pins before bags").then(least);
        // AcqRel, for a bag that is put into the list after `take` has taken it. The bag is
        // recorded after it was put there, and the list is taken after this swap. So the record
        // comes after the swap, and is not lost.
        let forget = || self.lowest.swap(u64::MAX, Ordering::AcqRel);
        if !mutant("look after taking") {
            forget();
        }
        let bags = take();
        if mutant("look after taking") {
            forget();
        }
        // The pins are read only now. An earlier look would miss a reader that pinned before one of
        // the bags was stamped.
        (bags, Horizon(early.unwrap_or_else(least)))
    }
}

impl Horizon {
    /// Returns whether the wait of a bag has ended.
    pub(crate) fn passed(&self, grace: &Grace) -> bool {
        grace.0.load(Ordering::Relaxed) < self.0
    }
}
