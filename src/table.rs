//! The split-ordered list: one sorted linked list that is also a hash table.
//!
//! Shalev and Shavit, *Split-Ordered Lists: Lock-Free Extensible Hash Tables*, J. ACM 53(3), 2006, over the list of
//! Michael, *High Performance Dynamic Lock-Free Hash Tables and List-Based Sets*, SPAA 2002. Nodes are sorted by their
//! hash, and a bucket is what its first bits have in common, so a bucket's nodes are adjacent at every table size, and doubling
//! the table splits each bucket without moving a node. A bucket is a *cell*: a link in the list itself, in an array of doubling
//! segments.
//!
//! What differs from the papers:
//! * They take the bucket from the hash's last bits, and sort by the hash reversed. It is the same with the first bits and without
//!   reversing, which costs some twenty instructions a lookup where the processor has none for it. A bucket is told by the
//!   order at which it starts; its cell, which does not move as the table grows, is found by the last bit that is set there.
//! * A cell is initialised by one claimer (UNINIT → CLAIMED → LINKED); everybody else starts from the nearest LINKED
//!   ancestor meanwhile, and waits for nobody.
//! * Nodes of equal order are a *run*; a new key goes to its end, so two inserters of one key meet at one link.
//! * *Replace* is one CAS: `old.next` from `succ` to `(new, marked)` with `new.next = succ`. It removes the old node and
//!   links the new one at once, and the key is never absent in between.
//! * Unlinking is anybody's; the list's share of a node is the affair of whoever won its mark, once [`Table::unlink`]
//!   has returned.
//!
//! All references handed out live under a pin: an unlinked node is freed only after a grace period.

use crate::doubling::Doubling;
use crate::link::Link;
use crate::order::{LEVELS, MOST, locate, mask, order_of, parent, part_of};
use crate::reclaim::Pin;
use crate::sync::{AtomicU32, AtomicUsize, Ordering, Padded, mutant, order, prefetch, sized};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// Buckets of a new table, as a power of two.
const LEAST: u32 = sized(4, 1, 0) as u32;

/// States of a cell, in its tally. UNINIT is zero: segments are zeroed memory.
const UNINIT: u32 = 0;
const CLAIMED: u32 = 1;
const LINKED: u32 = 2;

/// A hash table of links.
pub(crate) struct Table {
    /// By level: 0 has the cell of the whole list, each other one those that split the buckets of the levels before.
    cells: Doubling<Link, 0, LEVELS>,
    /// The bits of an order that tell its bucket.
    mask: AtomicU32,
    /// By stripes: insertions write them. As many as the policy has shards.
    nodes: Box<[Padded<AtomicUsize>]>,
}

/// Where a search ended.
pub(crate) struct Place<'p> {
    previous: &'p Link,
    /// What follows: the first link behind the run, if nothing was found.
    next: *mut Link,
    /// The unmarked node that was looked for.
    pub(crate) found: Option<NonNull<Link>>,
}

impl Table {
    /// An empty table, with room for about `capacity` nodes before it grows, that counts them in `stripes` parts, a power of two.
    pub(crate) fn new(capacity: usize, stripes: usize, huge_pages: bool) -> Self {
        let bits = capacity.clamp(1 << LEAST, 1 << MOST).next_power_of_two().ilog2();
        let table = Self {
            // SAFETY: an uninitialised cell is all zero, and links are not zero-sized.
            cells: unsafe { Doubling::new(Link::cell) }.on_huge_pages(huge_pages),
            mask: AtomicU32::new(mask(bits)),
            nodes: (0..stripes).map(|_| Padded(AtomicUsize::new(0))).collect(),
        };
        table.cell_or_grow(0).tally().store(LINKED, Ordering::Release);
        table
    }

    /// Where the bucket of this order starts.
    #[inline]
    fn bucket(&self, order: u32) -> u32 {
        order & self.mask.load(Ordering::Relaxed)
    }

    /// Where nodes of this order are counted.
    fn stripe(&self, order: u32) -> &AtomicUsize {
        &self.nodes[part_of(order, self.nodes.len())]
    }

    /// The cell of a bucket, if its segment exists.
    #[inline]
    fn cell(&self, bucket: u32) -> Option<&Link> {
        let (level, index) = locate(bucket);
        // SAFETY: see `locate`.
        unsafe { self.cells.at(level, index) }
    }

    fn cell_or_grow(&self, bucket: u32) -> &Link {
        let (level, index) = locate(bucket);
        // SAFETY: see `locate`.
        unsafe { self.cells.at_or_grow(level, index) }
    }

    /// The LINKED cell nearest before `bucket`, its own included. Writes nothing.
    #[inline]
    fn ancestor(&self, mut bucket: u32) -> &Link {
        loop {
            match self.linked_cell(bucket) {
                Some(cell) => return cell,
                None => bucket = parent(bucket),
            }
        }
    }

    /// Has something fetched that a search for this order will come by: its cell, or the `behind`th link behind that, which is
    /// known when those before it are there already.
    #[inline]
    pub(crate) fn prefetch(&self, _pin: &Pin, order: u32, behind: usize) {
        // (To loom it would be some loads more for each insertion, and nothing else.)
        if cfg!(loom) {
            return;
        }
        let bucket = self.bucket(order);
        if behind == 0 {
            return self.cell(bucket).map_or((), |cell| prefetch(cell));
        }
        let Some(mut link) = self.linked_cell(bucket) else { return };
        for _ in 1..behind {
            // SAFETY: reached through the list under the pin: null, or not freed while that is held.
            let Some(next) = (unsafe { link.next().link().as_ref() }) else { return };
            link = next;
        }
        prefetch(link.next().link());
    }

    /// The cell of a bucket, if it is LINKED.
    #[inline]
    fn linked_cell(&self, bucket: u32) -> Option<&Link> {
        // Acquire: pairs with the Release in `initialise`, for the cell's link.
        self.cell(bucket).filter(|cell| cell.tally().load(order("cell state", Ordering::Acquire)) == LINKED)
    }

    /// Where a reader starts whose bucket has no LINKED cell. It initialises it, as a writer would: otherwise what is only
    /// read after the table has grown is walked to from far away, each time. Not by allocating its segment.
    fn approach(&self, pin: &Pin, bucket: u32) -> &Link {
        match self.cell(bucket) {
            // (To loom it is the writer's initialisation, which has models; readers as well would multiply all others.)
            Some(cell) if cell.tally().load(Ordering::Relaxed) == UNINIT && !cfg!(loom) => {
                self.initialise(pin, bucket, cell);
            }
            _ => {}
        }
        self.ancestor(bucket)
    }

    /// Where to start looking for an order; initialises the bucket's cell if it is nobody's work yet.
    fn start(&self, pin: &Pin, order: u32) -> &Link {
        let bucket = self.bucket(order);
        let cell = self.cell_or_grow(bucket);
        if cell.tally().load(Ordering::Acquire) == UNINIT {
            self.initialise(pin, bucket, cell);
        }
        self.ancestor(bucket)
    }

    fn initialise(&self, pin: &Pin, bucket: u32, cell: &Link) {
        let claim = cell.tally().compare_exchange(UNINIT, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_err() && !mutant("two initialisers") {
            return;
        }
        cell.set_order(bucket);
        // The parent's cell first, at most one for each bit: otherwise those of a table that begins large would have no ancestor but
        // the whole list's, and be walked to from there.
        let from = self.start(pin, parent(bucket));
        let raw = ptr::from_ref(cell).cast_mut();
        loop {
            let place = self.search_from(pin, from, cell.order(), ptr::null(), |_| false);
            cell.prepare(place.next);
            if place.previous.swing(place.next, raw) || mutant("blind cell") {
                break;
            }
        }
        // Release: whoever starts from this cell sees that it is in the list.
        cell.tally().store(LINKED, order("cell linked", Ordering::Release));
    }

    /// Walks from `from`, unlinking marked nodes, to the first unmarked node of `order` that `hit` accepts, or behind
    /// the run of `order`; and no further than to unlink `gone`.
    fn search_from<'p>(
        &'p self,
        _pin: &'p Pin,
        from: &'p Link,
        order: u32,
        gone: *const Link,
        mut hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> Place<'p> {
        'again: loop {
            let mut previous = from;
            let mut next = previous.next().link();
            loop {
                let Some(current) = NonNull::new(next) else {
                    return Place { previous, next, found: None };
                };
                // SAFETY: reached through the list under the pin: not freed while it is held.
                let link: &'p Link = unsafe { current.as_ref() };
                let after = link.next();
                if after.marked() {
                    if mutant("blind unlink") {
                        previous.prepare(after.link());
                    } else if !previous.swing(next, after.link()) {
                        // Something was linked here, or `previous` is being removed itself: then a swing there would
                        // be lost with it, and the node still be reachable from whatever comes before.
                        continue 'again;
                    }
                    let done = ptr::eq(next, gone);
                    next = after.link();
                    if done {
                        return Place { previous, next, found: None };
                    }
                    continue;
                }
                if link.order() > order {
                    return Place { previous, next, found: None };
                }
                if link.order() == order && hit(current) {
                    return Place { previous, next, found: Some(current) };
                }
                previous = link;
                next = after.link();
            }
        }
    }

    /// Looks for a node to change something; helps to unlink what is marked on the way.
    pub(crate) fn search<'p>(&'p self, pin: &'p Pin, hash: u64, hit: impl FnMut(NonNull<Link>) -> bool) -> Place<'p> {
        let order = order_of(hash);
        self.search_from(pin, self.start(pin, order), order, ptr::null(), hit)
    }

    /// Looks for a node to read it. Writes nothing, never starts over: wait-free; but for the first one who comes by a bucket since
    /// it was split, who initialises its cell.
    ///
    /// Linearizable although it walks through marked nodes: their links are frozen, and one that was replaced leads to
    /// its replacement. A key that is missed was absent at some moment of the walk.
    #[inline]
    pub(crate) fn find(&self, pin: &Pin, hash: u64, hit: impl FnMut(NonNull<Link>) -> bool) -> Option<NonNull<Link>> {
        let order = order_of(hash);
        let bucket = self.bucket(order);
        match self.linked_cell(bucket) {
            Some(cell) => Self::find_behind(cell, order, hit),
            None => self.find_afar(pin, bucket, order, hit),
        }
    }

    /// [`find`](Self::find) in a bucket whose cell is not LINKED. Out of its way.
    #[cold]
    #[inline(never)]
    fn find_afar(
        &self,
        pin: &Pin,
        bucket: u32,
        order: u32,
        hit: impl FnMut(NonNull<Link>) -> bool,
    ) -> Option<NonNull<Link>> {
        Self::find_behind(self.approach(pin, bucket), order, hit)
    }

    /// The caller is pinned.
    #[inline(always)]
    fn find_behind(from: &Link, order: u32, mut hit: impl FnMut(NonNull<Link>) -> bool) -> Option<NonNull<Link>> {
        let mut current = Self::hop(NonNull::new(from.next().link())?, order)?;
        loop {
            // SAFETY: reached through the list under the pin: not freed while it is held.
            let link = unsafe { current.as_ref() };
            let (here, next) = (link.order(), link.next());
            if mutant("find stops at a mark") && next.marked() {
                return None;
            }
            // One question instead of two: of this order, and not marked.
            if (here ^ order) as usize | next.mark() == 0 && hit(current) {
                return Some(current);
            }
            if here > order {
                return None;
            }
            current = NonNull::new(next.link())?;
        }
    }

    /// The first node of a bucket if it is of this order, else the second.
    ///
    /// A node is the first of its bucket about two times in three, which a branch predictor cannot guess. A wrong guess is known
    /// only when the node has come from memory, and everything begun since then is lost, the cache misses of the calls that
    /// follow included. So this has no branch: which of the two it is, is computed.
    #[inline(always)]
    fn hop(first: NonNull<Link>, order: u32) -> Option<NonNull<Link>> {
        // SAFETY: the caller reached it through the list under a pin that it still holds.
        let link = unsafe { first.as_ref() };
        let stay = usize::from(link.order() == order).wrapping_neg();
        let second = link.next().link().expose_provenance();
        NonNull::new(ptr::with_exposed_provenance_mut(first.as_ptr().expose_provenance() & stay | second & !stay))
    }

    /// Links `node`, which is not in the list, at the end of its run, where `place` found nothing. False: something
    /// changed there, search again.
    pub(crate) fn insert(&self, place: &Place<'_>, node: NonNull<Link>) -> bool {
        debug_assert!(place.found.is_none());
        // SAFETY: the caller's own node, not yet shared.
        let link = unsafe { node.as_ref() };
        link.prepare(place.next);
        // Counted first: once it is linked, somebody may remove it and count it out.
        let stripe = self.stripe(link.order());
        let nodes = stripe.fetch_add(1, Ordering::Relaxed) + 1;
        if mutant("blind insert") {
            place.previous.prepare(node.as_ptr());
        } else if !place.previous.swing(place.next, node.as_ptr()) {
            stripe.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.grow(nodes * self.nodes.len());
        true
    }

    /// Doubles the buckets when there are a quarter more nodes than those. (At as many, a cache of 2²⁰ entries would have
    /// 2²¹ buckets, for the one that comes before another one goes.) Nothing is moved: cells are initialised as needed.
    fn grow(&self, nodes: usize) {
        let now = self.mask.load(Ordering::Relaxed);
        let bits = now.leading_ones();
        let last = (1 << bits) - 1;
        if nodes > last + last / 4 && bits < MOST {
            // Losing this means that somebody else has just doubled.
            let _ = self.mask.compare_exchange(now, mask(bits + 1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Puts `new`, which is not in the list, in the place of `old`, in one step. False: `old` is marked already.
    pub(crate) fn replace(&self, old: &Link, new: NonNull<Link>) -> bool {
        // SAFETY: the caller owns a share of `new`.
        old.replace_by(unsafe { new.as_ref() }, new.as_ptr())
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
        let _ = self.search_from(pin, self.ancestor(self.bucket(order)), order, node, |_| false);
    }

    /// The first node of the list.
    pub(crate) fn first<'p>(&'p self, pin: &'p Pin) -> Option<NonNull<Link>> {
        self.after(pin, self.cell_or_grow(0))
    }

    /// The next node behind `link`, marked or not; cells are passed over.
    pub(crate) fn after<'p>(&'p self, _pin: &'p Pin, link: &'p Link) -> Option<NonNull<Link>> {
        Self::next_node(link, 0)
    }

    /// The first node whose order is above this one.
    pub(crate) fn behind<'p>(&'p self, _pin: &'p Pin, order: u32) -> Option<NonNull<Link>> {
        Self::next_node(self.ancestor(self.bucket(order)), order)
    }

    /// The next node behind `link` whose order is above `order`. The caller is pinned.
    fn next_node(link: &Link, order: u32) -> Option<NonNull<Link>> {
        let mut next = link.next().link();
        loop {
            let current = NonNull::new(next)?;
            // SAFETY: reached through the list under the pin.
            let link = unsafe { current.as_ref() };
            if link.order() & 1 == 1 && link.order() > order {
                return Some(current);
            }
            next = link.next().link();
        }
    }
}

// SAFETY: the table carries pointers between threads; the nodes behind them are `Send + Sync` by the bounds on `Core`.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}
