//! The keys that were evicted lately: fingerprints, in buckets that are small queues.
//!
//! A bucket is one cache line. It has 16 fingerprints of 16 bits for each ring, newest first. An
//! eviction pushes the ring's oldest one out. So the place of a ghost tells its age. There are as
//! many places for each ring as the cache has entries, so the first of the 16 places holds, on
//! average, the last sixteenth of a capacity's worth of evictions. No time is stored, and a ghost
//! costs two bytes. In replays this does as well as an exact queue with exact ages. A stored tick
//! of a few bits does not: its false matches drive the share of small up, and loops collapse. (A
//! table for each ring, with 32 fingerprints in a line, gives the same results, but a newcomer
//! would have two lines to wait for.)
//!
//! A fingerprint matches a wrong key once in about 2,000 lookups of a full bucket. All accesses are
//! Relaxed, and threads that race may lose a ghost or double one: ghosts only steer a heuristic.

use super::extent::Extent;
use super::rings::Which;
use crate::sys::memory::prefetch;
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{Ordering, untracked::AtomicU64};
use core::num::NonZero;

const WORDS: usize = 8;
/// The words of a bucket that belong to one ring.
const WORDS_PER_RING: usize = WORDS / 2;
const LANE_BITS: u32 = 16;
const LANES_PER_WORD: u32 = 4;
const GHOSTS_PER_BUCKET: usize = WORDS_PER_RING * LANES_PER_WORD as usize;
/// The places from the front that count as near.
const NEAR: u32 = 1;
/// The most buckets. They remember two thousand million evictions from each ring.
const MOST_BUCKETS: usize = if cfg!(loom) { 1 } else { 1 << 27 };
/// A one in each lane.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The top bit of each lane.
const TOPS: u64 = ONES << (LANE_BITS - 1);

/// One cache line of ghosts.
#[repr(align(64))]
pub(crate) struct Bucket([AtomicU64; WORDS]);

impl Bucket {
    pub(crate) fn zero() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn of(&self, ring: Which) -> &[AtomicU64] {
        &self.0[ring as usize * WORDS_PER_RING..][..WORDS_PER_RING]
    }
}

/// How long ago a remembered key was evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Age {
    /// So lately that a slightly larger ring would have kept the key.
    Near,
    Far,
}

/// The keys evicted from each ring. Hashes must be well mixed in all 64 bits.
pub(crate) struct Ghosts {
    buckets: SegmentedArray<Bucket>,
    extent: Extent<GHOSTS_PER_BUCKET, MOST_BUCKETS>,
}

impl Ghosts {
    pub(crate) fn new() -> Self {
        // SAFETY: a bucket of zeros is `Bucket::zero()`, and buckets are not zero-sized.
        Self { buckets: unsafe { SegmentedArray::new(Bucket::zero) }, extent: Extent::new() }
    }

    fn bucket(&self, hash: u64) -> usize {
        (hash >> LANE_BITS) as usize & self.extent.mask()
    }

    /// Returns a key's fingerprint, which is not 0. 0 is an empty place.
    fn fingerprint(hash: u64) -> u64 {
        u64::from(hash as u16).max(1)
    }

    /// Remembers a key that left a ring of a cache with so many entries. Each growth or fall of the
    /// number of buckets forgets half of the ghosts. That happens only while the cache itself grows
    /// or shrinks.
    pub(crate) fn put(&self, ring: Which, hash: u64, entries: usize) {
        self.extent.follow(hash, entries, |bucket, _| self.clear(bucket));
        let mut pushed = Self::fingerprint(hash);
        for word in self.buckets.get_or_grow(self.bucket(hash)).of(ring) {
            let lanes = word.load(Ordering::Relaxed);
            word.store(lanes << LANE_BITS | pushed, Ordering::Relaxed);
            pushed = lanes >> (64 - LANE_BITS);
        }
    }

    fn clear(&self, bucket: usize) {
        for word in self.buckets.get(bucket).iter().flat_map(|bucket| &bucket.0) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Prefetches the memory that [`put`](Self::put) and [`take`](Self::take) of the key need.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.bucket(hash)) {
            prefetch(bucket);
        }
    }

    /// Forgets a key that is back. Returns, for each ring that remembers it, how long ago it was
    /// evicted.
    pub(crate) fn take(&self, hash: u64) -> [Option<Age>; 2] {
        let Some(bucket) = self.buckets.get(self.bucket(hash)) else { return [None; 2] };
        let wanted = Self::fingerprint(hash) * ONES;
        // The lowest lane that is equal has its top bit set in the result, and no lane below it
        // has.
        let equal = |lanes: u64| (lanes ^ wanted).wrapping_sub(ONES) & !(lanes ^ wanted) & TOPS;
        // Compares all lanes, without a branch, because most keys are in none.
        if bucket.0.iter().fold(0, |any, word| any | equal(word.load(Ordering::Relaxed))) == 0 {
            return [None; 2];
        }
        [Which::Small, Which::Main].map(|ring| {
            bucket.of(ring).iter().enumerate().find_map(|(index, word)| {
                let lanes = word.load(Ordering::Relaxed);
                let lane = NonZero::new(equal(lanes))?.trailing_zeros() / LANE_BITS;
                word.store(lanes & !(0xFFFF << (lane * LANE_BITS)), Ordering::Relaxed);
                let place = index as u32 * LANES_PER_WORD + lane;
                Some(if place < NEAR { Age::Near } else { Age::Far })
            })
        })
    }
}
