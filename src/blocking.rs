//! The blocking face: how a thread waits, and the read-through verbs for threads.

use crate::cache::Cache;
use crate::deadline::Deadline;
use crate::engine::board::Wanted;
use crate::entry::CoreRef;
use crate::error::{LoadError, SharedError};
use crate::flight::reentry;
use crate::key::ToKey;
use crate::lease::{Lease, Met, embark};
use crate::stats::Event;
use crate::waiter::{Waited, Waiter, Woken};
use alloc::sync::Arc;
use core::any::Any;
use core::convert::Infallible;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;
use std::thread;

impl<'c, K, V> Waiter<'c, K, V> {
    /// Sleeps until the flight has ended, or this waiter takes it on.
    pub fn wait(mut self) -> Waited<'c, K, V> {
        loop {
            // Without a deadline, only an answer ends the wait.
            if let Some(woken) = self.wait_until(Deadline::Never) {
                return woken.into();
            }
        }
    }

    /// The same for at most `timeout`: by the system's monotonic clock, or under a custom clock with a timer, by that.
    ///
    /// # Errors
    /// The waiter itself, still in its place, if the time is over first.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Waited<'c, K, V>, Self> {
        let deadline = Deadline::after(self.core(), timeout);
        self.wait_until(deadline).map(Waited::from).ok_or(self)
    }

    fn wait_until(&mut self, deadline: Deadline) -> Option<Woken<'c, K, V>> {
        loop {
            let listener = self.listening().and_then(|l| l.listener.take());
            let in_time = listener.is_none_or(|l| deadline.sleep(self.core(), l));
            // After a deadline, too: the flight may have ended in the same moment.
            match self.check() {
                Some(woken) => return Some(woken),
                None if !in_time => return None,
                None => {}
            }
        }
    }
}

/// What [`Cache::compute`] does to the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op<V> {
    /// Store this value.
    Put(V),
    /// Remove the entry.
    Remove,
    /// Leave everything as it is.
    Nop,
}

/// Why a caller gets no value by way of the cache, with the loader it did not run.
enum Alone<F, E> {
    /// The load that it led or joined failed.
    Failed(LoadError<E>),
    /// It may not or cannot wait.
    Turned(F, LoadError<E>),
    /// Too much retired memory waits to be freed for another flight.
    Pressed(F),
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// The value of a key, loaded by `load` if there is none: by one caller, once, while the others wait for it.
    ///
    /// An entry that is about to expire may be refreshed by this caller before it does (XFetch), while the others keep
    /// using it. If the caller who loads panics, one of those who wait takes over, with its own `load`; so it does if
    /// a loader of [`try_get_with`](Self::try_get_with) fails.
    ///
    /// This method has no way to report an error. A caller that asks, from within a loader of this key, for this key
    /// again, or whose `wait_timeout` runs out, runs its own `load`, and its value is not stored ([`Stats::bypassed`]
    /// counts it).
    ///
    /// Blocks while another thread loads. A loader that waits, by way of other keys, for its own caller waits for ever,
    /// unless a `wait_timeout` is set: cycles over several keys cannot be seen.
    ///
    /// # Panics
    /// If `load` does: it reaches this caller only.
    ///
    /// [`Stats::bypassed`]: crate::Stats::bypassed
    pub fn get_with<Q>(&self, q: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let infallible = || Ok::<V, Infallible>(load());
        match self.read_through(q, infallible, true) {
            Ok(value) => value,
            Err(Alone::Turned(load, _) | Alone::Pressed(load)) => {
                self.core().counters.count(Event::Bypassed);
                let Ok(value) = load();
                value
            }
            Err(Alone::Failed(_)) => unreachable!("the failure of another is a hand-over here"),
        }
    }

    /// As [`get_with`](Self::get_with), with a loader that can fail: one failing load is one call, and all who waited for
    /// it get its error. Nothing is stored then, and the next caller loads anew.
    ///
    /// If an early refresh fails while the old value is still good, that is returned, and the entry is left alone for
    /// the `error_cooldown`.
    ///
    /// # Errors
    /// [`LoadError::Load`], `Foreign` or `Abandoned` if the load failed; `TimedOut` after one's own `wait_timeout`;
    /// `Reentrant` if this thread is loading this very key; `Overloaded` if no more waiters can be counted.
    ///
    /// # Panics
    /// If `load` does: it reaches this caller only, and one of those who wait takes over.
    pub fn try_get_with<Q, E>(&self, q: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        self.read_through(q, load, false).or_else(|alone| match alone {
            Alone::Failed(error) | Alone::Turned(_, error) => Err(error),
            Alone::Pressed(load) => {
                self.core().counters.count(Event::Bypassed);
                load().map_err(|e| LoadError::Load(Arc::new(e)))
            }
        })
    }

    /// Decides on a key, once, while nobody else loads or computes it: `f` gets the value, if there is one that has not
    /// expired, and says what becomes of it. Waits for a load in flight. Readers keep the old value meanwhile, and
    /// `insert` and `remove` do not wait: they win.
    ///
    /// # Panics
    /// If `f` does (nothing is changed then), and if this thread is loading or computing this very key: it would wait for
    /// itself.
    pub fn compute<Q>(&self, q: &Q, f: impl FnOnce(Option<&V>) -> Op<V>)
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let core = CoreRef::borrowed(self.core());
        let hash = self.hash(q);
        let lease = loop {
            match embark(&core, hash, q, Wanted::Lease, || self.core().limbo().enter(), |_| None::<Infallible>) {
                Met::Hit(never) => match never {},
                Met::Lead(lease) => break lease,
                Met::Wait(waiter) => {
                    assert!(!reentry::loading(waiter.flight()), "compute from within a load of the same key");
                    if let Waited::Lead(lease) = waiter.wait() {
                        break lease;
                    }
                }
                Met::Full => thread::yield_now(),
            }
        };
        match lease.guarded(|_| f(lease.present())) {
            Op::Put(value) => drop(lease.land(value, None, 0)),
            Op::Remove => lease.remove_old(),
            Op::Nop => {}
        }
    }

    /// `lenient`: the failure of another is no answer, look again.
    fn read_through<Q, E, F>(&self, q: &Q, mut load: F, lenient: bool) -> Result<V, Alone<F, E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
        F: FnOnce() -> Result<V, E>,
    {
        let hash = self.hash(q);
        let core = self.core();
        let pin = core.limbo().enter();
        if let Some(value) = core.read_quietly(&pin, hash, |k| q.equivalent(k), V::clone) {
            return Ok(value);
        }
        drop(pin);
        let handle = CoreRef::borrowed(core);
        let mut deadline = None;
        loop {
            if core.overloaded() {
                // Not a flight more; what is there is served all the same.
                let pin = core.limbo().enter();
                return core.read(&pin, hash, |k| q.equivalent(k), V::clone).ok_or(Alone::Pressed(load));
            }
            // SAFETY: a hit's word was seen valued, and `take` runs under the pin it was found under.
            let take = |node: &crate::flight::node::Node<K, V>| Some(unsafe { node.value() }.clone());
            let met = embark(&handle, hash, q, Wanted::Value, || core.limbo().enter(), take);
            if deadline.is_none() {
                core.counters.lookup(matches!(met, Met::Hit(_)));
            }
            let mut waiter = match met {
                Met::Hit(value) => return Ok(value),
                Met::Lead(lease) => return lead(lease, load).map_err(Alone::Failed),
                Met::Full => return Err(Alone::Turned(load, LoadError::Overloaded)),
                Met::Wait(waiter) if reentry::loading(waiter.flight()) => {
                    return Err(Alone::Turned(load, LoadError::Reentrant));
                }
                Met::Wait(waiter) => waiter,
            };
            let until = *deadline
                .get_or_insert_with(|| core.config.wait_timeout.map_or(Deadline::Never, |t| Deadline::after(core, t)));
            load = match waiter.wait_until(until) {
                Some(Woken::Ready(entry)) => return Ok(V::clone(&entry)),
                Some(Woken::Lead(lease)) => return lead(lease, load).map_err(Alone::Failed),
                Some(Woken::Failed(error)) if !lenient => {
                    return Err(Alone::Failed(LoadError::of_flight(error)));
                }
                Some(Woken::Failed(_) | Woken::Again) => load,
                Some(Woken::Overloaded) => return Err(Alone::Turned(load, LoadError::Overloaded)),
                None => {
                    core.counters.count(Event::WaitTimeout);
                    return Err(Alone::Turned(load, LoadError::TimedOut));
                }
            };
        }
    }
}

/// Loads, and ends the lease accordingly.
fn lead<K, V, E>(lease: Lease<'_, K, V>, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
where
    V: Clone,
    E: Any + Send + Sync,
{
    match lease.guarded(|_| load()) {
        Ok(value) => {
            let (Ok(entry) | Err(entry)) = lease.fulfil(value);
            Ok(V::clone(&entry))
        }
        Err(error) => {
            let error = Arc::new(error);
            let old = lease.guarded(|core| {
                let old = lease.still_good().cloned();
                old.inspect(|_| core.counters.count(Event::StaleServe))
            });
            lease.end(Some(error.clone() as SharedError));
            old.ok_or(LoadError::Load(error))
        }
    }
}
