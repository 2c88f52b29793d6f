//! Retired nodes, in bags that the cache owns.
//!
//! A retirer reserves a place in the open bag by `taken`, writes the pointer, and counts it in by `filled`. Whoever
//! completes `filled` seals the bag, so there is exactly one sealer and no bag is sealed with a write outstanding. The
//! sealer first makes sure that the bag is no longer the open one, then asks the epoch for a grace period: a
//! slow retirer that still holds the bag's address is pinned, and so keeps the bag alive.

use super::arena::Freed;
use super::{Arena, Epoch, Grace, Handle, Pin, Retire};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, mutant, untracked};
use alloc::{boxed::Box, sync::Arc};
use core::ptr::{self, NonNull};

/// Nodes a bag. Larger means fewer grace periods and more memory waiting.
const BAG: usize = if cfg!(loom) { 2 } else { 64 };

/// The most tries to move the epoch on in one call.
const TRIES: usize = 256;
/// Epochs until what is retired now is ripe: after so many tries without effect somebody is pinned.
const GENERATIONS: usize = 3;

struct Bag<T> {
    taken: AtomicUsize,
    filled: AtomicUsize,
    weight: AtomicU64,
    items: [AtomicPtr<T>; BAG],
    grace: Arc<Grace>,
    /// In the sealed list; written by the bag's owner only (its sealer, then whoever swapped the list out).
    next: AtomicPtr<Bag<T>>,
}

/// What a cache has retired and not yet freed.
pub(crate) struct Limbo<T: Retire> {
    epoch: Epoch,
    open: AtomicPtr<Bag<T>>,
    sealed: AtomicPtr<Bag<T>>,
    /// Sealed bags whose grace period is over and that are not yet freed.
    ripened: Arc<AtomicUsize>,
    nodes: untracked::AtomicUsize,
    weight: untracked::AtomicU64,
    /// Where nodes come from and go to. (The last field: what is in limbo goes there as this is dropped.)
    arena: Arena<T>,
}

/// Whether [`Limbo::retire`] completed a bag: a good moment to collect.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    Bagged,
    Sealed,
}

impl<T: Retire> Limbo<T> {
    pub(crate) fn new(huge_pages: bool) -> Self {
        Self {
            epoch: Epoch::new(),
            open: AtomicPtr::new(ptr::null_mut()),
            sealed: AtomicPtr::new(ptr::null_mut()),
            ripened: Arc::new(AtomicUsize::new(0)),
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

    /// Nodes retired and not yet freed.
    #[inline]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Their weight.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Takes `node` for disposal after a grace period. A bag is sealed when it is full, or heavier than `heavy`.
    ///
    /// # Safety
    /// `node` came from this limbo's arena; it cannot be reached by anyone who pins from now on; it is retired once.
    pub(crate) unsafe fn retire(&self, pin: &Pin, node: NonNull<T>, heavy: u64) -> Retired {
        // SAFETY: not yet retired, so it is alive.
        let weight = u64::from(unsafe { node.as_ref() }.weight());
        self.nodes.fetch_add(1, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
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
            let mut counted = 1;
            if shared.weight.fetch_add(weight, Ordering::Relaxed) + weight > heavy {
                // Take all places that are left, so that nobody else gets one.
                counted += BAG - shared.taken.swap(BAG, Ordering::Relaxed).min(BAG);
            }
            // AcqRel: the sealer (the last one here) sees what every other retirer wrote into the bag.
            if shared.filled.fetch_add(counted, Ordering::AcqRel) + counted < BAG {
                return Retired::Bagged;
            }
            self.close(bag);
            self.seal(pin, bag);
            return Retired::Sealed;
        }
    }

    /// Seals the open bag as it is.
    pub(crate) fn seal_open(&self, pin: &Pin) {
        // Acquire: pairs with the Release in `open_bag`, for the bag's fields.
        let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) else { return };
        // SAFETY: it was the open bag under our pin (see `retire`).
        let shared = unsafe { bag.as_ref() };
        let rest = BAG - shared.taken.swap(BAG, Ordering::Relaxed).min(BAG);
        // AcqRel: as in `retire`. If a retirer is still writing, it is the one to seal.
        if rest > 0 && shared.filled.fetch_add(rest, Ordering::AcqRel) + rest == BAG {
            self.close(bag);
            self.seal(pin, bag);
        }
    }

    fn open_bag(&self) -> NonNull<Bag<T>> {
        // Acquire: pairs with the Release below, for the bag's fields.
        if let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) {
            return bag;
        }
        let fresh = Box::into_raw(Box::new(Bag {
            taken: AtomicUsize::new(0),
            filled: AtomicUsize::new(0),
            weight: AtomicU64::new(0),
            items: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            grace: Grace::new(&self.ripened),
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

    fn seal(&self, pin: &Pin, bag: NonNull<Bag<T>>) {
        // SAFETY: the bag is alive: sealed once, by us, and not yet in the sealed list.
        let grace = unsafe { bag.as_ref() }.grace.clone();
        self.put_back(bag.as_ptr());
        pin.after_grace(grace);
        pin.flush();
    }

    /// Pushes a bag, which the caller owns, onto the sealed list.
    fn put_back(&self, bag: *mut Bag<T>) {
        let mut head = self.sealed.load(Ordering::Relaxed);
        loop {
            // SAFETY: the bag is the caller's, so it is alive.
            unsafe { &*bag }.next.store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire of the swap in `collect`.
            match self.sealed.compare_exchange_weak(head, bag, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Moves the epoch on and frees what is ripe. User code (drops of keys and values) runs in here: hold no pin.
    ///
    /// A bag is ripe some epochs after it was sealed, and a back end ripens only a few bags a try: so it is tried as long as
    /// that helps.
    pub(crate) fn collect(&self) {
        let mut vain = 0;
        for _ in 0..TRIES {
            let before = self.ripened.load(Ordering::Relaxed);
            self.enter().flush();
            vain = if self.ripened.load(Ordering::Relaxed) == before { vain + 1 } else { 0 };
            if vain == GENERATIONS {
                break;
            }
        }
        if self.ripened.load(Ordering::Relaxed) > 0 || mutant("no grace") {
            self.free_ripe(false);
        }
    }

    fn free_ripe(&self, all: bool) {
        // Acquire: pairs with `put_back`. Whoever swaps owns the whole list; others meanwhile find it empty.
        let mut next = self.sealed.swap(ptr::null_mut(), Ordering::Acquire);
        let mut ripe = Bags(ptr::null_mut(), self);
        while !next.is_null() {
            let bag = next;
            // SAFETY: the swap made every bag of the list ours, and a bag is freed by its owner.
            let shared = unsafe { &*bag };
            next = shared.next.load(Ordering::Relaxed);
            // Over: all readers of the bag's nodes are done.
            let over = shared.grace.is_over() || mutant("no grace");
            if over {
                self.ripened.fetch_sub(1, Ordering::Relaxed);
            }
            if over || all {
                shared.next.store(ripe.0, Ordering::Relaxed);
                ripe.0 = bag;
            } else {
                self.put_back(bag);
            }
        }
        ripe.free();
    }
}

impl<T: Retire> Drop for Limbo<T> {
    fn drop(&mut self) {
        let open = self.open.swap(ptr::null_mut(), Ordering::Acquire);
        if !open.is_null() {
            self.put_back(open);
        }
        // Everything is ripe: whoever could hold a pin on this cache's nodes borrows the cache.
        self.free_ripe(true);
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

/// Bags being freed. A panic in a user's drop goes on only after the rest has been freed.
struct Bags<'l, T: Retire>(*mut Bag<T>, &'l Limbo<T>);

impl<T: Retire> Bags<'_, T> {
    fn free(mut self) {
        self.free_all();
    }

    fn free_all(&mut self) {
        let mut freed = self.1.arena.freed();
        crate::unwind::each(core::iter::from_fn(|| self.next_node()), |node| {
            // SAFETY: the bag was ripe (or the cache is being dropped): nobody reads the node any more, and it is
            // taken out of the bag once.
            unsafe { dispose(node, &mut freed) }
        });
    }

    /// The next node of the first bag; bags that have run empty are freed on the way.
    fn next_node(&mut self) -> Option<NonNull<T>> {
        while !self.0.is_null() {
            // SAFETY: the bags of the chain are ours (see `free_ripe`).
            let bag = unsafe { &*self.0 };
            for item in &bag.items {
                if let Some(node) = NonNull::new(item.swap(ptr::null_mut(), Ordering::Relaxed)) {
                    // SAFETY: not yet disposed of.
                    let weight = u64::from(unsafe { node.as_ref() }.weight());
                    self.1.nodes.fetch_sub(1, Ordering::Relaxed);
                    self.1.weight.fetch_sub(weight, Ordering::Relaxed);
                    return Some(node);
                }
            }
            let next = bag.next.load(Ordering::Relaxed);
            // SAFETY: every bag came from `Box::into_raw`, and nothing of it is used after this.
            drop(unsafe { Box::from_raw(self.0) });
            self.0 = next;
        }
        None
    }
}

// SAFETY: the limbo owns its nodes and disposes of them on whichever thread collects, which T: Send permits; all its
// methods that take `&self` synchronise by atomics.
unsafe impl<T: Retire + Send> Send for Limbo<T> {}
// SAFETY: as above: a shared limbo moves nodes between threads, and hands out no reference to them.
unsafe impl<T: Retire + Send> Sync for Limbo<T> {}
