//! Groups of entries that are invalidated together.
//!
//! Nothing is kept by entry: which tags an entry has is asked of its key and value when it matters, and when its load began is a
//! number among those of the cache's invalidations, kept where an entry without tags has its quiet time ([`ExpiryWord`]). So who has
//! no tags pays nothing.
//!
//! Order between loads and invalidations is that of one sequence number per cache, never the clock: a load notes it as it
//! begins; [`TagRegistry::invalidate`] takes the next one and stores it in the tag's cell. A value is valid while no cell of its tags
//! has a higher number than its load began with.
//!
//! Cells are a fixed number, found by the tag's hash. Two tags may share one: then the one is invalidated with the other, which
//! costs a load and is never wrong. (With 16,384 of them and one invalidation, one in 16,384 of the other tags.) So a
//! cache that sees ever new tags stays as it is.
//!
//! [`ExpiryWord`]: crate::flight::expiry::ExpiryWord

use crate::sys::hasher::DefaultHashBuilder;
use crate::sys::mutants::{mutant, sized, weakened};
use crate::sys::sync::{AtomicU64, CachePadded, Ordering};
use crate::sys::zeroed::ZeroedSlice;
use alloc::boxed::Box;
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// (One for models: which of several it is, the hasher says, at random.)
const CELLS: usize = sized(1 << 14, 1, 1);

/// Tells an entry's tags: see [`Builder::tags_with`](crate::Builder::tags_with).
pub(crate) type TagsWith<K, V> = Box<dyn Fn(&K, &V, &mut Tags<'_>) + Send + Sync>;

/// Takes the tags of an entry, one by one: see [`Builder::tags_with`](crate::Builder::tags_with).
pub struct Tags<'t> {
    registry: &'t Registry,
    /// The number that its load began with.
    start: u64,
    any: bool,
    valid: bool,
}

impl Tags<'_> {
    /// The entry has this tag.
    pub fn add<T: ?Sized + Hash>(&mut self, tag: &T) {
        self.any = true;
        // Acquire: pairs with the Release in `invalidate`, as a hit's looks at other words do; what counts is that an
        // invalidation that has returned is seen, which the cell's own order gives.
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
    /// How many invalidations there were.
    sequence: CachePadded<AtomicU64>,
    /// The number of the last one of each tag; 0: none.
    cells: ZeroedSlice<AtomicU64>,
}

impl Registry {
    fn cell<T: ?Sized + Hash>(&self, tag: &T) -> &AtomicU64 {
        &self.cells[self.hasher.hash_one(tag) as usize % CELLS]
    }
}

/// The groups of a cache.
pub(crate) struct TagRegistry<K, V> {
    tags: TagsWith<K, V>,
    registry: Registry,
}

impl<K, V> TagRegistry<K, V> {
    pub(crate) fn new(tags: TagsWith<K, V>) -> Self {
        // SAFETY: an AtomicU64 of zero is all zero bits, and not zero-sized.
        let cells = unsafe { ZeroedSlice::new(CELLS, || AtomicU64::new(0)) };
        let sequence = CachePadded(AtomicU64::new(0));
        Self { tags, registry: Registry { hasher: DefaultHashBuilder::default(), sequence, cells } }
    }

    /// The number that a load begins with, taken before it.
    ///
    /// Acquire: pairs with the Release of the invalidation with that number, so the load sees what was changed before it.
    pub(crate) fn sequence(&self) -> u64 {
        self.registry.sequence.load(weakened("tag start", Ordering::Acquire))
    }

    /// Whether any tag was invalidated since the number `start` was taken.
    pub(crate) fn any_since(&self, start: u64) -> bool {
        // Relaxed: whoever goes on asks each tag, with an order of its own.
        self.registry.sequence.load(Ordering::Relaxed) > start
    }

    /// Invalidates all entries with this tag whose loads have begun before.
    pub(crate) fn invalidate<T: ?Sized + Hash>(&self, tag: &T) {
        // AcqRel: see `start`; and what is told by an invalidation before this one is told by this one, too.
        let number = self.registry.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        if !mutant("tag not stored") {
            // The highest stays: two may come in either order.
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

    /// Whether an entry has tags at all.
    pub(crate) fn has_tags(&self, key: &K, value: &V) -> bool {
        self.ask(key, value, 0).any
    }

    /// Whether none of an entry's tags was invalidated since its load began.
    pub(crate) fn valid(&self, key: &K, value: &V, start: u64) -> bool {
        self.ask(key, value, start).valid
    }
}
