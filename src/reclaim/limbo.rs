//! Retired nodes, in bags that the cache owns.
//!
//! A retirer reserves a place in the open bag by `taken`, writes the pointer, and counts it in by `filled`, which has its
//! weight as well. Whoever completes `filled` seals the bag, so there is exactly one sealer and no bag is sealed with a write outstanding. The
//! sealer first makes sure that the bag is no longer the open one, then puts it into the list of the sealed ones. From there
//! bags are taken many at once, to begin the wait for their grace period together, which may cost a system call, and go to
//! the list of those that wait; and from there, when that is over, to the list of the ripe ones, from which whoever seals a
//! bag frees a few: so no call frees more than [`FEW`] bags, however many become ripe together. (All of them if somebody
//! [cleans up](Upkeep::Flush), or too much waits.) A slow retirer that still holds a bag's address is pinned, and so keeps the bag alive.
//!
//! Values may own more than memory, so those that are removed by name, and those of small caches, do not wait for a bag to fill: it is
//! sealed as it is after the operation's pin, and freed at once if no reader is pinned ([`Upkeep::Promptly`]). If one is, no more of such
//! small bags are sealed, as they would wait, too, and take more memory than their nodes: retired nodes gather in the
//! open bag, and operations that retire look again at growing intervals.

use super::bag::{BAG, Bag, Held, PLACE, dispose, free};
use super::epoch::{Grace, Graces};
use super::{Arena, Epoch, Handle, Pin, Retire};
use crate::sys::mutants::{mutant, sized};
use crate::sys::stack::{Chain, Stack};
use crate::sys::sync::{AtomicPtr, Ordering, untracked};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// Bags that are freed by one call: more than one, as each call comes with one that was sealed. (In models all are, as early as
/// can be; the list of those that are left has a model of its own.)
const FEW: usize = sized(2, 2, usize::MAX);
/// How often is looked for readers to have unpinned, where a value is to be freed at once: most pins last for some 100 ns.
const LOOKS: usize = sized(32, 2, 1);
/// So many nodes are retired at most before it is looked again whether the readers that held up others have unpinned.
const RARELY: usize = sized(16, 2, 2);

/// What a cache has retired and not yet freed.
pub(crate) struct Limbo<T: Retire> {
    epoch: Epoch,
    open: AtomicPtr<Bag<T>>,
    /// Those whose wait has not begun.
    sealed: Stack<Bag<T>>,
    /// How many those are.
    fresh: untracked::AtomicUsize,
    waiting: Stack<Bag<T>>,
    ripe: Stack<Bag<T>>,
    graces: Graces,
    /// In sealed bags, those that wait, and ripe ones.
    held: Held,
    /// Something that was to be freed at once waits for a pin's end: who brings the nodes in the open bag to a multiple of this
    /// looks again. A power of two; 0: nothing does.
    owed: untracked::AtomicUsize,
    /// Where nodes come from and go to. (The last field: what is in limbo goes there as this is dropped.)
    arena: Arena<T>,
}

/// What it is time for, after the pin: each does what those before it do.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Upkeep {
    Nothing,
    /// To free some of what is ripe.
    Some,
    /// To begin the wait of what was sealed, and look what has become ripe.
    Waits,
    /// To seal the open bag, if it can be freed by now, and free it.
    Promptly,
    /// To free all that is ripe. (The open bag is not sealed for it.)
    All,
    /// To seal the open bag, and free all that is ripe.
    Flush,
}

/// How much may gather before it is time to collect.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    /// In the open bag, before it is sealed as it is.
    bag: usize,
    nodes: usize,
    weight: u64,
}

impl Batch {
    /// So many nodes, or so much weight.
    pub(crate) fn new(nodes: usize, weight: u64) -> Self {
        // (In models bags are as small as can be, and are filled.)
        let bag = if cfg!(loom) { BAG } else { nodes.clamp(1, BAG) };
        Self { bag, nodes, weight }
    }
}

impl<T: Retire> Limbo<T> {
    pub(crate) fn new(huge_pages: bool) -> Self {
        Self {
            epoch: Epoch::new(),
            open: AtomicPtr::new(ptr::null_mut()),
            sealed: Stack::new(),
            fresh: untracked::AtomicUsize::new(0),
            waiting: Stack::new(),
            ripe: Stack::new(),
            graces: Graces::new(),
            held: Held::nothing(),
            owed: untracked::AtomicUsize::new(0),
            arena: Arena::new(huge_pages),
        }
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena<T> {
        &self.arena
    }

    /// Disposes of a node that needs no grace period.
    ///
    /// # Safety
    /// `node` came from this limbo's arena, nobody else can reach it, and it is not used again.
    pub(crate) unsafe fn dispose(&self, node: NonNull<T>) {
        let mut freed = self.arena.freed();
        // SAFETY: as for this function.
        unsafe { dispose(node, &mut freed) };
    }

    #[inline]
    pub(crate) fn enter(&self) -> Pin {
        self.epoch.enter()
    }

    pub(crate) fn register(&self) -> Handle {
        self.epoch.register()
    }

    /// Nodes retired and not yet freed, and their weight.
    pub(crate) fn retired(&self) -> (usize, u64) {
        let _pin = self.enter();
        // Acquire: pairs with the Release in `open_bag`, for the bag's fields.
        // SAFETY: null, or the open bag under our pin (see `retire`).
        let open = unsafe { self.open.load(Ordering::Acquire).as_ref() };
        let filled = open.map_or(0, |bag| bag.filled.load(Ordering::Relaxed));
        (self.nodes() + (filled / PLACE) as usize, self.weight() + filled % PLACE)
    }

    /// Nodes in sealed bags: all that are retired and not yet freed, but for less than a bag.
    #[inline]
    pub(crate) fn nodes(&self) -> usize {
        self.held.nodes.load(Ordering::Relaxed)
    }

    /// Their weight.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.held.weight.load(Ordering::Relaxed)
    }

    /// Takes `node` for disposal after a grace period.
    ///
    /// # Safety
    /// `node` came from this limbo's arena; it cannot be reached by anyone who pins from now on; it is retired once.
    pub(crate) unsafe fn retire(&self, pin: &Pin, node: NonNull<T>, batch: Batch) -> Upkeep {
        // SAFETY: not yet retired, so it is alive.
        let weight = u64::from(unsafe { node.as_ref() }.weight());
        loop {
            let bag = self.open_bag();
            // SAFETY: `bag` was the open bag under our pin, and bags are freed a grace period after they ceased to be.
            let shared = unsafe { bag.as_ref() };
            let place = if mutant("torn bag") {
                let place = shared.taken.load(Ordering::Relaxed);
                shared.taken.store(place + 1, Ordering::Relaxed);
                place
            } else {
                shared.taken.fetch_add(1, Ordering::Relaxed)
            };
            if place >= BAG {
                self.close(bag);
                continue;
            }
            shared.items[place].store(node.as_ptr(), Ordering::Relaxed);
            // AcqRel: the sealer (the last one here) sees what every other retirer wrote into the bag.
            let filled = shared.filled.fetch_add(PLACE + weight, Ordering::AcqRel) + PLACE + weight;
            let (nodes, weight) = ((filled / PLACE) as usize, filled % PLACE);
            let owed = self.owed.load(Ordering::Relaxed);
            if nodes < batch.bag && weight <= batch.weight && owed == 0 {
                return Upkeep::Nothing;
            }
            if nodes == BAG {
                self.close(bag);
                self.seal(pin, bag);
            } else if weight <= batch.weight || !self.seal_rest(pin, bag) {
                let look = (nodes >= batch.bag || owed != 0) && nodes & owed.saturating_sub(1) == 0;
                return if look { Upkeep::Promptly } else { Upkeep::Nothing };
            }
            return if self.weight() > batch.weight {
                Upkeep::All
            } else if self.fresh.load(Ordering::Relaxed) * BAG >= batch.nodes {
                Upkeep::Waits
            } else if FEW == usize::MAX || self.ripe.is_empty() {
                Upkeep::Nothing
            } else {
                Upkeep::Some
            };
        }
    }

    /// Seals the open bag as it is.
    fn seal_open(&self) {
        let pin = &self.enter();
        // Acquire: pairs with the Release in `open_bag`, for the bag's fields.
        if let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) {
            self.seal_rest(pin, bag);
        }
    }

    /// Takes all places that are left in a bag that was the open one under this pin. Seals it, unless a retirer is still
    /// writing, or there was no place left: then that is another's affair.
    fn seal_rest(&self, pin: &Pin, bag: NonNull<Bag<T>>) -> bool {
        // SAFETY: it was the open bag under our pin (see `retire`).
        let shared = unsafe { bag.as_ref() };
        let rest = (BAG - shared.taken.swap(BAG, Ordering::Relaxed).min(BAG)) as u64;
        // AcqRel: as in `retire`.
        let last = rest > 0 && shared.filled.fetch_add(rest * PLACE, Ordering::AcqRel) / PLACE + rest == BAG as u64;
        if last {
            self.close(bag);
            self.seal(pin, bag);
        }
        last
    }

    fn open_bag(&self) -> NonNull<Bag<T>> {
        // Acquire: pairs with the Release below, for the bag's fields.
        if let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) {
            return bag;
        }
        let fresh = Box::into_raw(Box::new(Bag::new(self.graces.grace())));
        let null = ptr::null_mut();
        match self.open.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `fresh` came from a Box: not null.
            Ok(_) => unsafe { NonNull::new_unchecked(fresh) },
            Err(other) => {
                // SAFETY: `fresh` was never published, so the box is still ours alone.
                drop(unsafe { Box::from_raw(fresh) });
                NonNull::new(other).unwrap_or_else(|| self.open_bag())
            }
        }
    }

    /// Makes sure that `bag` is not the open one.
    fn close(&self, bag: NonNull<Bag<T>>) {
        let null = ptr::null_mut();
        let _ = self.open.compare_exchange(bag.as_ptr(), null, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Puts a full bag, which is no longer the open one, among the sealed.
    fn seal(&self, pin: &Pin, bag: NonNull<Bag<T>>) {
        // SAFETY: the bag is alive: sealed once, by us, and in no list yet.
        let shared = unsafe { bag.as_ref() };
        let nodes = shared.items.iter().filter(|item| !item.load(Ordering::Relaxed).is_null()).count();
        let weight = shared.filled.load(Ordering::Relaxed) % PLACE;
        shared.held.nodes.store(nodes, Ordering::Relaxed);
        shared.held.weight.store(weight, Ordering::Relaxed);
        self.held.nodes.fetch_add(nodes, Ordering::Relaxed);
        self.held.weight.fetch_add(weight, Ordering::Relaxed);
        self.graces.seal(pin, &shared.grace);
        // SAFETY: ours, and freed by who takes it out of a list only.
        unsafe { self.sealed.push(bag) };
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }

    /// Does what it is time for. User code (drops of keys and values) runs in here: hold no pin.
    pub(crate) fn collect(&self, upkeep: Upkeep) {
        let ripe = match upkeep {
            Upkeep::Nothing => return,
            Upkeep::Some => self.few_of(Chain::new()),
            Upkeep::Waits => {
                self.begin_waits();
                self.few_of(self.ripened())
            }
            Upkeep::Promptly => self.promptly(),
            Upkeep::All => {
                self.begin_waits();
                self.all_with(self.ripened())
            }
            Upkeep::Flush => {
                self.seal_open();
                self.begin_waits();
                self.all_with(self.ripened_soon())
            }
        };
        // SAFETY: ripe: by `ripened`, or from the list of those that are; nothing else is put there.
        unsafe { self.free(ripe) };
    }

    fn all_with(&self, mut ripe: Chain<Bag<T>>) -> Chain<Bag<T>> {
        ripe.append(self.ripe.take());
        ripe
    }

    /// A few of these ripe bags, and of those that were left: else these would be left for ever where each call finds something
    /// that has just become ripe.
    fn few_of(&self, mut ripe: Chain<Bag<T>>) -> Chain<Bag<T>> {
        if FEW != usize::MAX {
            if !self.ripe.is_empty() {
                self.ripe.put_back(ripe);
                ripe = self.ripe.take();
            }
            let later = ripe.cut(FEW);
            self.ripe.put_back(later);
        }
        ripe
    }

    /// See [`Upkeep::Promptly`].
    fn promptly(&self) -> Chain<Bag<T>> {
        let mut ripe = Chain::new();
        if !self.waiting.is_empty() {
            self.begin_waits();
            ripe = self.ripened_soon();
        }
        // What waits still waits for a reader; what is in the open bag would have to wait, too.
        let can = self.waiting.is_empty() && self.graces.ready(&self.epoch);
        if can {
            self.seal_open();
            self.begin_waits();
            ripe.append(self.ripened_soon());
        }
        let owed = match (can && self.waiting.is_empty(), self.owed.load(Ordering::Relaxed)) {
            (true, _) => 0,
            (false, 0) => 1,
            (false, owed) => (owed * 2).min(RARELY),
        };
        self.owed.store(owed, Ordering::Relaxed);
        // The small ones are what was to be freed at once. Of the others, a few, as ever.
        let (mut now, mut later, mut full) = (Chain::new(), Chain::new(), 0);
        while let Some(bag) = ripe.pop() {
            // SAFETY: it was of the chain, and is ours until it is pushed.
            let small = unsafe { bag.as_ref() }.held.nodes.load(Ordering::Relaxed) < BAG;
            full += usize::from(!small);
            let chain = if small || full <= FEW { &mut now } else { &mut later };
            // SAFETY: ours, and freed by who takes it out of a list only.
            unsafe { chain.push(bag) };
        }
        if FEW != usize::MAX {
            now.append(self.few_of(later));
        }
        now
    }

    /// As [`ripened`](Self::ripened), with some patience.
    fn ripened_soon(&self) -> Chain<Bag<T>> {
        let mut ripe = self.ripened();
        for _ in 1..LOOKS {
            if self.waiting.is_empty() {
                break;
            }
            core::hint::spin_loop();
            ripe.append(self.ripened());
        }
        ripe
    }

    /// Begins the wait of what was sealed.
    fn begin_waits(&self) {
        self.fresh.store(0, Ordering::Relaxed);
        if self.graces.ready(&self.epoch) {
            let sealed = self.sealed.take();
            if self.graces.begin(&self.epoch, sealed.iter().map(|bag| &bag.grace)) {
                let _none = self.wait_unless(sealed, |_| false);
            } else {
                // Not now.
                self.sealed.put_back(sealed);
            }
        }
    }

    /// Takes the bags whose wait is over.
    fn ripened(&self) -> Chain<Bag<T>> {
        if !self.graces.due(&self.epoch) {
            return Chain::new();
        }
        let (waiting, horizon) = self.graces.look(&self.epoch, || self.waiting.take());
        self.wait_unless(waiting, |grace| horizon.passed(grace))
    }

    /// Gives the bags whose wait is `over`, and puts the others among those that wait.
    fn wait_unless(&self, mut bags: Chain<Bag<T>>, over: impl Fn(&Grace) -> bool) -> Chain<Bag<T>> {
        let mut kept = Chain::new();
        while let Some(bag) = bags.pop() {
            // SAFETY: it was of the chain, and is ours until it is pushed.
            let grace = unsafe { &bag.as_ref().grace };
            if over(grace) {
                // SAFETY: ours, and freed by who takes it out of a list only.
                unsafe { kept.push(bag) };
            } else {
                let mark = grace.mark();
                // SAFETY: as above.
                unsafe { self.waiting.push(bag) };
                // (By now another may have taken it.)
                self.graces.waits(mark);
            }
        }
        kept
    }

    /// # Safety
    /// The bags are ripe: nobody reads their nodes any more.
    unsafe fn free(&self, bags: Chain<Bag<T>>) {
        // SAFETY: ripe, by contract; they and their nodes are this limbo's, which makes its bags in boxes.
        unsafe { free(bags, &self.arena, &self.held) }
    }
}

impl<T: Retire> Drop for Limbo<T> {
    fn drop(&mut self) {
        if let Some(open) = NonNull::new(self.open.swap(ptr::null_mut(), Ordering::Acquire)) {
            // SAFETY: ours: `&mut self`.
            unsafe { self.waiting.push(open) };
        }
        let lists = [&self.sealed, &self.waiting, &self.ripe];
        // SAFETY: everything is ripe: whoever could hold a pin on this cache's nodes borrows the cache.
        crate::sys::unwind::each(lists.into_iter(), |list| unsafe { self.free(list.take()) });
    }
}

// SAFETY: the limbo owns its nodes and disposes of them on whichever thread collects, which T: Send permits; all its
// methods that take `&self` synchronise by atomics.
unsafe impl<T: Retire + Send> Send for Limbo<T> {}
// SAFETY: as above: a shared limbo moves nodes between threads, and hands out no reference to them.
unsafe impl<T: Retire + Send> Sync for Limbo<T> {}
