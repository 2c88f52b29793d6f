//! The part of the capacity that small should have.

use crate::sys::sync::{Ordering, untracked::AtomicU32};

/// One, in the fixed point of the fraction.
const ONE: u64 = 1 << 32;
const FIRST: u32 = (ONE / 50) as u32;
const LEAST: u32 = (ONE / 100) as u32;
const MOST: u32 = (ONE / 10 * 9) as u32;

/// A fraction between 1 % and 90 % that begins at 2 %. Relaxed: it only steers a heuristic, and a
/// lost step does no harm.
pub(crate) struct SmallFraction(AtomicU32);

impl SmallFraction {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(FIRST))
    }

    /// Returns this fraction of a capacity, at least 1.
    #[inline(always)]
    pub(crate) fn of(&self, capacity: u64) -> u64 {
        let share = u128::from(self.0.load(Ordering::Relaxed)) * u128::from(capacity) / u128::from(ONE);
        (share as u64).max(1)
    }

    /// Returns one entry's part of so many entries.
    fn step(entries: usize) -> u32 {
        u32::try_from(ONE / entries.max(1) as u64).unwrap_or(u32::MAX)
    }

    pub(crate) fn grow(&self, entries: usize) {
        let share = self.0.load(Ordering::Relaxed).saturating_add(Self::step(entries));
        self.0.store(share.min(MOST), Ordering::Relaxed);
    }

    pub(crate) fn shrink(&self, entries: usize) {
        let share = self.0.load(Ordering::Relaxed).saturating_sub(Self::step(entries));
        self.0.store(share.max(LEAST), Ordering::Relaxed);
    }
}
