//! How many buckets of an array are in use: as many as the entries need, as these become more and
//! fewer.
//!
//! The number is a power of two, so that a hash chooses a bucket by a mask. It doubles when the
//! entries need more than there are, and is halved when they need less than seven sixteenths: that
//! is well below the half, so a cache whose entries stay as many as they are changes nothing.
//! Buckets that have gone out of use are cleared, a few with each change of the content, and only
//! then may the number grow again: so a bucket that comes into use is empty.
//!
//! All accesses are Relaxed: the number steers a heuristic. Threads that race may clear a bucket
//! that has just come into use.

use crate::sys::sync::{Ordering, untracked::AtomicU64};

/// One change of the content in so many looks whether the number of buckets is right: by the first
/// bits of its key's hash, which choose no bucket.
const SAMPLE: u32 = 8;
/// Buckets that are cleared at a time.
const CLEARED: u32 = 4 * SAMPLE;

/// The number of buckets in use, of `PER` entries each, `MOST` at most.
pub(crate) struct Extent<const PER: usize, const MOST: usize> {
    /// The mask; and above it the number of the last bucket that may not be empty, which is the
    /// same but after a fall.
    state: AtomicU64,
}

fn state(mask: u32, last: u32) -> u64 {
    u64::from(last) << 32 | u64::from(mask)
}

impl<const PER: usize, const MOST: usize> Extent<PER, MOST> {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }

    /// What a hash is masked with.
    #[inline]
    pub(crate) fn mask(&self) -> usize {
        self.state.load(Ordering::Relaxed) as u32 as usize
    }

    /// What has this hash changes. Now and then that makes one step to what so many entries need:
    /// `clear` is told a bucket to be cleared, and the mask.
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
        // One in 64 more are let pass: the shards of a cache of a power of two have a few too many
        // now and then.
        let needed = entries - entries / 64;
        if needed > places || needed < Self::few(mask) || last != mask {
            self.step(now, needed, clear);
        }
    }

    /// Fewer entries than these need only half of the buckets. (One bucket is never halved.)
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
        // If another thread has made a step meanwhile, that will do.
        let _ = self.state.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}
