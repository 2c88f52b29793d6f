//! What an operation runs in: a pin, and what is to be done once the pin is gone.

use super::events::{CacheEvent, LoadKind};
use super::failure::Failure;
use super::observe::{About, observer_event};
use super::rejected::Rejected;
use super::stats::Event;
use super::{Core, Pressure, Ptr, RemovalCause};
use crate::flight::failure::SharedError;
use crate::flight::node::Node;
use crate::reclaim::{Pin, Upkeep};
use crate::sys::mutants::mutant;
use crate::sys::unwind::{self, Panic};
use crate::table::link::Link;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Whether a load has panicked.
pub(super) type Panicked = bool;

/// What is done once the pin is gone.
pub(super) enum Deferred<K, V> {
    /// Those who wait for this flight are woken.
    Rung(Ptr<K, V>),
    /// To the listener, that this value was removed; with a share of it.
    Removed(Ptr<K, V>, RemovalCause),
    /// To the listener, that this was not kept. Dropped next.
    Rejected(Box<Rejected<K, V>>),
    /// To who asked for it, that this flight's load has failed: with an error, with none, or by a panic; with a share of it.
    Failed(Ptr<K, V>, LoadKind, Option<SharedError>, Panicked),
    /// To the observer.
    Happened(CacheEvent, About<K, V>),
    /// What user code panicked with, that was asked in the middle of something.
    Panicked(Panic),
}

/// What an operation needs while it runs: a pin, and what is to be done once the pin is gone.
///
/// Under the pin run Hash, Eq, Clone and the closures of `retain` and `iter`; listeners, the observer and drops of values
/// run after it, in [`Operation`]'s own drop.
pub(crate) struct Operation<'c, K, V> {
    pub(crate) core: &'c Core<K, V>,
    pin: ManuallyDrop<Pin>,
    after: RefCell<Vec<Deferred<K, V>>>,
    upkeep: Cell<Upkeep>,
    /// Flights whose waiters are to be woken. There is one at most, but in a sweep.
    rung: Cell<Option<Ptr<K, V>>>,
    rung_more: RefCell<Vec<Ptr<K, V>>>,
}

impl<'c, K, V> Operation<'c, K, V> {
    #[inline]
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Wakes those who wait for a flight whose word was just changed, once the pin is gone: wakers are user code.
    pub(crate) fn ring(&self, flight: Ptr<K, V>) {
        if let Some(before) = self.rung.replace(Some(flight)) {
            self.rung_more.borrow_mut().push(before);
        }
    }

    /// Whether anything is done once the pin is gone: waking, telling, freeing.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.rung.get().is_some() || !self.after.borrow().is_empty() || self.upkeep.get() != Upkeep::Nothing
    }

    pub(super) fn push(&self, after: Deferred<K, V>) {
        self.after.borrow_mut().push(after);
    }

    /// Has the observer, if there is one, told of an event about this node's key once the pin is gone.
    pub(crate) fn observe_of(&self, node: &Node<K, V>, event: impl FnOnce() -> CacheEvent) {
        if self.core.observed() {
            self.push(Deferred::Happened(event(), self.core.about(node)));
        }
    }

    /// Asks user code in the middle of something that must be seen through: its answer; None if it
    /// panics. That panic goes on when the scope ends, after all else. (Without std, at once: there,
    /// panics abort.)
    pub(crate) fn ask<R>(&self, user: impl FnOnce() -> R) -> Option<R> {
        match unwind::caught(user) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                self.push(Deferred::Panicked(panic));
                None
            }
        }
    }

    /// Counts an event about this node's key, and has the observer told of it.
    pub(super) fn count_of(&self, node: &Node<K, V>, event: Event) {
        self.core.counters.count(event);
        if let Some(told) = observer_event(event) {
            self.observe_of(node, || told);
        }
    }

    /// Has the listener told that a value was removed, once the pin is gone.
    ///
    /// # Safety
    /// The caller hands over a share of the node, whose word was valued.
    pub(super) unsafe fn announce(&self, node: Ptr<K, V>, cause: RemovalCause) {
        self.push(Deferred::Removed(node, cause));
    }

    /// Has who asked for it told, once the pin is gone, that a load has failed with `error`, if there is one, or by a panic.
    ///
    /// # Safety
    /// The caller has a share of the node.
    pub(crate) unsafe fn load_failed(
        &self,
        node: Ptr<K, V>,
        kind: LoadKind,
        error: Option<&SharedError>,
        panicked: bool,
    ) {
        if self.core.config.on_load_error.is_some() {
            // SAFETY: the caller's share. So another cannot be refused.
            let shared = unsafe { node.as_ref() }.inc_ref();
            debug_assert!(shared);
            self.push(Deferred::Failed(node, kind, error.cloned(), panicked));
        }
    }

    /// Gives back a share.
    ///
    /// # Safety
    /// The caller owns the share, and from now on uses the node only under this scope's pin.
    pub(crate) unsafe fn release(&self, node: Ptr<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.release_shares(node, 1) };
    }

    /// Gives back several shares at once.
    ///
    /// # Safety
    /// As for [`release`](Self::release), of each.
    pub(super) unsafe fn release_shares(&self, node: Ptr<K, V>, shares: u32) {
        let shares = if mutant("one share of two") { 1 } else { shares };
        // SAFETY: the caller's shares; it uses the node under this scope's pin only, and so do we.
        if unsafe { Node::dec_ref(node, shares) } {
            // SAFETY: those were the last shares.
            unsafe { self.retire(node) };
        }
    }

    /// # Safety
    /// The last share of `node` was given back, by the caller: so it is out of the list and the ring, nobody who pins
    /// from now on can find it, and nobody else retires it.
    pub(super) unsafe fn retire(&self, node: Ptr<K, V>) {
        // SAFETY: handed on; nodes come from the limbo's arena.
        let upkeep = unsafe { self.core.limbo.retire(&self.pin, node, self.core.batch()) };
        self.upkeep.set(self.upkeep.get().max(upkeep));
    }

    /// What was retired so far need not wait for more: whoever cleans up wants values dropped.
    pub(crate) fn seal_and_reclaim(&self) {
        self.upkeep.set(Upkeep::Flush);
    }

    /// The same of the few that a caller removes by name.
    ///
    /// (Not in models, where it would add the steps of a sweep's end, which have models of their own, to each removal.)
    pub(crate) fn promptly(&self) {
        if !cfg!(loom) {
            self.upkeep.set(self.upkeep.get().max(Upkeep::Promptly));
        }
    }

    /// The node around a link of this core's tables.
    pub(super) fn node(&self, link: NonNull<Link>) -> &Node<K, V> {
        // SAFETY: the tables of this core hold nodes of this type only, and links are only had under this pin.
        unsafe { Node::of_link(link) }
    }
}

impl<K, V> Drop for Operation<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.pin) };
        let more = core::mem::take(self.rung_more.get_mut());
        let after = core::mem::take(self.after.get_mut());
        match self.rung.get() {
            // Most often it is one flight, and nothing else.
            Some(flight) if more.is_empty() && after.is_empty() => self.core.bells.ring(flight.addr().get()),
            None if after.is_empty() => {}
            rung => self.core.tell(rung.into_iter().chain(more), after),
        }
        let upkeep = match self.core.pressure() {
            Pressure::Normal => self.upkeep.get(),
            _ => self.upkeep.get().max(Upkeep::All),
        };
        if upkeep != Upkeep::Nothing && !unwind::panicking() {
            self.core.limbo.collect(upkeep);
        }
    }
}

impl<K, V> Core<K, V> {
    /// Wakes those who wait, tells the listener about removed values and gives back the shares that kept them for it, and
    /// tells the observer.
    fn tell(&self, rung: impl Iterator<Item = Ptr<K, V>>, after: Vec<Deferred<K, V>>) {
        struct Release<'c, K, V>(&'c Core<K, V>, Ptr<K, V>);
        impl<K, V> Drop for Release<'_, K, V> {
            fn drop(&mut self) {
                // What follows the announcement of a value that is to be dropped at once is the operation's upkeep.
                // SAFETY: the share was taken for this announcement; this is its end.
                unsafe { self.0.give_back(self.1, false) };
            }
        }
        unwind::each(rung.map(Deferred::Rung).chain(after), |after| match after {
            // A flight's address is all that its bell is found by: it need not be alive.
            Deferred::Rung(flight) => self.bells.ring(flight.addr().get()),
            Deferred::Removed(node, cause) => {
                let kept = Release(self, node);
                if let Some(listener) = &self.config.listener {
                    // SAFETY: `kept` has a share; only nodes whose word was valued are announced.
                    let (key, value) = unsafe { (kept.1.as_ref().key(), kept.1.as_ref().value()) };
                    listener(key, value, cause);
                }
            }
            Deferred::Rejected(rejected) => {
                // One after the other, even if the first one panics; and then it is dropped.
                unwind::each([false, true].into_iter(), |observer| match &self.config.listener {
                    _ if observer => self.observe_key(
                        rejected.order(),
                        Some(rejected.key()),
                        [CacheEvent::Rejected { cause: rejected.cause() }],
                    ),
                    Some(listener) => listener(rejected.key(), rejected.value(), RemovalCause::Rejected),
                    None => {}
                });
            }
            Deferred::Failed(node, kind, error, panicked) => {
                let kept = Release(self, node);
                if let Some(on_load_error) = &self.config.on_load_error {
                    // SAFETY: `kept` has a share; flights have their keys.
                    let key = unsafe { kept.1.as_ref() }.key();
                    on_load_error(key, &Failure::new(error.as_deref(), panicked), kind);
                }
            }
            Deferred::Happened(event, about) => self.observe_of(Some(&self.key_about(about)), [event]),
            Deferred::Panicked(panic) => unwind::resume(panic),
        });
    }
}

impl<K, V> Core<K, V> {
    /// A place for an operation to run in.
    #[inline]
    pub(crate) fn operation(&self, pin: Pin) -> Operation<'_, K, V> {
        Operation {
            core: self,
            pin: ManuallyDrop::new(pin),
            after: RefCell::new(Vec::new()),
            upkeep: Cell::new(Upkeep::Nothing),
            rung: Cell::new(None),
            rung_more: RefCell::new(Vec::new()),
        }
    }

    /// Gives back a share from outside of any pin. If it was the last one, of a value that was removed before, that is dropped at
    /// once where nobody is pinned.
    ///
    /// # Safety
    /// The caller owns the share, and does not use it again.
    pub(crate) unsafe fn release_unpinned(&self, node: Ptr<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.give_back(node, true) };
    }

    /// # Safety
    /// As for [`release_unpinned`](Self::release_unpinned).
    unsafe fn give_back(&self, node: Ptr<K, V>, promptly: bool) {
        // SAFETY: the caller's share, and it does not use the node again; nor do we, unless it was the last one. Here there are
        // only pointers to it.
        if unsafe { Node::dec_ref(node, 1) } {
            // SAFETY: whoever gave back the last share is the last to use it, if it was never to be found by a reader.
            if unsafe { node.as_ref() }.is_detached() {
                struct Last<'c, K, V>(&'c Core<K, V>, Option<Ptr<K, V>>);
                impl<K, V> Drop for Last<'_, K, V> {
                    fn drop(&mut self) {
                        // SAFETY: the detached node's share, which ends with it.
                        self.1.into_iter().for_each(|of| unsafe { self.0.release_unpinned(of) });
                    }
                }
                // SAFETY: alive until it is disposed of.
                let _key = Last(self, unsafe { node.as_ref() }.fenced_of().filter(|_| !mutant("fenced share kept")));
                // SAFETY: nodes come from the limbo's arena, and nobody can reach this one any more.
                return unsafe { self.limbo.dispose(node) };
            }
            let operation = self.operation(self.limbo.enter());
            // SAFETY: that was the last share.
            unsafe { operation.retire(node) };
            if promptly {
                operation.promptly();
            }
        }
    }
}
