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
//! follow. (Laps repeat after 2³² uses of a segment, or 2³⁰ where addresses have 32 bits: no thread
//! sleeps through exactly so many.)
//!
//! A segment names its own lap, too, and the *positions* of its cells: how many cells the ring had
//! before it, over all time. A thread reads both after the link. If the lap is another one than the
//! link's, the segment has left the ring since, and the thread loads the link again.
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

mod cell;
mod company;
mod pool;
mod segment;
mod validate;

pub(crate) use segment::{Popped, SLOTS};

use crate::sys::memory::prefetch_to_write;
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, CachePadded, Ordering};
use cell::{counted_for, hole, word_of};
use company::Company;
use core::ptr::{self, NonNull};
use pool::Pool;
use segment::{Hint, Lap, Segment, SegmentLink};

/// The number of rings over one pool.
const RINGS: usize = 2;

/// One of the rings.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Small,
    Main,
}

/// One end of a ring: where the hand pops, or where entries are pushed.
struct End<T> {
    /// A [`SegmentLink`] to the end's segment.
    link: AtomicU64,
    /// That segment, or one from before: the segment's own link tells.
    at: AtomicPtr<Segment<T>>,
    /// The position behind the last pop, or behind the last push.
    ///
    /// A hint: plain stores move it, so a late one may set it back ([`Rings::len`] says what that
    /// means). It is never too high: all cells before it have been emptied by the hand, or have
    /// been filled or passed by a push.
    position: Hint,
}

impl<T> End<T> {
    fn new() -> Self {
        Self { link: AtomicU64::new(0), at: AtomicPtr::new(ptr::null_mut()), position: Hint::new(0) }
    }

    /// Returns the lap that this end is in, or None if nothing was ever pushed to the ring.
    #[inline(always)]
    fn lap<'r>(&'r self, pool: &'r Pool<T>) -> Option<Lap<'r, T>> {
        loop {
            // Acquire: pairs with the Release in `Rings::append` or `Rings::advance`, for the
            // segment's state in this lap. At the front, it is for `last` as well, which is not
            // behind then.
            let link = SegmentLink(self.link.load(Ordering::Acquire));
            // Acquire: pairs with the Release in `reaches`, for the segment's own link.
            let at = self.at.load(weakened("segment acquire", Ordering::Acquire));
            // SAFETY: the pointer is null, or of a segment in the pool's directory, which is only
            // ever shared, and is freed no earlier than the pool, which is borrowed.
            let known = unsafe { at.as_ref() }.and_then(|segment| segment.lap(link));
            if known.is_some() || !self.look_up(pool, link) {
                return known;
            }
        }
    }

    /// Finds the segment of a link in the directory. Returns false if the link is none.
    #[cold]
    #[inline(never)]
    fn look_up(&self, pool: &Pool<T>, link: SegmentLink) -> bool {
        if link.is_none() {
            return false;
        }
        self.reaches(pool.linked(link));
        true
    }

    /// Notes the segment that the link now leads to.
    fn reaches(&self, segment: &Segment<T>) {
        // Release: pairs with the Acquire in `lap`.
        let release = weakened("segment release", Ordering::Release);
        self.at.store(ptr::from_ref(segment).cast_mut(), release);
    }
}

struct Ring<T> {
    /// The end that is popped from, and the one that is pushed to.
    first: End<T>,
    last: End<T>,
    /// The number of the ring's segments. It is never too low.
    segments: AtomicU32,
    /// The threads that bring newcomers.
    company: Company,
    /// The number of holes that are [counted](Rings::clear) for this ring. It may be off for a
    /// moment, on either side of zero: a remover counts its hole after it has made it.
    holes: Hint,
}

/// FIFOs of pointers to `T`, each in a numbered slot. They own nothing: the caller owns the
/// references to the entries.
pub(crate) struct Rings<T> {
    /// (Most threads that move one end of a ring move the other end, too.)
    rings: [CachePadded<Ring<T>>; RINGS],
    pool: Pool<T>,
}

impl<T> Rings<T> {
    /// Makes rings without entries, whose slots' numbers have at most `bits` bits. Allocates
    /// nothing before the first push.
    pub(crate) fn new(bits: u32) -> Self {
        let ring = |_| {
            let (segments, company, holes) = (AtomicU32::new(0), Company::none(), Hint::new(0));
            CachePadded(Ring { first: End::new(), last: End::new(), segments, company, holes })
        };
        Self { rings: core::array::from_fn(ring), pool: Pool::new(bits) }
    }

    #[inline(always)]
    fn ring(&self, ring: Which) -> &Ring<T> {
        &self.rings[ring as usize]
    }

    /// Returns a ring whose ends the caller is about to move.
    #[inline(always)]
    fn ring_to_write(&self, ring: Which) -> &Ring<T> {
        let ring = self.ring(ring);
        prefetch_to_write(ring);
        ring
    }

    /// Returns the number of positions in use, holes included, rounded up to whole segments at both
    /// ends. It is not less than the positions in the segments that the caller knows of.
    #[inline(always)]
    pub(crate) fn window(&self, ring: Which) -> usize {
        self.ring(ring).segments.load(Ordering::Relaxed) as usize * SLOTS
    }

    /// Returns the number of entries: of the positions between the two ends, less the counted
    /// holes.
    ///
    /// It is exact while no other thread is at work, but for what follows.
    ///
    /// * A thread that is preempted between its push or its pop and the store that says so makes
    ///   that store late. The end's position is then set back, and is right again with the next
    ///   push or pop of any thread. Until then the number is too low (a late push) or too high (a
    ///   late pop), by as many pushes or pops as there were meanwhile.
    /// * The cell that a late hand has emptied counts as an entry until the hand of its ring has
    ///   passed it.
    /// * The hole of an entry that is at rest in another ring than its slot's number says counts
    ///   for the ring of that number, until the hand has passed it. The sum of both rings is right.
    #[inline(always)]
    pub(crate) fn len(&self, ring: Which) -> u64 {
        let ring = self.ring(ring);
        let [first, last] = [&ring.first, &ring.last].map(|end| end.position.load(Ordering::Relaxed));
        let len = last.wrapping_sub(first).wrapping_sub(ring.holes.load(Ordering::Relaxed));
        if len as i64 > 0 { len } else { 0 }
    }

    /// Puts `entry` at the end. `seat` gets the slot's number before the entry can be found there.
    /// It may be called more than once, and the last number counts. Numbers begin at 1. They have
    /// as many bits as [`new`](Self::new) was told, at most 31.
    ///
    /// # Panics
    /// If the number of slots would not fit in these bits.
    #[inline(always)]
    pub(crate) fn push(&self, ring: Which, entry: NonNull<T>, seat: impl Fn(u32)) {
        let ring = self.ring_to_write(ring);
        loop {
            let Some(lap) = ring.last.lap(&self.pool) else {
                self.append(ring, &ring.first.link, SegmentLink::NONE, 0);
                continue;
            };
            if lap.push(&ring.last.position, entry, &seat) {
                return;
            }
            self.append(ring, &lap.segment.next, lap.link, lap.position(SLOTS));
        }
    }

    /// Moves `last` on to the segment that `next` links to. If `next` links to none, appends a
    /// segment from the pool first, which begins at position `base`.
    #[cold]
    #[inline(never)]
    fn append(&self, ring: &Ring<T>, next: &AtomicU64, last: SegmentLink, base: u64) {
        // Acquire: pairs with the Release below, for the new segment's state, which the Release on
        // `last` passes on.
        let mut link = SegmentLink(next.load(weakened("link acquire", Ordering::Acquire)));
        let none = SegmentLink::none(last.tag());
        if link == none {
            let (taken, segment) = self.pool.take();
            link = taken;
            segment.begin_at(base);
            // Counted before other threads can get to the segment: see `window`.
            ring.segments.fetch_add(1, Ordering::Relaxed);
            let release = weakened("link release", Ordering::Release);
            if mutant("torn append") {
                next.store(link.0, Ordering::Release);
            } else if next.compare_exchange(none.0, link.0, release, Ordering::Relaxed).is_err() {
                ring.segments.fetch_sub(1, Ordering::Relaxed);
                if !mutant("segment lost") {
                    self.pool.give(link.number(), segment);
                }
                return;
            }
        }
        // If the link is from another lap (or null in another lap), the segment has left the ring,
        // and `last` has moved on. Then the CAS fails. Release: pairs with the Acquire in `lap`.
        let release = weakened("last release", Ordering::Release);
        if ring.last.link.compare_exchange(last.0, link.0, release, Ordering::Relaxed).is_ok() {
            let segment = self.pool.linked(link);
            ring.last.reaches(segment);
            if last.is_none() {
                ring.first.reaches(segment);
            }
        }
    }

    /// Takes the hand's next step. The entry may have been pushed to another ring: see [`segment`].
    #[inline(always)]
    pub(crate) fn pop(&self, ring: Which) -> Popped<T> {
        let ring = self.ring_to_write(ring);
        self.at_front(ring, |lap| lap.pop(&ring.first.position, |hole| self.forget(hole)))
    }

    /// Returns what [`Self::pop`] would return, and takes nothing. The entry may be gone already.
    #[inline]
    pub(crate) fn peek(&self, ring: Which) -> Popped<T> {
        let ring = self.ring(ring);
        self.at_front(ring, |lap| lap.peek(&ring.first.position))
    }

    /// Returns a function that returns the entry so many slots behind the next one to be popped, if
    /// that is in the same segment. None if another thread than this one, which brings a newcomer,
    /// is likely to pop it ([`company`]).
    #[inline]
    pub(crate) fn ahead(&self, ring: Which, thread: usize) -> Option<impl Fn(usize) -> Option<NonNull<T>>> {
        let ring = self.ring_to_write(ring);
        if !ring.company.joins(thread) {
            return None;
        }
        let (first, lap) = (&ring.first, ring.first.lap(&self.pool)?);
        let cell = lap.next_cell_to_pop(&first.position)?;
        Some(move |distance| lap.segment.entry(cell + distance))
    }

    #[inline(always)]
    fn at_front(&self, ring: &Ring<T>, step: impl Fn(&Lap<'_, T>) -> Option<Popped<T>>) -> Popped<T> {
        loop {
            let Some(lap) = ring.first.lap(&self.pool) else { return Popped::Empty };
            if let Some(met) = step(&lap) {
                return met;
            }
            if !self.advance(ring, lap.segment, lap.link) {
                return Popped::Empty;
            }
        }
    }

    /// Moves `first` on from a lap that has ended, and gives the segment back. Returns false if
    /// there is no next segment.
    #[cold]
    #[inline(never)]
    fn advance(&self, ring: &Ring<T>, segment: &Segment<T>, first: SegmentLink) -> bool {
        // Acquire: pairs with the Release in `append`, for the next segment's state, which the
        // Releases below pass on. Or it pairs with the Release in `Pool::take`: the user of a later
        // lap knows that `first` has moved.
        let next = SegmentLink(segment.next.load(weakened("link acquire", Ordering::Acquire)));
        if next.is_none() {
            return next.tag() != first.tag();
        }
        // `last` goes first. If this is the ring's first segment, `last` may not be set yet, as far
        // as this thread sees. Else it was not behind `first` when `first` was set. Release: pairs
        // with the Acquire in `lap`.
        for (from, to) in [(SegmentLink::NONE, first), (first, next)] {
            let last = &ring.last.link;
            if last.load(Ordering::Relaxed) == from.0 && !mutant("first passes last") {
                let _ = last.compare_exchange(from.0, to.0, Ordering::Release, Ordering::Relaxed);
            }
        }
        // Release: pairs with the Acquire in `lap`. A thread that sees the new `first` does not see
        // an older `last`.
        let release = weakened("first release", Ordering::Release);
        let moved = ring.first.link.compare_exchange(first.0, next.0, release, Ordering::Relaxed).is_ok();
        if !moved && !mutant("torn advance") {
            return true;
        }
        ring.first.reaches(self.pool.linked(next));
        ring.segments.fetch_sub(1, Ordering::Relaxed);
        self.pool.recycle(first, segment);
        true
    }

    /// Takes `entry` out of slot `number`. Returns false if it is not there. The hole that is left
    /// is counted for the ring `counts`, until the hand passes it.
    pub(crate) fn clear(&self, number: u32, entry: NonNull<T>, counts: Option<Which>) -> bool {
        let cleared = self.exchange(number, entry, hole(counts));
        if let (true, Some(ring)) = (cleared, counts) {
            self.ring(ring).holes.fetch_add(1, Ordering::Relaxed);
        }
        cleared
    }

    /// Counts a hole no more, which the hand has just passed.
    #[cold]
    fn forget(&self, hole: *mut T) {
        if let Some(ring) = counted_for(hole) {
            let holes = &self.ring(ring).holes;
            if mutant("torn count") {
                holes.store(holes.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
            } else {
                holes.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Puts `new` in the place of `old`. Returns false if `old` is not there.
    pub(crate) fn replace(&self, number: u32, old: NonNull<T>, new: NonNull<T>) -> bool {
        self.exchange(number, old, word_of(new))
    }

    fn exchange(&self, number: u32, from: NonNull<T>, to: *mut T) -> bool {
        let Some(cell) = self.pool.slot(number) else { return false };
        let from = word_of(from);
        if mutant("torn exchange") {
            let there = cell.load(Ordering::Acquire) == from;
            return there.then(|| cell.store(to, Ordering::Release)).is_some();
        }
        // AcqRel: as every RMW of a cell. It acquires the old entry's content, and publishes the
        // new entry's.
        cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: the rings only carry pointers, and never dereference them. Their own parts are atomics.
unsafe impl<T> Send for Rings<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Rings<T> {}
