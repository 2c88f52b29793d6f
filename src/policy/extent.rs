//! The number of buckets of an array that are in use. It follows the number of entries up and down.
//!
//! The number is a power of two, so that a hash chooses a bucket by a mask. When the entries need
//! more buckets than there are, it becomes what they need. (It does so at the first change of the
//! content. Otherwise what comes before would all lie in one bucket, and go on to all others from
//! there.) It is halved when they need less than seven
//! sixteenths, which is well below the half, so a cache with a steady number of entries changes
//! nothing. Buckets that have gone out of use are cleared, a few with each change of the content.
//! Only after that may the number grow again, so a bucket that comes into use is empty.
//!
//! All accesses are Relaxed: the number steers a heuristic. Threads that race may clear a bucket
//! that has just come into use.

use crate::sys::sync::{Ordering, untracked::AtomicU64};

/// Once the number of buckets has been looked at, one change of the content in this many looks at
/// it again. The first bits of the key's hash decide, which choose no bucket.
pub(super) const SAMPLE: usize = 16;
/// The number of buckets that are cleared at a time.
const CLEARED: u32 = 4 * SAMPLE as u32;
/// All hashes, and those of the sample, are up to this.
const ALL: u64 = u64::MAX;
const SAMPLED: u64 = ALL >> SAMPLE.ilog2();

/// The number of buckets in use, of `PER` entries each, `MOST` at most. With less than `FEW`
/// entries, every change of the content looks at it.
pub(crate) struct Extent<const PER: usize, const FEW: usize, const MOST: usize> {
    /// The mask, and above it the number of the last bucket that may not be empty. The two are
    /// equal but after a fall.
    state: AtomicU64,
    /// The last hash that is looked at.
    watched: AtomicU64,
}

fn state(mask: u32, last: u32) -> u64 {
    u64::from(last) << 32 | u64::from(mask)
}

impl<const PER: usize, const FEW: usize, const MOST: usize> Extent<PER, FEW, MOST> {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(0), watched: AtomicU64::new(ALL) }
    }

    /// Returns the mask of the hashes.
    #[inline(always)]
    pub(crate) fn mask(&self) -> usize {
        self.state.load(Ordering::Relaxed) as u32 as usize
    }

    /// Returns whether a change of the content at this hash is to [look](Self::look) at the number
    /// of buckets.
    #[inline(always)]
    pub(crate) fn is_watched(&self, hash: u64) -> bool {
        hash <= self.watched.load(Ordering::Relaxed)
    }

    /// Makes one step towards the number of buckets that so many entries need, if it is not right.
    /// `clear` gets each bucket to be cleared, and the mask. Returns how many changes of the
    /// content this one stood for.
    pub(crate) fn look(&self, entries: usize, clear: impl Fn(usize, usize)) -> usize {
        let now = self.state.load(Ordering::Relaxed);
        let (mask, last) = (now as u32, (now >> 32) as u32);
        let places = (mask as usize + 1) * PER;
        // One entry in 64 is tolerated above the places: the shards of a cache with a power of two
        // of entries have a few too many now and then.
        let needed = entries - entries / 64;
        if needed > places || needed < Self::few(mask) || last != mask {
            self.step(now, needed, clear);
        }
        let (was, watched) = (self.watched.load(Ordering::Relaxed), if entries < FEW { ALL } else { SAMPLED });
        if was != watched {
            self.watched.store(watched, Ordering::Relaxed);
        }
        if was == ALL { 1 } else { SAMPLE }
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
        } else if needed > places {
            // (The least power of two of buckets that has the places.)
            let mask =
                usize::MAX.checked_shr((needed.div_ceil(PER) - 1).leading_zeros()).unwrap_or(0).min(MOST - 1) as u32;
            state(mask, mask)
        } else {
            return;
        };
        // If another thread has made a step meanwhile, that step is enough.
        let _ = self.state.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}
