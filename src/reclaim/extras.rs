//! What few nodes have: a time of expiry, a tag sequence number, the time of a renewal, terms of
//! the value's own.
//!
//! Each lies in an array of its own, indexed by node number. An array takes no memory until one of
//! its elements is used. A node that is allocated by itself has its time of expiry beside it, and
//! the rest in a box that is made when it is needed.
//!
//! An element is zero until it is used. A new node finds what an earlier node has left there.

use crate::sys::late_box::LateBox;
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicBool, AtomicU64, Ordering, untracked};

/// A word that a node has elsewhere.
pub(crate) type Extra = AtomicU64;

/// The terms of a value of its own, which count in place of the cache's settings. Times are in ns.
#[repr(C)]
pub(crate) struct OwnTerms {
    /// How long past its expiry the value is served while it is refreshed.
    pub(crate) while_refresh: Extra,
    /// How long past its expiry the value is served where its refresh fails.
    pub(crate) if_error: Extra,
    /// The earliest time at which a reader may refresh the value.
    pub(crate) mark: Extra,
    /// The bits of XFetch's β; 0: no dice decide.
    pub(crate) beta: Extra,
    /// How long before the cache was built the value was made.
    pub(crate) before: Extra,
}

impl OwnTerms {
    fn new() -> Self {
        let zero = || Extra::new(0);
        Self { while_refresh: zero(), if_error: zero(), mark: zero(), beta: zero(), before: zero() }
    }
}

/// Segments for as many elements as there can be node numbers.
const SEGMENTS: usize = if cfg!(loom) { 1 } else { 27 };

type Array<T> = SegmentedArray<T, 6, SEGMENTS>;

/// The arrays of an arena.
pub(super) struct Extras {
    pub(super) expiry: Array<Extra>,
    pub(super) tag_sequence: Array<Extra>,
    pub(super) renewal: Array<Extra>,
    pub(super) terms: Array<OwnTerms>,
    /// Whether any node has had any of these.
    ///
    /// Relaxed: a thread that has a node which had one before comes after the thread that gave it.
    /// That thread has stored this before it made the element, or has read it from another thread's
    /// store, or has found the element, and so comes after the thread that made it.
    any: AtomicBool,
    /// Whether any node has had a time of expiry. Relaxed, and a heuristic's: a thread that gives a
    /// node a time sees its own store, and others may be late.
    pub(super) expires: untracked::AtomicBool,
}

impl Extras {
    pub(super) fn new() -> Self {
        // SAFETY: for each array, all zero is what is made, and not zero-sized: `OwnTerms` consists
        // of words.
        unsafe {
            Self {
                expiry: Array::new(|| Extra::new(0)),
                tag_sequence: Array::new(|| Extra::new(0)),
                renewal: Array::new(|| Extra::new(0)),
                terms: Array::new(OwnTerms::new),
                any: AtomicBool::new(false),
                expires: untracked::AtomicBool::new(false),
            }
        }
    }
}

impl Extras {
    /// Returns whether any node has had any of these.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Returns the arrays for a caller that gives a node one of these, which it makes afterwards.
    pub(super) fn giving(&self) -> &Self {
        if !self.any() {
            self.any.store(true, Ordering::Relaxed);
        }
        self
    }
}

/// Returns the element of a node. `number` is called only if any node has one.
pub(super) fn find<T>(array: &Array<T>, number: impl FnOnce() -> usize) -> Option<&T> {
    // Most often there is no element at all, and then the node's number is not needed. (Each thread
    // that makes one makes the first one before.)
    array.get(0)?;
    array.get(number())
}

/// Returns the element of a node, after allocating it if need be.
pub(super) fn find_or_grow<T>(array: &Array<T>, number: usize) -> &T {
    // The first element comes first: see `find`.
    array.get_or_grow(0);
    array.get_or_grow(number)
}

/// What a node that is allocated by itself has beside it.
#[repr(C)]
pub(super) struct Beside {
    pub(super) expiry: Extra,
    rare: LateBox<Rare>,
}

struct Rare {
    tag_sequence: Extra,
    renewal: Extra,
    terms: OwnTerms,
}

impl Beside {
    pub(super) fn new() -> Self {
        Self { expiry: Extra::new(0), rare: LateBox::new() }
    }

    pub(super) fn tag_sequence(&self) -> Option<&Extra> {
        self.rare.get().map(|rare| &rare.tag_sequence)
    }

    pub(super) fn renewal(&self) -> Option<&Extra> {
        self.rare.get().map(|rare| &rare.renewal)
    }

    pub(super) fn renewal_or_allocate(&self) -> &Extra {
        &self.rare_or_allocate().renewal
    }

    pub(super) fn terms(&self) -> Option<&OwnTerms> {
        self.rare.get().map(|rare| &rare.terms)
    }

    pub(super) fn tag_sequence_or_allocate(&self) -> &Extra {
        &self.rare_or_allocate().tag_sequence
    }

    pub(super) fn terms_or_allocate(&self) -> &OwnTerms {
        &self.rare_or_allocate().terms
    }

    fn rare_or_allocate(&self) -> &Rare {
        self.rare.get_or_allocate(|| Rare {
            tag_sequence: Extra::new(0),
            renewal: Extra::new(0),
            terms: OwnTerms::new(),
        })
    }
}
