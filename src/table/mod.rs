//! The split-ordered list: one sorted linked list that is also a hash table.
//!
//! Shalev and Shavit, *Split-Ordered Lists: Lock-Free Extensible Hash Tables*, J. ACM 53(3), 2006,
//! over the list of Michael, *High Performance Dynamic Lock-Free Hash Tables and List-Based Sets*,
//! SPAA 2002.
//!
//! Nodes are sorted by their hash. A bucket is all nodes whose hashes have the first bits in
//! common. So a bucket's nodes are adjacent at every table size, and doubling the table splits each
//! bucket without moving a node. Each bucket has a *cell*: a link of the list itself, one pointer
//! to the link that follows. Cells lie in an array of doubling segments.
//!
//! The differences from the papers:
//!
//! * The papers take the bucket from the last bits of the hash, and sort by the reversed hash. This
//!   table takes the first bits, which gives the same list and needs no reversal. A reversal would
//!   cost each lookup several instructions on processors that have no single one for it. A bucket
//!   is named by the order at which it starts. The last set bit of that order leads to its cell,
//!   which does not move as the table grows.
//! * One claimer initialises a cell (UNINIT → CLAIMED → LINKED). Meanwhile all other threads start
//!   from the nearest LINKED ancestor, and wait for no thread. A cell's state is in the lowest bits
//!   of its pointer. A pointer that leads to a cell says so in its own bits, and the cell's address
//!   tells its place in the list. So a cell takes 8 bytes, and a walk that comes to the end of a
//!   bucket need not fetch the next cell from memory.
//! * Nodes of equal order are a *run*. A new key goes to the end of its run, so two inserters of
//!   one key meet at one link.
//! * *Replace* is one CAS: `old.next` from `succ` to `(new, marked)` with `new.next = succ`. It
//!   removes the old node and links the new one at once, and the key is never absent in between.
//! * Any thread may unlink a marked node. Only the winner of the mark disposes of the list's
//!   reference to the node, once [`Table::unlink`] has returned.
//!
//! The cells are in [`buckets`](crate::table::buckets). The bits of a pointer are in
//! [`link`](crate::table::link).
//!
//! All references that the table returns live under a pin: an unlinked node is freed only after a
//! grace period.

mod buckets;
pub(crate) mod link;
mod search;
pub(crate) mod split_order;

use crate::reclaim::Pin;
use crate::sys::memory::prefetch;
use crate::sys::mutants::mutant;
use buckets::Buckets;
use core::ptr::NonNull;
use link::{Link, Next, Target};
pub(crate) use search::SearchPosition;
use split_order::split_order;

/// A hash table of links.
pub(crate) struct Table {
    pub(crate) buckets: Buckets,
}

/// The result of a walk.
enum Walked {
    Ended(Option<NonNull<Link>>),
    /// The walk came to this cell, which may lie before the sought order, or to the end of the
    /// list.
    ToCell(Target),
}

impl Table {
    /// Makes an empty table, with room for about `capacity` nodes before it grows.
    pub(crate) fn new(capacity: usize, huge_pages: bool) -> Self {
        Self { buckets: Buckets::new(capacity, huge_pages) }
    }

    /// Prefetches the memory that a search for this order will visit: its cell (`behind` 0), or the
    /// `behind`th link after the cell. The links before that one should have arrived already.
    #[inline]
    pub(crate) fn prefetch(&self, _pin: &Pin, order: u32, behind: usize) {
        // Under loom this would only add some loads to each lookup.
        if cfg!(loom) {
            return;
        }
        let bucket = self.buckets.bucket(order);
        if behind == 0 {
            return self.buckets.cell(bucket).map_or((), |cell| prefetch(cell));
        }
        let mut target = self.buckets.start_of_bucket(bucket);
        if !target.linked() {
            // The node that the claimer has prepared the cell to lead to may be freed before the
            // cell is in the list.
            return;
        }
        for _ in 1..behind {
            let Some(node) = target.node() else { return };
            // SAFETY: reached through the list under the pin, which the caller holds: not freed
            // meanwhile.
            target = unsafe { node.as_ref() }.next().load();
        }
        if let Some(node) = target.node() {
            prefetch(node.as_ptr());
        }
    }

    /// Returns a start for a reader whose bucket has no LINKED cell. It initialises the cell, as a
    /// writer would. Otherwise keys that are only read after the table has grown would need a long
    /// walk each time. It does not allocate a missing segment.
    fn approach(&self, pin: &Pin, bucket: u32) -> &Next {
        match self.buckets.cell(bucket) {
            // (The initialisation is the same as a writer's, which has loom models. Initialising
            // readers would multiply the steps of all other models.)
            Some(cell) if !cfg!(loom) && cell.load().uninit() => {
                self.initialise(pin, bucket, cell);
            }
            _ => {}
        }
        self.buckets.ancestor(bucket)
    }

    /// Searches for a node, to read it. Wait-free: it writes nothing and never starts over. The one
    /// exception is the first reader of a bucket since its split, which initialises the bucket's
    /// cell.
    ///
    /// It is linearizable although it walks through marked nodes. Their links are frozen, and a
    /// replaced node leads to its replacement. If it misses a key, the key was absent at some
    /// moment of the walk.
    #[inline]
    pub(crate) fn find(
        &self,
        pin: &Pin,
        hash: u64,
        mut hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> Option<NonNull<Link>> {
        let order = split_order(hash);
        let bucket = self.buckets.bucket(order);
        let start = self.buckets.start_of_bucket(bucket);
        let Some(first) = start.first_node() else { return self.find_afar(pin, start, order, hit) };
        match Self::walk(Self::hop(start, first, order), order, &mut hit) {
            Walked::Ended(found) => found,
            Walked::ToCell(cell) => self.find_beyond(cell, order, hit),
        }
    }

    /// Continues [`find`](Self::find) in a bucket whose cell is not LINKED, or which begins with
    /// another cell.
    #[inline(never)]
    fn find_afar(
        &self,
        pin: &Pin,
        start: Target,
        order: u32,
        hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> Option<NonNull<Link>> {
        let start = if start.linked() { start } else { self.approach(pin, self.buckets.bucket(order)).load() };
        self.find_beyond(start, order, hit)
    }

    /// Continues a search over any number of cells. Kept out of line, because few lookups need it.
    #[inline(never)]
    fn find_beyond(
        &self,
        mut target: Target,
        order: u32,
        mut hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> Option<NonNull<Link>> {
        loop {
            match Self::walk(target, order, &mut hit) {
                Walked::Ended(found) => return found,
                Walked::ToCell(cell) => target = self.buckets.cell_before(cell, order)?.load(),
            }
        }
    }

    /// Walks to a node of this order that `hit` accepts, to the end of its run, or to the next
    /// cell. The caller is pinned.
    #[inline(always)]
    fn walk(mut target: Target, order: u32, hit: &mut impl FnMut(NonNull<Link>) -> bool) -> Walked {
        loop {
            let Some(current) = target.node() else { return Walked::ToCell(target) };
            // SAFETY: reached through the list under the pin: not freed while it is held.
            let link = unsafe { current.as_ref() };
            let (here, next) = (link.order(), link.next().load());
            if mutant("find stops at a mark") && next.marked() {
                return Walked::Ended(None);
            }
            // One comparison instead of two: the node is of this order, and it is not marked.
            if (here ^ order) as usize | next.mark() == 0 && hit(current) {
                return Walked::Ended(Some(current));
            }
            if here > order {
                return Walked::Ended(None);
            }
            target = next;
        }
    }

    /// Returns the first node of a bucket if it is of this order, else the target that follows it.
    ///
    /// The sought node is the first of its bucket about two times in three, which a branch
    /// predictor cannot guess. A wrong guess shows only when the node has come from memory. All
    /// work begun since then is lost, including the cache misses of the calls that follow. So this
    /// computes the choice, without a branch.
    #[inline(always)]
    fn hop(start: Target, first: NonNull<Link>, order: u32) -> Target {
        // SAFETY: the caller reached it through the list under a pin that it still holds.
        let link = unsafe { first.as_ref() };
        start.if_else(link.order() == order, link.next().load())
    }

    /// Links `node`, which is not in the list, at the end of its run, where `place` found nothing.
    /// Returns false if the list has changed there. Then the caller searches again.
    ///
    /// The table does not count its nodes. Its owner has it [grow](Buckets::grow).
    #[inline]
    pub(crate) fn insert(&self, place: &SearchPosition<'_>, node: NonNull<Link>) -> bool {
        debug_assert!(place.found.is_none());
        // SAFETY: the node is the caller's own, and no other thread can reach it yet.
        let link = unsafe { node.as_ref() };
        link.next().prepare(place.next);
        if mutant("blind insert") {
            place.previous.force(place.next, Target::to_node(node));
        } else if !place.previous.swing(place.next, Target::to_node(node)) {
            return false;
        }
        true
    }

    /// Puts `new`, which is not in the list, in the place of `old`, in one step. Returns false if
    /// `old` is marked already.
    #[inline]
    pub(crate) fn replace(&self, old: &Link, new: NonNull<Link>) -> bool {
        // SAFETY: the caller owns a reference to `new`.
        old.replace_by(unsafe { new.as_ref() }, Target::to_node(new))
    }

    /// Marks `node` as removed. Returns true for exactly one caller, which must then call
    /// [`Self::unlink`].
    #[inline]
    pub(crate) fn mark(&self, node: &Link) -> bool {
        node.mark()
    }

    /// Returns the first node of the list.
    pub(crate) fn first<'p>(&'p self, pin: &'p Pin) -> Option<NonNull<Link>> {
        self.behind(pin, 0)
    }

    /// Returns the next node behind `link`, marked or not. Skips cells.
    pub(crate) fn after<'p>(&'p self, _pin: &'p Pin, link: &'p Link) -> Option<NonNull<Link>> {
        self.next_node(link.next().load(), 0)
    }

    /// Returns the first node of a higher order than this one.
    pub(crate) fn behind<'p>(&'p self, _pin: &'p Pin, order: u32) -> Option<NonNull<Link>> {
        self.next_node(self.buckets.ancestor(self.buckets.bucket(order)).load(), order)
    }

    /// Returns the first node of a higher order than `order`, from `target` on. The caller is
    /// pinned.
    fn next_node(&self, mut target: Target, order: u32) -> Option<NonNull<Link>> {
        loop {
            let Some(current) = target.node() else {
                target = self.buckets.cell_at(target)?.load();
                continue;
            };
            // SAFETY: reached through the list under the caller's pin.
            let link = unsafe { current.as_ref() };
            if link.order() > order {
                return Some(current);
            }
            target = link.next().load();
        }
    }
}

// SAFETY: the table carries pointers between threads. The nodes behind them are `Send + Sync`, by
// the bounds on `Core`.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}
