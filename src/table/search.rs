//! The walks of the callers that change the list. They unlink marked nodes on their way.

use super::Table;
use super::buckets::NO_MASK;
use super::link::{Link, Next, Target};
use super::split_order::{parent, split_order};
use crate::reclaim::Pin;
use crate::sys::mutants::mutant;
use core::ptr::{self, NonNull};

/// The place where a search ended.
pub(crate) struct SearchPosition<'p> {
    pub(super) previous: &'p Next,
    /// The value of `previous`. If nothing was found, it leads to the first link behind the run.
    pub(super) next: Target,
    /// The unmarked node that was sought.
    pub(crate) found: Option<NonNull<Link>>,
}

/// The cell that a walk starts from.
#[derive(Clone, Copy)]
struct Start<'p> {
    cell: &'p Next,
    /// The mask under which the cell is that of the bucket which is searched; `NO_MASK` for the
    /// cell of another bucket.
    mask: u32,
}

impl Table {
    /// Searches for a node, to change something. Helps to unlink marked nodes on the way.
    #[inline]
    pub(crate) fn search<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> SearchPosition<'p> {
        let order = split_order(hash);
        self.search_from(pin, self.start(pin, order), order, ptr::null(), hit)
    }

    /// Returns the cell to start from for an order. Initialises the bucket's cell, if no thread has
    /// begun to.
    #[inline]
    fn start(&self, pin: &Pin, order: u32) -> Start<'_> {
        let mask = self.buckets.mask();
        let cell = self.buckets.cell_or_grow(order & mask);
        if cell.load().linked() { Start { cell, mask } } else { self.start_afar(pin, order & mask, cell) }
    }

    /// Continues [`start`](Self::start) where the bucket's cell is not LINKED.
    #[cold]
    fn start_afar(&self, pin: &Pin, bucket: u32, cell: &Next) -> Start<'_> {
        if cell.load().uninit() {
            self.initialise(pin, bucket, cell);
        }
        Start { cell: self.buckets.ancestor(bucket), mask: NO_MASK }
    }

    #[cold]
    pub(super) fn initialise(&self, pin: &Pin, bucket: u32, cell: &Next) {
        if !cell.claim() && !mutant("two initialisers") {
            return;
        }
        if mutant("unlinked cell") {
            cell.set_linked();
        }
        // The parent's cell comes first, at most one for each bit of the order. Otherwise the cells
        // of a table that begins large would have no ancestor but the cell of the whole list, and a
        // long walk from there.
        let from = Start { mask: NO_MASK, ..self.start(pin, parent(bucket)) };
        loop {
            let place = self.search_from(pin, from, bucket, ptr::null(), |_| false);
            cell.prepare(place.next);
            if place.previous.swing(place.next, Target::to_cell(cell)) || mutant("blind cell") {
                break;
            }
        }
        cell.set_linked();
    }

    /// Walks from `from` to the first unmarked node of `order` that `hit` accepts, or to the end of
    /// the run of `order`. It unlinks marked nodes on its way, and stops early once it has unlinked
    /// `gone`.
    #[inline]
    fn search_from<'p>(
        &'p self,
        _pin: &'p Pin,
        from: Start<'p>,
        order: u32,
        gone: *const Link,
        mut hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> SearchPosition<'p> {
        'again: loop {
            let mut previous = from.cell;
            let mut next = previous.load();
            loop {
                let Some(current) = next.node() else {
                    let Some(cell) = self.buckets.cell_within(next, order, from.mask) else {
                        return SearchPosition { previous, next, found: None };
                    };
                    previous = cell;
                    next = cell.load();
                    continue;
                };
                // SAFETY: reached through the list under the pin: not freed while it is held.
                let link: &'p Link = unsafe { current.as_ref() };
                let after = link.next().load();
                if after.marked() {
                    if !Self::pass_by(previous, next, after) {
                        // Another thread has linked a node here (or set LINKED, if `previous` is a
                        // cell), or `previous` itself is being removed. In the last case a swing
                        // there would be lost with it, and the node would still be reachable from
                        // the link before.
                        continue 'again;
                    }
                    next = next.led_to(after);
                    if ptr::eq(link, gone) {
                        return SearchPosition { previous, next, found: None };
                    }
                    continue;
                }
                if link.order() > order {
                    return SearchPosition { previous, next, found: None };
                }
                if link.order() == order && hit(current) {
                    return SearchPosition { previous, next, found: Some(current) };
                }
                previous = link.next();
                next = after;
            }
        }
    }

    /// Unlinks the marked node that `next`, the value of `previous`, leads to. `after` is that
    /// node's own pointer. Returns false if `previous` has changed.
    #[inline]
    fn pass_by(previous: &Next, next: Target, after: Target) -> bool {
        if mutant("blind unlink") {
            previous.force(next, after);
            return true;
        }
        previous.swing(next, after)
    }

    /// Makes sure that `node`, which is marked, cannot be reached from the list any more. Runs no
    /// user code.
    #[inline]
    pub(crate) fn unlink(&self, pin: &Pin, node: &Link) {
        if !self.unlink_here(pin, node) {
            self.unlink_anywhere(pin, node);
        }
    }

    /// Unlinks `node` if it is in its bucket with nothing but unmarked nodes before it. These are
    /// the steps of [`search_from`](Self::search_from) where all goes well.
    #[inline]
    fn unlink_here(&self, _pin: &Pin, node: &Link) -> bool {
        let order = node.order();
        let Some(mut previous) = self.buckets.cell(self.buckets.bucket(order)) else { return false };
        let mut next = previous.load();
        if !next.linked() {
            return false;
        }
        while let Some(current) = next.node() {
            // SAFETY: reached through the list under the pin: not freed while it is held.
            let link = unsafe { current.as_ref() };
            let after = link.next().load();
            if ptr::eq(link, node) {
                return Self::pass_by(previous, next, after);
            }
            if after.marked() || link.order() > order {
                break;
            }
            previous = link.next();
            next = after;
        }
        false
    }

    /// Unlinks `node` wherever it is.
    #[inline(never)]
    fn unlink_anywhere(&self, pin: &Pin, node: &Link) {
        // The walk unlinks every marked node of the run until it has unlinked this one. If another
        // thread has unlinked it, the walk passes the place of the node before it ends.
        let order = node.order();
        let from = Start { cell: self.buckets.ancestor(self.buckets.bucket(order)), mask: NO_MASK };
        let _ = self.search_from(pin, from, order, node, |_| false);
    }
}
