//! The cells of the table: the links of the list at which buckets start.

use super::link::{Next, Target};
use super::split_order::{LEVELS, MOST, locate, mask, parent, start_of};
use crate::sys::mutants::{mutant, sized};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicU32, Ordering};
use core::ptr;

/// The fewest buckets of a new table, as a power of two.
const LEAST: u32 = sized(4, 1, 0) as u32;

/// The buckets of a large table, as a power of two. A table has them from 10,240 nodes on.
const LARGE: u32 = 14;
/// No mask that a table ever has: an order's last bit names no bucket.
pub(super) const NO_MASK: u32 = 1;

/// The cells, and the number of buckets.
pub(crate) struct Buckets {
    /// The cells by level. Level 0 has the cell of the whole list. Each other level has the cells
    /// that split the buckets of the levels before.
    cells: SegmentedArray<Next, 0, LEVELS>,
    /// The bits of an order that name its bucket.
    mask: AtomicU32,
}

impl Buckets {
    /// Makes the cells for about `capacity` nodes. Only the cell of the whole list, which is empty,
    /// is linked.
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

    /// Returns the mask of the bits that name a bucket.
    #[inline]
    pub(super) fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }

    /// Returns whether there are so many buckets that a walk comes to memory which is not in the
    /// processor's caches. (A node and its part of the cells take some 100 bytes.)
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        // Of two masks, the one with more bits is the larger number.
        self.mask() >= const { mask(LARGE) }
    }

    /// Returns the order at which the bucket of `order` starts.
    #[inline]
    pub(crate) fn bucket(&self, order: u32) -> u32 {
        order & self.mask()
    }

    /// Returns the cell of a bucket, if its segment exists.
    #[inline]
    pub(crate) fn cell(&self, bucket: u32) -> Option<&Next> {
        let (level, index) = locate(bucket);
        // SAFETY: `locate` gives an index within its level.
        unsafe { self.cells.at(level, index) }
    }

    #[inline]
    pub(crate) fn cell_or_grow(&self, bucket: u32) -> &Next {
        let (level, index) = locate(bucket);
        // SAFETY: `locate` gives an index within its level.
        unsafe { self.cells.at_or_grow(level, index) }
    }

    /// Returns the cell that this leads to, if it is a cell.
    #[inline]
    pub(crate) fn cell_at(&self, target: Target) -> Option<&Next> {
        // SAFETY: a pointer of this list that says it leads to a cell leads to one of this table's,
        // and these live as long as the table.
        target.cell().map(|cell| unsafe { cell.as_ref() })
    }

    /// Returns the cell that this leads to, if it is a cell and does not start behind `order`. The
    /// caller has walked there from the cell of the order's bucket under this mask, or from another
    /// one (`NO_MASK`).
    ///
    /// If the table still has that mask, the cell starts behind the order: only a larger table has
    /// a cell between the two. The thread that linked such a cell had read the larger mask before,
    /// and the caller has read (Acquire) what that thread linked (Release). So the caller finds the
    /// larger mask, too.
    #[inline]
    pub(super) fn cell_within(&self, target: Target, order: u32, mask: u32) -> Option<&Next> {
        let same = self.mask() == mask || mutant("cell of a larger table") && mask != NO_MASK;
        if same { None } else { self.cell_within_afar(target, order) }
    }

    /// Continues [`cell_within`](Self::cell_within) where the mask does not tell.
    #[inline(never)]
    fn cell_within_afar(&self, target: Target, order: u32) -> Option<&Next> {
        self.cell_before(target, order)
    }

    /// Returns the cell that this leads to, if it is a cell and does not start behind `order`. It
    /// looks only at the cell's address.
    #[inline]
    pub(crate) fn cell_before(&self, target: Target, order: u32) -> Option<&Next> {
        let cell = self.cell_at(target)?;
        let mask = self.mask.load(Ordering::Relaxed);
        // Most often it is the cell of the next bucket. (The last bucket has no next one: the sum
        // wraps to 0.)
        let next = (order & mask).wrapping_add(mask.wrapping_neg());
        if next != 0 && self.cell(next).is_some_and(|next| ptr::eq(next, cell)) {
            return None;
        }
        self.cell_not_behind(cell, order, mask)
    }

    /// Continues [`cell_before`](Self::cell_before) for a cell that is not the next bucket's.
    #[inline(never)]
    fn cell_not_behind<'c>(&self, cell: &'c Next, order: u32, mask: u32) -> Option<&'c Next> {
        let (level, index) = self.cells.place_of(cell, mask.leading_ones() as usize);
        (start_of(level, index) <= order).then_some(cell)
    }

    /// Returns the nearest LINKED cell before `bucket`, which may be its own. Writes nothing.
    #[inline]
    pub(crate) fn ancestor(&self, mut bucket: u32) -> &Next {
        loop {
            match self.cell(bucket).filter(|cell| cell.load().linked()) {
                Some(cell) => return cell,
                None => bucket = parent(bucket),
            }
        }
    }

    /// Returns the value of the bucket's cell, LINKED or not, or UNINIT if its segment does not
    /// exist.
    #[inline(always)]
    pub(crate) fn start_of_bucket(&self, bucket: u32) -> Target {
        self.cell(bucket).map_or(Target::UNINIT, Next::load)
    }

    /// Makes as many buckets as a new table for `capacity` nodes has, with memory for their cells.
    /// Doubles them one step at a time, as growth does.
    pub(crate) fn reserve(&self, capacity: usize) {
        let bits = capacity.clamp(1, 1 << MOST).next_power_of_two().ilog2();
        loop {
            let now = self.mask.load(Ordering::Relaxed);
            let next = now.leading_ones() + 1;
            if next > bits {
                return;
            }
            // The first bucket of the next level: its cell comes with the whole level.
            self.cell_or_grow(start_of(next as usize, 0));
            // If this loses, another thread has just doubled.
            let _ = self.mask.compare_exchange(now, mask(next), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Doubles the buckets once there are a quarter more nodes than buckets. (At equality, a cache
    /// of 2²⁰ entries would have 2²¹ buckets, because each insertion comes before an eviction.)
    /// Nothing is moved: cells are initialised as they are needed.
    #[inline]
    pub(crate) fn grow(&self, nodes: usize) {
        let now = self.mask.load(Ordering::Relaxed);
        // The orders of a bucket: there are 2³² in all. So this compares one node more with the
        // buckets and a quarter.
        let each = (1 << 32) - u64::from(now);
        if (nodes as u64).saturating_add(1).saturating_mul(each) >= 5 << 30 {
            self.double(now);
        }
    }

    #[cold]
    fn double(&self, now: u32) {
        let bits = now.leading_ones();
        if bits < MOST {
            // If this loses, another thread has just doubled.
            let _ = self.mask.compare_exchange(now, mask(bits + 1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
