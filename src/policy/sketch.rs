//! An estimate of how often keys were seen lately: a count-min sketch of 4-bit counters.
//!
//! * Count-min: Cormode and Muthukrishnan, *An Improved Data Stream Summary: The Count-Min Sketch
//!   and its Applications*, J. Algorithms 55(1), 2005. It has two rows, and sixteen counters an
//!   entry over both rows. (So few rows serve as well as four: most keys are counted once only, and
//!   fill the rows with ones, the more so the more rows there are.)
//! * Conservative update (only the smallest of a key's counters are raised): Estan and Varghese,
//!   *New Directions in Traffic Measurement and Accounting*, SIGCOMM 2002.
//! * Halving, so that old fame fades: Einziger, Friedman and Manes, *TinyLFU: A Highly Efficient
//!   Cache Admission Policy*, ACM Transactions on Storage 13(4), 2017, their reset.
//!
//! Both counters of a key lie in one cache line, a *block* (each row has a half of it), so an
//! update is one cache miss. In replays this loses nothing against rows that are spread over the
//! whole sketch.
//!
//! No step stops the world. A halving only moves the generation on. A block is halved when it is
//! next touched, by the generation that is stamped on it (in the place of one counter). When the
//! entries become more or fewer, so do the blocks ([`extent`](super::extent)): each old one hands
//! its counters on to those that now count its keys.
//!
//! All accesses are plain loads and stores, Relaxed, on numbers that only steer a heuristic:
//! threads that race lose a count.

use super::extent::Extent;
use crate::sys::memory::{prefetch, prefetch_to_write};
use crate::sys::sync::{
    CachePadded, Ordering,
    untracked::{AtomicU32, AtomicU64, AtomicUsize},
};

const WORDS: usize = 8;
/// The entries that a block serves: each needs one word of sixteen counters.
const ENTRIES_PER_BLOCK: usize = WORDS;
/// The words of a row.
const ROW: usize = WORDS / 2;
/// The bits of a hash that choose the counter of a row within a block.
const ROW_BITS: u32 = 6;
const ROWS: u32 = 2;
/// The most that a counter counts to.
pub(super) const MOST: u32 = 15;
/// The additions, for each entry that there is room for, after which all counters are halved.
const PERIOD: usize = 8;
/// The number of entries below which all additions are counted. Of more entries, the additions of a
/// sample are. Otherwise all threads would write the one cache line that has the count.
const FEW: usize = 512;
/// The last generation. Generations run from 1 to this. 0 marks a block that was never touched.
const GENERATIONS: u32 = 15;
/// The position of the stamp in a block's last word.
const STAMP: u32 = 60;

/// The place of a counter: its word in the block, and its lowest bit there.
#[derive(Clone, Copy)]
struct Place {
    word: usize,
    shift: u32,
}

impl Place {
    /// Returns the place of one of the 64 counters of a row.
    #[inline(always)]
    fn in_row(row: usize, at: u64) -> Self {
        Self { word: row * ROW + (at as usize & (ROW - 1)), shift: at as u32 & 0x3C }
    }
}

/// One cache line of counters.
#[repr(align(64))]
pub(crate) struct Block([AtomicU64; WORDS]);

impl Block {
    pub(crate) fn zero() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn stamp(&self) -> u32 {
        (self.word(WORDS - 1) >> STAMP) as u32
    }

    /// Halves the counters so many times, and sets the stamp.
    fn renew(&self, halvings: u32, stamp: u32) {
        for (index, word) in self.0.iter().enumerate() {
            let mut counters = self.word(index);
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

    /// Returns the places of a key's counters, one in each row. The last place of the last row
    /// belongs to the stamp.
    #[inline(always)]
    fn places(hash: u64) -> [Place; ROWS as usize] {
        let last = (hash >> ROW_BITS) & 63;
        [Place::in_row(0, hash), Place::in_row(1, last - ((last + 1) >> ROW_BITS))]
    }

    #[inline(always)]
    fn counter(&self, Place { word, shift }: Place) -> u32 {
        (self.word(word) >> shift) as u32 & MOST
    }

    #[inline(always)]
    fn estimate(&self, places: [Place; ROWS as usize]) -> u32 {
        // (Not by `map`, which is a call.)
        let [one, other] = places;
        self.counter(one).min(self.counter(other))
    }

    /// Raises those counters of a key that are below `to`. This does as many conservative updates
    /// at once.
    #[inline(always)]
    fn raise(&self, places: [Place; ROWS as usize], to: u32) {
        for Place { word, shift } in places {
            let counters = self.word(word);
            // (Without a branch, which would be mispredicted.)
            let below = to.saturating_sub((counters >> shift) as u32 & MOST);
            self.0[word].store(counters + (u64::from(below) << shift), Ordering::Relaxed);
        }
    }
}

/// The sketch's knowledge of a key.
pub(crate) struct Seen<'s> {
    block: &'s Block,
    hash: u64,
    places: [Place; ROWS as usize],
    /// How often the key was counted, at most 15, and rarely too low.
    pub(crate) times: u32,
}

/// The sketch. Hashes must be well mixed in all 64 bits.
pub(crate) struct Sketch {
    blocks: Extent<Block, ENTRIES_PER_BLOCK, FEW>,
    additions: CachePadded<AtomicUsize>,
    generation: AtomicU32,
}

impl Sketch {
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: a block of zeros is `Block::zero()`, and blocks are not zero-sized. They are
            // atomics, and counts that are lost do no harm.
            blocks: unsafe { Extent::new(Block::zero) },
            additions: CachePadded(AtomicUsize::new(0)),
            generation: AtomicU32::new(1),
        }
    }

    /// Counts so many more uses of a key, in a cache with room for so many entries.
    #[inline(always)]
    pub(crate) fn add(&self, Seen { block, hash, places, times }: Seen<'_>, uses: u32, entries: usize) {
        if self.blocks.is_watched(hash) {
            self.keep_up(uses as usize, entries);
        }
        block.raise(places, (times + uses).min(MOST));
    }

    /// Counts additions, and begins the next generation when enough were made. Lets the number of
    /// blocks follow that of the entries.
    #[inline(never)]
    fn keep_up(&self, uses: usize, entries: usize) {
        let each = self.blocks.look(entries, |block, heirs| self.hand_on(block, heirs));
        prefetch_to_write(&raw const *self.additions);
        let additions = self.additions.load(Ordering::Relaxed) + uses * each;
        let over = additions >= PERIOD * entries.max(1);
        self.additions.store(if over { 0 } else { additions }, Ordering::Relaxed);
        if over {
            let generation = self.generation.load(Ordering::Relaxed);
            self.generation.store(generation % GENERATIONS + 1, Ordering::Relaxed);
        }
    }

    /// Prefetches the memory that a count of the key needs.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(block) = self.blocks.get(hash) {
            prefetch(block);
        }
    }

    /// Returns how often the key was counted lately.
    #[inline(always)]
    pub(crate) fn seen(&self, hash: u64) -> Seen<'_> {
        self.seen_in(self.blocks.get_or_make(hash), hash)
    }

    /// Does the same for a caller that is likely to [count](Self::add) the key now.
    #[inline(always)]
    pub(crate) fn seen_to_count(&self, hash: u64) -> Seen<'_> {
        let block = self.blocks.get_or_make(hash);
        prefetch_to_write(block);
        self.seen_in(block, hash)
    }

    /// Brings the key's block up to date, and looks the key up there.
    #[inline(always)]
    fn seen_in<'s>(&self, block: &'s Block, hash: u64) -> Seen<'s> {
        if block.stamp() != self.generation.load(Ordering::Relaxed) {
            self.bring_up_to_date(block);
        }
        let places = Block::places(hash);
        Seen { block, hash, places, times: block.estimate(places) }
    }

    #[cold]
    #[inline(never)]
    fn bring_up_to_date(&self, block: &Block) {
        let now = self.generation.load(Ordering::Relaxed);
        let halvings = match block.stamp() {
            0 => 0,
            stamp => (now + GENERATIONS - stamp) % GENERATIONS,
        };
        block.renew(halvings, now);
    }

    /// Hands the counts of a block that has gone out of use on to the blocks that now count its
    /// keys. The old block is then as if it had never been touched.
    fn hand_on(&self, block: &Block, heirs: &mut dyn Iterator<Item = u64>) {
        if block.stamp() != 0 {
            self.bring_up_to_date(block);
            heirs.for_each(|hash| self.seen(hash).block.join(block));
            block.clear();
        }
    }
}
