//! The weights of the rings, in a cache whose entries may weigh other than one.

use super::interface::PolicyEntry;
use super::rings::Which;
use super::{Policy, Rings};
use crate::sys::sync::{CachePadded, Ordering, untracked::AtomicU64};

/// The weight in each ring.
///
/// Where all entries weigh one, none is kept: a ring weighs as much as it has entries, which its
/// positions tell without an RMW.
pub(super) struct Weights {
    kept: bool,
    /// Each may be off for a moment, on either side of zero.
    weights: [CachePadded<AtomicU64>; 2],
}

impl Weights {
    pub(super) fn new(kept: bool) -> Self {
        Self { kept, weights: [CachePadded(AtomicU64::new(0)), CachePadded(AtomicU64::new(0))] }
    }

    /// Returns whether weights are kept.
    #[inline(always)]
    pub(super) fn kept(&self) -> bool {
        self.kept
    }

    /// Returns the weight in a ring. Where none is kept, [`Rings::len`] says how it may be off.
    #[inline(always)]
    pub(super) fn of<T>(&self, ring: Which, rings: &Rings<T>) -> u64 {
        if !self.kept {
            return rings.len(ring);
        }
        let weight = self.weights[ring as usize].load(Ordering::Relaxed);
        if weight as i64 > 0 { weight } else { 0 }
    }

    /// Adds an entry to the weight of a ring, if weights are kept. An entry counts for the ring
    /// that its slot number names, from before it can be found there until after it was taken out.
    /// So the weights are exact when no thread is at work. (A late hand may take an entry out of
    /// the other ring.)
    #[inline(always)]
    pub(super) fn count_in<T: PolicyEntry>(&self, ring: Which, entry: &T) {
        if self.kept {
            self.weights[ring as usize].fetch_add(entry.weight().into(), Ordering::Relaxed);
        }
    }

    /// Subtracts an entry from the weight of the ring that it counts for. Reads its slot number
    /// anew: see [`Policy::take_over`].
    #[inline(always)]
    pub(super) fn count_out<T: PolicyEntry>(&self, entry: &T) {
        if self.kept {
            let ring = Policy::<T>::ring_of(entry.slot().load(Ordering::Relaxed));
            self.weights[ring as usize].fetch_sub(entry.weight().into(), Ordering::Relaxed);
        }
    }

    /// Returns the weight in each ring, if it is kept.
    pub(super) fn held(&self) -> Option<[u64; 2]> {
        self.kept.then(|| self.weights.each_ref().map(|weight| weight.load(Ordering::Relaxed)))
    }
}
