//! Retired nodes, in bags that the cache owns.
//!
//! A retirer reserves a place in the open bag by `taken`, writes the pointer, and counts it in by `filled`, which has its
//! weight as well. Whoever completes `filled` seals the bag, so there is exactly one sealer and no bag is sealed with a write outstanding. The
//! sealer first makes sure that the bag is no longer the open one, then puts it into the list of the sealed ones. From there
//! bags are taken several at once, to begin the wait for their grace period together, which may cost a system call, and go to
//! the list of those that wait. A slow retirer that still holds a bag's address is pinned, and so keeps the bag alive.

use super::arena::Freed;
use super::epoch::{Grace, Graces};
use super::{Arena, Epoch, Handle, Pin, Retire};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, mutant, sized, untracked};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// Nodes a bag. Larger means fewer grace periods and more memory waiting.
const BAG: usize = sized(64, 2, 2);

/// In `filled`: one place. The bits below have the weight, which 2¹⁶ nodes of the greatest weight do not exceed.
const PLACE: u64 = 1 << 48;
/// The node so many places on is fetched while one is freed.
const AHEAD: usize = 4;

struct Bag<T> {
    taken: AtomicUsize,
    filled: AtomicU64,
    /// As the limbo has counted them: from when it is sealed.
    nodes: untracked::AtomicUsize,
    weight: untracked::AtomicU64,
    items: [AtomicPtr<T>; BAG],
    grace: Grace,
    /// In a list; written by the bag's owner only (its sealer, then whoever swapped the list out).
    next: AtomicPtr<Bag<T>>,
}

/// What a cache has retired and not yet freed.
pub(crate) struct Limbo<T: Retire> {
    epoch: Epoch,
    open: AtomicPtr<Bag<T>>,
    /// Those whose wait has not begun.
    sealed: AtomicPtr<Bag<T>>,
    /// How many those are.
    fresh: untracked::AtomicUsize,
    waiting: AtomicPtr<Bag<T>>,
    graces: Graces,
    /// In sealed bags, and those that wait.
    nodes: untracked::AtomicUsize,
    weight: untracked::AtomicU64,
    /// Where nodes come from and go to. (The last field: what is in limbo goes there as this is dropped.)
    arena: Arena<T>,
}

/// Whether [`Limbo::retire`] has made it time to [collect](Limbo::collect).
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    Bagged,
    Due,
}

/// How much may gather before it is time to collect.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) nodes: usize,
    pub(crate) weight: u64,
}

impl<T: Retire> Limbo<T> {
    pub(crate) fn new(huge_pages: bool) -> Self {
        Self {
            epoch: Epoch::new(),
            open: AtomicPtr::new(ptr::null_mut()),
            sealed: AtomicPtr::new(ptr::null_mut()),
            fresh: untracked::AtomicUsize::new(0),
            waiting: AtomicPtr::new(ptr::null_mut()),
            graces: Graces::new(),
            nodes: untracked::AtomicUsize::new(0),
            weight: untracked::AtomicU64::new(0),
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
        self.nodes.load(Ordering::Relaxed)
    }

    /// Their weight.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Takes `node` for disposal after a grace period.
    ///
    /// # Safety
    /// `node` came from this limbo's arena; it cannot be reached by anyone who pins from now on; it is retired once.
    pub(crate) unsafe fn retire(&self, pin: &Pin, node: NonNull<T>, batch: Batch) -> Retired {
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
            if filled / PLACE == BAG as u64 {
                self.close(bag);
                self.seal(pin, bag);
            } else if filled % PLACE <= batch.weight || !self.seal_rest(pin, bag) {
                return Retired::Bagged;
            }
            let due = self.fresh.load(Ordering::Relaxed) * BAG >= batch.nodes || self.weight() > batch.weight;
            return if due { Retired::Due } else { Retired::Bagged };
        }
    }

    /// Seals the open bag as it is.
    pub(crate) fn seal_open(&self, pin: &Pin) {
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
        let fresh = Box::into_raw(Box::new(Bag {
            taken: AtomicUsize::new(0),
            filled: AtomicU64::new(0),
            nodes: untracked::AtomicUsize::new(0),
            weight: untracked::AtomicU64::new(0),
            items: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            grace: self.graces.grace(),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
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
        shared.nodes.store(nodes, Ordering::Relaxed);
        shared.weight.store(weight, Ordering::Relaxed);
        self.nodes.fetch_add(nodes, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
        self.graces.seal(pin, &shared.grace);
        Self::push(&self.sealed, bag.as_ptr());
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }

    /// Pushes a bag, which the caller owns, onto a list.
    fn push(list: &AtomicPtr<Bag<T>>, bag: *mut Bag<T>) {
        let mut head = list.load(Ordering::Relaxed);
        loop {
            // SAFETY: the bag is the caller's, so it is alive.
            unsafe { &*bag }.next.store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire of the swap in `take`.
            match list.compare_exchange_weak(head, bag, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// All bags of a list: they are the caller's now, and others find it empty.
    fn take(&self, list: &AtomicPtr<Bag<T>>) -> Bags<'_, T> {
        // Acquire: pairs with `push`.
        Bags { first: list.swap(ptr::null_mut(), Ordering::Acquire), place: 0, limbo: self }
    }

    /// Frees what is ripe, and begins the wait of what was sealed. User code (drops of keys and values) runs in here: hold no
    /// pin.
    pub(crate) fn collect(&self) {
        self.fresh.store(0, Ordering::Relaxed);
        if self.graces.ready(&self.epoch) {
            let mut sealed = self.take(&self.sealed);
            if self.graces.begin(&self.epoch, sealed.graces()) {
                sealed.wait_unless(|_| false);
            }
            // Not now.
            while let Some(bag) = sealed.pop() {
                Self::push(&self.sealed, bag);
            }
        }
        if self.graces.due(&self.epoch) {
            let (mut waiting, horizon) = self.graces.look(&self.epoch, || self.take(&self.waiting));
            waiting.wait_unless(|grace| horizon.passed(grace));
            waiting.free();
        }
    }
}

impl<T: Retire> Drop for Limbo<T> {
    fn drop(&mut self) {
        let open = self.open.swap(ptr::null_mut(), Ordering::Acquire);
        if !open.is_null() {
            Self::push(&self.waiting, open);
        }
        // Everything is ripe: whoever could hold a pin on this cache's nodes borrows the cache.
        let lists = [&self.sealed, &self.waiting];
        crate::unwind::each(lists.into_iter(), |list| self.take(list).free());
    }
}

/// Disposes of a node, and frees its memory however that ends.
///
/// # Safety
/// As for [`Retire::dispose`]; `node` came from the arena that it is freed to.
unsafe fn dispose<T: Retire>(node: NonNull<T>, freed: &mut Freed<'_, T>) {
    struct Free<'f, 'a, T>(NonNull<T>, &'f mut Freed<'a, T>);
    impl<T> Drop for Free<'_, '_, T> {
        fn drop(&mut self) {
            // SAFETY: made by `dispose`, whose contract this passes on.
            unsafe { self.1.add(self.0) };
        }
    }
    let memory = Free(node, freed);
    // SAFETY: as for this function.
    unsafe { T::dispose(memory.0) };
}

/// Bags that are the caller's, chained by their `next`. To be freed, or put into a list again: a panic in a user's drop
/// goes on only after the rest has been freed.
struct Bags<'l, T: Retire> {
    first: *mut Bag<T>,
    /// The next one to be freed in the first bag.
    place: usize,
    limbo: &'l Limbo<T>,
}

impl<T: Retire> Bags<'_, T> {
    fn graces(&self) -> impl Iterator<Item = &Grace> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: the bags of the chain are ours, so they are alive for as long as this is borrowed.
            let bag = unsafe { NonNull::new(next)?.as_ref() };
            next = bag.next.load(Ordering::Relaxed);
            Some(&bag.grace)
        })
    }

    /// Takes the first bag off.
    fn pop(&mut self) -> Option<*mut Bag<T>> {
        let bag = NonNull::new(self.first)?;
        // SAFETY: the bags of the chain are ours.
        self.first = unsafe { bag.as_ref() }.next.load(Ordering::Relaxed);
        Some(bag.as_ptr())
    }

    /// Keeps the bags whose wait is `over`, and puts the others among those that wait.
    fn wait_unless(&mut self, over: impl Fn(&Grace) -> bool) {
        let mut kept = ptr::null_mut();
        while let Some(bag) = self.pop() {
            // SAFETY: it was of the chain, and is ours until it is pushed.
            let shared = unsafe { &*bag };
            if over(&shared.grace) {
                shared.next.store(kept, Ordering::Relaxed);
                kept = bag;
            } else {
                let mark = shared.grace.mark();
                Limbo::push(&self.limbo.waiting, bag);
                // (By now another may have taken it.)
                self.limbo.graces.waits(mark);
            }
        }
        self.first = kept;
    }

    fn free(mut self) {
        let mut freed = self.limbo.arena.freed();
        crate::unwind::each(core::iter::from_fn(|| self.next_node()), |node| {
            // SAFETY: the bag was ripe (or the cache is being dropped): nobody reads the node any more, and it is
            // taken out of the bag once.
            unsafe { dispose(node, &mut freed) }
        });
    }

    /// The next node of the first bag; bags that have run empty are freed on the way.
    fn next_node(&mut self) -> Option<NonNull<T>> {
        while !self.first.is_null() {
            // SAFETY: the bags of the chain are ours (see `take`).
            let bag = unsafe { &*self.first };
            while let Some(item) = bag.items.get(self.place) {
                self.place += 1;
                if let Some(later) = bag.items.get(self.place + AHEAD) {
                    Arena::prefetch_to_free(later.load(Ordering::Relaxed));
                }
                if let Some(node) = NonNull::new(item.load(Ordering::Relaxed)) {
                    return Some(node);
                }
            }
            self.limbo.nodes.fetch_sub(bag.nodes.load(Ordering::Relaxed), Ordering::Relaxed);
            self.limbo.weight.fetch_sub(bag.weight.load(Ordering::Relaxed), Ordering::Relaxed);
            let next = bag.next.load(Ordering::Relaxed);
            // SAFETY: every bag came from `Box::into_raw`, and nothing of it is used after this.
            drop(unsafe { Box::from_raw(self.first) });
            (self.first, self.place) = (next, 0);
        }
        None
    }
}

// SAFETY: the limbo owns its nodes and disposes of them on whichever thread collects, which T: Send permits; all its
// methods that take `&self` synchronise by atomics.
unsafe impl<T: Retire + Send> Send for Limbo<T> {}
// SAFETY: as above: a shared limbo moves nodes between threads, and hands out no reference to them.
unsafe impl<T: Retire + Send> Sync for Limbo<T> {}
