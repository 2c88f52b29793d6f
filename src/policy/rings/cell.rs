//! The word of a cell: what it holds, and for which lap it is empty.

use super::Which;
use core::ptr::{self, NonNull};

/// The number of bits of a lap: the word of an empty cell has a tag, too.
const LAP_BITS: u32 = if usize::BITS - TAG_BITS < u32::BITS { usize::BITS - TAG_BITS } else { u32::BITS };

/// Returns the lap behind this one.
#[inline(always)]
pub(super) fn next_lap(lap: u32) -> u32 {
    lap.wrapping_add(1) & (u32::MAX >> (u32::BITS - LAP_BITS))
}

/// Returns how many laps `lap` is behind `other`; negative, if it is before.
pub(super) fn laps_since(lap: u32, other: u32) -> i32 {
    let unused = u32::BITS - LAP_BITS;
    (lap.wrapping_sub(other) << unused) as i32 >> unused
}

/// The low bits of a cell's word, which tell what it holds. They are zero in an entry's address,
/// and in the word of a cell that is empty for a lap: its other bits are the lap. So new memory is
/// empty for lap 0.
const TAG: usize = (1 << TAG_BITS) - 1;
const TAG_BITS: u32 = 2;
/// The tag of an entry's word. The other bits are its address.
const ENTRY: usize = 1;
/// The tag of a hole's word. The other bits tell the ring that it is counted for: its number and
/// one, or 0 for none.
const HOLE: usize = 2;

/// Returns the word of a cell that is empty for a lap.
#[inline(always)]
pub(super) fn empty<T>(lap: u32) -> *mut T {
    ptr::without_provenance_mut((lap as usize) << TAG_BITS)
}

/// Returns the word of a hole that is counted for this ring.
pub(super) fn hole<T>(counts: Option<Which>) -> *mut T {
    let ring = counts.map_or(0, |ring| ring as usize + 1);
    ptr::without_provenance_mut(ring << TAG_BITS | HOLE)
}

/// Returns the ring that a hole is counted for, by its word. (The word may be that of a cell that a
/// late hand has emptied. That is no hole that was counted.)
pub(super) fn counted_for<T>(hole: *mut T) -> Option<Which> {
    match (hole.addr() & TAG, hole.addr() >> TAG_BITS) {
        (HOLE, 1) => Some(Which::Small),
        (HOLE, 2) => Some(Which::Main),
        _ => None,
    }
}

/// Returns the word of a cell with this entry.
#[inline(always)]
pub(super) fn word_of<T>(entry: NonNull<T>) -> *mut T {
    entry.as_ptr().wrapping_byte_add(ENTRY)
}

/// What a cell holds.
#[derive(Clone, Copy)]
pub(super) enum Content<T> {
    Entry(NonNull<T>),
    Hole,
    Empty(u32),
}

impl<T> Content<T> {
    #[inline(always)]
    pub(super) fn of(word: *mut T) -> Self {
        const { assert!(align_of::<T>() > TAG, "an entry's address has room for a tag") };
        if word.addr() & TAG == ENTRY {
            if let Some(entry) = NonNull::new(word.wrapping_byte_sub(ENTRY)) {
                return Self::Entry(entry);
            }
        }
        match word.addr() & TAG {
            HOLE => Self::Hole,
            _ => Self::Empty((word.addr() >> TAG_BITS) as u32),
        }
    }
}
