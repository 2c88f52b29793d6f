//! One segment of a ring: cells, and the positions at which entries are pushed and popped.
//!
//! `head` and `tail` count on for ever: position *p* is cell *p* mod [`SLOTS`], and *p* / `SLOTS`
//! is its *lap*. Each use of a segment by a ring is one lap (the module above says more). Pushes
//! and pops state the lap that they mean.
//!
//! # Late pushes
//! Only RMWs empty and fill a cell, so each pointer in it goes to exactly one taker. A slow pusher
//! may fill its cell after the hand has passed that position. Then the entry would be overlooked,
//! or be in the way of another ring. So the pusher looks at `head` after it has filled the cell. If
//! it was overtaken, it takes the entry back and pushes anew. The two RMWs on the cell order this:
//! if the hand's swap came first, the pusher's CAS acquires from it (through any RMWs in between),
//! and the later look sees the `head` that the hand had set before. `head` never goes back, so this
//! holds in any lap and ring that the segment is in by then. Meanwhile two threads may meet the
//! late entry:
//!
//! * A pusher of the later lap finds the cell taken, and pushes anew. It leaves a hole, as a
//!   removal does.
//! * The hand of the later lap may meet the late entry in its own ring. It takes the entry, and the
//!   late pusher finds it gone.
//!
//! Likewise a slow *pop* may claim its position in one lap and swap in the next, and get an entry
//! of that lap. Its position becomes a hole then. So **an entry may be popped from another ring
//! than it was pushed to**, by a hand that is late itself or has met a late push. When no thread is
//! at work, every entry is in its ring. (If an entry is pushed again while its earlier pusher is
//! still in `push`, that earlier pusher may take it back, and put it at the end of its own ring.)

use crate::sys::mutants::{mutant, sized, weakened};
use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// Returns the lap of a position.
pub(super) fn lap_of(position: usize) -> u32 {
    (position >> SHIFT) as u32
}

/// The content of the position that the hand came to.
#[derive(Debug)]
pub(crate) enum Popped<T> {
    Entry(NonNull<T>),
    Hole,
    Empty,
}

pub(super) struct Segment<T> {
    pub(super) head: AtomicUsize,
    pub(super) tail: AtomicUsize,
    /// A [`SegmentLink`] to the segment behind this one.
    pub(super) next: AtomicU64,
    /// In the free list, the number of the segment below.
    pub(super) below: AtomicU32,
    pub(super) cells: [AtomicPtr<T>; SLOTS],
}

impl<T> Segment<T> {
    /// Makes a segment. All fields are atomics, and all zero or null, so it may as well be zeroed
    /// memory.
    pub(super) fn zero() -> Self {
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            below: AtomicU32::new(0),
            cells: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    pub(super) fn cell(&self, position: usize) -> &AtomicPtr<T> {
        &self.cells[position % SLOTS]
    }

    /// Reserves a position at the tail. Returns None if this lap has none left.
    pub(super) fn reserve(&self, lap: u32) -> Option<usize> {
        // Relaxed: the value is not from before `lap`, by the Acquire of the link that named the
        // lap. The CAS refuses an outdated value.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if lap_of(tail) != lap && !mutant("any lap") {
                return None;
            }
            if mutant("blind reserve") {
                return Some(self.tail.fetch_add(1, Ordering::Relaxed));
            }
            let next = tail.wrapping_add(1);
            match self.tail.compare_exchange_weak(tail, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(tail),
                Err(now) => tail = now,
            }
        }
    }

    /// Fills the cell of a reserved position. Returns false if the entry has to be pushed anew.
    pub(super) fn fill(&self, position: usize, entry: NonNull<T>) -> bool {
        let (cell, null, raw) = (self.cell(position), ptr::null_mut(), entry.as_ptr());
        // AcqRel: acquires `head` from a hand that was here before (module docs). Releases the
        // entry, with its slot number, which was written before the entry is in the cell.
        let (strong, weak) = (weakened("fill order", Ordering::AcqRel), Ordering::Relaxed);
        if cell.compare_exchange(null, raw, strong, weak).is_err() {
            // A pusher of an earlier lap came late, and has this position now.
            return false;
        }
        let overtaken = self.head.load(Ordering::Relaxed).wrapping_sub(position) as isize > 0;
        if !overtaken || mutant("overtaken push stays") {
            return true;
        }
        // AcqRel, as every RMW of a cell. If this fails, another thread has taken the entry, and
        // deals with it.
        cell.compare_exchange(raw, null, Ordering::AcqRel, Ordering::Relaxed).is_err()
    }

    /// Returns whether the position at `head` is in use, or None if the lap has ended.
    fn in_use(&self, lap: u32, head: usize) -> Option<bool> {
        if lap_of(head) != lap && !mutant("any lap") {
            return None;
        }
        // Relaxed: the value is not from before `lap`. If it is older than `head`, no more is known
        // to have been pushed.
        Some(self.tail.load(Ordering::Relaxed).wrapping_sub(head) as isize > 0)
    }

    /// Does the step of `Rings::pop`. Returns None if the lap has ended.
    pub(super) fn pop(&self, lap: u32) -> Option<Popped<T>> {
        // Relaxed throughout. The value is not from before `lap`, by the Acquire of the link that
        // named the lap. The swap below publishes the new `head` to late pushers. A thread that
        // moves on from this lap knows its final `tail` from the thread that appended.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if !self.in_use(lap, head)? {
                return Some(Popped::Empty);
            }
            let next = head.wrapping_add(1);
            if mutant("torn pop") {
                self.head.store(next, Ordering::Relaxed);
                break;
            }
            match self.head.compare_exchange_weak(head, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        let cell = self.cell(head);
        let taken = if mutant("slot not emptied") {
            cell.load(Ordering::Acquire)
        } else {
            // AcqRel: publishes `head` to a pusher that comes late (module docs), and acquires what
            // the pusher wrote into the entry.
            cell.swap(ptr::null_mut(), Ordering::AcqRel)
        };
        Some(NonNull::new(taken).map_or(Popped::Hole, Popped::Entry))
    }

    /// Does the step of `Rings::peek`. Returns None if the lap has ended.
    pub(super) fn peek(&self, lap: u32) -> Option<Popped<T>> {
        let head = self.head.load(Ordering::Relaxed);
        if !self.in_use(lap, head)? {
            return Some(Popped::Empty);
        }
        // Acquire: pairs with the Release in `fill`, for the entry's content.
        Some(NonNull::new(self.cell(head).load(Ordering::Acquire)).map_or(Popped::Hole, Popped::Entry))
    }

    /// Does the step of `Rings::ahead`.
    pub(super) fn ahead(&self, lap: u32, distance: usize) -> Option<NonNull<T>> {
        let position = self.head.load(Ordering::Relaxed).wrapping_add(distance);
        if !self.in_use(lap, position)? {
            return None;
        }
        // Acquire: pairs with the Release in `fill`, for the entry's content.
        NonNull::new(self.cell(position).load(Ordering::Acquire))
    }
}

/// For tests.
impl<T> Segment<T> {
    /// Adds the entries between `head` and `tail` to `found`, or returns what is wrong with the
    /// segment. No other thread is at work. `lap` is the lap that the segment is in, or would be in
    /// next.
    pub(super) fn check(&self, lap: u32, found: &mut alloc::vec::Vec<*mut T>) -> Result<(usize, usize), &'static str> {
        let start = (lap as usize) << SHIFT;
        let [head, tail] = [&self.head, &self.tail].map(|p| p.load(Ordering::Relaxed).wrapping_sub(start));
        if head > tail || tail > SLOTS {
            return Err("positions of another lap");
        }
        for (index, cell) in self.cells.iter().enumerate() {
            let entry = cell.load(Ordering::Relaxed);
            match (entry.is_null(), (head..tail).contains(&index)) {
                (true, _) => {}
                (false, true) => found.push(entry),
                (false, false) => return Err("an entry where the hand does not come by"),
            }
        }
        Ok((head, tail))
    }
}
