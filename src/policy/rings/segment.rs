//! One segment of a ring: cells, each of which tells by itself what may be done to it.
//!
//! A ring uses a segment for one *lap* at a time (the module above says more). In each lap, each
//! cell is filled and emptied once, from the first to the last. What a cell holds:
//!
//! * *empty for this lap*: the next push may fill it;
//! * an entry;
//! * a *hole*: the entry was removed, and the hand has not come by;
//! * *empty for the next lap*: the hand was here.
//!
//! So a push is one CAS, from *empty for this lap* to the entry, and a pop is one CAS, from the
//! entry to *empty for the next lap*. A thread that is late, and means a lap that has ended, finds
//! another lap in the cell. The idea of empty cells that tell the lap is that of Tsigas and Zhang,
//! *A Simple, Fast and Scalable Non-Blocking Concurrent FIFO Queue*, SPAA 2001, who tell two.
//!
//! `head` and `tail` are hints: where the last pop and the last push have been. Plain stores move
//! them, so they may be too low, or from an earlier lap. They are never too high: all cells before
//! `head` are empty for the next lap, and the cells before `tail` have been filled, or have been
//! passed by a push.
//!
//! # Late hands
//! Only RMWs fill and empty a cell, so each pointer in it goes to exactly one taker. A slow hand
//! may have seen an entry, or a hole, in one lap, and empty the cell where the same word is in it
//! in a later lap. So **an entry may be popped from another ring than it was pushed to**, by a hand
//! that is late. It leaves a cell that is empty for a lap that has begun, or has ended, already.
//!
//! * A push that means that lap may fill the cell, however late it is. The entry is at rest in
//!   another ring then than its slot number says. (It counts for the ring that the number names.)
//! * Else the hand that comes by takes the cell for a hole. If the lap is the present one, the cell
//!   looks as if it had not been filled yet. The hand tells the two apart by the cells behind it:
//!   these are filled later, and the next segment is appended last of all.

use crate::sys::mutants::{mutant, sized, weakened};
#[cfg(not(feature = "std"))]
use crate::sys::sync::AtomicUsize as Hint;
#[cfg(feature = "std")]
use crate::sys::sync::untracked::AtomicUsize as Hint;
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::ptr::{self, NonNull};

/// The number of slots of a segment, as a power of two. (In the rings' own models, which have no
/// feature, a segment has two slots. In those of the cache it has four, so that not every model
/// makes and frees segments.)
pub(super) const SHIFT: u32 = sized(7, 2, if cfg!(feature = "std") { 2 } else { 1 }) as u32;
/// The number of slots of a segment.
pub(crate) const SLOTS: usize = 1 << SHIFT;

/// The number of a segment (0: none), and a tag that tells its uses apart: the lap, or the version
/// of the free list.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) struct SegmentLink(pub(super) u64);

impl SegmentLink {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(number: u32, tag: u32) -> Self {
        Self(u64::from(tag) << 32 | u64::from(number))
    }

    /// Makes the link of a segment without a successor, in this lap.
    pub(super) fn none(lap: u32) -> Self {
        Self::new(0, lap)
    }

    pub(super) fn number(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn is_none(self) -> bool {
        self.number() == 0
    }
}

/// The number of bits of a lap: a position has a lap and a cell.
const LAP_BITS: u32 = if usize::BITS - SHIFT < u32::BITS { usize::BITS - SHIFT } else { u32::BITS };

/// Returns the lap behind this one.
pub(super) fn next_lap(lap: u32) -> u32 {
    lap.wrapping_add(1) & (u32::MAX >> (u32::BITS - LAP_BITS))
}

/// Returns how many laps `lap` is behind `other`; negative, if it is before.
fn laps_since(lap: u32, other: u32) -> i32 {
    let unused = u32::BITS - LAP_BITS;
    (lap.wrapping_sub(other) << unused) as i32 >> unused
}

/// Returns the position of a cell in a lap. `SLOTS` is the beginning of the next lap.
#[inline(always)]
fn position(lap: u32, cell: usize) -> usize {
    ((lap as usize) << SHIFT).wrapping_add(cell)
}

/// Returns the cell of a position in this lap: the first, if the position is from before the lap,
/// or None if it is behind the lap.
#[inline(always)]
fn cell_in(lap: u32, at: usize) -> Option<usize> {
    match at.wrapping_sub(position(lap, 0)) {
        cell if cell < SLOTS => Some(cell),
        _ => another_lap(lap, at),
    }
}

#[cold]
fn another_lap(lap: u32, at: usize) -> Option<usize> {
    match laps_since((at >> SHIFT) as u32, lap) {
        0 => Some(at % SLOTS),
        ..0 => Some(0),
        _ => None,
    }
}

/// The low bits of a cell's word that are zero in an entry's address.
const TAG: usize = 3;
/// The tag of a cell that is empty for a lap. The other bits are the lap.
const EMPTY: usize = 1;
/// The word of a hole.
const HOLE: usize = 2;

/// Returns the word of a cell that is empty for a lap. For lap 0 it is null, so that new memory is
/// empty for that lap.
fn empty<T>(lap: u32) -> *mut T {
    ptr::without_provenance_mut(if lap == 0 { 0 } else { (lap as usize) << 2 | EMPTY })
}

/// Returns the word of a hole.
pub(super) fn hole<T>() -> *mut T {
    ptr::without_provenance_mut(HOLE)
}

/// What a cell holds.
#[derive(Clone, Copy)]
enum Content<T> {
    Entry(NonNull<T>),
    Hole,
    Empty(u32),
}

/// What the hand comes to next.
enum Front<T> {
    Entry(usize, NonNull<T>),
    /// A hole, or a cell that a late hand has emptied, and its word.
    Hole(usize, *mut T),
    /// The next cell was not filled yet.
    Empty,
}

impl<T> Content<T> {
    #[inline(always)]
    fn of(word: *mut T) -> Self {
        const { assert!(align_of::<T>() > TAG, "an entry's address has room for a tag") };
        match (NonNull::new(word), word.addr() & TAG) {
            (Some(entry), 0) => Self::Entry(entry),
            (_, HOLE) => Self::Hole,
            _ => Self::Empty((word.addr() >> 2) as u32),
        }
    }
}

/// The content of the position that the hand came to.
#[derive(Debug)]
pub(crate) enum Popped<T> {
    Entry(NonNull<T>),
    Hole,
    Empty,
}

pub(super) struct Segment<T> {
    /// The positions behind the last pop and behind the last push. (The rings' own models explore
    /// outdated hints. Those of the cache do not: they would have too many schedules.)
    head: Hint,
    tail: Hint,
    /// A [`SegmentLink`] to the segment behind this one.
    pub(super) next: AtomicU64,
    /// In the free list, the number of the segment below.
    pub(super) below: AtomicU32,
    /// The lap that the segment is in, or will be in next. The thread that takes the segment out of
    /// a ring writes it.
    pub(super) lap: AtomicU32,
    pub(super) cells: [AtomicPtr<T>; SLOTS],
}

impl<T> Segment<T> {
    /// Makes a segment. All fields are atomics, and all zero or null, so it may as well be zeroed
    /// memory.
    pub(super) fn zero() -> Self {
        Self {
            head: Hint::new(0),
            tail: Hint::new(0),
            next: AtomicU64::new(0),
            below: AtomicU32::new(0),
            lap: AtomicU32::new(0),
            cells: core::array::from_fn(|_| AtomicPtr::new(empty(0))),
        }
    }

    /// Puts `entry` in the next cell. `seat` gets each cell that this tries. Returns false if this
    /// lap has no cell left.
    #[inline]
    pub(super) fn push(&self, lap: u32, entry: NonNull<T>, seat: impl Fn(usize)) -> bool {
        let raw = entry.as_ptr();
        // Relaxed: a hint.
        let Some(mut index) = cell_in(lap, self.tail.load(Ordering::Relaxed)) else { return false };
        while let Some(cell) = self.cells.get(index) {
            seat(index);
            index += 1;
            let open = if mutant("any lap") { any_empty(cell) } else { empty(lap) };
            // Release: pairs with the Acquires of a pop, a peek and an exchange, for the entry and
            // its slot number.
            let release = weakened("push release", Ordering::Release);
            let filled = match mutant("blind push") {
                true => Ok(cell.swap(raw, Ordering::Release)),
                false => cell.compare_exchange(open, raw, release, Ordering::Relaxed),
            };
            match filled.map_err(Content::of) {
                Ok(_) => {
                    self.tail.store(position(lap, index), Ordering::Relaxed);
                    return true;
                }
                Err(Content::Empty(other)) if laps_since(other, lap) > 1 => return false,
                Err(_) => {}
            }
        }
        self.tail.store(position(lap, SLOTS), Ordering::Relaxed);
        false
    }

    /// Finds the first cell that the hand has not emptied. Returns None if the lap has ended.
    #[inline(always)]
    fn front(&self, lap: u32) -> Option<Front<T>> {
        // Relaxed: a hint.
        let mut index = cell_in(lap, self.head.load(Ordering::Relaxed))?;
        while let Some(cell) = self.cells.get(index) {
            // Acquire: pairs with the Release in `push`, for the entry's content.
            let there = cell.load(Ordering::Acquire);
            match Content::of(there) {
                Content::Entry(entry) => return Some(Front::Entry(index, entry)),
                Content::Hole => return Some(Front::Hole(index, there)),
                Content::Empty(other) => match laps_since(other, lap) {
                    1 => index += 1,
                    2.. => return None,
                    0 if !self.was_filled(lap, index) => return Some(Front::Empty),
                    _ => return Some(Front::Hole(index, there)),
                },
            }
        }
        self.head.store(position(lap, SLOTS), Ordering::Relaxed);
        None
    }

    /// Returns whether the cell was filled in this lap, though it is empty for this lap: a late
    /// hand has emptied it.
    #[cold]
    fn was_filled(&self, lap: u32, index: usize) -> bool {
        // Relaxed: the words alone count. (`next` is not from before this lap, by the Acquire of
        // the link that named the lap.)
        let behind = |cell: &AtomicPtr<T>| cell.load(Ordering::Relaxed) != empty(lap);
        let full = self.next.load(Ordering::Relaxed) != SegmentLink::none(lap).0;
        (full || self.cells[index..].iter().any(behind)) && !mutant("late hand's cell stays")
    }

    /// Does the step of `Rings::pop`. Returns None if the lap has ended.
    #[inline]
    pub(super) fn pop(&self, lap: u32) -> Option<Popped<T>> {
        loop {
            let (index, popped) = match self.front(lap)? {
                Front::Entry(index, entry) if self.empty_cell(index, entry.as_ptr(), lap) => {
                    (index, Popped::Entry(entry))
                }
                Front::Hole(index, there) if self.empty_cell(index, there, lap) => (index, Popped::Hole),
                Front::Empty => return Some(Popped::Empty),
                // Another hand was faster, or the entry was removed or replaced.
                _ => continue,
            };
            self.head.store(position(lap, index + 1), Ordering::Relaxed);
            return Some(popped);
        }
    }

    /// Empties a cell for the next lap, if this word is in it.
    #[inline(always)]
    fn empty_cell(&self, index: usize, there: *mut T, lap: u32) -> bool {
        let (cell, done) = (&self.cells[index], empty(next_lap(lap)));
        if mutant("slot not emptied") {
            return true;
        }
        if mutant("torn pop") {
            cell.store(done, Ordering::Release);
            return true;
        }
        // Acquire: pairs with the Release in `push`. (The same entry may have been pushed again
        // since it was seen.)
        let acquire = weakened("pop acquire", Ordering::Acquire);
        cell.compare_exchange(there, done, acquire, Ordering::Relaxed).is_ok()
    }

    /// Does the step of `Rings::peek`. Returns None if the lap has ended.
    pub(super) fn peek(&self, lap: u32) -> Option<Popped<T>> {
        Some(match self.front(lap)? {
            Front::Entry(_, entry) => Popped::Entry(entry),
            Front::Hole(..) => Popped::Hole,
            Front::Empty => Popped::Empty,
        })
    }

    /// Does the step of `Rings::ahead`.
    pub(super) fn ahead(&self, lap: u32, distance: usize) -> Option<NonNull<T>> {
        let index = cell_in(lap, self.head.load(Ordering::Relaxed))? + distance;
        // Acquire: pairs with the Release in `push`, for the entry's content.
        match Content::of(self.cells.get(index)?.load(Ordering::Acquire)) {
            Content::Entry(entry) => Some(entry),
            _ => None,
        }
    }
}

/// For the mutant "any lap": the word of the cell, if it is empty for any lap.
fn any_empty<T>(cell: &AtomicPtr<T>) -> *mut T {
    let there = cell.load(Ordering::Relaxed);
    if matches!(Content::of(there), Content::Empty(_)) { there } else { empty(0) }
}

/// For tests.
impl<T> Segment<T> {
    /// Adds the entries to `found`. Returns how many cells the hand has emptied, or what is wrong
    /// with the segment. No other thread is at work.
    pub(super) fn check(&self, lap: u32, found: &mut alloc::vec::Vec<*mut T>) -> Result<usize, &'static str> {
        let words = self.cells.each_ref().map(|cell| cell.load(Ordering::Relaxed));
        let emptied = words.iter().take_while(|&&word| word == empty(next_lap(lap))).count();
        if cell_in(lap, self.head.load(Ordering::Relaxed)).unwrap_or(SLOTS) > emptied {
            return Err("the hand has passed an entry");
        }
        found.extend(words.into_iter().filter(|&word| matches!(Content::of(word), Content::Entry(_))));
        Ok(emptied)
    }

    /// Returns whether all cells are empty for this lap.
    pub(super) fn is_fresh(&self, lap: u32) -> bool {
        self.cells.iter().all(|cell| cell.load(Ordering::Relaxed) == empty(lap))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_a_late_hand_has_emptied_hides_nothing() {
        let (segment, mut entries) = (Segment::zero(), [1, 2, 3]);
        for entry in &mut entries {
            assert!(segment.push(0, NonNull::from(entry), |_| ()));
        }
        // A hand of the lap before has emptied the second, and a push of that lap sets `tail` last.
        segment.cells[1].store(empty(0), Ordering::Relaxed);
        segment.tail.store(0, Ordering::Relaxed);
        let popped = [(); 4].map(|()| segment.pop(0).expect("the lap has not ended"));
        let [Popped::Entry(_), Popped::Hole, Popped::Entry(last), Popped::Empty] = popped else { panic!("{popped:?}") };
        assert_eq!(last, NonNull::from(&entries[2]));
    }
}
