//! The right and duty to load a key's value, and what a lookup gives.

use crate::engine::Core;
use crate::engine::board::{Boarded, Flight, Spare, Wanted};
use crate::engine::land::Published;
use crate::entry::{CoreRef, Entry};
use crate::error::SharedError;
use crate::expiry::NEVER;
use crate::flight::node::Node;
use crate::flight::reentry;
use crate::key::ToKey;
use crate::outcome::Outcome;
use crate::reclaim::Pin;
use crate::stats::Event;
use crate::unwind;
use crate::waiter::Waiter;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::time::Duration;
use equivalent::Equivalent;

/// What [`Cache::lease`](crate::Cache::lease) found.
#[non_exhaustive]
#[derive(Debug)]
#[must_use = "an ignored lease is a flight given up"]
pub enum Lookup<'c, K, V> {
    /// A value to use; with `stale_while_refresh` one that is over, perhaps.
    Hit(Entry<'c, K, V>),
    /// A value to use, and this caller has been chosen to load its replacement early (XFetch).
    Refresh(Entry<'c, K, V>, Lease<'c, K, V>),
    /// No value; this caller loads it.
    Lead(Lease<'c, K, V>),
    /// No value; somebody else is loading it, or may not be waited for ([`Waited::Overloaded`](crate::Waited::Overloaded)).
    Wait(Waiter<'c, K, V>),
}

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
    started: u64,
    early: bool,
}

impl<'c, K, V> Lease<'c, K, V> {
    /// # Safety
    /// The caller hands over this lease of the flight, with its shares.
    pub(crate) unsafe fn new(core: CoreRef<'c, K, V>, flight: Flight<K, V>, number: u32, early: bool) -> Self {
        let started = core.get().config.time.precise();
        // The first lease began with its flight. (No model knows the time.)
        if number != 1 && !cfg!(loom) {
            // SAFETY: the share that is handed over.
            unsafe { flight.node.as_ref() }.set_begun_again(number, core.get().config.wait_now());
        }
        Self { core, flight, number, started, early }
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
        self.early
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// The flight, to compare.
    pub(crate) fn flight(&self) -> usize {
        self.flight.node.addr().get()
    }

    fn elapsed(&self) -> u64 {
        self.core.get().config.time.precise().saturating_sub(self.started)
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
        let terms = self.guarded(|core| core.terms(self.key(), &value, ttl, delta));
        let (core, flight, number) = self.into_parts();
        // The lease's own share becomes the entry's. Made first: it must go, too, if a listener panics below.
        // SAFETY: it is READY when anybody gets to see it; no user code runs before that.
        let entry = ManuallyDrop::new(unsafe { Entry::new(core.clone(), flight.node) });
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares.
        let published = unsafe { scope.publish(flight, number, value, terms) };
        let (entry, stored) = match published {
            Published::Stored => (ManuallyDrop::into_inner(entry), true),
            Published::HandedOver => (ManuallyDrop::into_inner(entry), false),
            // SAFETY: the lease's share goes to the new node, which gives it back, and that one's to the entry.
            Published::Fenced(value) => unsafe {
                (ManuallyDrop::into_inner(entry).moved_to(Node::fenced(flight.node, value, terms.stamps)), false)
            },
        };
        if let Some(old) = flight.old {
            // SAFETY: the lease's share.
            unsafe { scope.release(old) };
        }
        drop(scope);
        if stored { Ok(entry) } else { Err(entry) }
    }

    /// The old value is confirmed: it stays, with its time to live begun anew, and so do those who wait get it. `None`,
    /// and the flight is given up, if there is no old value; the entry is given even if it was removed meanwhile.
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
        let terms = self.guarded(|core| core.terms(self.key(), value, ttl, delta));
        let (core, flight, number) = self.into_parts();
        // SAFETY: the lease's share of the old entry, whose word is valued, becomes the entry's.
        let entry = unsafe { Entry::new(core.clone(), old) };
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: as in `land`; there is an old entry.
        unsafe { scope.renew(flight, number, terms.stamps) };
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
        self.end(None);
    }

    /// Ends the flight with an error, shared with all who wait.
    pub fn fail_with<E: Any + Send + Sync>(self, error: E) {
        self.end(Some(Arc::new(error)));
    }

    pub(crate) fn end(self, error: Option<SharedError>) {
        let (core, flight, number) = self.into_parts();
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        unsafe {
            scope.fail(flight, number, error);
            scope.disembark(flight);
        }
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
        let scope = core.scope(core.limbo().enter());
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

/// What a caller met, with handles of its own.
pub(crate) enum Met<'c, K, V, T> {
    /// What the caller made of the hit.
    Hit(T),
    Lead(Lease<'c, K, V>),
    Wait(Waiter<'c, K, V>),
    Full,
}

/// Looks a key up and gets on board; `take` makes of a hit what the caller wants, under the pin.
pub(crate) fn embark<'c, K, V, Q, T>(
    core: &CoreRef<'c, K, V>,
    hash: u64,
    q: &Q,
    wanted: Wanted<'_>,
    pin: impl Fn() -> Pin,
    take: impl Fn(&Node<K, V>, Outcome) -> Option<T>,
) -> Met<'c, K, V, T>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
{
    loop {
        let mut spare = Spare::none();
        let scope = core.get().scope(pin());
        let met = match scope.board(hash, q, wanted, &mut spare) {
            // None: it was removed just now.
            Boarded::Hit(node, outcome) => take(node, outcome).inspect(|_| node.touch()).map(Met::Hit),
            Boarded::Lead { flight, lease, early } => {
                // SAFETY: the lease and its shares were just given to us.
                Some(Met::Lead(unsafe { Lease::new(core.clone(), flight, lease, early) }))
            }
            Boarded::Wait { flight, lease, listening } => {
                let lead = if let Wanted::Value(limits) = wanted { limits } else { &core.get().config.limits }.lead;
                // SAFETY: the place among the waiters and the shares were just given to us; the registration is with a
                // bell of the core that `core` refers to.
                Some(Met::Wait(unsafe { Waiter::new(core.clone(), flight, lease, listening, lead) }))
            }
            Boarded::Full => Some(Met::Full),
        };
        // User code runs as these go (listeners, drops). It may ask for this key, and it may panic: then `met` must be
        // a local still, or its lease would be lost.
        let end = move || drop((scope, spare));
        match &met {
            Some(Met::Lead(lease)) => reentry::during(&[lease.flight()], end),
            _ => end(),
        }
        if let Some(met) = met {
            return met;
        }
    }
}

impl<'c, K, V> Lookup<'c, K, V> {
    /// [`Cache::lease`](crate::Cache::lease).
    pub(crate) fn at<Q>(core: CoreRef<'c, K, V>, hash: u64, q: &Q, pin: impl Fn() -> Pin) -> Self
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        let counted = |node: &Node<K, V>, _| {
            // SAFETY: a hit's word was seen valued; the share just taken is handed over.
            let entry = || unsafe { Entry::new(core.clone(), NonNull::from(node)) };
            node.share().then(entry)
        };
        if core.get().overloaded() {
            // Not a flight more; what is there is served all the same.
            let pin = pin();
            let hit = core.get().live(&pin, hash, |k| q.equivalent(k)).and_then(|node| counted(node, Outcome::Hit));
            return hit.map_or_else(|| Self::Wait(Waiter::overloaded(core.clone())), Self::Hit);
        }
        let met = embark(&core, hash, q, Wanted::Value(&core.get().config.limits), pin, counted);
        core.get().counters.lookup(matches!(met, Met::Hit(_)));
        match met {
            Met::Hit(entry) => Self::Hit(entry),
            Met::Lead(lease) => match lease.entry_of_old() {
                Some(entry) => Self::Refresh(entry, lease),
                None => Self::Lead(lease),
            },
            Met::Wait(waiter) => Self::Wait(waiter),
            Met::Full => Self::Wait(Waiter::overloaded(core)),
        }
    }
}

impl<'c, K, V> Lease<'c, K, V> {
    /// A place among those who wait for this very load; None if it has ended, by one who took it over.
    pub(crate) fn follow(&self) -> Option<Waiter<'c, K, V>> {
        let core = self.core.get();
        let scope = core.scope(core.limbo().enter());
        let Boarded::Wait { flight, lease, listening } = scope.join(self.flight, Wanted::Lease)? else { return None };
        // SAFETY: as in `embark`. Its own load is nobody's to take over for this caller: it has no other loader.
        Some(unsafe { Waiter::new(self.core.clone(), flight, lease, listening, NEVER) })
    }

    /// The old value, if it was still good as the lease was given.
    pub(crate) fn entry_of_old(&self) -> Option<Entry<'c, K, V>> {
        if self.early { self.old_entry() } else { None }
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
        let (core, flight, number) = self.into_parts();
        let scope = core.get().scope(core.get().limbo().enter());
        // SAFETY: `into_parts` ended the lease without giving it up; we hold its shares, and give them back once.
        unsafe {
            scope.retract(flight, number);
            scope.disembark(flight);
        }
    }
}
