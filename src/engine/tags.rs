//! Tags: groups of entries that are invalidated together.
//!
//! The cache stores no tags. When it needs the tags of an entry, it asks `tags_with` for them, by
//! key and value. For an entry with tags it stores one number, beside the time of expiry: how many
//! invalidations there were in the cache as its load began. So entries without tags pay nothing.
//!
//! One sequence number per cache orders loads and invalidations; the clock does not. A load notes
//! the number as it begins. [`TagRegistry::invalidate`] stores the next number in the tag's cell. A
//! value is valid as long as no cell of its tags has a higher number than the one with which its
//! load began.
//!
//! The number of cells is fixed, and a tag's hash picks its cell. Two tags may share a cell. Then
//! the invalidation of one invalidates the other, too, which costs a load and is never wrong. (With
//! 16,384 cells one invalidation hits one in 16,384 of the other tags.) So a cache that sees ever
//! new tags does not grow.
//!
//! [`TagRegistry::expire`] does the same with cells of their own, which have the time of the call,
//! too. They are allocated at the first such call. (Of two such calls, the time of the later one
//! counts, even for a value that the earlier one ended.)

use crate::runtime::xfetch::NEVER;
use crate::sys::hasher::DefaultHashBuilder;
use crate::sys::mutants::{mutant, sized};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::sys::zeroed::ZeroedSlice;
use alloc::boxed::Box;
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// The number of cells. Models have one: with several, the hasher would pick one at random.
const CELLS: usize = sized(1 << 14, 1, 1);
/// The size of the first segment of the cells for `expire`, as a power of two: all of them.
const ALL: u32 = (2 * CELLS).ilog2();

/// A function that gives an entry's tags: see [`Builder::tags_with`](crate::Builder::tags_with).
pub(crate) type TagsWith<K, V> = Box<dyn Fn(&K, &V, &mut Tags<'_>) + Send + Sync>;

/// Takes the tags of an entry, one by one: see [`Builder::tags_with`](crate::Builder::tags_with).
pub struct Tags<'t> {
    registry: &'t Registry,
    /// The sequence number with which the entry's load began.
    start: u64,
    any: bool,
    valid: bool,
    /// Since when the entry is over, by one of its tags.
    over_since: u64,
}

impl Tags<'_> {
    /// Adds a tag to the entry.
    pub fn add<T: ?Sized + Hash>(&mut self, tag: &T) {
        self.any = true;
        // Acquire: partner of the Release in `invalidate`, as with the other words that a hit
        // reads. It would suffice that a reader sees an invalidation that has returned; the order
        // of the cell's own modifications gives that.
        let cell = self.registry.cell(tag);
        self.valid &= self.registry.cells[cell].load(Ordering::Acquire) <= self.start;
        if let Some([number, at]) = self.registry.soft_cell(cell) {
            // Acquire: partner of the Release in `expire`, for the time.
            if number.load(Ordering::Acquire) > self.start {
                self.over_since = self.over_since.min(at.load(Ordering::Relaxed));
            }
        }
    }
}

impl fmt::Debug for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags").finish_non_exhaustive()
    }
}

/// What calls have done to a value since its load began.
pub(super) struct Ended {
    pub(super) invalidated: bool,
    /// Since when the value is over. `NEVER`: it is not.
    pub(super) over_since: u64,
}

struct Registry {
    hasher: DefaultHashBuilder,
    /// For each cell, the number of the last invalidation of its tags; 0: none.
    cells: ZeroedSlice<AtomicU64>,
    /// For each cell, the number of the last call that ended the time of its tags, and the time of
    /// that call.
    soft: SegmentedArray<AtomicU64, ALL, 1>,
}

impl Registry {
    #[allow(clippy::modulo_one, reason = "models have one cell")]
    fn cell<T: ?Sized + Hash>(&self, tag: &T) -> usize {
        self.hasher.hash_one(tag) as usize % CELLS
    }

    fn soft_cell(&self, cell: usize) -> Option<[&AtomicU64; 2]> {
        Some([self.soft.get(2 * cell)?, self.soft.get(2 * cell + 1)?])
    }
}

/// The tags of a cache, and their invalidations.
pub(crate) struct TagRegistry<K, V> {
    tags: TagsWith<K, V>,
    registry: Registry,
}

impl<K, V> TagRegistry<K, V> {
    pub(crate) fn new(tags: TagsWith<K, V>) -> Self {
        // SAFETY: an `AtomicU64` of zero is all zero bits, and is not zero-sized.
        let cells = unsafe { ZeroedSlice::new(CELLS, || AtomicU64::new(0)) };
        // SAFETY: as above.
        let soft = unsafe { SegmentedArray::new(|| AtomicU64::new(0)) };
        Self { tags, registry: Registry { hasher: DefaultHashBuilder::default(), cells, soft } }
    }

    /// Invalidates all entries with this tag whose loads began before this `number` was taken.
    pub(super) fn invalidate<T: ?Sized + Hash>(&self, tag: &T, number: u64) {
        if !mutant("tag not stored") {
            // The highest number stays, in whichever order two invalidations of the tag come here.
            let cell = &self.registry.cells[self.registry.cell(tag)];
            if mutant("last tag stays") {
                cell.store(number, Ordering::Release);
            } else {
                cell.fetch_max(number, Ordering::Release);
            }
        }
    }

    /// Ends the time of all entries with this tag whose loads began before this `number` was taken,
    /// at the time `now`.
    pub(super) fn expire<T: ?Sized + Hash>(&self, tag: &T, number: u64, now: u64) {
        let cell = 2 * self.registry.cell(tag);
        self.registry.soft.get_or_grow(cell + 1).store(now, Ordering::Relaxed);
        if !mutant("tag not ended") {
            // Release: the time comes with the number.
            self.registry.soft.get_or_grow(cell).fetch_max(number, Ordering::Release);
        }
    }

    fn ask(&self, key: &K, value: &V, start: u64) -> Tags<'_> {
        let mut tags = Tags { registry: &self.registry, start, any: false, valid: true, over_since: NEVER };
        (self.tags)(key, value, &mut tags);
        tags
    }

    /// Returns whether an entry has any tags.
    pub(crate) fn has_tags(&self, key: &K, value: &V) -> bool {
        self.ask(key, value, 0).any
    }

    /// Returns what was done to an entry by its tags since its load began.
    pub(super) fn ended(&self, key: &K, value: &V, start: u64) -> Ended {
        let tags = self.ask(key, value, start);
        Ended { invalidated: !tags.valid, over_since: tags.over_since }
    }
}
