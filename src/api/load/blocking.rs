//! The blocking face: how a thread waits, and the read-through verbs for threads.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::CoreRef;
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::{Waited, Waiter, Woken};
use crate::api::load::form::ReturnAs;
use crate::api::load::read_through::{Attempt, ReadThrough, Resolution, certain};
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::engine::role::Intent;
use crate::engine::wait::thread::sleep;
use crate::runtime::xfetch::{NEVER, nanos};
use core::convert::Infallible;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;
use std::thread;

impl<'c, K, V> Waiter<'c, K, V> {
    /// Sleeps until the flight has ended, or this waiter takes it on.
    pub fn wait(mut self) -> Waited<'c, K, V> {
        self.wait_until(NEVER).map_or(Waited::TimedOut, Waited::from)
    }

    /// The same for at most `timeout`: by the system's monotonic clock, or under a custom clock with a timer, by that.
    ///
    /// # Errors
    /// The waiter itself, still in its place, if the time is over first.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Waited<'c, K, V>, Self> {
        let end = self.core().config.wait_end(nanos(timeout));
        self.wait_until(end).map(Waited::from).ok_or(self)
    }

    /// Waits as a thread, until a time; None: that has come.
    pub(crate) fn wait_until(&mut self, at: u64) -> Option<Woken<'c, K, V>> {
        loop {
            if let Some((core, listening, due)) = self.parked() {
                sleep(core, listening, at.min(due));
            }
            // The flight may have ended in the same moment.
            let over = self.core().config.has_come(at);
            match self.check() {
                Some(woken) => return Some(woken),
                None if over => return None,
                None => {}
            }
        }
    }
}

impl<'c, K, V, Q, F> ReadThrough<'c, '_, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Sees the lookup through, as a thread. (Never inlined: a hit of `get_with` would be called for it.)
    #[inline(never)]
    pub(crate) fn run<E: Send + Sync + 'static>(
        mut self,
        load: impl FnOnce(Option<&Lease<'c, K, V>>) -> Result<Loaded<V>, E>,
    ) -> Result<F::Out, LoadError<E>> {
        while let Some((waiter, at)) = self.waits() {
            let woken = waiter.wait_until(at);
            self.on(woken);
        }
        // What it ends with is a local still as the loader and the rest of this go.
        match self.end() {
            Resolution::Value(value) => {
                drop((load, self));
                Ok(value)
            }
            Resolution::Refused(why) => {
                drop((load, self));
                Err(why.into())
            }
            Resolution::Lead(mut lease) => {
                let loaded = lease.guarded(|_| load(Some(&lease)));
                lease.end_load();
                self.finish(lease, loaded)
            }
            Resolution::Alone => self.alone(load(None)),
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

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// The value of a key, loaded by `load` if there is none: by one caller, once, while the others wait for it.
    ///
    /// An entry that is about to expire may be refreshed by this caller before it does (XFetch), while the others keep
    /// using it. If the caller who loads panics, one of those who wait takes over, with its own `load`; so it does if
    /// a loader of [`try_get_with`](Self::try_get_with) fails.
    ///
    /// This method has no way to report an error. A caller whose `wait_timeout` runs out, or that
    /// `max_waiters` or `max_loads` refuses, gets a stale value if it may, and else waits on. With
    /// [`bypass`](crate::Builder::bypass) it runs its own `load` then, and its value is not stored
    /// ([`Stats::bypassed`] counts it). So does a caller that asks, from within a loader of this key, for
    /// this key again; one whose `wait_timeout` runs out, or that is refused, within the loader of
    /// another key; and any while too much retired memory waits to be freed.
    ///
    /// Blocks while another thread loads. A loader that waits, by way of other keys, for its own caller waits for ever,
    /// unless a `wait_timeout` is set: cycles over several keys cannot be seen.
    ///
    /// # Panics
    /// If `load` does: it reaches this caller only. If it waited for a flight whose leaders have
    /// panicked as often as [`max_handovers`](crate::Builder::max_handovers) permits.
    ///
    /// [`Stats::bypassed`]: crate::Stats::bypassed
    #[doc(alias = "get_with_by_ref")]
    #[doc(alias = "get_or_insert_with")]
    #[doc(alias = "singleflight")]
    #[doc(alias = "dogpile")]
    #[inline]
    pub fn get_with<Q>(&self, q: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        match self.begin(q, true) {
            Attempt::Hit(value) => {
                // The value is a local still as that goes.
                drop(load);
                value
            }
            Attempt::ReadThrough(through) => certain(through.run(|_| Ok(Loaded::New(load())))),
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
    /// `Reentrant` if this thread is loading this very key; `Overloaded` if no more may wait or load.
    ///
    /// # Panics
    /// If `load` does: it reaches this caller only, and one of those who wait takes over.
    #[doc(alias = "get_or_insert_with")]
    #[doc(alias = "optionally_get_with")]
    #[inline]
    pub fn try_get_with<Q, E>(&self, q: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        match self.begin(q, false) {
            Attempt::Hit(value) => {
                drop(load);
                Ok(value)
            }
            Attempt::ReadThrough(through) => through.run(|_| load().map(Loaded::New)),
        }
    }

    /// Decides on a key, once, while nobody else loads or computes it: `f` gets the value, if there is one that has not
    /// expired, and says what becomes of it. Waits for a load in flight. Readers keep the old value meanwhile, and
    /// `insert` and `remove` do not wait: they win. So does whoever takes over by the `lead_timeout`: what `f` says then comes to
    /// nothing.
    ///
    /// # Panics
    /// If `f` does (nothing is changed then), and if this thread is loading or computing this very key: it would wait for
    /// itself.
    #[doc(alias = "and_compute_with")]
    #[doc(alias = "and_upsert_with")]
    pub fn compute<Q>(&self, q: &Q, f: impl FnOnce(Option<&V>) -> Op<V>)
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let core = CoreRef::borrowed(self.core());
        let hash = self.hash(q);
        let lease = loop {
            match acquire_role(&core, hash, q, Intent::Lease, || self.core().limbo().enter(), |_, _| None::<Infallible>)
            {
                OwnedRole::Hit(never) => match never {},
                OwnedRole::Lead(lease) => break lease,
                OwnedRole::Wait(waiter) => {
                    assert!(!waiter.is_reentrant(&[]), "compute from within a load of the same key");
                    if let Waited::Lead(lease) = waiter.wait() {
                        break lease;
                    }
                }
                OwnedRole::Full | OwnedRole::Failed(_) => thread::yield_now(),
            }
        };
        match lease.guarded(|_| f(lease.present())) {
            Op::Put(value) => drop(lease.publish(value, None, None)),
            Op::Remove => lease.remove_old(),
            Op::Nop => {}
        }
    }
}
