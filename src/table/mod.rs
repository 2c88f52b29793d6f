//! The split-ordered list: one sorted linked list that is also a hash table.
//!
//! Shalev and Shavit, *Split-Ordered Lists: Lock-Free Extensible Hash Tables*, J. ACM 53(3), 2006, over the list of
//! Michael, *High Performance Dynamic Lock-Free Hash Tables and List-Based Sets*, SPAA 2002. Nodes are sorted by their
//! hash, and a bucket is what its first bits have in common, so a bucket's nodes are adjacent at every table size, and doubling
//! the table splits each bucket without moving a node. A bucket is a *cell*: a link in the list itself, in an array of doubling
//! segments: one pointer each, to what follows it.
//!
//! What differs from the papers:
//! * They take the bucket from the hash's last bits, and sort by the hash reversed. It is the same with the first bits and without
//!   reversing, which costs some twenty instructions a lookup where the processor has none for it. A bucket is told by the
//!   order at which it starts; its cell, which does not move as the table grows, is found by the last bit that is set there.
//! * A cell is initialised by one claimer (UNINIT → CLAIMED → LINKED); everybody else starts from the nearest LINKED
//!   ancestor meanwhile, and waits for nobody. Its state is in the pointer's lowest bits, and so is, in whatever leads to it, that it is a
//!   cell: where in the list it stands is told by its address. So it takes 8 bytes, and who comes to a bucket's end need not
//!   have it fetched from memory.
//! * Nodes of equal order are a *run*; a new key goes to its end, so two inserters of one key meet at one link.
//! * *Replace* is one CAS: `old.next` from `succ` to `(new, marked)` with `new.next = succ`. It removes the old node and
//!   links the new one at once, and the key is never absent in between.
//! * Unlinking is anybody's; the list's share of a node is the affair of whoever won its mark, once [`Table::unlink`]
//!   has returned.
//!
//! The cells are in [`buckets`](crate::table::buckets), and what is in a pointer of the list is in [`link`](crate::table::link).
//!
//! All references handed out live under a pin: an unlinked node is freed only after a grace period.

mod buckets;
pub(crate) mod link;
pub(crate) mod split_order;

use crate::reclaim::Pin;
use crate::sys::memory::prefetch;
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicUsize, CachePadded, Ordering};
use alloc::boxed::Box;
use buckets::Buckets;
use core::ptr::{self, NonNull};
use link::{Link, Next, Target};
use split_order::{parent, part_of, split_order};

/// A hash table of links.
pub(crate) struct Table {
    buckets: Buckets,
    /// By stripes: insertions write them. As many as the policy has shards.
    nodes: Box<[CachePadded<AtomicUsize>]>,
}

/// Where a search ended.
pub(crate) struct SearchPosition<'p> {
    previous: &'p Next,
    /// Where that leads: to the first link behind the run, if nothing was found.
    next: Target,
    /// The unmarked node that was looked for.
    pub(crate) found: Option<NonNull<Link>>,
}

/// Where a walk ended.
enum Walked {
    Ended(Option<NonNull<Link>>),
    /// Before this cell, which may come before what is looked for, or the end.
    ToCell(Target),
}

impl Table {
    /// An empty table, with room for about `capacity` nodes before it grows, that counts them in `stripes` parts, a power of two.
    pub(crate) fn new(capacity: usize, stripes: usize, huge_pages: bool) -> Self {
        Self {
            buckets: Buckets::new(capacity, huge_pages),
            nodes: (0..stripes).map(|_| CachePadded(AtomicUsize::new(0))).collect(),
        }
    }

    /// Where nodes of this order are counted.
    fn stripe(&self, order: u32) -> &AtomicUsize {
        &self.nodes[part_of(order, self.nodes.len())]
    }

    /// Has something fetched that a search for this order will come by: its cell, or the `behind`th link behind that, which is
    /// known when those before it are there already.
    #[inline]
    pub(crate) fn prefetch(&self, _pin: &Pin, order: u32, behind: usize) {
        // (To loom it would be some loads more for each lookup, and nothing else.)
        if cfg!(loom) {
            return;
        }
        let bucket = self.buckets.bucket(order);
        if behind == 0 {
            return self.buckets.cell(bucket).map_or((), |cell| prefetch(cell));
        }
        let mut target = self.buckets.start_of_bucket(bucket);
        if !target.linked() {
            // What its claimer has prepared it to lead to may be gone before it is in the list.
            return;
        }
        for _ in 1..behind {
            let Some(node) = target.node() else { return };
            // SAFETY: reached through the list under the pin: not freed while that is held.
            target = unsafe { node.as_ref() }.next().load();
        }
        if let Some(node) = target.node() {
            prefetch(node.as_ptr());
        }
    }

    /// Where a reader starts whose bucket has no LINKED cell. It initialises it, as a writer would: otherwise what is only
    /// read after the table has grown is walked to from far away, each time. Not by allocating its segment.
    fn approach(&self, pin: &Pin, bucket: u32) -> &Next {
        match self.buckets.cell(bucket) {
            // (To loom it is the writer's initialisation, which has models; readers as well would multiply all others.)
            Some(cell) if !cfg!(loom) && cell.load().uninit() => {
                self.initialise(pin, bucket, cell);
            }
            _ => {}
        }
        self.buckets.ancestor(bucket)
    }

    /// Where to start looking for an order; initialises the bucket's cell if it is nobody's work yet.
    fn start(&self, pin: &Pin, order: u32) -> &Next {
        let bucket = self.buckets.bucket(order);
        let cell = self.buckets.cell_or_grow(bucket);
        match cell.load() {
            start if start.linked() => return cell,
            start if start.uninit() => self.initialise(pin, bucket, cell),
            _ => {}
        }
        self.buckets.ancestor(bucket)
    }

    #[cold]
    fn initialise(&self, pin: &Pin, bucket: u32, cell: &Next) {
        if !cell.claim() && !mutant("two initialisers") {
            return;
        }
        if mutant("unlinked cell") {
            cell.set_linked();
        }
        // The parent's cell first, at most one for each bit: otherwise those of a table that begins large would have no ancestor but
        // the whole list's, and be walked to from there.
        let from = self.start(pin, parent(bucket));
        loop {
            let place = self.search_from(pin, from, bucket, ptr::null(), |_| false);
            cell.prepare(place.next);
            if place.previous.swing(place.next, Target::to_cell(cell)) || mutant("blind cell") {
                break;
            }
        }
        cell.set_linked();
    }

    /// Walks from `from`, unlinking marked nodes, to the first unmarked node of `order` that `hit` accepts, or behind
    /// the run of `order`; and no further than to unlink `gone`.
    fn search_from<'p>(
        &'p self,
        _pin: &'p Pin,
        from: &'p Next,
        order: u32,
        gone: *const Link,
        mut hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> SearchPosition<'p> {
        'again: loop {
            let mut previous = from;
            let mut next = previous.load();
            loop {
                let Some(current) = next.node() else {
                    let Some(cell) = self.buckets.cell_before(next, order) else {
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
                    if mutant("blind unlink") {
                        previous.force(next, after);
                    } else if !previous.swing(next, after) {
                        // Something was linked here (or it is a cell, and LINKED now), or `previous` is being removed itself: then a swing there would
                        // be lost with it, and the node still be reachable from whatever comes before.
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

    /// Looks for a node to change something; helps to unlink what is marked on the way.
    pub(crate) fn search<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> SearchPosition<'p> {
        let order = split_order(hash);
        self.search_from(pin, self.start(pin, order), order, ptr::null(), hit)
    }

    /// Looks for a node to read it. Writes nothing, never starts over: wait-free; but for the first one who comes by a bucket since
    /// it was split, who initialises its cell.
    ///
    /// Linearizable although it walks through marked nodes: their links are frozen, and one that was replaced leads to
    /// its replacement. A key that is missed was absent at some moment of the walk.
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

    /// [`find`](Self::find) in a bucket whose cell is not LINKED, or that has another cell at its beginning.
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

    /// The same over any number of cells. Out of the way of most.
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

    /// To a node of this order that `hit` accepts, behind the run of it, or to the next cell. The caller is pinned.
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
            // One question instead of two: of this order, and not marked.
            if (here ^ order) as usize | next.mark() == 0 && hit(current) {
                return Walked::Ended(Some(current));
            }
            if here > order {
                return Walked::Ended(None);
            }
            target = next;
        }
    }

    /// The first node of a bucket if it is of this order, else what follows that.
    ///
    /// A node is the first of its bucket about two times in three, which a branch predictor cannot guess. A wrong guess is known
    /// only when the node has come from memory, and everything begun since then is lost, the cache misses of the calls that
    /// follow included. So this has no branch: which of the two it is, is computed.
    #[inline(always)]
    fn hop(start: Target, first: NonNull<Link>, order: u32) -> Target {
        // SAFETY: the caller reached it through the list under a pin that it still holds.
        let link = unsafe { first.as_ref() };
        start.if_else(link.order() == order, link.next().load())
    }

    /// Links `node`, which is not in the list, at the end of its run, where `place` found nothing. False: something
    /// changed there, search again.
    pub(crate) fn insert(&self, place: &SearchPosition<'_>, node: NonNull<Link>) -> bool {
        debug_assert!(place.found.is_none());
        // SAFETY: the caller's own node, not yet shared.
        let link = unsafe { node.as_ref() };
        link.next().prepare(place.next);
        // Counted first: once it is linked, somebody may remove it and count it out.
        let stripe = self.stripe(link.order());
        let nodes = stripe.fetch_add(1, Ordering::Relaxed) + 1;
        if mutant("blind insert") {
            place.previous.force(place.next, Target::to_node(node));
        } else if !place.previous.swing(place.next, Target::to_node(node)) {
            stripe.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.buckets.grow(nodes * self.nodes.len());
        true
    }

    /// Puts `new`, which is not in the list, in the place of `old`, in one step. False: `old` is marked already.
    pub(crate) fn replace(&self, old: &Link, new: NonNull<Link>) -> bool {
        // SAFETY: the caller owns a share of `new`.
        old.replace_by(unsafe { new.as_ref() }, Target::to_node(new))
    }

    /// Marks `node` as removed. True for exactly one caller, who must then call [`Self::unlink`].
    pub(crate) fn mark(&self, node: &Link) -> bool {
        let won = node.mark();
        if won {
            self.stripe(node.order()).fetch_sub(1, Ordering::Relaxed);
        }
        won
    }

    /// Makes sure that `node`, which is marked, cannot be reached from the list any more. No user code runs in here.
    pub(crate) fn unlink(&self, pin: &Pin, node: &Link) {
        // The walk unlinks every marked node of the run until it has unlinked this one. If another has, it cannot end before it
        // has passed the node's place.
        let order = node.order();
        let _ = self.search_from(pin, self.buckets.ancestor(self.buckets.bucket(order)), order, node, |_| false);
    }

    /// The first node of the list.
    pub(crate) fn first<'p>(&'p self, pin: &'p Pin) -> Option<NonNull<Link>> {
        self.behind(pin, 0)
    }

    /// The next node behind `link`, marked or not; cells are passed over.
    pub(crate) fn after<'p>(&'p self, _pin: &'p Pin, link: &'p Link) -> Option<NonNull<Link>> {
        self.next_node(link.next().load(), 0)
    }

    /// The first node whose order is above this one.
    pub(crate) fn behind<'p>(&'p self, _pin: &'p Pin, order: u32) -> Option<NonNull<Link>> {
        self.next_node(self.buckets.ancestor(self.buckets.bucket(order)).load(), order)
    }

    /// The first node whose order is above `order`, from here. The caller is pinned.
    fn next_node(&self, mut target: Target, order: u32) -> Option<NonNull<Link>> {
        loop {
            let Some(current) = target.node() else {
                target = self.buckets.cell_at(target)?.load();
                continue;
            };
            // SAFETY: reached through the list under the pin.
            let link = unsafe { current.as_ref() };
            if link.order() > order {
                return Some(current);
            }
            target = link.next().load();
        }
    }
}

// SAFETY: the table carries pointers between threads; the nodes behind them are `Send + Sync` by the bounds on `Core`.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}
