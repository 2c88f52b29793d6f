//! The segments that the rings share: those that were made, and the list of those that are free.

use super::cell::next_lap;
use super::segment::{SHIFT, SLOTS, Segment, SegmentLink};
use crate::sys::mutants::{mutant, sized, weakened};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::sys::zeroed::ZeroedSlice;
use core::ptr::{self, NonNull};

/// The number of entries in the first segment of the directory, as a power of two.
const FIRST: u32 = sized(2, 0, 0) as u32;
/// The number of segments of the directory. They have room for 2²⁴ ring segments, hence 2³¹ slots.
const DIRECTORY: usize = if cfg!(loom) { 4 } else { (31 - SHIFT - FIRST + 1) as usize };
/// The most ring segments: one less than there is room for, so that the last slot's number is below
/// 2³¹.
const MOST: u32 = (1 << (FIRST as usize + DIRECTORY - 1)) - 1;

/// All segments of the rings. Their numbers begin at 1.
pub(super) struct Pool<T> {
    /// A [`SegmentLink`] to the top of the free list. Its version counts how often a segment was
    /// taken. A segment that is on top again, after it and others were taken, has another one below
    /// it.
    pub(super) free: AtomicU64,
    /// The number of segments that were ever made.
    pub(super) made: AtomicU32,
    /// The most segments that may be made.
    most: u32,
    directory: SegmentedArray<AtomicPtr<Segment<T>>, FIRST, DIRECTORY>,
}

impl<T> Pool<T> {
    /// Makes a pool without segments, whose slots' numbers have at most `bits` bits. Allocates
    /// nothing.
    pub(super) fn new(bits: u32) -> Self {
        Self {
            free: AtomicU64::new(0),
            made: AtomicU32::new(0),
            most: MOST.min((1 << (bits - SHIFT)) - 1),
            // SAFETY: a null pointer is all zero bits, and an atomic pointer is as large as a
            // pointer.
            directory: unsafe { SegmentedArray::new(|| AtomicPtr::new(ptr::null_mut())) },
        }
    }

    #[inline]
    pub(super) fn segment(&self, number: u32) -> Option<&Segment<T>> {
        // Acquire: pairs with the Release in `make`, for the segment's content. (A thread that has
        // a slot number by a Relaxed load has no other ordering.)
        let segment = self.directory.get((number as usize).checked_sub(1)?)?.load(Ordering::Acquire);
        // SAFETY: a pointer in the directory is null, or came from `ZeroedSlice::into_raw` of an
        // initialised segment. The segment is only ever shared, and is freed no earlier than
        // `self`, which is borrowed.
        unsafe { segment.as_ref() }
    }

    /// Returns the segment of a link that was read with Acquire.
    pub(super) fn linked(&self, link: SegmentLink) -> &Segment<T> {
        self.segment(link.number()).expect("a linked segment is in the directory")
    }

    /// Returns the cell of slot `number`.
    pub(super) fn slot(&self, number: u32) -> Option<&AtomicPtr<T>> {
        let at = (number as usize).checked_sub(1)?;
        Some(&self.segment((at / SLOTS) as u32 + 1)?.cells[at % SLOTS])
    }

    /// Takes a segment from the free list, or makes one. It is in its next lap and has no
    /// successor.
    pub(super) fn take(&self) -> (SegmentLink, &Segment<T>) {
        // Acquire, here and where the CAS fails: pairs with the Release in `give`, for `below`,
        // `own`, and all else.
        let acquire = weakened("free list order", Ordering::Acquire);
        let mut top = SegmentLink(self.free.load(acquire));
        loop {
            let Some(segment) = self.segment(top.number()) else {
                return self.make();
            };
            let version = if mutant("no version") { top.tag() } else { top.tag().wrapping_add(1) };
            let below = SegmentLink::new(segment.below.load(Ordering::Relaxed), version);
            // Relaxed: the segment below was given with a Release before, which every later RMW
            // carries on.
            match self.free.compare_exchange_weak(top.0, below.0, Ordering::Relaxed, acquire) {
                Err(now) => top = SegmentLink(now),
                Ok(_) => {
                    // The segment is this thread's alone.
                    let link = SegmentLink(segment.own.load(Ordering::Relaxed));
                    if !mutant("next stays") {
                        // Release: pairs with the Acquire in `Rings::advance`, so that a thread
                        // there does not read an old `first` for ever.
                        segment.next.store(SegmentLink::none(link.tag()).0, Ordering::Release);
                    }
                    return (link, segment);
                }
            }
        }
    }

    #[cold]
    fn make(&self) -> (SegmentLink, &Segment<T>) {
        // SAFETY: `zero` makes only atomics, which are all zero or null, and a segment is not
        // zero-sized.
        let fresh = unsafe { ZeroedSlice::new(1, Segment::zero) };
        // Relaxed: this only hands out numbers.
        let made = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.most).then_some(n + 1));
        let index = made.expect("a shard cannot hold this many entries");
        let link = SegmentLink::new(index + 1, 0);
        fresh[0].own.store(link.0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `segment`.
        self.directory.get_or_grow(index as usize).store(fresh.into_raw().as_ptr(), Ordering::Release);
        (link, self.linked(link))
    }

    /// Puts a segment on the free list after a lap in which it was in a ring. The caller is the one
    /// that has taken it out.
    pub(super) fn recycle(&self, link: SegmentLink, segment: &Segment<T>) {
        if !mutant("lap stays") {
            // Release: pairs with the Acquire in `Segment::lap`. A thread that sees the new lap
            // sees that the ring has moved on.
            segment.own.store(SegmentLink::new(link.number(), next_lap(link.tag())).0, Ordering::Release);
        }
        self.give(link.number(), segment);
    }

    /// Puts a segment on the free list. No other thread has seen it, or it has left its ring.
    pub(super) fn give(&self, number: u32, segment: &Segment<T>) {
        let mut top = SegmentLink(self.free.load(Ordering::Relaxed));
        loop {
            segment.below.store(top.number(), Ordering::Relaxed);
            let link = SegmentLink::new(number, top.tag());
            // Release: pairs with the Acquire in `take`.
            let release = weakened("free list order", Ordering::Release);
            match self.free.compare_exchange_weak(top.0, link.0, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = SegmentLink(now),
            }
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        for index in 0..self.made.load(Ordering::Relaxed) {
            // Acquire: as in `segment`.
            let segment = self.directory.get(index as usize).map_or(ptr::null_mut(), |s| s.load(Ordering::Acquire));
            if let Some(segment) = NonNull::new(segment) {
                // SAFETY: it came from `into_raw` of an array of one, and is in the directory once.
                // `&mut self` means that no other thread uses the rings.
                drop(unsafe { ZeroedSlice::from_raw(segment, 1) });
            }
        }
    }
}
