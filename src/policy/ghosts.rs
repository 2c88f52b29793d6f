//! The keys that were evicted lately: fingerprints, in buckets that are small queues.
//!
//! A bucket is one cache line. It has 16 fingerprints of 15 bits for each ring, newest first. An
//! eviction pushes the ring's oldest one out. So the place of a ghost tells its age. There are as
//! many places for each ring as the cache has entries, so the first of the 16 places holds, on
//! average, the last sixteenth of a capacity's worth of evictions. No time is stored, and a ghost
//! costs two bytes. In replays this does as well as an exact queue with exact ages. A stored tick
//! of a few bits does not: its false matches drive the share of small up, and loops collapse. (A
//! table for each ring, with 32 fingerprints in a line, gives the same results, but a newcomer
//! would have two lines to wait for.)
//!
//! A fingerprint matches a wrong key once in about 1,000 lookups of a full bucket. All accesses are
//! Relaxed, and threads that race may lose a ghost or double one: ghosts only steer a heuristic.

use super::extent::Extent;
use super::rings::Which;
use crate::sys::memory::{prefetch, prefetch_to_write};
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
/// The bits of a fingerprint. The top bit of a lane is zero. (A fingerprint of 0 looks like an
/// empty place. That matters as little as any other false match.)
const FINGERPRINT: u64 = (1 << (LANE_BITS - 1)) - 1;
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

    #[inline(always)]
    fn of(&self, ring: Which) -> &[AtomicU64; WORDS_PER_RING] {
        let (small, main) = self.0.split_at(WORDS_PER_RING);
        let words = if ring == Which::Small { small } else { main };
        words.try_into().expect("a half of the words")
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
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
    buckets: Extent<Bucket, GHOSTS_PER_BUCKET, GHOSTS_PER_BUCKET>,
}

impl Ghosts {
    pub(crate) fn new() -> Self {
        // SAFETY: a bucket of zeros is `Bucket::zero()`, and buckets are not zero-sized. They are
        // atomics, and ghosts that are lost do no harm.
        Self { buckets: unsafe { Extent::new(Bucket::zero) } }
    }

    /// Remembers a key that left a ring of a cache with so many entries. Each change of the number
    /// of buckets forgets all ghosts. That happens only while the cache itself grows or shrinks.
    #[inline]
    pub(crate) fn put(&self, ring: Which, hash: u64, entries: usize) {
        if self.buckets.is_watched(hash) {
            return self.put_and_look(ring, hash, entries);
        }
        self.push(ring, hash);
    }

    #[cold]
    #[inline(never)]
    fn put_and_look(&self, ring: Which, hash: u64, entries: usize) {
        self.buckets.look(entries, |bucket, _| bucket.clear());
        self.push(ring, hash);
    }

    #[inline(always)]
    fn push(&self, ring: Which, hash: u64) {
        let (bucket, mut pushed) = (self.buckets.get_or_make(hash), hash & FINGERPRINT);
        prefetch_to_write(bucket);
        for word in bucket.of(ring) {
            let lanes = word.load(Ordering::Relaxed);
            word.store(lanes << LANE_BITS | pushed, Ordering::Relaxed);
            pushed = lanes >> (u64::BITS - LANE_BITS);
        }
    }

    /// Prefetches the memory that [`put`](Self::put) and [`take`](Self::take) of the key need.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(hash) {
            prefetch(bucket);
        }
    }

    /// Forgets a key that is back. Returns, for each ring that remembers it, how long ago it was
    /// evicted, or None if neither does.
    #[inline(always)]
    pub(crate) fn take(&self, hash: u64) -> Option<[Option<Age>; 2]> {
        let bucket = self.buckets.get(hash)?;
        let wanted = (hash & FINGERPRINT) * ONES;
        // Compares all lanes, without a branch, because most keys are in none. The top bit of a
        // lane is zero. A lane that is equal becomes zero, and taking one from it sets its top bit.
        // (That takes one from the next lane, too, which may set its top bit as well.)
        let equal = |lanes: u64| (lanes ^ wanted).wrapping_sub(ONES);
        let any = bucket.0.iter().fold(0, |any, word| any | equal(word.load(Ordering::Relaxed)));
        if any & TOPS == 0 { None } else { Self::forget(bucket, wanted) }
    }

    #[cold]
    #[inline(never)]
    fn forget(bucket: &Bucket, wanted: u64) -> Option<[Option<Age>; 2]> {
        let ages = [Which::Small, Which::Main].map(|ring| {
            bucket.of(ring).iter().enumerate().find_map(|(index, word)| {
                let lanes = word.load(Ordering::Relaxed);
                // The lowest lane that is equal is the lowest whose top bit this sets.
                let equal = (lanes ^ wanted).wrapping_sub(ONES) & TOPS;
                let lane = NonZero::new(equal)?.trailing_zeros() / LANE_BITS;
                word.store(lanes & !(0xFFFF << (lane * LANE_BITS)), Ordering::Relaxed);
                let place = index as u32 * LANES_PER_WORD + lane;
                Some(if place < NEAR { Age::Near } else { Age::Far })
            })
        });
        ages.iter().any(Option::is_some).then_some(ages)
    }
}
