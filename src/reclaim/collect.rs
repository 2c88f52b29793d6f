//! Freeing what is ripe: how many bags, and when.

use super::Retire;
use super::bag::{BAG, Bag};
use super::epoch::Grace;
use super::freed::Freed;
use super::limbo::{FEW, Limbo, Upkeep};
use crate::sys::mutants::sized;
use crate::sys::stack::Chain;
use crate::sys::sync::Ordering;
use crate::sys::unwind;
use alloc::boxed::Box;
use core::ptr::NonNull;

/// The most nodes that are retired before a call looks again whether the readers that held up
/// others have unpinned.
const RARELY: usize = sized(16, 2, 2);

/// How often a call that is to free a value at once looks whether the readers have unpinned. Most
/// pins are very short.
const LOOKS: usize = sized(32, 2, 1);

impl<T: Retire> Limbo<T> {
    /// Does the work that is due. The caller holds no pin, because user code (drops of keys and
    /// values) runs in here.
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
                let pin = self.enter();
                self.seal_open(&pin, |_| true);
                self.seal_own(&pin);
                drop(pin);
                self.begin_waits();
                self.all_with(self.ripened_soon())
            }
        };
        // SAFETY: the bags are ripe. They are from `ripened`, or from the list of ripe bags, which
        // holds no others.
        unsafe { self.free(ripe) };
    }

    fn all_with(&self, mut ripe: Chain<Bag<T>>) -> Chain<Bag<T>> {
        ripe.append(self.ripe.take());
        ripe
    }

    /// Returns a few of these ripe bags and of the ripe bags that were left before. Without these,
    /// a call that always finds newly ripe bags would leave the older ones for ever.
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

    /// Does [`Upkeep::Promptly`], up to the freeing.
    pub(super) fn promptly(&self) -> Chain<Bag<T>> {
        let mut ripe = Chain::new();
        if !self.waiting.is_empty() {
            self.begin_waits();
            ripe = self.ripened_soon();
        }
        // Bags that still wait, wait for a reader. The content of the open bag would have to wait,
        // too.
        let can = self.waiting.is_empty() && self.graces.ready(&self.epoch);
        if can {
            self.seal_open(&self.enter(), |_| true);
            self.begin_waits();
            ripe.append(self.ripened_soon());
        }
        let owed = match (can && self.waiting.is_empty(), self.owed.load(Ordering::Relaxed)) {
            (true, _) => 0,
            (false, 0) => 1,
            (false, owed) => (owed * 2).min(RARELY),
        };
        self.owed.store(owed, Ordering::Relaxed);
        // The small bags hold what was to be freed at once. Of the others, a few are freed, as in
        // any call.
        let (mut now, mut later, mut full) = (Chain::new(), Chain::new(), 0);
        while let Some(bag) = ripe.pop() {
            // SAFETY: the bag was in the chain, and is this thread's until it is pushed.
            let small = unsafe { bag.as_ref() }.held.nodes.load(Ordering::Relaxed) < BAG;
            full += usize::from(!small);
            let chain = if small || full <= FEW { &mut now } else { &mut later };
            // SAFETY: the bag is this thread's. Only a thread that takes it out of a list frees it.
            unsafe { chain.push(bag) };
        }
        if FEW != usize::MAX {
            now.append(self.few_of(later));
        }
        now
    }

    /// Does the same as [`ripened`](Self::ripened), and looks several times.
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

    /// Begins the wait of the sealed bags.
    pub(super) fn begin_waits(&self) {
        self.fresh.store(0, Ordering::Relaxed);
        if self.graces.ready(&self.epoch) {
            let sealed = self.sealed.take();
            if self.graces.begin(&self.epoch, sealed.iter().map(|bag| &bag.grace)) {
                let _none = self.wait_unless(sealed, |_| false);
            } else {
                // The wait cannot begin now.
                self.sealed.put_back(sealed);
            }
        }
    }

    /// Takes the bags whose wait has ended.
    pub(super) fn ripened(&self) -> Chain<Bag<T>> {
        if !self.graces.due(&self.epoch) {
            return Chain::new();
        }
        let (waiting, horizon) = self.graces.look(&self.epoch, || self.waiting.take());
        self.wait_unless(waiting, |grace| horizon.passed(grace))
    }

    /// Returns the bags whose wait is `over`, and puts the others into the list of waiting bags.
    pub(super) fn wait_unless(&self, mut bags: Chain<Bag<T>>, over: impl Fn(&Grace) -> bool) -> Chain<Bag<T>> {
        let mut kept = Chain::new();
        while let Some(bag) = bags.pop() {
            // SAFETY: the bag was in the chain, and is this thread's until it is pushed.
            let grace = unsafe { &bag.as_ref().grace };
            if over(grace) {
                // SAFETY: the bag is this thread's. Only a thread that takes it out of a list frees
                // it.
                unsafe { kept.push(bag) };
            } else {
                let mark = grace.mark();
                // SAFETY: as above.
                unsafe { self.waiting.push(bag) };
                // (Another thread may have taken the bag already, so this uses the copied mark.)
                self.graces.waits(mark);
            }
        }
        kept
    }

    /// Frees bags. If a user's drop panics, the panic goes on only after the rest has been freed.
    ///
    /// # Safety
    /// The bags are ripe: no thread reads their nodes any more.
    pub(super) unsafe fn free(&self, mut bags: Chain<Bag<T>>) {
        let mut freed = self.arena.freed();
        // SAFETY: the bags are ripe, by contract, and each is taken once.
        unwind::each(core::iter::from_fn(|| bags.pop()), |bag| unsafe { self.free_one(bag, &mut freed) });
    }

    /// Disposes of the nodes of a bag, has them used again, and subtracts the bag's content, even
    /// if a user's drop panics.
    ///
    /// # Safety
    /// As for [`free`](Self::free). The bag is in no list.
    unsafe fn free_one(&self, bag: NonNull<Bag<T>>, freed: &mut Freed<'_, T>) {
        // SAFETY: bags are made in boxes. This one is in no list, and ripe: so no thread that has
        // retired a node into it has its address any more.
        let bag = unsafe { Box::from_raw(bag.as_ptr()) };
        let disposed = match bag.owns.load(Ordering::Relaxed) {
            // SAFETY: by contract no thread reads the nodes any more, and each is in the bag once.
            true => unwind::caught(|| unwind::each(bag.nodes(), |node| unsafe { T::dispose(node) })),
            false => Ok(()),
        };
        self.held.nodes.fetch_sub(bag.held.nodes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.held.weight.fetch_sub(bag.held.weight.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Err(bag) = self.own.keep(bag, &self.arena) {
            // SAFETY: the nodes are this limbo's, and disposed of.
            bag.nodes().for_each(|node| unsafe { freed.add(node) });
        }
        disposed.unwrap_or_else(|panic| unwind::resume(panic));
    }
}
