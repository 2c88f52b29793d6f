//! An array of buckets that follows the number of entries up and down.
//!
//! The number of buckets is a power of two, so that the first bits of a hash choose a bucket. When
//! the entries need more buckets than there are, or less than seven sixteenths of them (which is
//! well below the half, so a cache with a steady number of entries changes nothing), an array of
//! the number that they need is taken into use. The first change of the content finds that already:
//! otherwise what comes before would all lie in few buckets, and go on to all others from there.
//!
//! The buckets of the array before are left a few with each change of the content: their owner
//! hands on what is in them, and clears them. Only after that may the number change again, so an
//! array that comes into use is empty. Where the system permits it, the memory of a large array
//! that was left goes back to the system. (Elsewhere it stays. There a cache that grows slowly has
//! as many buckets in arrays that it has left as in the one in use.)
//!
//! All accesses but those to the array are Relaxed: the number steers a heuristic. If threads race
//! to change it twice at the same moment, an array may be left without being cleared.

use crate::sys::hashed::{HashedArray, MOST_BITS};
use crate::sys::sync::{
    Ordering,
    untracked::{AtomicU32, AtomicU64},
};

/// Once the number of buckets has been looked at, one change of the content in this many looks at
/// it again. Bits of the key's hash decide that choose no bucket.
const SAMPLE: usize = 16;
/// The number of buckets that are left at a time.
const LEFT: u32 = 4 * SAMPLE as u32;
/// The most heirs of a bucket. Beyond that, what is in it counts for little.
const HEIRS: u32 = 4;
/// The last hash of all, and of the sample.
const ALL: u32 = u32::MAX;
const SAMPLED: u32 = ALL >> SAMPLE.ilog2();

/// Buckets of `PER` entries each. With less than `FEW` entries, every change of the content looks
/// at their number.
pub(crate) struct Extent<T, const PER: usize, const FEW: usize> {
    buckets: HashedArray<T>,
    /// A [`State`].
    state: AtomicU64,
    /// The last hash that is watched.
    watched: AtomicU32,
}

/// The bits that choose a bucket, and those of the array before, of which so many buckets are still
/// to be left, the last ones first.
#[derive(Clone, Copy)]
struct State {
    bits: u32,
    before: u32,
    remaining: u32,
}

impl State {
    fn of(word: u64) -> Self {
        Self { bits: word as u8 as u32, before: (word >> 8) as u8 as u32, remaining: (word >> 32) as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.remaining) << 32 | u64::from(self.before) << 8 | u64::from(self.bits)
    }
}

impl<T, const PER: usize, const FEW: usize> Extent<T, PER, FEW> {
    /// # Safety
    /// As for [`HashedArray::new`]. Buckets are atomics, and may become zero at any time.
    pub(crate) unsafe fn new(make: fn() -> T) -> Self {
        // SAFETY: by this function's contract.
        let buckets = unsafe { HashedArray::new(make) };
        Self { buckets, state: AtomicU64::new(0), watched: AtomicU32::new(ALL) }
    }

    /// Returns the bucket of a hash, if there is one.
    #[inline(always)]
    pub(crate) fn get(&self, hash: u64) -> Option<&T> {
        self.buckets.get(hash)
    }

    /// Returns the bucket of a hash, after making the least number of buckets if there is none.
    #[inline(always)]
    pub(crate) fn get_or_make(&self, hash: u64) -> &T {
        self.get(hash).unwrap_or_else(|| self.make(hash))
    }

    #[cold]
    #[inline(never)]
    fn make(&self, hash: u64) -> &T {
        self.change(State::of(0), 1);
        self.get(hash).expect("an array is in use")
    }

    /// Returns whether a change of the content at this hash is to [look](Self::look) at the number
    /// of buckets.
    #[inline(always)]
    pub(crate) fn is_watched(&self, hash: u64) -> bool {
        hash as u32 <= self.watched.load(Ordering::Relaxed)
    }

    /// Makes one step towards the number of buckets that so many entries need, if it is not right.
    /// `leave` gets each bucket that is left, and a hash of each bucket that is to take over its
    /// content. Returns how many changes of the content this one stood for.
    pub(crate) fn look(&self, entries: usize, leave: impl Fn(&T, &mut dyn Iterator<Item = u64>)) -> usize {
        let state = State::of(self.state.load(Ordering::Relaxed));
        // One entry in 64 is tolerated above the places: the shards of a cache with a power of two
        // of entries have a few too many now and then.
        let needed = entries - entries / 64;
        let places = PER << state.bits;
        if state.remaining != 0 {
            self.leave_some(state, leave);
        } else if needed > places || needed < places / 16 * 7 || state.bits == 0 {
            self.change(state, (needed.div_ceil(PER).max(2) - 1).ilog2() + 1);
        }
        let (was, watched) = (self.watched.load(Ordering::Relaxed), if entries < FEW { ALL } else { SAMPLED });
        if was != watched {
            self.watched.store(watched, Ordering::Relaxed);
        }
        if was == ALL { 1 } else { SAMPLE }
    }

    /// Takes an array into use whose buckets so many bits choose.
    #[cold]
    fn change(&self, now: State, bits: u32) {
        let bits = bits.min(MOST_BITS);
        if bits != now.bits && self.buckets.exchange(now.bits, bits) {
            let remaining = if now.bits == 0 { 0 } else { 1 << now.bits };
            self.state.store(State { bits, before: now.bits, remaining }.word(), Ordering::Relaxed);
        }
    }

    #[cold]
    fn leave_some(&self, now: State, leave: impl Fn(&T, &mut dyn Iterator<Item = u64>)) {
        let State { bits, before, remaining } = now;
        let next = State { remaining: remaining.saturating_sub(LEFT), ..now };
        // If another thread leaves these, that is enough.
        if self.state.compare_exchange(now.word(), next.word(), Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let heirs = 1 << bits.saturating_sub(before);
        let heirs = if heirs <= HEIRS { heirs } else { 0 };
        let range = next.remaining as usize..remaining as usize;
        // (None, if this thread does not see the array yet, whose number it has read.)
        for (bucket, index) in self.buckets.array(before).get(range.clone()).into_iter().flatten().zip(range) {
            let first = (index as u64) << (u64::BITS - before);
            leave(bucket, &mut (0..u64::from(heirs)).map(|heir| first | heir << (u64::BITS - bits)));
        }
        if next.remaining == 0 {
            // SAFETY: by the contract of `new`.
            unsafe { self.buckets.give_back(before) };
        }
    }
}
