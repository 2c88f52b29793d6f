//! How a lease ends: with what a loader gave, with the old value confirmed, or with a failure.

use super::Lease;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::form::{AsEntry, ReturnAs};
use crate::engine::Operation;
use crate::engine::config::{Limits, StaleWindow};
use crate::engine::end::RejectedError;
use crate::engine::events::{CacheEvent, LoadEnding};
use crate::engine::expiry::Expiry;
use crate::engine::flight_ref::Flight;
use crate::engine::outcome::{Loaded, NoValue, Outcome};
use crate::engine::publish::Published;
use crate::engine::terms::EntryMeta;
use crate::flight::failure::{Panicked, SharedError};
use crate::flight::node::Node;
use crate::runtime::xfetch::nanos;
use crate::sys::mutants::mutant;
use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::time::Duration;

impl<'c, K, V> Lease<'c, K, V> {
    /// Ends the lease with a loader's result. If that was `NotModified` and there is no old value,
    /// the flight is given up.
    pub(crate) fn finish(self, loaded: Loaded<V>, limits: &Limits) -> Result<Entry<'c, K, V>, NoValue> {
        let expiry = limits.expiry();
        let (value, expiry) = match loaded {
            Loaded::New(value) => (value, expiry),
            Loaded::NewFor(value, ttl) => (value, Expiry::new().ttl(ttl).or(expiry)),
            Loaded::NewForExactly(value, ttl) => (value, Expiry::new().exact_ttl(ttl).or(expiry)),
            Loaded::With(value, own) => (value, own.or(expiry)),
            Loaded::Unstored(value) => (value, Expiry::new().exact_ttl(Duration::ZERO)),
            Loaded::NotModified => return self.renew_with(expiry).ok_or(NoValue::NotModified),
            Loaded::NotModifiedWith(own) => return self.renew_with(own.or(expiry)).ok_or(NoValue::NotModified),
            Loaded::NotFound => return Err(self.absent(None)),
            Loaded::NotFoundFor(ttl) => return Err(self.absent(Some(ttl))),
        };
        let (Ok(entry) | Err(entry)) = self.publish(value, &expiry, true);
        Ok(entry)
    }

    /// Publishes a value, and returns it: `Ok` if it was stored. `loaded`: it took the time of this
    /// load to get it.
    pub(crate) fn publish(
        mut self,
        value: V,
        expiry: &Expiry,
        loaded: bool,
    ) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        let terms = self.terms(&value, Some(expiry), loaded);
        let ((entry, _), stored) = self.publish_with::<AsEntry>(value, terms, Outcome::Computed);
        if stored { Ok(entry) } else { Err(entry) }
    }

    /// Publishes a value without terms, and returns it in a form of the caller's.
    #[inline(never)]
    pub(crate) fn store<F: ReturnAs<'c, K, V>>(mut self, value: V, outcome: Outcome) -> F::Out {
        let terms = self.terms(&value, None, true);
        self.publish_with::<F>(value, terms, outcome).0
    }

    /// Returns the weight and times with which a value is published, and how its end is told.
    #[inline(always)]
    fn terms(
        &mut self,
        value: &V,
        expiry: Option<&Expiry>,
        loaded: bool,
    ) -> (EntryMeta, Option<impl FnOnce(LoadEnding) -> CacheEvent + use<K, V>>) {
        self.from_tier |= expiry.is_some_and(|expiry| expiry.from_tier);
        let core = self.core.get();
        let took = loaded.then(|| self.elapsed());
        let ended = core.observed().then(|| self.end_event(took.unwrap_or(0)));
        let delta = took.unwrap_or_else(|| core.cost_after(self.old()));
        core.note_cost(expiry.and_then(|expiry| expiry.cost).or(took).unwrap_or(0));
        let load = (self.tag_sequence, delta);
        let plain = if expiry.is_none_or(Expiry::is_empty) { core.plain_meta(load) } else { None };
        let mut meta = match plain {
            Some(meta) => meta,
            None => self.guarded(|core| core.entry_meta(self.key(), value, expiry, load)),
        };
        if expiry.is_some_and(Expiry::is_zero) {
            // The caller asked for a time of zero. So the value is handed over, and does not count
            // as rejected.
            meta.rejected = None;
        }
        self.count_tier_read();
        (meta, ended)
    }

    /// Publishes a value with these [terms](Self::terms), and returns it in a form of the caller's,
    /// and whether it was stored. (Apart from its terms, so that the lease, which is large, need
    /// not be moved.)
    #[inline(always)]
    fn publish_with<F: ReturnAs<'c, K, V>>(
        self,
        value: V,
        (meta, ended): (EntryMeta, Option<impl FnOnce(LoadEnding) -> CacheEvent>),
        outcome: Outcome,
    ) -> (F::Out, bool) {
        let (core, flight, number, counted) = self.into_parts();
        // Declared outside of the operation: if a listener panics as that ends, unwinding must drop
        // the entry's reference, too.
        let entry;
        let operation = core.get().operation(core.get().limbo().enter());
        // Where callers wait, the value is cloned after they were woken: `clone` is user code.
        let keeps = F::OF_BORROWED.is_none() || operation.has_waiters(flight.node);
        // SAFETY: `into_parts` ended the lease without giving it up. So we hold this lease of the
        // flight, and its references; `publish` is the lease's end. From here on the flight's node
        // is used under this operation's pin, or by a reference that `Published` says is ours.
        let published = unsafe { operation.publish(flight, number, (value, &meta), keeps) };
        let ending = match &published {
            Published::Stored => LoadEnding::Stored,
            Published::HandedOver => LoadEnding::NotStored,
            Published::Fenced(_) => LoadEnding::Fenced,
        };
        operation.lease_over(counted, ending == LoadEnding::Fenced);
        // SAFETY: the flight was alive under this operation's pin, which keeps the node alive.
        let node = unsafe { flight.node.as_ref() };
        if let Some(ended) = ended {
            operation.observe_of(node, || ended(ending));
        }
        if let Some(old) = flight.old {
            // SAFETY: the reference to the old entry is the lease's; it is given back once, and the
            // entry is not used afterwards.
            unsafe { operation.release(old) };
        }
        let stored = ending == LoadEnding::Stored;
        if let (true, Some(of_borrowed)) = (stored && !keeps, F::OF_BORROWED) {
            // Where no waiter is to be woken, and no other user code runs as the operation ends,
            // the value is taken under the pin, without a reference. (One is refused if the value
            // was removed just now, and that removal's references were the last ones.)
            let quiet = operation.is_quiet();
            if mutant("taken after the pin") {
                operation.end_quietly();
                // SAFETY: the model sees that there is no pin.
                return (of_borrowed(unsafe { node.value() }), stored);
            }
            if quiet {
                // SAFETY: the node was made READY, and the operation's pin keeps it alive.
                let out = of_borrowed(unsafe { node.value() });
                operation.end_quietly();
                return (out, stored);
            }
            if !node.inc_ref() {
                // SAFETY: as above.
                let out = of_borrowed(unsafe { node.value() });
                drop(operation);
                return (out, stored);
            }
        }
        let of = match published {
            // `Node::fenced` takes over the lease's reference to the flight's node. The fenced node
            // gives it back at its own end.
            Published::Fenced(value) => {
                if mutant("fenced handle lost") {
                    core::mem::forget(core.clone());
                }
                Node::fenced(core.get().nodes(), flight.node, value, &meta.stamps)
            }
            Published::Stored | Published::HandedOver => flight.node,
        };
        // SAFETY: the reference handed over is ours to the flight's node, or the only one to the
        // fenced node just built. Both nodes are READY, and so have a value.
        entry = unsafe { Entry::new(core.clone(), of) };
        drop(operation);
        (F::of_entry(entry, outcome), stored)
    }

    /// As [`renew`](Self::renew), with new terms for the old value.
    ///
    /// # Panics
    /// As [`renew`](Self::renew).
    pub fn renew_with(mut self, expiry: Expiry) -> Option<Entry<'c, K, V>> {
        let old = self.flight.old?;
        self.from_tier |= expiry.from_tier;
        let delta = self.elapsed();
        let value = self.stale()?;
        let ended = self.end_event(delta);
        let stamps = self.guarded(|core| core.times(self.key(), value, &expiry, (self.tag_sequence, delta)));
        self.count_tier_read();
        let (core, flight, number, counted) = self.into_parts();
        // SAFETY: the lease's reference to the old entry is handed over; an entry with a successor
        // has its value.
        let entry = unsafe { Entry::new(core.clone(), old) };
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: as in `publish`: `into_parts` ended the lease without giving it up. The flight
        // has an old entry, which `entry` keeps alive.
        let renewed = unsafe { operation.renew(flight, number, &stamps) };
        operation.lease_over(counted, !renewed);
        // SAFETY: the lease's reference keeps the node alive; it is given back below.
        operation.observe_of(unsafe { flight.node.as_ref() }, || {
            ended(if renewed { LoadEnding::Renewed } else { LoadEnding::Fenced })
        });
        // SAFETY: the reference is the lease's; it is given back once, and the node is not used
        // afterwards.
        unsafe { operation.release(flight.node) };
        drop(operation);
        Some(entry)
    }

    pub(super) fn end_by_hand(self, error: Option<SharedError>) {
        let window = self.core.get().config.limits.if_error();
        drop(self.end(error, window));
    }

    /// Ends the flight with an error, or as abandoned. `window` is how long past its time to live
    /// an old value may be served instead: a failure is kept only where there is no such value.
    pub(crate) fn end(self, error: Option<SharedError>, window: StaleWindow) -> CoreRef<'c, K, V> {
        let ended = self.end_event(0);
        // Computed before the lease is taken apart: `negative_stamps` calls user code, and a panic
        // there must still drop the lease.
        let kept = self
            .guarded(|core| core.negative_stamps(self.key(), error.as_ref(), (self.old(), window), self.tag_sequence));
        let kind = self.kind;
        self.end_by(ended, LoadEnding::Failed, |operation, flight, number| {
            // SAFETY: `end_by` holds the lease and its references. `fail` is the lease's end.
            unsafe {
                operation.load_failed(flight.node, kind, error.as_ref(), false);
                operation.fail(flight, number, error, kept)
            }
        })
    }

    /// Ends the flight with the answer that there is no value, which is kept for its `own` time or
    /// the `negative_ttl`.
    pub(crate) fn absent(self, own: Option<Duration>) -> NoValue {
        let ended = self.end_event(0);
        let kept = self.guarded(|core| core.absence_stamps(own, self.tag_sequence));
        drop(self.end_by(ended, LoadEnding::NotFound, |operation, flight, number| {
            // SAFETY: `end_by` holds the lease and its references. `absent` is the lease's end.
            unsafe { operation.absent(flight, number, kept) }
        }));
        NoValue::NotFound
    }

    /// Ends the flight without a value, by `end`, which is called with a lease that it holds and
    /// with the lease's references. Tells the observer that it ended so, or that it was fenced.
    fn end_by(
        self,
        ended: impl FnOnce(LoadEnding) -> CacheEvent,
        ending: LoadEnding,
        end: impl FnOnce(&Operation<'_, K, V>, Flight<K, V>, u32) -> RejectedError,
    ) -> CoreRef<'c, K, V> {
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // `into_parts` ended the lease without giving it up. So this function holds the lease of
        // the flight, and its references.
        let unkept = end(&operation, flight, number);
        let ending = if unkept.fenced() { LoadEnding::Fenced } else { ending };
        // SAFETY: the references are the lease's. They keep the node alive until they are given
        // back, once, last.
        unsafe {
            operation.observe_of(flight.node.as_ref(), || ended(ending));
            operation.release_flight(flight);
        }
        operation.lease_over(counted, unkept.fenced());
        drop(operation);
        drop(unkept);
        core
    }

    /// Takes the lease apart without its `Drop`. Returns the core, the flight with the lease's
    /// references, the lease's number, and whether the lease is counted; the caller must [count it
    /// out](Operation::lease_over).
    pub(super) fn into_parts(self) -> (CoreRef<'c, K, V>, Flight<K, V>, u32, bool) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so its reference to the core is moved out once.
        let core = unsafe { core::ptr::read(&this.core) };
        (core, this.flight, this.number, this.counted)
    }

    /// Ends the load because another actor does it: another process, say, that holds a lock for the
    /// key. The old value is kept as it is, and nothing counts as a failure. While the value is
    /// fresh, no caller refreshes it early for the time `length`. If it is over, no caller
    /// refreshes it for that time, at most the
    /// [`error_cooldown`](crate::Builder::error_cooldown), as long as it may be served stale.
    ///
    /// Callers that wait for this load look again: they get the old value if it may be served, and
    /// else one of them loads.
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// use std::time::Duration;
    /// let cache: Cache<u32, u64> = Cache::new(10);
    /// cache.insert(1, 5);
    /// let Lookup::Lead(lease) = cache.lease_anew(&1) else { unreachable!() };
    /// lease.stand_down(Duration::from_secs(2));
    /// assert_eq!((cache.get(&1), cache.stats().load_failures), (Some(5), 0));
    /// ```
    pub fn stand_down(self, length: Duration) {
        let ended = self.end_event(0);
        let quiet = self.guarded(|core| self.old().map(|old| core.quiet_for(old, nanos(length))));
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up. So we hold this lease of the
        // flight, and its references. `stand_down` is the lease's end, and the references are given
        // back once, last.
        unsafe {
            let stood_down = operation.stand_down(flight, number, quiet);
            operation.lease_over(counted, !stood_down);
            let ending = if stood_down { LoadEnding::StoodDown } else { LoadEnding::Fenced };
            operation.observe_of(flight.node.as_ref(), || ended(ending));
            operation.release_flight(flight);
        }
    }

    /// Ends the flight for all waiters, after as many leaders as `max_handovers` permits have
    /// panicked, one after the other. Returns whether the lease was taken over.
    ///
    /// The failure is kept for the `negative_ttl`, unless the flight is a refresh: only `tags_with`
    /// can tell whether the old value may be served instead, and it must not be called while the
    /// thread unwinds.
    ///
    /// # Safety
    /// The lease ends here; its references remain the caller's.
    pub(super) unsafe fn fail_by_panics(&self, operation: &Operation<'_, K, V>) -> bool {
        let core = self.core.get();
        let none = (None, StaleWindow::Exactly(0));
        let kept = if self.flight.old.is_none() {
            core.negative_stamps(self.key(), None, none, self.tag_sequence)
        } else {
            None
        };
        let error: SharedError = Arc::new(Panicked::in_a_row(self.number));
        // SAFETY: by this function's contract, the caller holds this lease and its references, and
        // the lease ends here.
        let unkept = unsafe { operation.fail(self.flight, self.number, Some(error), kept) };
        unkept.fenced()
    }

    /// Removes the old value, unless the lease was taken over. Returns whether no old value was
    /// there, or this call has removed it.
    pub(crate) fn remove_old(self) -> bool {
        if self.flight.old.is_none() {
            return true;
        }
        let ended = self.end_event(0);
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up. So we hold this lease of the
        // flight, and its references; the flight has an old entry. `remove_refreshed` is the
        // lease's end, and the references are given back once, last.
        let removed = unsafe {
            let removed = operation.remove_refreshed(flight, number);
            operation.lease_over(counted, removed.is_none());
            let ending = if removed.is_some() { LoadEnding::NotStored } else { LoadEnding::Fenced };
            operation.observe_of(flight.node.as_ref(), || ended(ending));
            operation.release_flight(flight);
            removed
        };
        operation.promptly(false);
        removed == Some(true)
    }
}
