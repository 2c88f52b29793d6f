//! The number of buckets of an array that are in use. It follows the number of entries up and down.
//!
//! The number is a power of two, so that a hash chooses a bucket by a mask. It doubles when the
//! entries need more buckets than there are. It is halved when they need less than seven
//! sixteenths, which is well below the half, so a cache with a steady number of entries changes
//! nothing. Buckets that have gone out of use are cleared, a few with each change of the content.
//! Only after that may the number grow again, so a bucket that comes into use is empty.
//!
//! All accesses are Relaxed: the number steers a heuristic. Threads that race may clear a bucket
//! that has just come into use.

use crate::sys::sync::{Ordering, untracked::AtomicU64};

/// One change of the content in this many checks whether the number of buckets is right. The first
/// bits of the key's hash decide, which choose no bucket.
const SAMPLE: u32 = 8;
/// The number of buckets that are cleared at a time.
const CLEARED: u32 = 4 * SAMPLE;

/// The number of buckets in use, of `PER` entries each, `MOST` at most.
pub(crate) struct Extent<const PER: usize, const MOST: usize> {
    /// The mask, and above it the number of the last bucket that may not be empty. The two are
    /// equal but after a fall.
    state: AtomicU64,
}

fn state(mask: u32, last: u32) -> u64 {
    u64::from(last) << 32 | u64::from(mask)
}

impl<const PER: usize, const MOST: usize> Extent<PER, MOST> {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }

    /// Returns the mask of the hashes.
    #[inline]
    pub(crate) fn mask(&self) -> usize {
        self.state.load(Ordering::Relaxed) as u32 as usize
    }

    /// Takes note of a change of the content at this hash. Now and then this makes one step towards
    /// the number of buckets that so many entries need. `clear` gets each bucket to be cleared, and
    /// the mask.
    #[inline]
    pub(crate) fn follow(&self, hash: u64, entries: usize, clear: impl Fn(usize, usize)) {
        if hash >> (u64::BITS - SAMPLE.ilog2()) == 0 {
            self.look(entries, clear);
        }
    }

    #[inline(never)]
    fn look(&self, entries: usize, clear: impl Fn(usize, usize)) {
        let now = self.state.load(Ordering::Relaxed);
        let (mask, last) = (now as u32, (now >> 32) as u32);
        let places = (mask as usize + 1) * PER;
        // One entry in 64 is tolerated above the places: the shards of a cache with a power of two
        // of entries have a few too many now and then.
        let needed = entries - entries / 64;
        if needed > places || needed < Self::few(mask) || last != mask {
            self.step(now, needed, clear);
        }
    }

    /// Returns the number of entries below which half of the buckets are enough. (A single bucket
    /// is never halved.)
    fn few(mask: u32) -> usize {
        mask as usize * PER / 16 * 7
    }

    #[cold]
    fn step(&self, now: u64, needed: usize, clear: impl Fn(usize, usize)) {
        let (mask, last) = (now as u32, (now >> 32) as u32);
        let places = (mask as usize + 1) * PER;
        let next = if needed < Self::few(mask) {
            state(mask / 2, last)
        } else if last > mask {
            let left = last.saturating_sub(CLEARED).max(mask);
            (left + 1..=last).rev().for_each(|bucket| clear(bucket as usize, mask as usize));
            state(mask, left)
        } else if needed > places && (mask as usize) < MOST - 1 {
            state(mask * 2 + 1, mask * 2 + 1)
        } else {
            return;
        };
        // If another thread has made a step meanwhile, that step is enough.
        let _ = self.state.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}
