//! FIFO rings of slots, without a lock, over one pool of segments.
//!
//! A ring is a linked list of *segments* of [`SLOTS`] cells. Entries are pushed to its last segment
//! and popped from its first. A segment that was popped to its end goes to a free list, from which
//! any ring takes it again. So memory follows the rings' joint length, however that is spread, and
//! is kept for later when they shrink. The list is that of Michael and Scott, *Simple, Fast, and
//! Practical Non-Blocking and Blocking Concurrent Queue Algorithms*, PODC 1996, with segments for
//! nodes. The free list is Treiber's stack, with a version against ABA.
//!
//! # Laps
//! Each use of a segment by a ring is one *lap* of it. Every link to a segment names the lap: a
//! ring's `first` and `last`, and the `next` of the segment before. So does every empty cell
//! ([`segment`]). A thread that holds a link acts only on cells of that lap. If the segment is in a
//! later lap by now, in any ring, the cells say so, and the thread loads the link again. The `next`
//! of a segment without a successor is null *with its own lap*, so no segment can be appended to a
//! lap that has ended. The segment leaves a ring when all cells are empty for the next lap, so
//! recycling resets none. Segments are freed with the whole structure only: an old link is safe to
//! follow. (Laps repeat after 2³² uses of a segment, or 2²⁵ where addresses have 32 bits: no thread
//! sleeps through exactly so many.)
//!
//! # The operations
//! * *push* fills the first cell that is empty for the lap (CAS), after it has reported the slot.
//!   If the lap has none, it appends a segment (CAS on `next`) and moves `last` on to it, or helps
//!   the thread that did the first.
//! * *pop* empties the first cell that is not empty for the next lap (CAS). If there is none, the
//!   lap has ended, and it moves `first` on to `next`. The thread whose CAS does that gives the
//!   segment to the free list. `last` is moved before `first`, so that `first` never overtakes it:
//!   a link in a ring is never to a free segment.
//! * *clear*, by the remover of the entry, takes exactly that entry (CAS to a hole). *replace*
//!   exchanges it.
//!
//! A ring that was never pushed to has neither `first` nor `last`. `first` is set as if it were the
//! `next` of a segment before the first one, and `last` is then moved on to it.
//!
//! [`segment`] describes late hands, and how an entry can come out of another ring than it was
//! pushed to.

mod segment;
mod validate;

pub(crate) use segment::{Popped, SLOTS};

use crate::sys::mutants::{mutant, sized, weakened};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys::zeroed::ZeroedSlice;
use core::ptr::{self, NonNull};
use segment::{SHIFT, Segment, SegmentLink, hole, next_lap};

/// The number of rings over one pool.
const RINGS: usize = 2;
/// The number of entries in the first segment of the directory, as a power of two.
const FIRST: u32 = sized(2, 0, 0) as u32;
/// The number of segments of the directory. They have room for 2²⁴ ring segments, hence 2³¹ slots.
const DIRECTORY: usize = if cfg!(loom) { 4 } else { (31 - SHIFT - FIRST + 1) as usize };
/// The most ring segments: one less than there is room for, so that the last slot's number is below
/// 2³¹.
const MOST: u32 = (1 << (FIRST as usize + DIRECTORY - 1)) - 1;

/// One of the rings.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Small,
    Main,
}

struct Ring {
    /// [`SegmentLink`]s to the segment that is popped from, and to the one that is pushed to.
    first: AtomicU64,
    last: AtomicU64,
    /// The number of the ring's segments. It is never too low.
    segments: AtomicUsize,
}

/// FIFOs of pointers to `T`, each in a numbered slot. They own nothing: the caller owns the
/// references to the entries.
pub(crate) struct Rings<T> {
    rings: [Ring; RINGS],
    /// A [`SegmentLink`] to the top of the free list. Its version counts how often a segment was
    /// taken. A segment that is on top again, after it and others were taken, has another one below
    /// it.
    free: AtomicU64,
    /// The number of segments that were ever made.
    made: AtomicU32,
    /// The most segments that may be made.
    most: u32,
    directory: SegmentedArray<AtomicPtr<Segment<T>>, FIRST, DIRECTORY>,
}

impl<T> Rings<T> {
    /// Makes rings without entries, whose slots' numbers have at most `bits` bits. Allocates
    /// nothing before the first push.
    pub(crate) fn new(bits: u32) -> Self {
        let ring = |_| Ring { first: AtomicU64::new(0), last: AtomicU64::new(0), segments: AtomicUsize::new(0) };
        Self {
            rings: core::array::from_fn(ring),
            free: AtomicU64::new(0),
            made: AtomicU32::new(0),
            most: MOST.min((1 << (bits - SHIFT)) - 1),
            // SAFETY: a null pointer is all zero bits, and an atomic pointer is as large as a
            // pointer.
            directory: unsafe { SegmentedArray::new(|| AtomicPtr::new(ptr::null_mut())) },
        }
    }

    fn ring(&self, ring: Which) -> &Ring {
        &self.rings[ring as usize]
    }

    #[inline]
    fn segment(&self, number: u32) -> Option<&Segment<T>> {
        // Acquire: pairs with the Release in `make`, for the segment's content. (A thread that has
        // a slot number by a Relaxed load has no other ordering.)
        let segment = self.directory.get((number as usize).checked_sub(1)?)?.load(Ordering::Acquire);
        // SAFETY: a pointer in the directory is null, or came from `ZeroedSlice::into_raw` of an
        // initialised segment. The segment is only ever shared, and is freed no earlier than
        // `self`, which is borrowed.
        unsafe { segment.as_ref() }
    }

    /// Returns the segment of a link that was read with Acquire.
    fn linked(&self, link: SegmentLink) -> &Segment<T> {
        self.segment(link.number()).expect("a linked segment is in the directory")
    }

    /// Returns the cell of slot `number`.
    fn slot(&self, number: u32) -> Option<&AtomicPtr<T>> {
        let at = (number as usize).checked_sub(1)?;
        Some(&self.segment((at / SLOTS) as u32 + 1)?.cells[at % SLOTS])
    }

    /// Returns the number of positions in use, holes included, rounded up to whole segments at both
    /// ends. It is not less than the positions in the segments that the caller knows of.
    pub(crate) fn window(&self, ring: Which) -> usize {
        self.ring(ring).segments.load(Ordering::Relaxed) * SLOTS
    }

    /// Puts `entry` at the end. `seat` gets the slot's number before the entry can be found there.
    /// It may be called more than once, and the last number counts. Numbers begin at 1. They have
    /// as many bits as [`new`](Self::new) was told, at most 31.
    ///
    /// # Panics
    /// If the number of slots would not fit in these bits.
    pub(crate) fn push(&self, ring: Which, entry: NonNull<T>, seat: impl Fn(u32)) {
        let ring = self.ring(ring);
        loop {
            // Acquire: pairs with the Release in `append` or `advance`, for the segment's state in
            // this lap.
            let last = SegmentLink(ring.last.load(Ordering::Acquire));
            if last.is_none() {
                self.append(ring, &ring.first, last);
                continue;
            }
            let segment = self.linked(last);
            let first = (last.number() - 1) * SLOTS as u32 + 1;
            if segment.push(last.tag(), entry, |cell| seat(first + cell as u32)) {
                return;
            }
            self.append(ring, &segment.next, last);
        }
    }

    /// Moves `last` on to the segment that `next` links to. If `next` links to none, appends a
    /// segment from the pool first.
    #[cold]
    fn append(&self, ring: &Ring, next: &AtomicU64, last: SegmentLink) {
        // Acquire: pairs with the Release below, for the new segment's state, which the Release on
        // `last` passes on.
        let mut link = SegmentLink(next.load(weakened("link acquire", Ordering::Acquire)));
        let none = SegmentLink::none(last.tag());
        if link == none {
            link = self.take();
            // Counted before other threads can get to the segment: see `window`.
            ring.segments.fetch_add(1, Ordering::Relaxed);
            let release = weakened("link release", Ordering::Release);
            if mutant("torn append") {
                next.store(link.0, Ordering::Release);
            } else if next.compare_exchange(none.0, link.0, release, Ordering::Relaxed).is_err() {
                ring.segments.fetch_sub(1, Ordering::Relaxed);
                if !mutant("segment lost") {
                    self.give(link.number());
                }
                return;
            }
        }
        // If the link is from another lap (or null in another lap), the segment has left the ring,
        // and `last` has moved on. Then the CAS fails. Release: pairs with the Acquire in `push`.
        let release = weakened("last release", Ordering::Release);
        let _ = ring.last.compare_exchange(last.0, link.0, release, Ordering::Relaxed);
    }

    /// Takes the hand's next step. The entry may have been pushed to another ring: see [`segment`].
    pub(crate) fn pop(&self, ring: Which) -> Popped<T> {
        self.at_front(self.ring(ring), Segment::pop)
    }

    /// Returns what [`Self::pop`] would return, and takes nothing. The entry may be gone already.
    pub(crate) fn peek(&self, ring: Which) -> Popped<T> {
        self.at_front(self.ring(ring), Segment::peek)
    }

    /// Returns a function that returns the entry so many slots behind the next one to be popped, if
    /// that is in the same segment.
    #[inline]
    pub(crate) fn ahead(&self, ring: Which) -> impl Fn(usize) -> Option<NonNull<T>> {
        // Acquire: as in `at_front`.
        let first = SegmentLink(self.ring(ring).first.load(Ordering::Acquire));
        let segment = self.segment(first.number());
        move |distance| segment?.ahead(first.tag(), distance)
    }

    fn at_front(&self, ring: &Ring, step: impl Fn(&Segment<T>, u32) -> Option<Popped<T>>) -> Popped<T> {
        loop {
            // Acquire: pairs with the Release in `advance` or `append`, for the segment's state in
            // this lap, and for `last`, which is not behind then.
            let first = SegmentLink(ring.first.load(Ordering::Acquire));
            if first.is_none() {
                return Popped::Empty;
            }
            let segment = self.linked(first);
            if let Some(met) = step(segment, first.tag()) {
                return met;
            }
            if !self.advance(ring, segment, first) {
                return Popped::Empty;
            }
        }
    }

    /// Moves `first` on from a lap that has ended, and gives the segment back. Returns false if
    /// there is no next segment.
    #[cold]
    fn advance(&self, ring: &Ring, segment: &Segment<T>, first: SegmentLink) -> bool {
        // Acquire: pairs with the Release in `append`, for the next segment's state, which the
        // Releases below pass on. Or it pairs with the Release in `take`: the user of a later lap
        // knows that `first` has moved.
        let next = SegmentLink(segment.next.load(weakened("link acquire", Ordering::Acquire)));
        if next.is_none() {
            return next.tag() != first.tag();
        }
        // `last` goes first. If this is the ring's first segment, `last` may not be set yet, as far
        // as this thread sees. Else it was not behind `first` when `first` was set. Release: pairs
        // with the Acquire in `push`.
        for (from, to) in [(SegmentLink::NONE, first), (first, next)] {
            if ring.last.load(Ordering::Relaxed) == from.0 && !mutant("first passes last") {
                let _ = ring.last.compare_exchange(from.0, to.0, Ordering::Release, Ordering::Relaxed);
            }
        }
        // Release: pairs with the Acquire in `at_front`. A thread that sees the new `first` does
        // not see an older `last`.
        let release = weakened("first release", Ordering::Release);
        let moved = ring.first.compare_exchange(first.0, next.0, release, Ordering::Relaxed).is_ok();
        if !moved && !mutant("torn advance") {
            return true;
        }
        ring.segments.fetch_sub(1, Ordering::Relaxed);
        if !mutant("lap stays") {
            // Relaxed: `give` publishes it.
            segment.lap.store(next_lap(first.tag()), Ordering::Relaxed);
        }
        self.give(first.number());
        true
    }

    /// Takes a segment from the free list, or makes one. It is in its next lap and has no
    /// successor.
    fn take(&self) -> SegmentLink {
        // Acquire, here and where the CAS fails: pairs with the Release in `give`, for `below`,
        // `lap`, and all else.
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
                    let lap = segment.lap.load(Ordering::Relaxed);
                    if !mutant("next stays") {
                        // Release: pairs with the Acquire in `advance`, so that a thread there does
                        // not read an old `first` for ever.
                        segment.next.store(SegmentLink::none(lap).0, Ordering::Release);
                    }
                    return SegmentLink::new(top.number(), lap);
                }
            }
        }
    }

    #[cold]
    fn make(&self) -> SegmentLink {
        // SAFETY: `zero` makes only atomics, which are all zero or null, and a segment is not
        // zero-sized.
        let fresh = unsafe { ZeroedSlice::new(1, Segment::zero) };
        // Relaxed: this only hands out numbers.
        let made = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.most).then_some(n + 1));
        let index = made.expect("a shard cannot hold this many entries");
        // Release: pairs with the Acquire in `segment`.
        self.directory.get_or_grow(index as usize).store(fresh.into_raw().as_ptr(), Ordering::Release);
        SegmentLink::new(index + 1, 0)
    }

    /// Puts a segment on the free list. No other thread has seen it, or it has left its ring.
    fn give(&self, number: u32) {
        let segment = self.segment(number).expect("a segment of ours");
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

    /// Takes `entry` out of slot `number`. Returns false if it is not there.
    pub(crate) fn clear(&self, number: u32, entry: NonNull<T>) -> bool {
        self.exchange(number, entry, hole())
    }

    /// Puts `new` in the place of `old`. Returns false if `old` is not there.
    pub(crate) fn replace(&self, number: u32, old: NonNull<T>, new: NonNull<T>) -> bool {
        self.exchange(number, old, new.as_ptr())
    }

    fn exchange(&self, number: u32, from: NonNull<T>, to: *mut T) -> bool {
        let Some(cell) = self.slot(number) else { return false };
        if mutant("torn exchange") {
            let there = cell.load(Ordering::Acquire) == from.as_ptr();
            return there.then(|| cell.store(to, Ordering::Release)).is_some();
        }
        // AcqRel: as every RMW of a cell. It acquires the old entry's content, and publishes the
        // new entry's.
        cell.compare_exchange(from.as_ptr(), to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl<T> Drop for Rings<T> {
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

// SAFETY: the rings only carry pointers, and never dereference them. Their own parts are atomics.
unsafe impl<T> Send for Rings<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Rings<T> {}
