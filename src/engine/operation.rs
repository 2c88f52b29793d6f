//! The operation: a pin, and the work that is deferred until the pin is gone.

use super::events::{CacheEvent, LoadKind};
use super::failure::Failure;
use super::observe::{About, observer_event};
use super::rejected::Rejected;
use super::stats::Event;
use super::{Core, Pressure, Ptr, RemovalCause};
use crate::flight::failure::SharedError;
use crate::flight::node::Node;
use crate::reclaim::{Pin, Retire, Upkeep};
use crate::sys::mutants::mutant;
use crate::sys::unwind::{self, Panic};
use crate::table::link::Link;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Whether a load panicked.
pub(super) type Panicked = bool;

/// Work that is deferred until the pin is gone.
pub(super) enum Deferred<K, V> {
    /// Wakes the waiters of this flight.
    Rung(Ptr<K, V>),
    /// Tells the listener that this value was removed. Owns a reference to its node.
    Removed(Ptr<K, V>, RemovalCause),
    /// Tells the listener and the observer that this key and value were not kept, then drops them.
    Rejected(Box<Rejected<K, V>>),
    /// Tells the `on_load_error` callback that this flight's load has failed: with an error,
    /// without one, or by a panic. Owns a reference to the flight's node.
    Failed(Ptr<K, V>, LoadKind, Option<SharedError>, Panicked),
    /// Tells the observer of this event.
    Happened(CacheEvent, About<K, V>),
    /// Resumes a panic of user code that was called in the middle of an operation.
    Panicked(Panic),
}

/// The context of an operation: a pin, and the work that is deferred until the pin is gone.
///
/// User code of two kinds runs in an operation. `Hash`, `Eq`, `Clone` and the closures of `retain`
/// and `iter` run under the pin. Wakers, listeners, the observer and drops of values run after it,
/// in [`Operation`]'s own drop.
pub(crate) struct Operation<'c, K, V> {
    pub(crate) core: &'c Core<K, V>,
    pin: ManuallyDrop<Pin>,
    /// Emptied as the operation ends.
    after: ManuallyDrop<RefCell<Vec<Deferred<K, V>>>>,
    upkeep: Cell<Upkeep>,
    /// The flight whose waiters are to be woken. Only a sweep has more than one.
    rung: Cell<Option<Ptr<K, V>>>,
}

impl<'c, K, V> Operation<'c, K, V> {
    #[inline]
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Returns whether anything waits at the bell of this flight.
    #[inline]
    pub(crate) fn has_waiters(&self, flight: Ptr<K, V>) -> bool {
        self.core.bells.has_waiters(flight.addr().get())
    }

    /// Wakes the waiters of a flight whose word was just changed, once the pin is gone: wakers are
    /// user code. If the flight's bell has no waiters now, there are none to wake: a later one sees
    /// the change.
    pub(crate) fn ring(&self, flight: Ptr<K, V>) {
        if !self.has_waiters(flight) {
            return;
        }
        if let Some(before) = self.rung.replace(Some(flight)) {
            self.push(Deferred::Rung(before));
        }
    }

    /// Returns whether any work is deferred: waking, telling, freeing.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.rung.get().is_some() || self.after.borrow().capacity() != 0 || self.upkeep.get() != Upkeep::Nothing
    }

    /// Returns whether nothing runs as the operation ends: no user code, and no upkeep.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_more_to_do() && self.core.pressure() == Pressure::Normal
    }

    /// Ends an operation that [is quiet](Self::is_quiet).
    #[inline]
    pub(crate) fn end_quietly(self) {
        debug_assert!(!self.has_more_to_do());
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the pin is dropped once, here: `this` is never dropped. Nothing else in it owns
        // anything, as nothing was deferred.
        unsafe { ManuallyDrop::drop(&mut this.pin) };
    }

    pub(super) fn push(&self, after: Deferred<K, V>) {
        self.after.borrow_mut().push(after);
    }

    /// Defers telling the observer, if there is one, of an event about this node's key.
    #[inline]
    pub(crate) fn observe_of(&self, node: &Node<K, V>, event: impl FnOnce() -> CacheEvent) {
        if self.core.observed() {
            self.tell_observer(node, event());
        }
    }

    #[inline(never)]
    fn tell_observer(&self, node: &Node<K, V>, event: CacheEvent) {
        self.push(Deferred::Happened(event, self.core.about(node)));
    }

    /// Calls user code in the middle of work that must be completed. Returns its answer, or `None`
    /// if it panics. The panic resumes when the operation ends, after all other work. (Without std
    /// a panic aborts at once.)
    pub(crate) fn ask<R>(&self, user: impl FnOnce() -> R) -> Option<R> {
        match unwind::caught(user) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                self.push(Deferred::Panicked(panic));
                None
            }
        }
    }

    /// Counts an event about this node's key, and defers telling the observer of it.
    pub(super) fn count_of(&self, node: &Node<K, V>, event: Event) {
        self.core.counters.count_under(&self.pin, event);
        if let Some(told) = observer_event(event) {
            self.observe_of(node, || told);
        }
    }

    /// Defers telling the listener that a value was removed.
    ///
    /// # Safety
    /// The caller hands over a reference to the node, and has read a word of it that has a value.
    pub(super) unsafe fn announce(&self, node: Ptr<K, V>, cause: RemovalCause) {
        self.push(Deferred::Removed(node, cause));
    }

    /// Defers calling `on_load_error`, if it is set: a load has failed with `error`, if there is
    /// one, or by a panic.
    ///
    /// # Safety
    /// The caller owns a reference to the node.
    pub(crate) unsafe fn load_failed(
        &self,
        node: Ptr<K, V>,
        kind: LoadKind,
        error: Option<&SharedError>,
        panicked: bool,
    ) {
        if self.core.config.on_load_error.is_some() {
            // SAFETY: the caller's reference keeps the node alive.
            unsafe { node.as_ref() }.add_refs(1);
            self.push(Deferred::Failed(node, kind, error.cloned(), panicked));
        }
    }

    /// Gives back a reference.
    ///
    /// # Safety
    /// The caller owns the reference. From now on it uses the node only under this operation's pin.
    pub(crate) unsafe fn release(&self, node: Ptr<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.release_shares(node, 1) };
    }

    /// Gives back several references at once.
    ///
    /// # Safety
    /// As for [`release`](Self::release), for each reference.
    pub(super) unsafe fn release_shares(&self, node: Ptr<K, V>, shares: u32) {
        // SAFETY: the caller owns the references. It uses the node under this operation's pin only,
        // as this function does.
        if unsafe { Node::dec_ref(node, Self::to_give_back(shares)) } {
            // SAFETY: the caller's references were the last ones, and have just been given back.
            unsafe { self.retire(node) };
        }
    }

    /// Gives back one reference or two to a node that is marked: the list's, the slot's or both. If
    /// they are both, and there are no others, it retires the node without an RMW of the count.
    ///
    /// # Safety
    /// As for [`release`](Self::release), for each reference. If one of them is the list's, the
    /// caller has set the mark, and has unlinked the node.
    #[inline(always)]
    pub(super) unsafe fn release_removed(&self, node: Ptr<K, V>, shares: u32) {
        // SAFETY: the references keep the node alive.
        let alone = || unsafe { node.as_ref() }.has_no_more_than(shares);
        // (Where removals are told, any caller may add a reference to a removed node.)
        let last = shares == 2 && !self.core.tells_removals && alone();
        // SAFETY: as in `release_shares`.
        if last || unsafe { Node::dec_ref(node, Self::to_give_back(shares)) } {
            // SAFETY: the caller's references were the last ones, and have just been given back. Or
            // they never are, and no finder gets another one, as the node is marked.
            unsafe { self.retire(node) };
        }
    }

    fn to_give_back(shares: u32) -> u32 {
        if mutant("one share of two") { 1 } else { shares }
    }

    /// Retires a node.
    ///
    /// # Safety
    /// The caller has given back the last reference to `node`. So the node is in neither the list
    /// nor a ring, no reader that pins from now on can find it, and no other caller retires it.
    #[inline(always)]
    pub(super) unsafe fn retire(&self, node: Ptr<K, V>) {
        // SAFETY: by this function's contract no reader that pins from now on reaches the node, and
        // it is retired once; nodes come from the limbo's arena.
        let upkeep = unsafe { self.core.limbo.retire(&self.pin, node, || self.core.batch()) };
        if upkeep != Upkeep::Nothing {
            self.upkeep.set(self.upkeep.get().max(upkeep));
        }
    }

    /// Has the open bag sealed and all ripe nodes freed when the operation ends: a caller that
    /// cleans up wants values dropped.
    pub(crate) fn seal_and_reclaim(&self) {
        self.upkeep.set(Upkeep::Flush);
    }

    /// Has the few nodes that a caller removed by name freed at once, if no reader is pinned. Where
    /// keys and values own nothing, that is done only if a kept failure was removed (`failed`),
    /// which owns an error: memory alone does not hurry.
    ///
    /// Models skip this. It would add to each removal the steps that end a sweep, which have models
    /// of their own.
    pub(crate) fn promptly(&self, failed: bool) {
        if !cfg!(loom) && (<Node<K, V> as Retire>::OWNS || failed) {
            self.upkeep.set(self.upkeep.get().max(Upkeep::Promptly));
        }
    }

    /// Returns the node around a link of this core's table.
    pub(super) fn node(&self, link: NonNull<Link>) -> &Node<K, V> {
        // SAFETY: the table of this core holds nodes of this type only. Callers get links from it
        // only under this operation's pin, which keeps the nodes alive.
        unsafe { Node::of_link(link) }
    }
}

impl<K, V> Drop for Operation<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the pin is dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.pin) };
        // The common case is one flight at most, and nothing else.
        if self.after.get_mut().capacity() != 0 {
            // (A vector without capacity, which is left, has nothing to drop.)
            self.core.tell(self.rung.get(), core::mem::take(self.after.get_mut()));
        } else if let Some(flight) = self.rung.get() {
            self.core.bells.ring(flight.addr().get());
        }
        if self.upkeep.get() != Upkeep::Nothing || self.core.pressure() != Pressure::Normal {
            self.core.keep_up(self.upkeep.get());
        }
    }
}

impl<K, V> Core<K, V> {
    /// Does the upkeep that an operation asks for, or that the pressure does. Does nothing while
    /// the thread unwinds: drops of the user's run in there.
    #[inline(never)]
    fn keep_up(&self, upkeep: Upkeep) {
        let upkeep = if self.pressure() == Pressure::Normal { upkeep } else { upkeep.max(Upkeep::All) };
        if !unwind::panicking() {
            self.limbo.collect(upkeep);
        }
    }

    /// Does the deferred work: wakes waiters, tells the listener about removed values and gives
    /// back the references that kept them alive for it, calls `on_load_error`, and tells the
    /// observer.
    ///
    /// The waiters come first: they wait for no user code.
    #[cold]
    fn tell(&self, rung: Option<Ptr<K, V>>, mut after: Vec<Deferred<K, V>>) {
        struct Release<'c, K, V>(&'c Core<K, V>, Ptr<K, V>);
        impl<K, V> Drop for Release<'_, K, V> {
            fn drop(&mut self) {
                // Not `promptly`: if the removed value is to be freed at once, the upkeep of the
                // operation's drop, which follows, does so.
                // SAFETY: the reference was taken for this announcement, which ends here.
                unsafe { self.0.give_back(self.1, false) };
            }
        }
        after.sort_by_key(|after| !matches!(after, Deferred::Rung(_)));
        unwind::each(rung.map(Deferred::Rung).into_iter().chain(after), |after| match after {
            // The bell is found by the flight's address alone, so the flight need not be alive.
            Deferred::Rung(flight) => self.bells.ring(flight.addr().get()),
            Deferred::Removed(node, cause) => {
                let kept = Release(self, node);
                if let Some(listener) = &self.config.listener {
                    // SAFETY: `kept` owns a reference. Only nodes whose word has a value are
                    // announced, and these have a key.
                    let (key, value) = unsafe { (kept.1.as_ref().key(), kept.1.as_ref().value()) };
                    listener(key, value, cause);
                }
            }
            Deferred::Rejected(rejected) => {
                // The listener is told first, then the observer, even if the listener panics. Then
                // the key and value are dropped.
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
                    // SAFETY: `kept` owns a reference; flights have their keys.
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
    /// Begins an operation under this pin.
    #[inline]
    pub(crate) fn operation(&self, pin: Pin) -> Operation<'_, K, V> {
        Operation {
            core: self,
            pin: ManuallyDrop::new(pin),
            after: ManuallyDrop::new(RefCell::new(Vec::new())),
            upkeep: Cell::new(Upkeep::Nothing),
            rung: Cell::new(None),
        }
    }

    /// Gives back a reference outside of any pin. If it was the last one, its value was removed
    /// before. That value is dropped at once if no reader is pinned.
    ///
    /// # Safety
    /// The caller owns the reference, and does not use it again.
    pub(crate) unsafe fn release_unpinned(&self, node: Ptr<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.give_back(node, true) };
    }

    /// Gives back a reference. If it was the last one, the node is retired; `promptly` has it freed
    /// at once if no reader is pinned.
    ///
    /// # Safety
    /// As for [`release_unpinned`](Self::release_unpinned).
    unsafe fn give_back(&self, node: Ptr<K, V>, promptly: bool) {
        // SAFETY: the caller owns the reference, and does not use the node again. Nor does this
        // function, unless the reference was the last one. Until then it has only pointers to the
        // node.
        if unsafe { Node::dec_ref(node, 1) } {
            // SAFETY: the last reference was given back here. So only this call may free the node,
            // which is alive until then.
            if unsafe { node.as_ref() }.is_detached() {
                struct Last<'c, K, V>(&'c Core<K, V>, Option<Ptr<K, V>>);
                impl<K, V> Drop for Last<'_, K, V> {
                    fn drop(&mut self) {
                        // SAFETY: the detached node owned this reference, which ends with that
                        // node.
                        self.1.into_iter().for_each(|of| unsafe { self.0.release_unpinned(of) });
                    }
                }
                // SAFETY: the node is alive until it is disposed of below.
                let _key = Last(self, unsafe { node.as_ref() }.fenced_of().filter(|_| !mutant("fenced share kept")));
                // SAFETY: nodes come from the limbo's arena. No reader can find a detached node,
                // and the last reference is gone, so no other thread can reach this one. It is not
                // used again.
                return unsafe { self.limbo.dispose(node) };
            }
            let operation = self.operation(self.limbo.enter());
            // SAFETY: the last reference was given back here, so the node is alive.
            let failed = unsafe { node.as_ref() }.word.load().failed();
            // SAFETY: the last reference was given back here.
            unsafe { operation.retire(node) };
            if promptly {
                operation.promptly(failed);
            }
        }
    }
}
