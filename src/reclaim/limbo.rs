//! Retired nodes, in bags that the cache owns.
//!
//! A bag passes through four states:
//!
//! 1. *Open*: retirers fill it. A retirer takes a place, and adds the node's weight, by one RMW of
//!    `taken`, and then writes the pointer. The thread that takes the last place is the sealer. So
//!    a bag has exactly one sealer.
//! 2. *Sealed*: the sealer makes sure that the bag is no longer the open one, and then puts it into
//!    the list of sealed bags.
//! 3. *Waiting*: a thread takes all sealed bags and begins their wait for a grace period together,
//!    which may cost a system call. The bags go to the list of waiting bags.
//! 4. *Ripe*: bags whose grace period has passed go to the list of ripe bags. A thread that seals a
//!    bag frees a few from that list. So no call frees more than [`FEW`] bags, however many become
//!    ripe together. (A [clean-up](Upkeep::Flush) frees all of them, and so does a call that finds
//!    too much waiting.)
//!
//! A slow retirer that still holds a bag's address is pinned, and so keeps the bag alive. If it has
//! not written its pointer as the bag is sealed, it does so before the bag is ripe.
//!
//! A thread of a large cache fills a bag of its own with nodes that own nothing
//! ([`own`](super::own)). It is open until the thread seals it, and is then like any other.
//!
//! Values may own more than memory. So values that a caller removes by key, and the values of small
//! caches, do not wait for a bag to fill: the bag is sealed as it is after the operation's pin, and
//! freed at once if no reader is pinned ([`Upkeep::Promptly`]). If a reader is pinned, no more of
//! such small bags are sealed, because they would have to wait, too, and would take more memory
//! than their nodes. Retired nodes then gather in the open bag, and operations that retire look
//! again at growing intervals.

use super::bag::{BAG, Bag, Content, Held, dispose};
use super::epoch::Graces;
use super::own::Owned;
use super::{Arena, Epoch, Handle, Pin, Retire};
use crate::sys::mutants::sized;
use crate::sys::stack::Stack;
use crate::sys::sync::{AtomicPtr, Ordering, untracked};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// The most bags that one call frees. It is more than one, because each call comes with one bag
/// that was sealed. (In models all are freed, as early as can be. The list of those that are left
/// has a model of its own.)
pub(super) const FEW: usize = sized(2, 2, usize::MAX);

/// The nodes that a cache has retired and not freed yet.
pub(crate) struct Limbo<T: Retire> {
    pub(super) epoch: Epoch,
    pub(super) open: AtomicPtr<Bag<T>>,
    /// Bags whose wait has not begun.
    pub(super) sealed: Stack<Bag<T>>,
    /// The number of bags in `sealed`.
    pub(super) fresh: untracked::AtomicUsize,
    pub(super) waiting: Stack<Bag<T>>,
    pub(super) ripe: Stack<Bag<T>>,
    pub(super) graces: Graces,
    /// The content of all bags but the open one.
    pub(super) held: Held,
    /// The interval at which retirers look again, because something that was to be freed at once
    /// waits for a pin's end. A retirer that brings the number of nodes in the open bag to a
    /// multiple of it looks. A power of two, or 0 if nothing waits.
    pub(super) owed: untracked::AtomicUsize,
    /// Whether nodes may have other weights than one.
    weighs: bool,
    /// What threads have for themselves.
    pub(super) own: Owned<T>,
    /// The memory of the nodes. It is the last field, because the nodes in limbo go there as this
    /// is dropped.
    pub(super) arena: Arena<T>,
}

/// The work that is due after the pin. Each step includes the steps before it.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Upkeep {
    Nothing,
    /// Free some of the ripe bags.
    Some,
    /// Begin the wait of the sealed bags, and look which bags have become ripe.
    Waits,
    /// Seal the open bag, if it can be freed by now, and free it.
    Promptly,
    /// Free all ripe bags. (The open bag is not sealed for it.)
    All,
    /// Seal the open bag, and free all ripe bags.
    Flush,
}

/// How much may gather before it is time to collect.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    /// The nodes in the open bag from which on it is to be freed promptly, full or not.
    bag: usize,
    nodes: usize,
    weight: u64,
}

impl Batch {
    /// Sets a limit of so many nodes, and a limit of so much weight.
    pub(crate) fn new(nodes: usize, weight: u64) -> Self {
        // (In models bags are as small as can be, and are filled.)
        let bag = if cfg!(loom) { BAG } else { nodes.clamp(1, BAG) };
        Self { bag, nodes, weight }
    }
}

impl<T: Retire> Limbo<T> {
    /// `weighs`: nodes may have other weights than one.
    pub(crate) fn new(huge_pages: bool, weighs: bool) -> Self {
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
            weighs,
            own: Owned::new(),
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
    /// `node` came from this limbo's arena, no other thread can reach it, and it is not used again.
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

    /// Returns the number of nodes that are retired and not freed yet, and their weight.
    pub(crate) fn retired(&self) -> (usize, u64) {
        let _pin = self.enter();
        // Acquire: pairs with the Release in `open_bag`, for the bag's fields.
        // SAFETY: it is null, or it is the open bag under this pin (see `retire`).
        let open = unsafe { self.open.load(Ordering::Acquire).as_ref() };
        let open = open.map_or(Content(0), |bag| Content(bag.taken.load(Ordering::Relaxed)));
        let own = self.own.retired();
        (self.nodes() + open.nodes().min(BAG) + own.0, self.weight() + open.weight() + own.1)
    }

    /// Returns the number of nodes in sealed bags, which leaves out those in open bags: the one
    /// that threads share, and those that threads have for themselves.
    #[inline]
    pub(crate) fn nodes(&self) -> usize {
        self.held.nodes.load(Ordering::Relaxed)
    }

    /// Returns the weight of the nodes in sealed bags.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.held.weight.load(Ordering::Relaxed)
    }

    /// Takes `node` for disposal after a grace period. Returns the work that is due after the pin.
    ///
    /// # Safety
    /// `node` came from this limbo's arena. No thread that pins from now on can reach it. It is
    /// retired once.
    #[inline(always)]
    pub(crate) unsafe fn retire(&self, pin: &Pin, node: NonNull<T>, batch: impl FnOnce() -> Batch) -> Upkeep {
        // SAFETY: the node is not retired yet, so it is alive.
        let (weight, owns) = unsafe { (node.as_ref().weight(), node.as_ref().owns()) };
        let alone = !owns && !self.weighs;
        if alone && self.own.retire(pin, node, weight) {
            return Upkeep::Nothing;
        }
        // SAFETY: as for this function.
        unsafe { self.retire_slowly(pin, (node, weight, owns), alone, batch()) }
    }

    /// Does the same where the thread's own bag is full, or where the thread has none.
    ///
    /// # Safety
    /// As for [`retire`](Self::retire).
    #[inline(never)]
    unsafe fn retire_slowly(
        &self,
        pin: &Pin,
        (node, weight, owns): (NonNull<T>, u32, bool),
        alone: bool,
        batch: Batch,
    ) -> Upkeep {
        if alone {
            if let Some(upkeep) = self.change_bags(pin, (node, weight), batch) {
                return upkeep;
            }
        }
        // SAFETY: as for this function.
        unsafe { self.retire_shared(pin, (node, weight, owns), batch) }
    }

    /// Does the same by the open bag that all threads share.
    ///
    /// # Safety
    /// As for [`retire`](Self::retire).
    unsafe fn retire_shared(&self, pin: &Pin, (node, weight, owns): (NonNull<T>, u32, bool), batch: Batch) -> Upkeep {
        loop {
            let bag = self.open_bag();
            // SAFETY: `bag` was the open bag under this pin, and a bag is freed a grace period
            // after it ceased to be the open one.
            let shared = unsafe { bag.as_ref() };
            let Some((place, content)) = shared.take_place(weight.into()) else {
                self.close(bag);
                continue;
            };
            // (First of all, as a child of the process may find only the first store.)
            if owns {
                shared.owns.store(true, Ordering::Relaxed);
            }
            place.store(node.as_ptr(), Ordering::Relaxed);
            let (nodes, weight) = (content.nodes(), content.weight());
            let owed = self.owed.load(Ordering::Relaxed);
            if nodes < batch.bag && weight <= batch.weight && owed == 0 {
                return Upkeep::Nothing;
            }
            if nodes == BAG {
                self.close(bag);
                self.seal(pin, bag, content);
            } else if weight <= batch.weight || !self.seal_rest(pin, bag) {
                let look = (nodes >= batch.bag || owed != 0) && nodes & owed.saturating_sub(1) == 0;
                return if look { Upkeep::Promptly } else { Upkeep::Nothing };
            }
            return self.usual(batch);
        }
    }

    /// Returns the work that is due after a bag was sealed.
    pub(super) fn usual(&self, batch: Batch) -> Upkeep {
        if self.weight() > batch.weight {
            Upkeep::All
        } else if self.fresh.load(Ordering::Relaxed) * BAG >= batch.nodes {
            Upkeep::Waits
        } else if FEW == usize::MAX || self.ripe.is_empty() {
            Upkeep::Nothing
        } else {
            Upkeep::Some
        }
    }

    /// Seals the open bag as it is, if it is worth that.
    pub(super) fn seal_open(&self, pin: &Pin, worth: impl FnOnce(&Bag<T>) -> bool) {
        // Acquire: pairs with the Release in `open_bag`, for the bag's fields.
        if let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) {
            // SAFETY: it was the open bag under this pin (see `retire`).
            if worth(unsafe { bag.as_ref() }) {
                self.seal_rest(pin, bag);
            }
        }
    }

    /// Takes all places that are left in a bag that was the open one under this pin, and seals the
    /// bag. Returns false if no place was left. Then another thread seals it.
    fn seal_rest(&self, pin: &Pin, bag: NonNull<Bag<T>>) -> bool {
        // SAFETY: it was the open bag under this pin (see `retire`).
        let rest = unsafe { bag.as_ref() }.take_rest();
        rest.is_some_and(|content| {
            self.close(bag);
            self.seal(pin, bag, content);
            true
        })
    }

    fn open_bag(&self) -> NonNull<Bag<T>> {
        // Acquire: pairs with the Release below, for the bag's fields.
        if let Some(bag) = NonNull::new(self.open.load(Ordering::Acquire)) {
            return bag;
        }
        let fresh = Box::into_raw(Box::new(Bag::new(self.graces.grace())));
        let null = ptr::null_mut();
        match self.open.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `fresh` came from a Box, so it is not null.
            Ok(_) => unsafe { NonNull::new_unchecked(fresh) },
            Err(other) => {
                // SAFETY: `fresh` was never published, so the box is still this thread's alone.
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

    /// Puts a full bag, which is no longer the open one, into the list of sealed bags.
    pub(super) fn seal(&self, pin: &Pin, bag: NonNull<Bag<T>>, content: Content) {
        // SAFETY: the bag is alive: only this thread seals it, and it is in no list yet.
        let shared = unsafe { bag.as_ref() };
        let (nodes, weight) = (content.nodes(), content.weight());
        shared.held.nodes.store(nodes, Ordering::Relaxed);
        shared.held.weight.store(weight, Ordering::Relaxed);
        self.held.nodes.fetch_add(nodes, Ordering::Relaxed);
        self.held.weight.fetch_add(weight, Ordering::Relaxed);
        self.graces.seal(pin, &shared.grace);
        // SAFETY: the bag is this thread's to give away. Only a thread that takes it out of a list
        // frees it.
        unsafe { self.sealed.push(bag) };
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T: Retire> Drop for Limbo<T> {
    fn drop(&mut self) {
        if let Some(open) = NonNull::new(self.open.swap(ptr::null_mut(), Ordering::Acquire)) {
            // SAFETY: `&mut self`, so the bag is this thread's.
            unsafe { self.waiting.push(open) };
        }
        let lists = [&self.sealed, &self.waiting, &self.ripe];
        // SAFETY: all bags are ripe, because a thread that holds a pin on this cache's nodes
        // borrows the cache.
        crate::sys::unwind::each(lists.into_iter(), |list| unsafe { self.free(list.take()) });
    }
}

// SAFETY: the limbo owns its nodes, and disposes of them on the thread that collects, which
// `T: Send` permits. All methods that take `&self` synchronise by atomics.
unsafe impl<T: Retire + Send> Send for Limbo<T> {}
// SAFETY: as above. A shared limbo moves nodes between threads, and hands out no reference to them.
unsafe impl<T: Retire + Send> Sync for Limbo<T> {}
