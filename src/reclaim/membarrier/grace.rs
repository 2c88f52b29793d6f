//! The bags that wait, and for what.

use super::Epoch;
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicU64, Ordering, untracked};

/// A bag's stamp; 0: it has none yet.
pub(crate) struct Grace(AtomicU64);

/// What a bag waits for.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

/// The bags of a cache that wait.
pub(crate) struct Graces {
    /// Not above the stamp of any bag that waits and is noted; `u64::MAX` if none is.
    lowest: AtomicU64,
    /// The last attempt to begin a wait failed.
    refused: untracked::AtomicBool,
}

impl Grace {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::Relaxed))
    }
}

/// The earliest epoch that somebody is pinned since.
pub(crate) struct Horizon(u64);

impl Graces {
    pub(crate) fn new() -> Self {
        Self { lowest: AtomicU64::new(u64::MAX), refused: untracked::AtomicBool::new(false) }
    }

    pub(crate) fn grace(&self) -> Grace {
        Grace(AtomicU64::new(0))
    }

    /// A bag is sealed: its nodes are unlinked, all of them.
    pub(crate) fn seal(&self, _pin: &super::Pin, _grace: &Grace) {}

    /// Whether it is worth while to take bags from that list and begin their wait. (Where that is refused there are ever more.)
    pub(crate) fn ready(&self, epoch: &Epoch) -> bool {
        !self.refused.load(Ordering::Relaxed) || epoch.collector().stamp().is_some()
    }

    /// Begins the wait of bags that the caller took from the list of the sealed ones. False: not now.
    pub(crate) fn begin<'b>(&self, epoch: &Epoch, bags: impl Iterator<Item = &'b Grace>) -> bool {
        let mut bags = bags.peekable();
        if bags.peek().is_none() {
            return true;
        }
        let stamp = epoch.collector().stamp();
        self.refused.store(stamp.is_none(), Ordering::Relaxed);
        let Some(stamp) = stamp else { return false };
        // Relaxed: whoever reads it has the bag from a list, which orders this.
        bags.for_each(|grace| grace.0.store(stamp, Ordering::Relaxed));
        true
    }

    /// A bag is in the list of those that wait: after it was put there. AcqRel, as in `look`.
    pub(crate) fn waits(&self, mark: Mark) {
        self.lowest.fetch_min(mark.0, Ordering::AcqRel);
    }

    /// Whether the wait of some bag may be over. It decides nothing: a look too many finds nothing, and one too few is made later.
    pub(crate) fn due(&self, epoch: &Epoch) -> bool {
        let lowest = self.lowest.load(Ordering::Relaxed);
        lowest != u64::MAX && epoch.collector().least() > lowest
    }

    /// Takes all bags that wait by `take`, and says for which of them the wait is over.
    pub(crate) fn look<B>(&self, epoch: &Epoch, take: impl FnOnce() -> B) -> (B, Horizon) {
        let least = || epoch.collector().least();
        let early = mutant("pins before bags").then(least);
        // AcqRel: a bag that is put into the list after it was taken is noted after this, as its note is written behind it, and
        // this before the list is taken.
        let forget = || self.lowest.swap(u64::MAX, Ordering::AcqRel);
        if !mutant("look after taking") {
            forget();
        }
        let bags = take();
        if mutant("look after taking") {
            forget();
        }
        // Only now: a look at the pins that comes before has not seen who pinned before one of the bags was stamped.
        (bags, Horizon(early.unwrap_or_else(least)))
    }
}

impl Horizon {
    /// Whether the wait of a bag is over.
    pub(crate) fn passed(&self, grace: &Grace) -> bool {
        grace.0.load(Ordering::Relaxed) < self.0
    }
}
