//! The right and duty to load a key's value.

mod timing;

use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::events::{CacheEvent, LoadEnding, LoadKind};
use crate::engine::flight_ref::Flight;
use crate::engine::outcome::Loaded;
use crate::engine::publish::Published;
use crate::engine::stats::Event;
use crate::engine::{Core, Operation};
use crate::flight::expiry::Ttl;
use crate::flight::failure::{Panicked, SharedError};
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::sys::mutants::mutant;
use crate::sys::unwind;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::mem::ManuallyDrop;
use core::time::Duration;
use timing::Timing;

/// The right and duty to load a key's value: held by one caller at a time.
///
/// End it with [`fulfil`](Self::fulfil), [`fail`](Self::fail), [`fail_with`](Self::fail_with) or
/// [`renew`](Self::renew). Dropping it, by a panic too, gives the flight up: one of those who wait takes it on, at
/// once. Forgetting it (`mem::forget`) leaves those who wait without an answer but their own deadlines.
///
/// It can be sent to another thread. A loader that is run by hand is timed from when the lease was
/// given; one that the cache runs, from when it begins to run.
pub struct Lease<'c, K, V> {
    pub(super) core: CoreRef<'c, K, V>,
    pub(super) flight: Flight<K, V>,
    number: u32,
    timing: Timing,
    /// The number for its tags that the load began with.
    pub(super) tag_sequence: u64,
    kind: LoadKind,
    /// Whether it counts for `max_loads`.
    counted: bool,
}

impl<'c, K, V> Lease<'c, K, V> {
    /// # Safety
    /// The caller hands over this lease of the flight, with its shares; if it is `counted`, its count.
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        number: u32,
        kind: LoadKind,
        (timed, counted): (bool, bool),
    ) -> Self {
        // First of all, so that it is given up if the clock panics.
        let timing = Timing::given(None);
        let mut lease = Self { core, flight, number, timing, tag_sequence: 0, kind, counted };
        let (config, node) = (&lease.core.get().config, lease.node());
        // The first lease began with its flight. (No model knows the time.)
        if number != 1 && !cfg!(loom) {
            node.set_begun_again(number, config.wait_now());
        }
        // What was just noted will do, if that is by the same clock.
        let noted = || if config.time.is_users() || cfg!(loom) { None } else { node.begun(number) };
        let now = timed.then(|| noted().unwrap_or_else(|| config.time.now_precisely()));
        (lease.timing, lease.tag_sequence) = (Timing::given(now), lease.core.get().tag_sequence());
        lease
    }

    /// The loader begins to run now.
    pub(crate) fn begin_load(&mut self) {
        self.timing.begin(|| self.core.get().config.time.now_precisely());
    }

    /// The loader has run to its end.
    pub(crate) fn end_load(&mut self) {
        self.timing.end(|| self.core.get().config.time.now_precisely());
    }

    fn node(&self) -> &Node<K, V> {
        // SAFETY: the lease owns a share.
        unsafe { self.flight.node.as_ref() }
    }

    fn old(&self) -> Option<&Node<K, V>> {
        // SAFETY: the lease owns a share.
        self.flight.old.map(|old| unsafe { old.as_ref() })
    }

    /// The key to load.
    pub fn key(&self) -> &K {
        self.node().key()
    }

    /// The value that the load will replace, still good or expired, if there is one: for conditional requests.
    pub fn stale(&self) -> Option<&V> {
        // SAFETY: an entry that a successor hangs from has its value; the lease owns a share of it.
        self.old().map(|old| unsafe { old.value() })
    }

    /// The value to go on with if this load fails: the old one, up to `window` past its time to live.
    pub(crate) fn servable_stale(&self, window: u64) -> Option<Entry<'c, K, V>> {
        Entry::servable_stale(&self.core, self.old()?, window)
    }

    /// Whether the old value was still good as the lease was given; of one that was taken over,
    /// whether it is still good now. That asks the user's `tags_with`.
    pub(crate) fn is_early(&self) -> bool {
        match self.kind {
            LoadKind::Early => true,
            LoadKind::TakenOver => {
                self.old().is_some_and(|old| !old.link().is_marked() && !self.core.get().is_expired(old))
            }
            _ => false,
        }
    }

    /// What the observer is told of its end; `delta` is how long it took, in ns (0: not measured).
    fn end_event(&self, delta: u64) -> impl FnOnce(LoadEnding) -> CacheEvent + use<K, V> {
        self.end_event_after(if delta == 0 && self.core.get().observed() { self.elapsed() } else { delta })
    }

    /// The same; `took`: how long it took, in ns.
    fn end_event_after(&self, took: u64) -> impl FnOnce(LoadEnding) -> CacheEvent + use<K, V> {
        let (took, waited) = (Duration::from_nanos(took), Duration::from_nanos(self.timing.waited()));
        let kind = self.kind;
        move |ending| CacheEvent::LoadEnded { kind, ending, took, waited }
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// The flight under this lease, to compare.
    pub(crate) fn flight(&self) -> FlightId {
        FlightId::of(self.node(), self.number)
    }

    /// How long the load has taken, in ns; 0 if it is not timed.
    fn elapsed(&self) -> u64 {
        self.timing.took(|| self.core.get().config.time.now_precisely())
    }

    /// Gives the value to everyone who waits and stores it, for the cache's time to live.
    ///
    /// `Ok` if it was stored; `Err` if it was only handed over, because the key was removed or overwritten during the
    /// load, the time to live is zero, it is heavier than the whole capacity, or too much retired memory waits to be
    /// freed. `Err` too if the lease was taken over (`lead_timeout`): then only this caller gets the value.
    ///
    /// # Panics
    /// If the weigher or `ttl_with` panics; the flight is given up then. A panic of the eviction listener, or of a value
    /// that is dropped to make room, reaches the caller after the value was published.
    pub fn fulfil(self, value: V) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        self.fulfil_for(value, None)
    }

    /// As [`fulfil`](Self::fulfil), with a time to live of its own, exactly that long: zero is
    /// handed over and not stored, `Duration::MAX` is never.
    ///
    /// # Panics
    /// As [`fulfil`](Self::fulfil).
    pub fn fulfil_with_ttl(self, value: V, ttl: Duration) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        self.fulfil_for(value, Some(Ttl::exactly(ttl)))
    }

    pub(crate) fn fulfil_for(self, value: V, ttl: Option<Ttl>) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        let delta = self.elapsed();
        self.publish(value, ttl, Some(delta))
    }

    /// Ends the lease with what a loader gave. None: that was not modified, there is no old value, and
    /// the flight is given up.
    pub(crate) fn finish(self, loaded: Loaded<V>, ttl: Option<Ttl>) -> Option<Entry<'c, K, V>> {
        let (value, ttl) = match loaded {
            Loaded::New(value) => (value, ttl),
            Loaded::NewFor(value, ttl) => (value, Some(Ttl::jittered(ttl))),
            Loaded::NewForExactly(value, ttl) => (value, Some(Ttl::exactly(ttl))),
            Loaded::Unstored(value) => (value, Some(Ttl::exactly(Duration::ZERO))),
            Loaded::NotModified => return self.renew_for(ttl),
        };
        let (Ok(entry) | Err(entry)) = self.fulfil_for(value, ttl);
        Some(entry)
    }

    /// `took`: how long the value took to load; None: it was not loaded.
    pub(crate) fn publish(
        self,
        value: V,
        ttl: Option<Ttl>,
        took: Option<u64>,
    ) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        let ended = self.end_event(took.unwrap_or(0));
        let delta = took.unwrap_or_else(|| self.core.get().cost_after(self.old()));
        self.core.get().note_cost(took.unwrap_or(0));
        let mut terms = self.guarded(|core| core.terms(self.key(), &value, ttl, (self.tag_sequence, delta)));
        if ttl.is_some_and(Ttl::is_zero) {
            // Its caller asked for that: the value is handed over, and not rejected.
            terms.rejected = None;
        }
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares.
        let (node, ending) = match unsafe { operation.publish(flight, number, value, terms) } {
            Published::Stored => (flight.node, LoadEnding::Stored),
            Published::HandedOver => (flight.node, LoadEnding::NotStored),
            // The lease's share goes to that node, which gives it back.
            Published::Fenced(value) => {
                if mutant("fenced handle lost") {
                    core::mem::forget(core.clone());
                }
                (Node::fenced(core.get().nodes(), flight.node, value, terms.stamps), LoadEnding::Fenced)
            }
        };
        core.get().lease_over(counted, ending == LoadEnding::Fenced);
        // Made before the scope ends: it must go, too, if a listener panics there.
        // SAFETY: the lease's own share, or that of a node just made; READY, both.
        let entry = unsafe { Entry::new(core.clone(), node) };
        // SAFETY: the lease's share.
        operation.observe_of(unsafe { flight.node.as_ref() }, || ended(ending));
        if let Some(old) = flight.old {
            // SAFETY: the lease's share.
            unsafe { operation.release(old) };
        }
        drop(operation);
        if ending == LoadEnding::Stored { Ok(entry) } else { Err(entry) }
    }

    /// The old value is confirmed: it stays, with its time to live begun anew, and so do those who wait get it. `None`,
    /// and the flight is given up, if there is no old value; the entry is given even if it was removed meanwhile, and as it is if
    /// the lease was taken over (`lead_timeout`).
    ///
    /// # Panics
    /// If `ttl_with` panics; the flight is given up then.
    pub fn renew(self) -> Option<Entry<'c, K, V>> {
        self.renew_for(None)
    }

    pub(crate) fn renew_for(self, ttl: Option<Ttl>) -> Option<Entry<'c, K, V>> {
        let old = self.flight.old?;
        let delta = self.elapsed();
        let value = self.stale()?;
        let ended = self.end_event(delta);
        let stamps = self.guarded(|core| core.times(self.key(), value, ttl, (self.tag_sequence, delta)));
        let (core, flight, number, counted) = self.into_parts();
        // SAFETY: the lease's share of the old entry, whose word is valued, becomes the entry's.
        let entry = unsafe { Entry::new(core.clone(), old) };
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: as in `land`; there is an old entry.
        let renewed = unsafe { operation.renew(flight, number, stamps) };
        core.get().lease_over(counted, !renewed);
        // SAFETY: the lease's share.
        operation.observe_of(unsafe { flight.node.as_ref() }, || {
            ended(if renewed { LoadEnding::Renewed } else { LoadEnding::Fenced })
        });
        // SAFETY: the lease's share.
        unsafe { operation.release(flight.node) };
        drop(operation);
        Some(entry)
    }

    /// Runs user code on behalf of the load: if it asks for this key, it is told so rather than left to wait for itself.
    pub(crate) fn guarded<R>(&self, run: impl FnOnce(&Core<K, V>) -> R) -> R {
        reentry::during(&[self.flight()], || run(self.core.get()))
    }

    /// Ends the flight without a value: those who wait see it as abandoned.
    pub fn fail(self) {
        self.end_by_hand(None);
    }

    /// Ends the flight with an error, shared with all who wait.
    pub fn fail_with<E: Any + Send + Sync>(self, error: E) {
        self.end_by_hand(Some(Arc::new(error)));
    }

    fn end_by_hand(self, error: Option<SharedError>) {
        let window = self.core.get().config.limits.stale_if_error;
        drop(self.end(error, window));
    }

    /// `window`: how long past its time an old value may be served instead. A failure is only kept where there is none.
    pub(crate) fn end(self, error: Option<SharedError>, window: u64) -> CoreRef<'c, K, V> {
        let ended = self.end_event(0);
        // Before the lease is taken apart: it asks for the old value's tags.
        let kept = self.guarded(|core| core.negative_stamps(self.old(), window));
        let kind = self.kind;
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        let unkept = unsafe {
            operation.load_failed(flight.node, kind, error.as_ref(), false);
            let unkept = operation.fail(flight, number, error, kept);
            let ending = if unkept.fenced() { LoadEnding::Fenced } else { LoadEnding::Failed };
            operation.observe_of(flight.node.as_ref(), || ended(ending));
            operation.release_flight(flight);
            unkept
        };
        core.get().lease_over(counted, unkept.fenced());
        drop(operation);
        drop(unkept);
        core
    }

    /// The lease, without its `Drop`: the flight with its shares, the lease's number, and whether it
    /// is counted, which the caller must [count out](Core::lease_over).
    fn into_parts(self) -> (CoreRef<'c, K, V>, Flight<K, V>, u32, bool) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so its reference to the core is moved out once.
        let core = unsafe { core::ptr::read(&this.core) };
        (core, this.flight, this.number, this.counted)
    }
}

impl<K, V> Drop for Lease<'_, K, V> {
    fn drop(&mut self) {
        let (core, panicked) = (self.core.get(), unwind::panicking());
        let operation = core.operation(core.limbo().enter());
        // The flight is to be given up, whatever becomes of the user's clock.
        let took = operation.ask(|| if core.observed() { self.elapsed() } else { 0 }).unwrap_or(0);
        let ended = self.end_event_after(took);
        // SAFETY: the lease and its shares are ours, and end here.
        let fenced = unsafe {
            if panicked && self.number > core.config.max_handovers {
                self.fail_by_panics(&operation)
            } else {
                if panicked {
                    core.counters.count(Event::LoadFailure);
                    operation.cool_down(self.flight, self.number);
                }
                operation.give_up(self.flight, self.number)
            }
        };
        core.lease_over(self.counted, fenced);
        if panicked {
            // SAFETY: the lease's share.
            unsafe { operation.load_failed(self.flight.node, self.kind, None, true) };
        }
        operation.observe_of(self.node(), || {
            ended(match (fenced, panicked) {
                (true, _) => LoadEnding::Fenced,
                (false, true) => LoadEnding::Panicked,
                (false, false) => LoadEnding::GivenUp,
            })
        });
        // SAFETY: as above.
        unsafe { operation.release_flight(self.flight) };
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Lease<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("key", self.key()).finish_non_exhaustive()
    }
}

// SAFETY: a lease is counted references to nodes and a `CoreRef`; no part of it belongs to a thread.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Lease<'_, K, V> {}
// SAFETY: `&Lease` gives `&K` and `&V` only.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Lease<'_, K, V> {}

impl<'c, K, V> Lease<'c, K, V> {
    /// Ends the flight for all who wait: as many leaders as may be have panicked, one after the
    /// other. True: the lease was taken over.
    ///
    /// The failure is kept where failures are (`negative_ttl`), but for one of a refresh: whether
    /// the old value may be served instead is for `tags_with` to say, and that is not to be called
    /// while the thread unwinds.
    ///
    /// # Safety
    /// The lease ends here; its shares stay the caller's.
    unsafe fn fail_by_panics(&self, operation: &Operation<'_, K, V>) -> bool {
        let core = self.core.get();
        let kept = if self.flight.old.is_none() { core.negative_stamps(None, 0) } else { None };
        let error: SharedError = Arc::new(Panicked::in_a_row(self.number));
        // SAFETY: as for this function.
        let unkept = unsafe { operation.fail(self.flight, self.number, Some(error), kept) };
        unkept.fenced()
    }

    /// The old value, if it was still good as the lease was given.
    pub(crate) fn entry_of_old(&self) -> Option<Entry<'c, K, V>> {
        if self.is_early() { self.old_entry() } else { None }
    }

    /// A handle of the old value, whatever its time.
    pub(crate) fn old_entry(&self) -> Option<Entry<'c, K, V>> {
        let old = self.old()?;
        let shared = old.inc_ref();
        debug_assert!(shared, "our own share keeps the count above zero");
        // SAFETY: the share just taken; an entry with a successor has its value.
        Some(unsafe { Entry::new(self.core.clone(), self.flight.old?) })
    }

    /// The old value, if it may be served: what `compute` shows.
    #[cfg(feature = "std")]
    pub(crate) fn present(&self) -> Option<&V> {
        let old = self.old().filter(|old| !self.core.get().is_expired(old))?;
        // SAFETY: as in `stale`.
        Some(unsafe { old.value() })
    }

    /// Removes the old value, unless the lease was taken over.
    #[cfg(feature = "std")]
    pub(crate) fn remove_old(self) {
        if self.flight.old.is_none() {
            return;
        }
        let ended = self.end_event(0);
        let (core, flight, number, counted) = self.into_parts();
        let operation = core.get().operation(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        unsafe {
            let retracted = operation.remove_refreshed(flight, number);
            core.get().lease_over(counted, !retracted);
            let ending = if retracted { LoadEnding::NotStored } else { LoadEnding::Fenced };
            operation.observe_of(flight.node.as_ref(), || ended(ending));
            operation.release_flight(flight);
        }
        operation.promptly();
    }
}
