//! Reading through: what a caller who wants a value does next, however it waits.
//!
//! One machine for threads and tasks. It never waits, holds no pin between its steps, and leaves two things to its driver
//! ([`blocking`](crate::blocking), [`future`](crate::future)): to run the loader, and to sleep on a [`Waiter`] until a
//! deadline.

use crate::engine::Core;
use crate::engine::board::Wanted;
use crate::entry::{CoreRef, Entry};
use crate::error::{LoadError, SharedError};
use crate::flight::node::Node;
use crate::flight::reentry;
use crate::key::ToKey;
use crate::lease::{Lease, Met, embark};
use crate::stats::Event;
use crate::waiter::{Waiter, Woken};
use alloc::sync::Arc;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::time::Duration;
use equivalent::Equivalent;

/// How a read-through came by its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was there.
    Hit,
    /// This caller loaded it.
    Computed,
    /// This caller waited for the load of another.
    Coalesced,
    /// It was there, and its time to live is over, or its refresh by this caller failed: served all the same.
    Stale,
    /// This caller loaded it early, in the place of one that was still good (XFetch).
    Refreshed,
}

/// In what form a caller wants a value.
pub(crate) trait Form<'c, K, V> {
    type Out;
    /// Of what was found; None: look again.
    ///
    /// # Safety
    /// The node's word was seen valued, under a pin that is held.
    unsafe fn of_hit(core: &'c Core<K, V>, node: &Node<K, V>) -> Option<Self::Out>;
    fn of_entry(entry: Entry<'c, K, V>, outcome: Outcome) -> Self::Out;
}

/// A clone of the value.
pub(crate) struct Cloned;

impl<'c, K, V: Clone> Form<'c, K, V> for Cloned {
    type Out = V;
    unsafe fn of_hit(_core: &'c Core<K, V>, node: &Node<K, V>) -> Option<V> {
        // SAFETY: as for this function.
        Some(unsafe { node.value() }.clone())
    }
    fn of_entry(entry: Entry<'c, K, V>, _outcome: Outcome) -> V {
        V::clone(&entry)
    }
}

/// A counted handle, with how it was come by.
pub(crate) struct Told;

impl<'c, K: 'c, V: 'c> Form<'c, K, V> for Told {
    type Out = (Entry<'c, K, V>, Outcome);
    unsafe fn of_hit(core: &'c Core<K, V>, node: &Node<K, V>) -> Option<Self::Out> {
        let outcome = if core.over(node) { Outcome::Stale } else { Outcome::Hit };
        // SAFETY: the share just taken is handed over; seen valued, as for this function.
        let entry = || unsafe { Entry::new(CoreRef::borrowed(core), NonNull::from(node)) };
        node.share().then(|| (entry(), outcome))
    }
    fn of_entry(entry: Entry<'c, K, V>, outcome: Outcome) -> Self::Out {
        (entry, outcome)
    }
}

/// A lookup that loads what it does not find.
pub(crate) struct Through<'c, 'q, K, V, Q: ?Sized, F> {
    core: &'c Core<K, V>,
    q: &'q Q,
    hash: u64,
    /// The failure of another is no answer: look again.
    lenient: bool,
    /// Whether the lookup was counted.
    counted: bool,
    _form: PhantomData<fn() -> F>,
}

/// What to do next.
pub(crate) enum Next<'c, K, V, T> {
    /// Wait, and go [`on`](Through::on).
    Wait(Waiter<'c, K, V>),
    End(End<'c, K, V, T>),
}

/// How the lookup ends.
pub(crate) enum End<'c, K, V, T> {
    Value(T),
    /// This caller loads, and [`store`]s or [`land`]s what comes of it.
    Lead(Lease<'c, K, V>),
    /// It runs its loader for itself alone, or reports why there is no value.
    Alone(Alone),
}

/// Why a caller gets no value by way of the cache, with a loader that it did not run.
pub(crate) enum Alone {
    /// The load that it joined failed.
    Failed(Option<SharedError>),
    TimedOut,
    Reentrant,
    Overloaded,
    /// Too much retired memory waits to be freed for another flight.
    Pressed,
}

impl Alone {
    /// As an error; `Pressed` is none.
    pub(crate) fn error<E: Send + Sync + 'static>(self) -> Option<LoadError<E>> {
        match self {
            Self::Failed(error) => Some(LoadError::of_flight(error)),
            Self::TimedOut => Some(LoadError::TimedOut),
            Self::Reentrant => Some(LoadError::Reentrant),
            Self::Overloaded => Some(LoadError::Overloaded),
            Self::Pressed => None,
        }
    }
}

impl<'c, 'q, K, V, Q, F> Through<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: Form<'c, K, V>,
{
    pub(crate) fn new(core: &'c Core<K, V>, q: &'q Q, hash: u64, lenient: bool) -> Self {
        Self { core, q, hash, lenient, counted: false, _form: PhantomData }
    }

    pub(crate) fn core(&self) -> &'c Core<K, V> {
        self.core
    }

    /// Gets on board; the first step, if it is no [`plain_hit`].
    pub(crate) fn board(&mut self) -> Next<'c, K, V, F::Out> {
        let (core, q) = (self.core, self.q);
        // SAFETY: a hit's word was seen valued, and `take` runs under the pin it was found under.
        let take = |node: &Node<K, V>| unsafe { F::of_hit(core, node) };
        if core.overloaded() {
            // Not a flight more; what is there is served all the same.
            let pin = core.limbo().enter();
            let value = core.live(&pin, self.hash, |k| q.equivalent(k)).and_then(take);
            return Next::End(value.map_or(End::Alone(Alone::Pressed), End::Value));
        }
        let met = embark(&CoreRef::borrowed(core), self.hash, q, Wanted::Value, || core.limbo().enter(), take);
        if !core::mem::replace(&mut self.counted, true) {
            core.counters.lookup(matches!(met, Met::Hit(_)));
        }
        match met {
            Met::Hit(value) => Next::End(End::Value(value)),
            Met::Lead(lease) => Next::End(End::Lead(lease)),
            Met::Full => Next::End(End::Alone(Alone::Overloaded)),
            Met::Wait(waiter) if reentry::loading(waiter.flight()) => Next::End(End::Alone(Alone::Reentrant)),
            Met::Wait(waiter) => Next::Wait(waiter),
        }
    }

    /// After a wait that was answered, or (None) ended by its deadline.
    pub(crate) fn on(&mut self, woken: Option<Woken<'c, K, V>>) -> Next<'c, K, V, F::Out> {
        Next::End(match woken {
            Some(Woken::Ready(entry)) => End::Value(F::of_entry(entry, Outcome::Coalesced)),
            Some(Woken::Lead(lease)) => End::Lead(lease),
            Some(Woken::Failed(error)) if !self.lenient => End::Alone(Alone::Failed(error)),
            Some(Woken::Failed(_) | Woken::Again) => return self.board(),
            Some(Woken::Overloaded) => End::Alone(Alone::Overloaded),
            None => {
                self.core.count(Event::WaitTimeout);
                End::Alone(Alone::TimedOut)
            }
        })
    }
}

/// The value, if nothing but a plain hit can come of looking the key up. Most lookups end here.
#[inline]
pub(crate) fn plain_hit<K, V, Q>(core: &Core<K, V>, q: &Q, hash: u64) -> Option<V>
where
    Q: ?Sized + Equivalent<K>,
    V: Clone,
{
    core.read_quietly(&core.limbo().enter(), hash, |k| q.equivalent(k), V::clone)
}

/// Ends a lease with the value that was loaded; `ttl` is for this value alone.
pub(crate) fn store<'c, K, V, F>(lease: Lease<'c, K, V>, value: V, ttl: Option<Duration>) -> F::Out
where
    F: Form<'c, K, V>,
{
    let outcome = if lease.is_early() { Outcome::Refreshed } else { Outcome::Computed };
    let (Ok(entry) | Err(entry)) = match ttl {
        Some(ttl) => lease.fulfil_with_ttl(value, ttl),
        None => lease.fulfil(value),
    };
    F::of_entry(entry, outcome)
}

/// Ends a lease with what its load came to. If that was an early refresh and failed, the old value is given.
pub(crate) fn land<'c, K, V, F, E>(
    lease: Lease<'c, K, V>,
    loaded: Result<V, E>,
    ttl: Option<Duration>,
) -> Result<F::Out, LoadError<E>>
where
    F: Form<'c, K, V>,
    E: Send + Sync + 'static,
{
    let error = match loaded {
        Ok(value) => return Ok(store::<K, V, F>(lease, value, ttl)),
        Err(error) => Arc::new(error),
    };
    let old = lease.guarded(|_| lease.still_good().map(|old| F::of_entry(old, Outcome::Stale)));
    let core = lease.end(Some(error.clone() as SharedError));
    old.inspect(|_| core.get().count(Event::StaleServe)).ok_or(LoadError::Load(error))
}
