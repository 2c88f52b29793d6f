//! How often keys were seen lately, more or less: a count-min sketch of 4-bit counters.
//!
//! * Count-min: Cormode and Muthukrishnan, *An Improved Data Stream Summary: The Count-Min Sketch and its Applications*,
//!   J. Algorithms 55(1), 2005. Four rows, sixteen counters an entry over all rows.
//! * Conservative update (only the smallest of a key's counters are raised): Estan and Varghese, *New Directions in
//!   Traffic Measurement and Accounting*, SIGCOMM 2002.
//! * Halving, so that old fame fades: Einziger, Friedman and Manes, *TinyLFU: A Highly Efficient Cache Admission
//!   Policy*, ACM Transactions on Storage 13(4), 2017, their reset.
//!
//! All counters of a key lie in one cache line, a *block* (each row has a quarter of it), so an update is one cache miss.
//! In the replays this loses nothing against rows that are spread over the whole sketch (0.8762 of the optimum against
//! 0.8758).
//!
//! Nothing here stops the world. A halving only moves a generation on; a block is halved when it is next touched, by the
//! generation that is stamped on it (in the place of one counter). Growth doubles the blocks; a block that is touched
//! for the first time takes over the counters of the block that it split from, as buckets of the table do. Where the entries
//! become fewer, the blocks are halved, and what was counted in one that goes out of use is taken over by the one that it was
//! split from ([`extent`](super::extent)).
//!
//! Plain loads and stores, all Relaxed, on numbers that only steer a heuristic: threads that race lose a count.

use super::extent::Extent;
use crate::sys::memory::prefetch;
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{
    CachePadded, Ordering,
    untracked::{AtomicU32, AtomicU64, AtomicUsize},
};

const WORDS: usize = 8;
/// One word of sixteen counters an entry.
const ENTRIES_PER_BLOCK: usize = WORDS;
/// Bits of a hash that choose the counters within a block: 5 a row.
const ROW_BITS: u32 = 5;
const ROWS: u32 = 4;
/// The most that a counter counts to.
pub(super) const MOST: u32 = 15;
/// All counters are halved after so many additions, per entry that there is room for.
const PERIOD: usize = 10;
/// From so many entries on, additions are counted for one key in [`SAMPLE`]: all threads would write the one line that has their number.
const MANY: usize = 4096;
const SAMPLE: usize = 16;
/// So many blocks serve two thousand million entries; beyond that the sketch gets coarser.
const MOST_BLOCKS: usize = if cfg!(loom) { 1 } else { 1 << 27 };
/// Generations run from 1 to this; 0 is a block that was never touched.
const GENERATIONS: u32 = 15;
/// Where a block's last word has the stamp.
const STAMP: u32 = 60;

/// One cache line.
#[repr(align(64))]
pub(crate) struct Block([AtomicU64; WORDS]);

impl Block {
    pub(crate) fn zero() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn word(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    fn stamp(&self) -> u32 {
        (self.word(WORDS - 1) >> STAMP) as u32
    }

    /// Takes over the counters of `other` (or its own), halved so many times.
    fn renew(&self, other: &Self, halvings: u32, stamp: u32) {
        for (index, word) in self.0.iter().enumerate() {
            let mut counters = other.word(index);
            for _ in 0..halvings.min(4) {
                counters = (counters >> 1) & 0x7777_7777_7777_7777;
            }
            if index == WORDS - 1 {
                counters = counters & !(0xF << STAMP) | u64::from(stamp) << STAMP;
            }
            word.store(counters, Ordering::Relaxed);
        }
    }

    /// Takes the larger of each two counters. Both blocks have the same stamp.
    fn join(&self, other: &Self) {
        for (index, word) in self.0.iter().enumerate() {
            let (mine, its) = (word.load(Ordering::Relaxed), other.word(index));
            let larger = |shift: u32| (mine >> shift & 0xF).max(its >> shift & 0xF) << shift;
            word.store((0..u64::BITS).step_by(4).fold(0, |all, shift| all | larger(shift)), Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Word and shift of a key's counter in each row. Row `r` has words `2r` and `2r + 1`.
    fn counters(hash: u64) -> impl Iterator<Item = (usize, u32)> + Clone {
        (0..ROWS).map(move |row| {
            let at = (hash >> (row * ROW_BITS)) as u32 & 31;
            // The last place of the last word is the stamp's.
            let at = if row == ROWS - 1 && at == 31 { 15 } else { at };
            ((row * 2 + (at >> 4)) as usize, (at & 15) * 4)
        })
    }

    fn estimate(&self, hash: u64) -> u32 {
        Self::counters(hash).map(|(word, shift)| (self.word(word) >> shift) as u32 & MOST).min().unwrap_or(0)
    }

    /// Raises a key's counters that are below `to`: as many conservative updates at once.
    fn raise(&self, hash: u64, to: u32) {
        for (word, shift) in Self::counters(hash) {
            let counters = self.word(word);
            // (Without a branch, which would be mispredicted.)
            let below = to.saturating_sub((counters >> shift) as u32 & MOST);
            self.0[word].store(counters + (u64::from(below) << shift), Ordering::Relaxed);
        }
    }
}

/// What is known of a key.
pub(crate) struct Seen<'s> {
    block: &'s Block,
    hash: u64,
    /// At most 15, and rarely too low.
    pub(crate) times: u32,
}

/// The sketch. Hashes must be well mixed in all 64 bits.
pub(crate) struct Sketch {
    blocks: SegmentedArray<Block>,
    extent: Extent<ENTRIES_PER_BLOCK, MOST_BLOCKS>,
    additions: CachePadded<AtomicUsize>,
    generation: AtomicU32,
}

impl Sketch {
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: a block of zeros is `Block::zero()`, and blocks are not zero-sized.
            blocks: unsafe { SegmentedArray::new(Block::zero) },
            extent: Extent::new(),
            additions: CachePadded(AtomicUsize::new(0)),
            generation: AtomicU32::new(1),
        }
    }

    /// Counts so many more uses of a key, in a cache with room for so many entries.
    pub(crate) fn add(&self, Seen { block, hash, times }: Seen<'_>, uses: u32, entries: usize) {
        self.extent.follow(hash, entries, |at, mask| self.fold(at, mask));
        if times < MOST {
            block.raise(hash, (times + uses).min(MOST));
        }
        self.count(hash, uses as usize, entries);
    }

    /// Counts additions, and begins the next generation when it is time for it.
    fn count(&self, hash: u64, uses: usize, entries: usize) {
        let counted = match entries {
            ..MANY => uses,
            _ if hash >> (64 - SAMPLE.ilog2()) == 0 => uses * SAMPLE,
            _ => return,
        };
        let additions = self.additions.load(Ordering::Relaxed) + counted;
        let over = additions >= PERIOD * entries.max(1);
        self.additions.store(if over { 0 } else { additions }, Ordering::Relaxed);
        if over {
            let generation = self.generation.load(Ordering::Relaxed);
            self.generation.store(generation % GENERATIONS + 1, Ordering::Relaxed);
        }
    }

    /// Fetches what a count of the key will need.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let at = (hash >> (ROWS * ROW_BITS)) as usize & self.extent.mask();
        if let Some(block) = self.blocks.get(at) {
            prefetch(block);
        }
    }

    /// How often the key was counted, lately.
    pub(crate) fn seen(&self, hash: u64) -> Seen<'_> {
        let block = self.block(hash);
        Seen { block, hash, times: block.estimate(hash) }
    }

    /// A key's block, brought up to date.
    fn block(&self, hash: u64) -> &Block {
        let at = (hash >> (ROWS * ROW_BITS)) as usize & self.extent.mask();
        self.block_at(at)
    }

    /// A block of those in use, brought up to date.
    #[inline(always)]
    fn block_at(&self, at: usize) -> &Block {
        let block = self.blocks.get_or_grow(at);
        let now = self.generation.load(Ordering::Relaxed);
        match block.stamp() {
            stamp if stamp == now => {}
            0 => match self.split_from(at) {
                Some(source) => block.renew(source, Self::halvings(source.stamp(), now), now),
                None => block.renew(block, 0, now),
            },
            stamp => block.renew(block, Self::halvings(stamp, now), now),
        }
        block
    }

    /// What was counted in a block that has gone out of use goes to the one that its keys are counted in now, and it is as if it had
    /// never been touched.
    fn fold(&self, at: usize, mask: usize) {
        let Some(block) = self.blocks.get(at).filter(|block| block.stamp() != 0) else { return };
        let now = self.generation.load(Ordering::Relaxed);
        block.renew(block, Self::halvings(block.stamp(), now), now);
        self.block_at(at & mask).join(block);
        block.clear();
    }

    fn halvings(stamp: u32, now: u32) -> u32 {
        (now + GENERATIONS - stamp) % GENERATIONS
    }

    /// The nearest block above that was ever touched: each splits from the one without its highest bit.
    fn split_from(&self, mut at: usize) -> Option<&Block> {
        while at != 0 {
            at &= !(1 << at.ilog2());
            if let Some(block) = self.blocks.get(at).filter(|block| block.stamp() != 0) {
                return Some(block);
            }
        }
        None
    }
}
