//! An array that grows without moving an element.
//!
//! Segment 0 has the first `2^FIRST` elements, each later segment as many as all before it. A segment is allocated by
//! the first who needs it, as zeroed memory, and lives as long as the array; so an element's address never changes.

use super::memory::{HUGE_PAGE, advise_huge};
use super::mutants::{mutant, weakened};
use super::sync::{AtomicPtr, Ordering};
use super::zeroed::ZeroedSlice;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Under loom two elements will do, and every segment costs it something.
const USUAL: usize = if cfg!(loom) { 2 } else { 28 };

/// Room for `2^(FIRST + SEGMENTS - 1)` elements, none of which is there to begin with.
pub(crate) struct SegmentedArray<T, const FIRST: u32 = 0, const SEGMENTS: usize = USUAL> {
    /// The last one first: so a segment that is told by how many places there are behind it is found without a subtraction.
    segments: [AtomicPtr<T>; SEGMENTS],
    make: fn() -> T,
    huge_pages: bool,
    /// Suppresses the automatic `Send` and `Sync`, which atomic pointers would have for any `T`.
    _owned: PhantomData<*mut T>,
}

impl<T, const FIRST: u32, const SEGMENTS: usize> SegmentedArray<T, FIRST, SEGMENTS> {
    /// An empty array; allocates nothing.
    ///
    /// # Safety
    /// The all-zero bit pattern is the value that `make` gives, and `T` is not zero-sized. (Not so under loom, whose
    /// atomics cannot be zeroed memory: `make` is called there, and only there.)
    pub(crate) unsafe fn new(make: fn() -> T) -> Self {
        let segments = core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Self { segments, make, huge_pages: false, _owned: PhantomData }
    }

    /// Asks the system for huge pages for segments that are large enough.
    pub(crate) fn on_huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    #[inline]
    fn segment_len(segment: usize) -> usize {
        1 << (FIRST as usize + segment.saturating_sub(1))
    }

    /// Segment of element `i`, and its index there.
    #[inline]
    fn locate(i: usize) -> (usize, usize) {
        match i >> FIRST {
            0 => (0, i),
            high => {
                let segment = high.ilog2() as usize + 1;
                (segment, i - Self::segment_len(segment))
            }
        }
    }

    /// Element `i`, if its segment exists.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> Option<&T> {
        let (segment, index) = Self::locate(i);
        // SAFETY: by `locate`.
        unsafe { self.at(segment, index) }
    }

    /// The same by segment, and index there.
    ///
    /// # Safety
    /// `index` is less than the segment's length: 2^FIRST for the first one, 2^(FIRST + segment − 1) for any other.
    #[inline]
    pub(crate) unsafe fn at(&self, segment: usize, index: usize) -> Option<&T> {
        debug_assert!(index < Self::segment_len(segment));
        // Acquire: pairs with the Release in `get_or_grow`, for the segment's content.
        let first = NonNull::new(
            self.segments.get((SEGMENTS - 1).wrapping_sub(segment))?.load(weakened("array acquire", Ordering::Acquire)),
        )?;
        // SAFETY: a published segment has `segment_len` elements, of which `index` is one by this function's contract: the pointer is
        // in bounds and aligned. It is initialised, shared only, and freed no earlier than `self`, which is borrowed.
        Some(unsafe { first.add(index).as_ref() })
    }

    /// Segment of an element of this array, and its index there, by its address. Looks at segment `likely` first, then at those before it.
    pub(crate) fn place_of(&self, element: *const T, likely: usize) -> (usize, usize) {
        let mut segments = (0..=likely).rev().chain(likely + 1..SEGMENTS);
        let within = |segment: usize| {
            // Relaxed: only compared. Who has come by an element sees the segment that it is in: it was published before.
            let first = self.segments[SEGMENTS - 1 - segment].load(Ordering::Relaxed).addr();
            let index = element.addr().wrapping_sub(first) / size_of::<T>();
            (first != 0 && index < Self::segment_len(segment)).then_some((segment, index))
        };
        segments.find_map(within).expect("an element of this array is in one of its segments")
    }

    /// Element `i`, after allocating its segment if need be.
    ///
    /// # Panics
    /// If there is no room for so many.
    #[inline]
    pub(crate) fn get_or_grow(&self, i: usize) -> &T {
        let (segment, index) = Self::locate(i);
        // SAFETY: by `locate`.
        unsafe { self.at_or_grow(segment, index) }
    }

    /// The same by segment, and index there.
    ///
    /// # Safety
    /// As for [`at`](Self::at).
    ///
    /// # Panics
    /// If there is no such segment.
    #[inline]
    pub(crate) unsafe fn at_or_grow(&self, segment: usize, index: usize) -> &T {
        // SAFETY: as for this function.
        unsafe { self.at(segment, index).unwrap_or_else(|| self.grow(segment, index)) }
    }

    /// # Safety
    /// As for [`at`](Self::at).
    #[cold]
    #[inline(never)]
    unsafe fn grow(&self, segment: usize, index: usize) -> &T {
        assert!(segment < SEGMENTS, "an array cannot grow beyond its last segment");
        // SAFETY: by the contract of `new`, and this is its `make`.
        let fresh = unsafe { ZeroedSlice::new(Self::segment_len(segment), self.make) }.into_raw();
        let size = Self::segment_len(segment) * size_of::<T>();
        if self.huge_pages && size >= HUGE_PAGE {
            advise_huge(fresh.as_ptr().cast(), size);
        }
        let (published, null) = (&self.segments[SEGMENTS - 1 - segment], ptr::null_mut());
        if mutant("torn growth") {
            published.store(null, Ordering::Relaxed);
        }
        // Release: publishes the segment's content. Acquire, if another was first: for that one's.
        let release = weakened("array release", Ordering::Release);
        let first = match published.compare_exchange(null, fresh.as_ptr(), release, Ordering::Acquire) {
            Ok(_) => fresh.as_ptr(),
            Err(other) => {
                // SAFETY: it came from `into_raw` just above, of so many, and was never published, so is ours alone.
                drop(unsafe { ZeroedSlice::from_raw(fresh, Self::segment_len(segment)) });
                other
            }
        };
        // SAFETY: as in `get`.
        unsafe { &*first.add(index) }
    }
}

impl<T, const FIRST: u32, const SEGMENTS: usize> Drop for SegmentedArray<T, FIRST, SEGMENTS> {
    fn drop(&mut self) {
        for (segment, published) in self.segments.iter().rev().enumerate() {
            // Acquire: for the content, should the owner have come by the array without a synchronisation of its own.
            if let Some(first) = NonNull::new(published.load(Ordering::Acquire)) {
                // SAFETY: it came from `into_raw` of an array of this length, is freed here only, and `&mut self` means that no
                // reference to an element is left.
                drop(unsafe { ZeroedSlice::from_raw(first, Self::segment_len(segment)) });
            }
        }
    }
}

// SAFETY: the array owns its elements, and nothing else that is bound to a thread.
unsafe impl<T: Send, const FIRST: u32, const SEGMENTS: usize> Send for SegmentedArray<T, FIRST, SEGMENTS> {}
// SAFETY: sharing it shares its elements (`Sync`), and an element made by one thread may be dropped by another (`Send`).
// The array's own state is atomic.
unsafe impl<T: Send + Sync, const FIRST: u32, const SEGMENTS: usize> Sync for SegmentedArray<T, FIRST, SEGMENTS> {}
