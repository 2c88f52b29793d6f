//! Tags: groups of entries that are invalidated together.
//!
//! The cache stores no tags. When it needs the tags of an entry, it asks `tags_with` for them, by
//! key and value. For an entry with tags it stores one number, beside the time of expiry: how many
//! invalidations there were in the cache as its load began. So entries without tags pay nothing.
//!
//! One sequence number per cache orders loads and invalidations; the clock does not. A load notes
//! the number as it begins. [`TagRegistry::invalidate`] takes the next number and stores it in the
//! tag's cell. A value is valid as long as no cell of its tags has a higher number than the one
//! with which its load began.
//!
//! The number of cells is fixed, and a tag's hash picks its cell. Two tags may share a cell. Then
//! the invalidation of one invalidates the other, too, which costs a load and is never wrong. (With
//! 16,384 cells one invalidation hits one in 16,384 of the other tags.) So a cache that sees ever
//! new tags does not grow.

use crate::sys::hasher::DefaultHashBuilder;
use crate::sys::mutants::{mutant, sized, weakened};
use crate::sys::sync::{AtomicU64, CachePadded, Ordering};
use crate::sys::zeroed::ZeroedSlice;
use alloc::boxed::Box;
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// The number of cells. Models have one: with several, the hasher would pick one at random.
const CELLS: usize = sized(1 << 14, 1, 1);

/// A function that gives an entry's tags: see [`Builder::tags_with`](crate::Builder::tags_with).
pub(crate) type TagsWith<K, V> = Box<dyn Fn(&K, &V, &mut Tags<'_>) + Send + Sync>;

/// Takes the tags of an entry, one by one: see [`Builder::tags_with`](crate::Builder::tags_with).
pub struct Tags<'t> {
    registry: &'t Registry,
    /// The sequence number with which the entry's load began.
    start: u64,
    any: bool,
    valid: bool,
}

impl Tags<'_> {
    /// Adds a tag to the entry.
    pub fn add<T: ?Sized + Hash>(&mut self, tag: &T) {
        self.any = true;
        // Acquire: partner of the Release in `invalidate`, as with the other words that a hit
        // reads. It would suffice that a reader sees an invalidation that has returned; the order
        // of the cell's own modifications gives that.
        self.valid &= self.registry.cell(tag).load(Ordering::Acquire) <= self.start;
    }
}

impl fmt::Debug for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags").finish_non_exhaustive()
    }
}

struct Registry {
    hasher: DefaultHashBuilder,
    /// The number of invalidations.
    sequence: CachePadded<AtomicU64>,
    /// For each cell, the number of the last invalidation of its tags; 0: none.
    cells: ZeroedSlice<AtomicU64>,
}

impl Registry {
    fn cell<T: ?Sized + Hash>(&self, tag: &T) -> &AtomicU64 {
        &self.cells[self.hasher.hash_one(tag) as usize % CELLS]
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
        let sequence = CachePadded(AtomicU64::new(0));
        Self { tags, registry: Registry { hasher: DefaultHashBuilder::default(), sequence, cells } }
    }

    /// Returns the sequence number of a load that is about to begin.
    ///
    /// Acquire: partner of the Release in the invalidation with that number. So the load sees all
    /// changes from before that invalidation.
    pub(crate) fn sequence(&self) -> u64 {
        self.registry.sequence.load(weakened("tag start", Ordering::Acquire))
    }

    /// Returns whether any tag was invalidated since the number `start` was taken.
    pub(crate) fn any_since(&self, start: u64) -> bool {
        // Relaxed: if so, the caller asks each tag's cell, with an order of its own.
        self.registry.sequence.load(Ordering::Relaxed) > start
    }

    /// Invalidates all entries with this tag whose loads began before this call.
    pub(crate) fn invalidate<T: ?Sized + Hash>(&self, tag: &T) {
        // Release: partner of the Acquire in `sequence`. Acquire: partner of earlier invalidations,
        // so that a load that reads this number sees the changes from before those, too.
        let number = self.registry.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        if !mutant("tag not stored") {
            // The highest number stays, in whichever order two invalidations of the tag come here.
            let cell = self.registry.cell(tag);
            if mutant("last tag stays") {
                cell.store(number, Ordering::Release);
            } else {
                cell.fetch_max(number, Ordering::Release);
            }
        }
    }

    fn ask(&self, key: &K, value: &V, start: u64) -> Tags<'_> {
        let mut tags = Tags { registry: &self.registry, start, any: false, valid: true };
        (self.tags)(key, value, &mut tags);
        tags
    }

    /// Returns whether an entry has any tags.
    pub(crate) fn has_tags(&self, key: &K, value: &V) -> bool {
        self.ask(key, value, 0).any
    }

    /// Returns whether none of an entry's tags was invalidated since its load began.
    pub(crate) fn valid(&self, key: &K, value: &V, start: u64) -> bool {
        self.ask(key, value, start).valid
    }
}
