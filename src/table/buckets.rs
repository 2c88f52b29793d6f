//! The cells of the table: where in the list a bucket starts.

use super::link::{Next, Target};
use super::split_order::{LEVELS, MOST, locate, mask, parent, start_of};
use crate::sys::mutants::sized;
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicU32, Ordering};
use core::ptr;

/// Buckets of a new table, as a power of two.
const LEAST: u32 = sized(4, 1, 0) as u32;

/// The cells, and how many buckets there are.
pub(crate) struct Buckets {
    /// By level: 0 has the cell of the whole list, each other one those that split the buckets of the levels before.
    cells: SegmentedArray<Next, 0, LEVELS>,
    /// The bits of an order that tell its bucket.
    mask: AtomicU32,
}

impl Buckets {
    /// For about `capacity` nodes; one cell, of the whole list, which is empty.
    pub(crate) fn new(capacity: usize, huge_pages: bool) -> Self {
        let bits = capacity.clamp(1 << LEAST, 1 << MOST).next_power_of_two().ilog2();
        // SAFETY: an uninitialised cell is all zero, and not zero-sized.
        let cells = unsafe { SegmentedArray::new(Next::cell) }.on_huge_pages(huge_pages);
        let buckets = Self { cells, mask: AtomicU32::new(mask(bits)) };
        let whole = buckets.cell_or_grow(0);
        whole.prepare(Target::END);
        whole.set_linked();
        buckets
    }

    /// Where the bucket of this order starts.
    #[inline]
    pub(crate) fn bucket(&self, order: u32) -> u32 {
        order & self.mask.load(Ordering::Relaxed)
    }

    /// The cell of a bucket, if its segment exists.
    #[inline]
    pub(crate) fn cell(&self, bucket: u32) -> Option<&Next> {
        let (level, index) = locate(bucket);
        // SAFETY: see `locate`.
        unsafe { self.cells.at(level, index) }
    }

    pub(crate) fn cell_or_grow(&self, bucket: u32) -> &Next {
        let (level, index) = locate(bucket);
        // SAFETY: see `locate`.
        unsafe { self.cells.at_or_grow(level, index) }
    }

    /// The cell that this leads to, if it is one.
    pub(crate) fn cell_at(&self, target: Target) -> Option<&Next> {
        // SAFETY: in this list, what is told to be a cell is one of the table's, and these live as long as it.
        target.cell().map(|cell| unsafe { cell.as_ref() })
    }

    /// The same, if that does not come behind `order`. Looks at its address only.
    pub(crate) fn cell_before(&self, target: Target, order: u32) -> Option<&Next> {
        let cell = self.cell_at(target)?;
        let mask = self.mask.load(Ordering::Relaxed);
        // Most often it is that of the next bucket. (Behind the last one there is none: that starts at 0 again.)
        let next = (order & mask).wrapping_add(mask.wrapping_neg());
        if next != 0 && self.cell(next).is_some_and(|next| ptr::eq(next, cell)) {
            return None;
        }
        let (level, index) = self.cells.place_of(cell, mask.leading_ones() as usize);
        (start_of(level, index) <= order).then_some(cell)
    }

    /// The LINKED cell nearest before `bucket`, its own included. Writes nothing.
    #[inline]
    pub(crate) fn ancestor(&self, mut bucket: u32) -> &Next {
        loop {
            match self.cell(bucket).filter(|cell| cell.load().linked()) {
                Some(cell) => return cell,
                None => bucket = parent(bucket),
            }
        }
    }

    /// What the bucket's cell says, whether it is LINKED or not. (If its segment is not there it is UNINIT.)
    #[inline(always)]
    pub(crate) fn start_of_bucket(&self, bucket: u32) -> Target {
        self.cell(bucket).map_or(Target::UNINIT, Next::load)
    }

    /// Doubles the buckets when there are a quarter more nodes than those. (At as many, a cache of 2²⁰ entries would have
    /// 2²¹ buckets, for the one that comes before another one goes.) Nothing is moved: cells are initialised as needed.
    pub(crate) fn grow(&self, nodes: usize) {
        let now = self.mask.load(Ordering::Relaxed);
        let bits = now.leading_ones();
        let last = (1 << bits) - 1;
        if nodes > last + last / 4 && bits < MOST {
            // Losing this means that somebody else has just doubled.
            let _ = self.mask.compare_exchange(now, mask(bits + 1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
