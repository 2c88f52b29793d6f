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
//! A push and a pop begin at the position where the last one of their kind has been, as far as the
//! ring's end remembers it. That may be too low, and is never too high.
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

use super::cell::{Content, empty, laps_since, next_lap, word_of};
use crate::sys::memory::prefetch_to_write;
use crate::sys::mutants::{mutant, sized, weakened};
#[cfg(not(feature = "std"))]
pub(super) use crate::sys::sync::AtomicU64 as Hint;
#[cfg(feature = "std")]
pub(super) use crate::sys::sync::untracked::AtomicU64 as Hint;
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::ptr::NonNull;

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

/// What the hand comes to next.
enum Front<T> {
    Entry(usize, NonNull<T>),
    /// A hole, or a cell that a late hand has emptied, and its word.
    Hole(usize, *mut T),
    /// The next cell was not filled yet.
    Empty,
}

/// The content of the position that the hand came to.
#[derive(Debug)]
pub(crate) enum Popped<T> {
    Entry(NonNull<T>),
    Hole,
    Empty,
}

pub(super) struct Segment<T> {
    /// The [`SegmentLink`] to this segment in the lap that it is in, or will be in next. The thread
    /// that takes the segment out of a ring writes it.
    pub(super) own: AtomicU64,
    /// The position of the first cell in its ring.
    base: Hint,
    /// A [`SegmentLink`] to the segment behind this one.
    pub(super) next: AtomicU64,
    /// In the free list, the number of the segment below.
    pub(super) below: AtomicU32,
    pub(super) cells: Cells<T>,
}

/// (The cells begin on a line of their own. All threads read what is before them, and would read
/// that anew for each cell that is filled or emptied on the same line.)
#[repr(align(64))]
pub(super) struct Cells<T>([AtomicPtr<T>; SLOTS]);

impl<T> core::ops::Deref for Cells<T> {
    type Target = [AtomicPtr<T>; SLOTS];
    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Segment<T> {
    /// Makes a segment. All fields are atomics, and all zero or null, so it may as well be zeroed
    /// memory.
    pub(super) fn zero() -> Self {
        Self {
            own: AtomicU64::new(0),
            base: Hint::new(0),
            next: AtomicU64::new(0),
            below: AtomicU32::new(0),
            cells: Cells(core::array::from_fn(|_| AtomicPtr::new(empty(0)))),
        }
    }

    /// Sets the position of the first cell for the next lap. The segment is not in a ring yet.
    pub(super) fn begin_at(&self, base: u64) {
        // Release: pairs with the Acquire in `lap`.
        self.base.store(base, weakened("base release", Ordering::Release));
    }

    /// Returns the lap of a link that was read with Acquire, or None if the segment has left the
    /// ring since, or is another one.
    #[inline(always)]
    pub(super) fn lap(&self, link: SegmentLink) -> Option<Lap<'_, T>> {
        // Acquire: pairs with the Release in `begin_at`. A thread that sees the position of a later
        // lap sees that lap in `own`, too.
        let base = self.base.load(weakened("base acquire", Ordering::Acquire));
        // Acquire: pairs with the Release in `Pool::recycle`. A thread that sees a later lap sees
        // that the ring has moved on.
        let own = self.own.load(weakened("own acquire", Ordering::Acquire));
        let same = own == link.0 || mutant("lap not checked") && own as u32 == link.number();
        same.then_some(Lap { segment: self, link, base })
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

    /// Returns the entry in a cell.
    #[inline]
    pub(super) fn entry(&self, cell: usize) -> Option<NonNull<T>> {
        // Acquire: pairs with the Release in `push`, for the entry's content.
        match Content::of(self.cells.get(cell)?.load(Ordering::Acquire)) {
            Content::Entry(entry) => Some(entry),
            _ => None,
        }
    }
}

/// Returns whether the word of a cell says that this lap has ended.
#[cold]
fn is_over<T>(there: *mut T, lap: u32) -> bool {
    matches!(Content::of(there), Content::Empty(other) if laps_since(other, lap) > 1)
}

/// A segment in one lap.
pub(super) struct Lap<'r, T> {
    pub(super) segment: &'r Segment<T>,
    /// The link to the segment, which has the lap.
    pub(super) link: SegmentLink,
    /// The position of the first cell.
    base: u64,
}

impl<T> Lap<'_, T> {
    /// Returns the position of a cell. `SLOTS` is the position behind the lap.
    #[inline(always)]
    pub(super) fn position(&self, cell: usize) -> u64 {
        self.base + cell as u64
    }

    /// Returns the cell of a position: the first, if the position is before the lap, or None if it
    /// is behind the lap.
    #[inline(always)]
    pub(super) fn next_cell(&self, position: &Hint) -> Option<usize> {
        // Relaxed: a hint.
        let at = position.load(Ordering::Relaxed);
        match at.wrapping_sub(self.base) {
            cell if cell < SLOTS as u64 => Some(cell as usize),
            _ if at < self.base => Some(0),
            _ => None,
        }
    }

    /// Does the same for a caller that is about to empty the cell.
    #[inline(always)]
    pub(super) fn next_cell_to_pop(&self, head: &Hint) -> Option<usize> {
        let cell = self.next_cell(head)?;
        prefetch_to_write(&raw const self.segment.cells[cell]);
        Some(cell)
    }

    /// Puts `entry` in the next cell. `seat` gets the number of each slot that this tries. Returns
    /// false if this lap has no cell left.
    #[inline(always)]
    pub(super) fn push(&self, tail: &Hint, entry: NonNull<T>, seat: impl Fn(u32)) -> bool {
        let (lap, raw) = (self.link.tag(), word_of(entry));
        let first_slot = (self.link.number() - 1) * SLOTS as u32 + 1;
        let Some(mut index) = self.next_cell(tail) else { return false };
        while let Some(cell) = self.segment.cells.get(index) {
            seat(first_slot + index as u32);
            index += 1;
            let open = if mutant("any lap") { any_empty(cell) } else { empty(lap) };
            // Release: pairs with the Acquires of a pop, a peek and an exchange, for the entry and
            // its slot number.
            let release = weakened("push release", Ordering::Release);
            let filled = match mutant("blind push") {
                true => Ok(cell.swap(raw, Ordering::Release)),
                false => cell.compare_exchange(open, raw, release, Ordering::Relaxed),
            };
            match filled {
                Ok(_) => {
                    tail.store(self.position(index), Ordering::Relaxed);
                    return true;
                }
                Err(there) if is_over(there, lap) => return false,
                Err(_) => {}
            }
        }
        tail.store(self.position(SLOTS), Ordering::Relaxed);
        false
    }

    /// Finds the first cell that the hand has not emptied, from this one on. Returns None if the
    /// lap has ended.
    #[inline(always)]
    fn front(&self, mut index: usize, head: &Hint) -> Option<Front<T>> {
        let lap = self.link.tag();
        while let Some(cell) = self.segment.cells.get(index) {
            // Acquire: pairs with the Release in `push`, for the entry's content.
            let there = cell.load(Ordering::Acquire);
            match Content::of(there) {
                Content::Entry(entry) => return Some(Front::Entry(index, entry)),
                Content::Hole => return Some(Front::Hole(index, there)),
                Content::Empty(other) => match laps_since(other, lap) {
                    1 => index += 1,
                    2.. => return None,
                    0 if !self.segment.was_filled(lap, index) => return Some(Front::Empty),
                    _ => return Some(Front::Hole(index, there)),
                },
            }
        }
        head.store(self.position(SLOTS), Ordering::Relaxed);
        None
    }

    /// Does the step of `Rings::pop`. `forget` gets the word of a hole that this takes away.
    /// Returns None if the lap has ended.
    #[inline(always)]
    pub(super) fn pop(&self, head: &Hint, forget: impl Fn(*mut T)) -> Option<Popped<T>> {
        loop {
            let (index, popped) = match self.front(self.next_cell_to_pop(head)?, head)? {
                Front::Entry(index, entry) if self.empty_cell(index, word_of(entry)) => (index, Popped::Entry(entry)),
                Front::Hole(index, there) if self.empty_cell(index, there) => {
                    forget(there);
                    (index, Popped::Hole)
                }
                Front::Empty => return Some(Popped::Empty),
                // Another hand was faster, or the entry was removed or replaced.
                _ => continue,
            };
            head.store(self.position(index + 1), Ordering::Relaxed);
            return Some(popped);
        }
    }

    /// Empties a cell for the next lap, if this word is in it.
    #[inline(always)]
    fn empty_cell(&self, index: usize, there: *mut T) -> bool {
        let (cell, done) = (&self.segment.cells[index], empty(next_lap(self.link.tag())));
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
    #[inline(always)]
    pub(super) fn peek(&self, head: &Hint) -> Option<Popped<T>> {
        Some(match self.front(self.next_cell(head)?, head)? {
            Front::Entry(_, entry) => Popped::Entry(entry),
            Front::Hole(..) => Popped::Hole,
            Front::Empty => Popped::Empty,
        })
    }
}

/// For the mutant "any lap": the word of the cell, if it is empty for any lap.
fn any_empty<T>(cell: &AtomicPtr<T>) -> *mut T {
    let there = cell.load(Ordering::Relaxed);
    if matches!(Content::of(there), Content::Empty(_)) { there } else { empty(0) }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_a_late_hand_has_emptied_hides_nothing() {
        let (segment, mut entries) = (Segment::zero(), [1, 2, 3]);
        let link = SegmentLink::new(1, 0);
        segment.own.store(link.0, Ordering::Relaxed);
        let lap = segment.lap(link).expect("the lap has begun");
        let (head, tail) = (Hint::new(0), Hint::new(0));
        for entry in &mut entries {
            assert!(lap.push(&tail, NonNull::from(entry), |_| ()));
        }
        // A hand of the lap before has emptied the second.
        segment.cells[1].store(empty(0), Ordering::Relaxed);
        let popped = [(); 4].map(|()| lap.pop(&head, |_| ()).expect("the lap has not ended"));
        let [Popped::Entry(_), Popped::Hole, Popped::Entry(last), Popped::Empty] = popped else { panic!("{popped:?}") };
        assert_eq!(last, NonNull::from(&entries[2]));
    }
}
