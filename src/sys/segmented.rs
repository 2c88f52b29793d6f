//! An array that grows without moving an element.
//!
//! Segment 0 has the first `2^FIRST` elements. Each later segment has as many as all segments
//! before it. The first thread that needs a segment allocates it, as zeroed memory, and it lives as
//! long as the array. So an element's address never changes.

use super::memory::{HUGE_PAGE, advise_huge};
use super::mutants::{mutant, weakened};
use super::sync::{AtomicPtr, Ordering};
use super::zeroed::ZeroedSlice;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Room for `2^(FIRST + SEGMENTS - 1)` elements. At first none of them is allocated.
pub(crate) struct SegmentedArray<T, const FIRST: u32, const SEGMENTS: usize> {
    /// The segments, last one first: a segment that is named by its distance from the last one is
    /// found without a subtraction.
    segments: [AtomicPtr<T>; SEGMENTS],
    make: fn() -> T,
    huge_pages: bool,
    /// Suppresses the automatic `Send` and `Sync`, which atomic pointers would have for any `T`.
    _owned: PhantomData<*mut T>,
}

impl<T, const FIRST: u32, const SEGMENTS: usize> SegmentedArray<T, FIRST, SEGMENTS> {
    /// Makes an empty array. Allocates nothing.
    ///
    /// # Safety
    /// The all-zero bit pattern is the value that `make` returns, and `T` is not zero-sized. (Under
    /// loom, whose atomics cannot be zeroed memory, the first does not hold. There, and only there,
    /// `make` is called.)
    pub(crate) unsafe fn new(make: fn() -> T) -> Self {
        let segments = core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Self { segments, make, huge_pages: false, _owned: PhantomData }
    }

    /// Asks the system for huge pages, for segments that are large enough.
    pub(crate) fn on_huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    #[inline]
    fn segment_len(segment: usize) -> usize {
        1 << (FIRST as usize + segment.saturating_sub(1))
    }

    /// Returns the segment of element `i`, and its index there.
    #[inline(always)]
    fn locate(i: usize) -> (usize, usize) {
        if i < 1 << FIRST {
            return (0, i);
        }
        // The highest bit of the number names the segment, the rest is the index.
        let highest = i.ilog2();
        ((highest - FIRST) as usize + 1, i ^ 1 << highest)
    }

    /// Returns element `i`, if its segment exists.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> Option<&T> {
        let (segment, index) = Self::locate(i);
        // SAFETY: `locate` gives an index within the segment.
        unsafe { self.at(segment, index) }
    }

    /// Returns an element by its segment and its index there, if the segment exists.
    ///
    /// # Safety
    /// `index` is less than the segment's length, which is 2^FIRST for the first segment, and
    /// 2^(FIRST + segment − 1) for any other.
    #[inline]
    pub(crate) unsafe fn at(&self, segment: usize, index: usize) -> Option<&T> {
        debug_assert!(index < Self::segment_len(segment));
        // Acquire: pairs with the Release in `grow`, for the segment's content.
        let first = NonNull::new(
            self.segments.get((SEGMENTS - 1).wrapping_sub(segment))?.load(weakened("array acquire", Ordering::Acquire)),
        )?;
        // SAFETY: a published segment has `segment_len` elements, and `index` is less, by this
        // function's contract. So the pointer is in bounds and aligned. The element is initialised,
        // only shared, and freed no earlier than `self`, which is borrowed.
        Some(unsafe { first.add(index).as_ref() })
    }

    /// Returns the segment of an element of this array, and its index there, by its address. Looks
    /// at segment `likely` first, then at those before it.
    pub(crate) fn place_of(&self, element: *const T, likely: usize) -> (usize, usize) {
        let mut segments = (0..=likely).rev().chain(likely + 1..SEGMENTS);
        let within = |segment: usize| {
            // Relaxed: the pointer is only compared. A thread that has a reference to an element
            // sees the element's segment, which was published before.
            let first = self.segments[SEGMENTS - 1 - segment].load(Ordering::Relaxed).addr();
            let index = element.addr().wrapping_sub(first) / size_of::<T>();
            (first != 0 && index < Self::segment_len(segment)).then_some((segment, index))
        };
        segments.find_map(within).expect("an element of this array is in one of its segments")
    }

    /// Returns element `i`, after allocating its segment if need be.
    ///
    /// # Panics
    /// If the array has no room for so many elements.
    #[inline]
    pub(crate) fn get_or_grow(&self, i: usize) -> &T {
        let (segment, index) = Self::locate(i);
        // SAFETY: `locate` gives an index within the segment.
        unsafe { self.at_or_grow(segment, index) }
    }

    /// Returns an element by its segment and its index there, after allocating the segment if need
    /// be.
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

    /// Allocates and publishes a segment, unless another thread was first. Returns an element of
    /// it.
    ///
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
        // Release: publishes the segment's content. Acquire, if another thread was first: for the
        // content of that thread's segment.
        let release = weakened("array release", Ordering::Release);
        let first = match published.compare_exchange(null, fresh.as_ptr(), release, Ordering::Acquire) {
            Ok(_) => fresh.as_ptr(),
            Err(other) => {
                // SAFETY: it came from `into_raw` just above, with this length, and was never
                // published, so it is this thread's alone.
                drop(unsafe { ZeroedSlice::from_raw(fresh, Self::segment_len(segment)) });
                other
            }
        };
        // SAFETY: as in `at`.
        unsafe { &*first.add(index) }
    }
}

impl<T, const FIRST: u32, const SEGMENTS: usize> Drop for SegmentedArray<T, FIRST, SEGMENTS> {
    fn drop(&mut self) {
        for (segment, published) in self.segments.iter().rev().enumerate() {
            // Acquire: for the content, in case the owner got the array without a synchronisation
            // of its own.
            if let Some(first) = NonNull::new(published.load(Ordering::Acquire)) {
                // SAFETY: it came from `into_raw` of an array of this length, and is freed here
                // only. `&mut self` means that no reference to an element is left.
                drop(unsafe { ZeroedSlice::from_raw(first, Self::segment_len(segment)) });
            }
        }
    }
}

// SAFETY: the array owns its elements, and nothing else that is bound to a thread.
unsafe impl<T: Send, const FIRST: u32, const SEGMENTS: usize> Send for SegmentedArray<T, FIRST, SEGMENTS> {}
// SAFETY: sharing the array shares its elements (`Sync`), and one thread may drop an element that
// another has made (`Send`). The array's own state is atomic.
unsafe impl<T: Send + Sync, const FIRST: u32, const SEGMENTS: usize> Sync for SegmentedArray<T, FIRST, SEGMENTS> {}
