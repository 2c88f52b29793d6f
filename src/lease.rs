//! The right and duty to load a key's value.

use crate::engine::Core;
use crate::engine::board::{Boarded, Flight, Wanted};
use crate::engine::land::Published;
use crate::entry::{CoreRef, Entry};
use crate::error::SharedError;
use crate::expiry::NEVER;
use crate::flight::node::Node;
use crate::flight::reentry;
use crate::observer::{CacheEvent, LoadEnding, LoadKind};
use crate::stats::Event;
use crate::sync::mutant;
use crate::unwind;
use crate::waiter::Waiter;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::mem::ManuallyDrop;
use core::time::Duration;

/// The right and duty to load a key's value: held by one caller at a time.
///
/// End it with [`fulfil`](Self::fulfil), [`fail`](Self::fail), [`fail_with`](Self::fail_with) or
/// [`renew`](Self::renew). Dropping it, by a panic too, gives the flight up: one of those who wait takes it on, at
/// once. Forgetting it (`mem::forget`) leaves those who wait without an answer but their own deadlines.
///
/// It can be sent to another thread, and the loader's time is measured from when the lease was given.
pub struct Lease<'c, K, V> {
    core: CoreRef<'c, K, V>,
    flight: Flight<K, V>,
    number: u32,
    /// If it is timed.
    started: Option<u64>,
    /// The number for its tags that the load began with.
    tag_start: u64,
    kind: LoadKind,
}

impl<'c, K, V> Lease<'c, K, V> {
    /// # Safety
    /// The caller hands over this lease of the flight, with its shares.
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        number: u32,
        kind: LoadKind,
        timed: bool,
    ) -> Self {
        let (config, tag_start) = (&core.get().config, core.get().tag_start());
        // SAFETY: the share that is handed over.
        let node = unsafe { flight.node.as_ref() };
        // The first lease began with its flight. (No model knows the time.)
        if number != 1 && !cfg!(loom) {
            node.set_begun_again(number, config.wait_now());
        }
        // What was just noted will do, if that is by the same clock.
        let noted = || if config.time.is_users() || cfg!(loom) { None } else { node.begun(number) };
        let started = timed.then(|| noted().unwrap_or_else(|| config.time.now_precisely()));
        Self { core, flight, number, started, tag_start, kind }
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
    pub(crate) fn fallback(&self, window: u64) -> Option<Entry<'c, K, V>> {
        Entry::fallback(&self.core, self.old()?, window)
    }

    /// Whether the old value was still good as the lease was given.
    pub(crate) fn is_early(&self) -> bool {
        self.kind == LoadKind::Early
    }

    /// What the observer is told of its end; `delta` is how long it took, in ns (0: not measured).
    fn told(&self, delta: u64) -> impl FnOnce(LoadEnding) -> CacheEvent + use<K, V> {
        let took = if delta == 0 && self.core.get().observed() { self.elapsed() } else { delta };
        let kind = self.kind;
        move |ending| CacheEvent::LoadEnded { kind, ending, took: Duration::from_nanos(took) }
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// The flight, to compare.
    pub(crate) fn flight(&self) -> usize {
        self.flight.node.addr().get()
    }

    /// How long the load has taken, in ns; 0 if it is not timed.
    fn elapsed(&self) -> u64 {
        let now = || self.core.get().config.time.now_precisely();
        self.started.map_or(0, |started| now().saturating_sub(started))
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
        let delta = self.elapsed();
        self.land(value, None, delta)
    }

    /// As [`fulfil`](Self::fulfil), with a time to live of its own: zero is handed over and not stored,
    /// `Duration::MAX` is never.
    ///
    /// # Panics
    /// As [`fulfil`](Self::fulfil).
    pub fn fulfil_with_ttl(self, value: V, ttl: Duration) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        let delta = self.elapsed();
        self.land(value, Some(ttl), delta)
    }

    /// `delta`: how long the value took to load; 0 for one that was not loaded.
    pub(crate) fn land(self, value: V, ttl: Option<Duration>, delta: u64) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        let ended = self.told(delta);
        let terms = self.guarded(|core| core.terms(self.key(), &value, ttl, (self.tag_start, delta)));
        let (core, flight, number) = self.into_parts();
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares.
        let (node, ending) = match unsafe { scope.publish(flight, number, value, terms) } {
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
        // Made before the scope ends: it must go, too, if a listener panics there.
        // SAFETY: the lease's own share, or that of a node just made; READY, both.
        let entry = unsafe { Entry::new(core.clone(), node) };
        scope.observe(|| ended(ending));
        if let Some(old) = flight.old {
            // SAFETY: the lease's share.
            unsafe { scope.release(old) };
        }
        drop(scope);
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

    pub(crate) fn renew_for(self, ttl: Option<Duration>) -> Option<Entry<'c, K, V>> {
        let old = self.flight.old?;
        let delta = self.elapsed();
        let value = self.stale()?;
        let ended = self.told(delta);
        let stamps = self.guarded(|core| core.times(self.key(), value, ttl, (self.tag_start, delta)));
        let (core, flight, number) = self.into_parts();
        // SAFETY: the lease's share of the old entry, whose word is valued, becomes the entry's.
        let entry = unsafe { Entry::new(core.clone(), old) };
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: as in `land`; there is an old entry.
        let renewed = unsafe { scope.renew(flight, number, stamps) };
        scope.observe(|| ended(if renewed { LoadEnding::Renewed } else { LoadEnding::Fenced }));
        // SAFETY: the lease's share.
        unsafe { scope.release(flight.node) };
        drop(scope);
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
        let window = self.core.get().config.limits.if_error;
        drop(self.end(error, window));
    }

    /// `window`: how long past its time an old value may be served instead. A failure is only kept where there is none.
    pub(crate) fn end(self, error: Option<SharedError>, window: u64) -> CoreRef<'c, K, V> {
        let ended = self.told(0);
        // Before the lease is taken apart: it asks for the old value's tags.
        let kept = self.guarded(|core| core.negative_stamps(self.old(), window));
        let (core, flight, number) = self.into_parts();
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        let unkept = unsafe {
            let unkept = scope.fail(flight, number, error, kept);
            scope.disembark(flight);
            unkept
        };
        scope.observe(|| ended(if unkept.fenced() { LoadEnding::Fenced } else { LoadEnding::Failed }));
        drop(scope);
        drop(unkept);
        core
    }

    /// The lease, without its `Drop`.
    fn into_parts(self) -> (CoreRef<'c, K, V>, Flight<K, V>, u32) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so its reference to the core is moved out once.
        let core = unsafe { core::ptr::read(&this.core) };
        core.get().lease_ends();
        (core, this.flight, this.number)
    }
}

impl<K, V> Drop for Lease<'_, K, V> {
    fn drop(&mut self) {
        let core = self.core.get();
        core.lease_ends();
        let ended = self.told(0);
        let scope = core.scope(core.limbo().enter());
        scope.observe(|| ended(if unwind::panicking() { LoadEnding::Panicked } else { LoadEnding::GivenUp }));
        if unwind::panicking() {
            core.counters.count(Event::LoadFailure);
            scope.cool_down(self.flight, self.number);
        }
        // SAFETY: the lease and its shares are ours, and end here.
        unsafe {
            scope.give_up(self.flight, self.number);
            scope.disembark(self.flight);
        }
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
    /// A place among those who wait for this very load; None if it has ended, by one who took it over.
    pub(crate) fn follow(&self) -> Option<Waiter<'c, K, V>> {
        let core = self.core.get();
        let scope = core.scope(core.limbo().enter());
        let Boarded::Wait { flight, lease, listening } = scope.join(self.flight, Wanted::Lease)? else { return None };
        // SAFETY: as in `embark`. Its own load is nobody's to take over for this caller: it has no other loader.
        let waiter = unsafe { Waiter::new(self.core.clone(), flight, lease, listening, NEVER) };
        // It came when the load began, whatever tags were invalidated since.
        Some(waiter.since_tag(self.tag_start))
    }

    /// The old value, if it was still good as the lease was given.
    pub(crate) fn entry_of_old(&self) -> Option<Entry<'c, K, V>> {
        if self.is_early() { self.old_entry() } else { None }
    }

    /// A handle of the old value, whatever its time.
    pub(crate) fn old_entry(&self) -> Option<Entry<'c, K, V>> {
        let old = self.old()?;
        let shared = old.share();
        debug_assert!(shared, "our own share keeps the count above zero");
        // SAFETY: the share just taken; an entry with a successor has its value.
        Some(unsafe { Entry::new(self.core.clone(), self.flight.old?) })
    }

    /// The old value, if it may be served: what `compute` shows.
    #[cfg(feature = "std")]
    pub(crate) fn present(&self) -> Option<&V> {
        let old = self.old().filter(|old| !self.core.get().over(old))?;
        // SAFETY: as in `stale`.
        Some(unsafe { old.value() })
    }

    /// Removes the old value, unless the lease was taken over.
    #[cfg(feature = "std")]
    pub(crate) fn remove_old(self) {
        if self.flight.old.is_none() {
            return;
        }
        let ended = self.told(0);
        let (core, flight, number) = self.into_parts();
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        let retracted = unsafe {
            let retracted = scope.retract(flight, number);
            scope.disembark(flight);
            retracted
        };
        scope.promptly();
        scope.observe(|| ended(if retracted { LoadEnding::NotStored } else { LoadEnding::Fenced }));
    }
}
