//! The right and duty to load a key's value.

mod end;
mod timing;
mod wanted;

use crate::api::handle::age::stale_for;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::Core;
use crate::engine::config::StaleWindow;
use crate::engine::events::{CacheEvent, LoadEnding, LoadKind};
use crate::engine::expiry::Expiry;
use crate::engine::flight_ref::Flight;
use crate::engine::stats::Event;
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::sys::unwind;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::time::Duration;
use timing::Timing;
pub(crate) use wanted::Interest;

/// The right and duty to load a key's value. One caller at a time holds it.
///
/// End it with [`fulfil`](Self::fulfil), [`fail`](Self::fail), [`fail_with`](Self::fail_with) or
/// [`renew`](Self::renew). Dropping it, also by a panic, gives the flight up: a waiter takes the
/// load over, at once. Forgetting it (`mem::forget`) leaves the waiters without an answer, until
/// their own deadlines.
///
/// A lease can be sent to another thread. The load time of a loader that is run by hand counts from
/// when the lease was given; that of a loader that the cache runs, from when the loader begins to
/// run.
pub struct Lease<'c, K, V> {
    pub(super) core: CoreRef<'c, K, V>,
    pub(super) flight: Flight<K, V>,
    number: u32,
    timing: Timing,
    /// The tag sequence number that the load began with.
    pub(super) tag_sequence: u64,
    kind: LoadKind,
    /// Whether the lease counts for `max_loads`.
    counted: bool,
    /// Whether the load lives no longer than there are waiters.
    for_waiters: bool,
    /// Whether the value was read from another tier.
    from_tier: bool,
}

impl<'c, K, V> Lease<'c, K, V> {
    /// # Safety
    /// The caller hands over this lease of the flight, with the lease's references to the flight's
    /// nodes; if the lease is `counted`, its count, too.
    #[inline(always)]
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        (number, kind, timed, counted): (u32, LoadKind, bool, bool),
    ) -> Self {
        let (tag_sequence, for_waiters, from_tier) = (core.get().tag_sequence(), false, false);
        if timed || number != 1 {
            // SAFETY: the lease and what belongs to it are handed over, and handed back.
            let timing = unsafe { Self::noted(core.clone(), flight, (number, kind, timed, counted)) };
            return Self { core, flight, number, timing, tag_sequence, kind, counted, for_waiters, from_tier };
        }
        let timing = Timing::given(None);
        Self { core, flight, number, timing, tag_sequence, kind, counted, for_waiters, from_tier }
    }

    /// Notes when a lease was given, before it is built. (Apart, because it reads the clock, which
    /// may panic.)
    ///
    /// # Safety
    /// As for [`new`](Self::new); but if this returns, all that was handed over is the caller's
    /// again.
    #[inline(never)]
    unsafe fn noted(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        (number, kind, timed, counted): (u32, LoadKind, bool, bool),
    ) -> Timing {
        let (timing, tag_sequence, for_waiters, from_tier) = (Timing::given(None), 0, false, false);
        // If the clock panics, the drop of this lease gives the flight up.
        let lease = Self { core, flight, number, timing, tag_sequence, kind, counted, for_waiters, from_tier };
        let (config, node) = (&lease.core.get().config, lease.node());
        // A first lease began with its flight, which has noted the time. (Models have no time.)
        if number != 1 && !cfg!(loom) {
            node.set_begun_again(number, config.wait_now());
        }
        // The time that the node has noted for this lease saves a second reading, if the same clock
        // gave it. It may not, under a user's clock.
        let noted = || if config.time.is_users() || cfg!(loom) { None } else { node.begun(number) };
        let now = timed.then(|| noted().unwrap_or_else(|| config.time.now_precisely()));
        // Not dropped, so the flight is not given up.
        let _ = lease.into_parts();
        Timing::given(now)
    }

    /// Notes that the loader begins to run now.
    pub(crate) fn begin_load(&mut self) {
        self.timing.begin(|| self.core.get().config.time.now_precisely());
    }

    /// Notes that the loader has run to its end.
    pub(crate) fn end_load(&mut self) {
        self.timing.end(|| self.core.get().config.time.now_precisely());
    }

    fn node(&self) -> &Node<K, V> {
        // SAFETY: the lease owns a reference to the node, which keeps it alive.
        unsafe { self.flight.node.as_ref() }
    }

    fn old(&self) -> Option<&Node<K, V>> {
        // SAFETY: the lease owns a reference to the old entry, which keeps it alive.
        self.flight.old.map(|old| unsafe { old.as_ref() })
    }

    /// Returns the key to load.
    pub fn key(&self) -> &K {
        self.node().key()
    }

    /// Returns the value that the load will replace, fresh or expired, if there is one. It serves
    /// conditional requests.
    pub fn stale(&self) -> Option<&V> {
        // SAFETY: an entry that a successor hangs from has its value, and the lease owns a
        // reference to the entry.
        self.old().map(|old| unsafe { old.value() })
    }

    /// Returns for how long the [old value](Self::stale) has been over: the time since its time to
    /// live ended, or was ended ([`Cache::expire`](crate::Cache::expire) and its like). `None` if
    /// there is no old value, or it is still fresh. Costs a read of the clock.
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// use std::time::Duration;
    /// let cache: Cache<u32, u32> = Cache::new(10);
    /// cache.insert(1, 5);
    /// cache.expire(&1);
    /// let Lookup::Lead(lease) = cache.lease(&1) else { unreachable!() };
    /// // A loader in despair: the old value will do for an hour.
    /// if lease.stale_for().is_some_and(|over| over < Duration::from_secs(3600)) {
    ///     assert_eq!(lease.stale(), Some(&5));
    /// }
    /// ```
    pub fn stale_for(&self) -> Option<Duration> {
        stale_for(self.core.get(), self.old()?)
    }

    /// Returns the old value as a substitute if this load fails: up to `window` past its time to
    /// live.
    pub(crate) fn servable_stale(&self, window: StaleWindow) -> Option<Entry<'c, K, V>> {
        Entry::servable_stale(&self.core, self.old()?, window)
    }

    /// Returns the old value, if `window` permits any time past its time to live, and that time is
    /// not over.
    pub(crate) fn expired_within(&self, window: StaleWindow) -> Option<Entry<'c, K, V>> {
        let window = self.core.get().window(self.old()?, window);
        if window == 0 { None } else { self.servable_stale(StaleWindow::Exactly(window)) }
    }

    /// Returns whether the old value was fresh when the lease was given. For a lease that was taken
    /// over, returns whether the old value is still fresh now; that calls the user's `tags_with`.
    pub(crate) fn is_early(&self) -> bool {
        match self.kind {
            LoadKind::Early => true,
            LoadKind::TakenOver => {
                self.old().is_some_and(|old| !old.link().is_marked() && !self.core.get().is_expired(old))
            }
            _ => false,
        }
    }

    /// Returns the observer's event for the end of this load. `delta` is the load time in ns (0:
    /// not measured).
    #[inline]
    fn end_event(&self, delta: u64) -> impl FnOnce(LoadEnding) -> CacheEvent + use<K, V> {
        self.end_event_after(if delta == 0 && self.core.get().observed() { self.elapsed() } else { delta })
    }

    /// As [`end_event`](Self::end_event), with a load time of `took` ns.
    #[inline]
    fn end_event_after(&self, took: u64) -> impl FnOnce(LoadEnding) -> CacheEvent + use<K, V> {
        let (timing, kind, from_tier) = (self.timing, self.kind, self.from_tier);
        move |ending| {
            let [took, waited] = [took, timing.waited()].map(Duration::from_nanos);
            CacheEvent::LoadEnded { kind, ending, took, waited, from_tier }
        }
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// Returns the identity of the flight under this lease, for comparisons.
    pub(crate) fn flight(&self) -> FlightId {
        FlightId::of(self.node(), self.number)
    }

    /// Returns how long the load has taken, in ns; 0 if it is not timed.
    fn elapsed(&self) -> u64 {
        self.timing.took(|| self.core.get().config.time.now_precisely())
    }

    /// Hands the value to all waiters, and stores it for the cache's time to live.
    ///
    /// Returns `Ok` if the value was stored. Returns `Err` if it was only handed over: because the
    /// key was removed or overwritten during the load, the time to live is zero, the value is
    /// heavier than the whole capacity, or too much retired memory waits to be freed. Returns
    /// `Err`, too, if the lease was taken over (`lead_timeout`); then only this caller gets the
    /// value.
    ///
    /// # Panics
    /// If the weigher or `ttl_with` panics; the flight is given up then. A panic of the eviction
    /// listener, or of a value that is dropped to make room, reaches the caller after the value was
    /// published.
    pub fn fulfil(self, value: V) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        self.fulfil_with(value, Expiry::new())
    }

    /// As [`fulfil`](Self::fulfil), with terms for this value alone: how long it is fresh, when it
    /// is refreshed, how long it may be served past its expiry, how old it is and what a load of it
    /// costs.
    ///
    /// ```
    /// use bellwether::{Cache, Expiry, Lookup};
    /// use std::time::Duration;
    /// let cache: Cache<String, u32> = Cache::new(10);
    /// if let Lookup::Lead(lease) = cache.lease("rate") {
    ///     // Read from another store within a millisecond. It was computed there 10 s ago, in 2 s.
    ///     let terms = Expiry::new().ttl(Duration::from_secs(60)).age(Duration::from_secs(10));
    ///     let _ = lease.fulfil_with(7, terms.cost(Duration::from_secs(2)));
    /// }
    /// ```
    ///
    /// # Panics
    /// As [`fulfil`](Self::fulfil).
    pub fn fulfil_with(self, value: V, expiry: Expiry) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        self.publish(value, &expiry, true)
    }

    /// As [`fulfil`](Self::fulfil), with a time to live for this value alone, exactly that long. A
    /// value with a time of zero is handed over and not stored; `Duration::MAX` never expires.
    ///
    /// # Panics
    /// As [`fulfil`](Self::fulfil).
    pub fn fulfil_with_ttl(self, value: V, ttl: Duration) -> Result<Entry<'c, K, V>, Entry<'c, K, V>> {
        self.fulfil_with(value, Expiry::new().exact_ttl(ttl))
    }

    /// Confirms the old value: it stays, its time to live begins anew, and all waiters get it.
    ///
    /// Returns `None` if there is no old value; the flight is given up then. Returns the entry even
    /// if it was removed meanwhile. If the lease was taken over (`lead_timeout`), returns the entry
    /// as it is.
    ///
    /// # Panics
    /// If `ttl_with` panics; the flight is given up then.
    pub fn renew(self) -> Option<Entry<'c, K, V>> {
        self.renew_with(Expiry::new())
    }

    /// Ends the flight with the answer that there is no value: see
    /// [`Loaded::NotFound`](crate::Loaded::NotFound). The old value is removed. The answer is kept
    /// for the cache's [`negative_ttl`](crate::Builder::negative_ttl).
    ///
    /// If the lease was taken over (`lead_timeout`), nothing changes.
    pub fn not_found(self) {
        self.absent(None);
    }

    /// As [`not_found`](Self::not_found), kept for a time of its own, exactly that long. Zero keeps
    /// nothing, and `Duration::MAX` never ends.
    pub fn not_found_for(self, ttl: Duration) {
        self.absent(Some(ttl));
    }

    /// Notes that this load reads another tier (a shared cache, say) and not the source. Its end is
    /// [told](crate::CacheEvent::LoadEnded) as such, and
    /// [`Stats::tier_reads`](crate::Stats::tier_reads) counts it once it gives a value.
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// let cache: Cache<u32, u64> = Cache::new(10);
    /// let Lookup::Lead(mut lease) = cache.lease(&1) else { unreachable!() };
    /// lease.from_tier();
    /// lease.fulfil(5).unwrap();
    /// assert_eq!((cache.stats().loads, cache.stats().tier_reads), (1, 1));
    /// ```
    pub fn from_tier(&mut self) {
        self.from_tier = true;
    }

    /// Counts a read of another tier that gave a value.
    fn count_tier_read(&self) {
        if self.from_tier {
            self.core.get().counters.count(Event::TierRead);
        }
    }

    /// Runs user code on behalf of the load. If that code asks for this key, the cache recognizes
    /// the call as re-entrant, and does not let it wait for itself.
    #[inline(always)]
    pub(crate) fn guarded<R>(&self, run: impl FnOnce(&Core<K, V>) -> R) -> R {
        reentry::during(&[self.flight()], || run(self.core.get()))
    }

    /// Ends the flight without a value. Its waiters see it as abandoned
    /// ([`Waited::Abandoned`](crate::Waited::Abandoned)).
    pub fn fail(self) {
        self.end_by_hand(None);
    }

    /// Ends the flight with an error, which all waiters share.
    pub fn fail_with<E: Any + Send + Sync>(self, error: E) {
        self.end_by_hand(Some(Arc::new(error)));
    }
}

impl<K, V> Drop for Lease<'_, K, V> {
    fn drop(&mut self) {
        let (core, panicked) = (self.core.get(), unwind::panicking());
        let operation = core.operation(core.limbo().enter());
        // A panic of the user's clock must not keep the flight from being given up.
        let took = operation.ask(|| if core.observed() { self.elapsed() } else { 0 }).unwrap_or(0);
        let ended = self.end_event_after(took);
        // SAFETY: the lease and its references are ours, and the lease ends here.
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
        operation.lease_over(self.counted, fenced);
        if panicked {
            // SAFETY: the lease still owns its reference to the node.
            unsafe { operation.load_failed(self.flight.node, self.kind, None, true) };
        }
        operation.observe_of(self.node(), || {
            ended(match (fenced, panicked) {
                (true, _) => LoadEnding::Fenced,
                (false, true) => LoadEnding::Panicked,
                (false, false) => LoadEnding::GivenUp,
            })
        });
        // SAFETY: the references are the lease's. They are given back once, here, and the nodes are
        // not used afterwards.
        unsafe { operation.release_flight(self.flight) };
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Lease<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("key", self.key()).finish_non_exhaustive()
    }
}

// SAFETY: a lease consists of counted references to nodes and a `CoreRef`; no part of it is tied to
// a thread. The nodes may be sent because their keys and values are `Send + Sync`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Lease<'_, K, V> {}
// SAFETY: `&Lease` gives access to `&K` and `&V` only.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Lease<'_, K, V> {}

impl<'c, K, V> Lease<'c, K, V> {
    /// Returns the old value, if it was fresh when the lease was given.
    pub(crate) fn entry_of_old(&self) -> Option<Entry<'c, K, V>> {
        if self.is_early() { self.old_entry() } else { None }
    }

    /// Returns the old value as an entry, fresh or expired.
    pub(crate) fn old_entry(&self) -> Option<Entry<'c, K, V>> {
        let old = self.old()?;
        old.add_refs(1);
        // SAFETY: the reference that is handed over was just taken; an entry with a successor has
        // its value.
        Some(unsafe { Entry::new(self.core.clone(), self.flight.old?) })
    }

    /// Returns the old value, if it has not expired: the value that `compute` shows to its closure.
    pub(crate) fn present(&self) -> Option<Entry<'c, K, V>> {
        let fresh = self.old().is_some_and(|old| !self.core.get().is_expired(old));
        if fresh { self.old_entry() } else { None }
    }
}
