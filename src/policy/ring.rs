//! FIFO rings of slots, without a lock, growing with the number of entries.
//!
//! A ring is a sequence of circular segments, each twice as large as the one before; new entries go to the last one,
//! the hand takes from the first that has any, so the order stays first in, first out across growth, and nothing is
//! ever moved or freed before the ring is. A slot's number is its index over all segments, plus one (0: no slot).
//!
//! A cell is emptied and filled by RMWs only, so each pointer in it is handed to exactly one taker:
//! * *push* reserves a position (CAS on `tail`) and then fills the cell if it is empty (CAS from null);
//! * *pop* claims a position (CAS on `head`) and then takes whatever is in the cell (swap with null);
//! * *clear* (by whoever removes the entry) takes exactly that entry (CAS to null); *replace* exchanges it.
//!
//! A slow push may fill its cell after the hand has passed that position, and the entry would be overlooked for a lap,
//! or for good in a segment that has grown old. So the pusher looks at `head` after it filled the cell, and if it was
//! overtaken takes the entry back and pushes anew. The two RMWs on the cell order this: if the hand's swap came
//! first, the pusher's CAS acquires from it and the later look sees the `head` that the hand had set before.

use crate::sync::{AtomicPtr, AtomicUsize, Ordering, mutant, zeroed_slice};
use alloc::boxed::Box;
use core::ptr;

/// Slots in the first segment, as a power of two.
const FIRST: u32 = if cfg!(loom) { 1 } else { 6 };
/// Segments: slot numbers have 32 bits.
const SEGMENTS: usize = if cfg!(loom) { 4 } else { (32 - FIRST - 1) as usize };

struct Segment<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    cells: Box<[AtomicPtr<T>]>,
}

/// A FIFO of pointers to `T`, each in a numbered slot. It owns nothing: shares are the caller's affair.
pub(crate) struct Ring<T> {
    segments: [AtomicPtr<Segment<T>>; SEGMENTS],
    /// The segment that is pushed to.
    last: AtomicUsize,
}

/// What the hand met at one position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Popped<T> {
    Entry(ptr::NonNull<T>),
    Hole,
    Empty,
}

impl<T> Segment<T> {
    fn new(index: usize) -> Self {
        let make = || AtomicPtr::new(ptr::null_mut());
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            // SAFETY: a null pointer is all zero bits, and a cell is as large as a pointer.
            cells: unsafe { zeroed_slice(1 << (FIRST as usize + index), make) },
        }
    }

    fn cell(&self, position: usize) -> &AtomicPtr<T> {
        &self.cells[position & (self.cells.len() - 1)]
    }

    /// A position at the tail, unless all are in use.
    fn reserve(&self) -> Option<usize> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            // `head` never passes `tail`, but may be read after it moved on: a negative distance is a stale tail.
            let used = tail.wrapping_sub(self.head.load(Ordering::Relaxed)) as isize;
            if used >= self.cells.len() as isize {
                return None;
            }
            let next = tail.wrapping_add(1);
            match self.tail.compare_exchange_weak(tail, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(tail),
                Err(now) => tail = now,
            }
        }
    }

    fn pop(&self) -> Popped<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if self.tail.load(Ordering::Relaxed).wrapping_sub(head) as isize <= 0 {
                return Popped::Empty;
            }
            let next = head.wrapping_add(1);
            if mutant("slot not emptied") {
                self.head.store(next, Ordering::Release);
                break;
            }
            match self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // AcqRel: publishes the new head to a pusher that comes late (module docs), and acquires what the pusher
        // wrote into the entry.
        let cell = self.cell(head);
        let taken = if mutant("slot not emptied") {
            cell.load(Ordering::Acquire)
        } else {
            cell.swap(ptr::null_mut(), Ordering::AcqRel)
        };
        ptr::NonNull::new(taken).map_or(Popped::Hole, Popped::Entry)
    }
}

impl<T> Ring<T> {
    pub(crate) fn new() -> Self {
        Self { segments: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), last: AtomicUsize::new(0) }
    }

    fn segment(&self, index: usize) -> Option<&Segment<T>> {
        // SAFETY: a segment is published whole (Release below) and freed only when the ring is dropped.
        unsafe { self.segments.get(index)?.load(Ordering::Acquire).as_ref() }
    }

    fn segment_or_new(&self, index: usize) -> &Segment<T> {
        if let Some(segment) = self.segment(index) {
            return segment;
        }
        let fresh = Box::into_raw(Box::new(Segment::new(index)));
        let null = ptr::null_mut();
        let cell = &self.segments[index];
        match cell.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just published, and freed only when the ring is.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: never published, so still ours alone.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: the winner's; as above.
                unsafe { &*other }
            }
        }
    }

    /// Slots before segment `index`.
    fn base(index: usize) -> usize {
        (1 << (FIRST as usize + index)) - (1 << FIRST)
    }

    /// The cell of slot `number`.
    fn slot(&self, number: u32) -> Option<&AtomicPtr<T>> {
        let at = (number as usize).checked_sub(1)? + (1 << FIRST);
        let index = (at.ilog2() - FIRST) as usize;
        self.segment(index)?.cells.get(at - (1 << (FIRST as usize + index)))
    }

    /// Positions in use, holes included.
    pub(crate) fn window(&self) -> usize {
        let used = |s: &Segment<T>| {
            let head = s.head.load(Ordering::Relaxed);
            (s.tail.load(Ordering::Relaxed).wrapping_sub(head) as isize).max(0) as usize
        };
        (0..=self.last.load(Ordering::Relaxed)).filter_map(|i| self.segment(i)).map(used).sum()
    }

    /// Puts `entry` at the end. `seat` is told the slot's number before the entry can be found there; it may be told
    /// more than one, the last one counts.
    pub(crate) fn push(&self, entry: ptr::NonNull<T>, seat: impl Fn(u32)) {
        loop {
            let last = self.last.load(Ordering::Acquire);
            let segment = self.segment_or_new(last);
            let Some(position) = segment.reserve() else {
                assert!(last + 1 < SEGMENTS, "a shard cannot hold this many entries");
                self.segment_or_new(last + 1);
                let _ = self.last.compare_exchange(last, last + 1, Ordering::AcqRel, Ordering::Relaxed);
                continue;
            };
            let index = position & (segment.cells.len() - 1);
            seat((Self::base(last) + index + 1) as u32);
            let cell = &segment.cells[index];
            let (null, raw) = (ptr::null_mut(), entry.as_ptr());
            // AcqRel: see the module docs; and the entry's slot number is written before it is in the cell.
            if cell.compare_exchange(null, raw, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // A pusher of an earlier lap came late: this position is its now.
                continue;
            }
            let overtaken = segment.head.load(Ordering::Relaxed).wrapping_sub(position) as isize > 0;
            if overtaken
                && !mutant("overtaken push stays")
                && cell.compare_exchange(raw, null, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                continue;
            }
            return;
        }
    }

    /// The hand's next step.
    pub(crate) fn pop(&self) -> Popped<T> {
        for index in 0..=self.last.load(Ordering::Acquire) {
            match self.segment(index).map(Segment::pop) {
                None | Some(Popped::Empty) => {}
                Some(met) => return met,
            }
        }
        Popped::Empty
    }

    /// Takes `entry` out of slot `number`; false if it is not there.
    pub(crate) fn clear(&self, number: u32, entry: ptr::NonNull<T>) -> bool {
        self.exchange(number, entry, ptr::null_mut())
    }

    /// Puts `new` in the place of `old`; false if that is not there.
    pub(crate) fn replace(&self, number: u32, old: ptr::NonNull<T>, new: ptr::NonNull<T>) -> bool {
        self.exchange(number, old, new.as_ptr())
    }

    fn exchange(&self, number: u32, from: ptr::NonNull<T>, to: *mut T) -> bool {
        self.slot(number)
            .is_some_and(|cell| cell.compare_exchange(from.as_ptr(), to, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        for cell in &self.segments {
            let segment = cell.load(Ordering::Acquire);
            if !segment.is_null() {
                // SAFETY: it came from `Box::into_raw`, and `&mut self` means that nobody else uses the ring.
                drop(unsafe { Box::from_raw(segment) });
            }
        }
    }
}

// SAFETY: the ring only carries pointers; what they point at is the caller's affair. Its own parts are atomics.
unsafe impl<T> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Ring<T> {}
