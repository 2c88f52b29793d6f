//! Deciding on a key under its lease, as a thread or as a task.

use crate::api::cache::Cache;
use crate::api::handle::change::Change;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::{Waiter, Woken};
use crate::api::load::future::Loading;
use crate::engine::expiry::Expiry;
use crate::engine::key::ToKey;
use crate::engine::role::Intent;
use crate::flight::reentry;
use crate::runtime::spawn::yield_now;
use crate::runtime::xfetch::NEVER;
use core::convert::Infallible;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::pin::pin;
use equivalent::Equivalent;

/// The decision of [`Cache::compute`]'s closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op<V> {
    /// Store this value.
    Put(V),
    /// Store this value, on terms of its own.
    PutWith(V, Expiry),
    /// Remove the entry.
    Remove,
    /// Leave everything as it is.
    Nop,
}

/// A caller on its way to a key's lease. Threads and tasks share it; they differ in how they sleep.
struct Turn<'c, 'q, K, V, Q: ?Sized> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
}

/// The next step of a caller on its way to the lease.
#[allow(clippy::large_enum_variant, reason = "it is taken apart on the spot")]
enum Step<'c, K, V> {
    Lead(Lease<'c, K, V>),
    /// Another caller has the lease: sleep, then see [`Turn::after`].
    Wait(Waiter<'c, K, V>),
    /// The flight can count no more waiters. Let other callers run, and look again.
    Busy,
}

impl<'c, 'q, K, V, Q> Turn<'c, 'q, K, V, Q>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
{
    fn new<S: BuildHasher>(cache: &'c Cache<K, V, S>, q: &'q Q) -> Self
    where
        Q: Hash,
    {
        Self { core: CoreRef::borrowed(cache.core()), q, hash: cache.hash(q) }
    }

    /// # Panics
    /// If the caller would wait for a load or a decision of its own.
    fn step(&self) -> Step<'c, K, V> {
        let pin = || self.core.get().limbo().enter();
        match acquire_role(&self.core, self.hash, self.q, Intent::Lease, pin, |_, _| None::<Infallible>) {
            OwnedRole::Hit(never) => match never {},
            OwnedRole::Lead(lease) => Step::Lead(lease),
            OwnedRole::Wait(waiter) => {
                assert!(!waiter.is_reentrant(&[]), "compute from within a load of the same key");
                Step::Wait(waiter)
            }
            OwnedRole::Full | OwnedRole::Failed(_) => Step::Busy,
        }
    }

    /// Returns the lease, if the wait has come to that. If not, the flight has ended, and the
    /// caller takes the next [step](Self::step).
    fn after(woken: Option<Woken<'c, K, V>>) -> Option<Lease<'c, K, V>> {
        if let Some(Woken::Lead(lease)) = woken { Some(lease) } else { None }
    }

    #[cfg(feature = "std")]
    fn wait(&self) -> Lease<'c, K, V> {
        loop {
            match self.step() {
                Step::Lead(lease) => return lease,
                Step::Wait(mut waiter) => {
                    if let Some(lease) = Self::after(waiter.wait_until(NEVER)) {
                        return lease;
                    }
                }
                Step::Busy => std::thread::yield_now(),
            }
        }
    }

    /// Takes the key's lease as a thread, and decides.
    #[cfg(feature = "std")]
    fn decide<E>(self, f: impl FnOnce(Option<&V>) -> Result<Op<V>, E>) -> Result<Change<'c, K, V>, E> {
        let lease = self.wait();
        let (old, op) = lease.guarded(|_| {
            let old = lease.present();
            let op = f(old.as_deref());
            (old, op)
        });
        op.map(|op| carry_out(lease, old, op))
    }
}

/// Takes the key's lease as a task, and decides. `as_op` interprets the output of the future that
/// `f` makes, and `finish` makes the result. All verbs share this one async block, as those of
/// [`run_async`](crate::api::load::future::run_async) do.
#[allow(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
fn decide_async<'c, 'q, K, V, Q, E, Fut, T>(
    turn: impl FnOnce() -> Turn<'c, 'q, K, V, Q>,
    f: impl FnOnce(Option<Entry<'c, K, V>>) -> Fut,
    as_op: impl FnOnce(Fut::Output) -> Result<Op<V>, E>,
    finish: impl FnOnce(Result<Change<'c, K, V>, E>) -> T,
) -> impl Future<Output = T>
where
    K: 'c,
    V: 'c,
    Q: ?Sized + Equivalent<K> + ToKey<K> + 'q,
    Fut: Future,
{
    async move {
        let turn = turn();
        let lease = loop {
            match turn.step() {
                Step::Lead(lease) => break lease,
                Step::Wait(mut waiter) => {
                    let woken = waiter.wait_async(NEVER).await;
                    if let Some(lease) = Turn::<'c, 'q, K, V, Q>::after(woken) {
                        break lease;
                    }
                }
                Step::Busy => yield_now().await,
            }
        };
        let flight = [lease.flight()];
        // The future is declared last, and so dropped first: a caller that takes the lease over
        // must not run beside what is left of it.
        let old = lease.guarded(|_| lease.present());
        let future = reentry::during(&flight, || f(old.clone()));
        let mut future = pin!(Some(future));
        let output = Loading::new(&flight, future.as_mut()).await;
        finish(as_op(output).map(|op| carry_out(lease, old, op)))
    }
}

/// Ends the lease as its holder has decided.
fn carry_out<'c, K, V>(lease: Lease<'c, K, V>, old: Option<Entry<'c, K, V>>, op: Op<V>) -> Change<'c, K, V> {
    match op {
        Op::Put(value) => put(lease, old, value, Expiry::NONE),
        Op::PutWith(value, expiry) => put(lease, old, value, &expiry),
        Op::Remove => {
            let applied = lease.remove_old();
            Change { old, new: None, applied }
        }
        Op::Nop => {
            drop(lease);
            Change { new: old.clone(), old, applied: true }
        }
    }
}

fn put<'c, K, V>(lease: Lease<'c, K, V>, old: Option<Entry<'c, K, V>>, value: V, expiry: &Expiry) -> Change<'c, K, V> {
    let published = lease.publish(value, expiry, false);
    let stored = published.is_ok();
    let (Ok(new) | Err(new)) = published;
    // It may have been evicted at once, where no other entry may go (`keep_while`).
    let applied = stored && !new.node().word.load().turned_away();
    Change { old, new: Some(new), applied }
}

fn sure<T>(decided: Result<T, Infallible>) -> T {
    match decided {
        Ok(decided) => decided,
        Err(never) => match never {},
    }
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// Decides on a key, once, while no other caller loads or computes it. `f` gets the value, if
    /// there is one that has not expired, and returns what to do with the entry. The result says
    /// what was there, what is there now, and whether the decision was carried out.
    ///
    /// Waits for a load in flight; no deadline ends that wait. Readers keep the old value
    /// meanwhile. `insert` and `remove` do not wait, and win. If one of them runs meanwhile, or
    /// another caller takes the lease over (`lead_timeout`), the decision of `f` has no effect
    /// ([`Change::applied`]).
    ///
    /// Cost: a flight, as for a load, and two counted references, which the result holds.
    ///
    /// # Panics
    /// If `f` panics; the entry is not changed then. Also if this thread is loading or computing
    /// this same key: it would wait for itself.
    #[doc(alias = "and_compute_with")]
    #[cfg(feature = "std")]
    pub fn compute<Q>(&self, q: &Q, f: impl FnOnce(Option<&V>) -> Op<V>) -> Change<'_, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        sure(Turn::new(self, q).decide(|old| Ok(f(old))))
    }

    /// As [`compute`](Self::compute), with a closure that can fail. Its error is this caller's
    /// alone, and the entry is not changed then: the closure is no load, so no other caller gets
    /// the error, and no failure is counted or kept.
    ///
    /// ```
    /// use bellwether::{Cache, Op};
    /// let cache: Cache<String, u32> = Cache::new(10);
    /// cache.insert("n".into(), 41);
    /// let change = cache.try_compute("n", |old| old.map(|n| Op::Put(n + 1)).ok_or("absent"))?;
    /// assert_eq!((change.old.as_deref(), change.new.as_deref()), (Some(&41), Some(&42)));
    /// assert!(cache.try_compute("m", |old| old.map(|n| Op::Put(n + 1)).ok_or("absent")).is_err());
    /// # Ok::<(), &str>(())
    /// ```
    ///
    /// # Errors
    /// That of `f`.
    ///
    /// # Panics
    /// As [`compute`](Self::compute).
    #[doc(alias = "and_try_compute_with")]
    #[cfg(feature = "std")]
    pub fn try_compute<Q, E>(
        &self,
        q: &Q,
        f: impl FnOnce(Option<&V>) -> Result<Op<V>, E>,
    ) -> Result<Change<'_, K, V>, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        Turn::new(self, q).decide(f)
    }

    /// Stores the value that `f` makes of the one that is there, if there is one that has not
    /// expired: short for [`compute`](Self::compute) with [`Op::Put`].
    ///
    /// ```
    /// let hits: bellwether::Cache<String, u32> = bellwether::Cache::new(10);
    /// (0..3).for_each(|_| drop(hits.upsert("/", |old| old.map_or(1, |n| n + 1))));
    /// assert_eq!(hits.get("/"), Some(3));
    /// ```
    ///
    /// # Panics
    /// As [`compute`](Self::compute).
    #[doc(alias = "and_upsert_with")]
    #[cfg(feature = "std")]
    pub fn upsert<Q>(&self, q: &Q, f: impl FnOnce(Option<&V>) -> V) -> Change<'_, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        self.compute(q, |old| Op::Put(f(old)))
    }

    /// As `compute`, for tasks: waits for a load in flight as a task, and awaits the future that
    /// `f` makes. Threads and tasks take their turns by one lease.
    ///
    /// The future is lazy, and `Send` under the bounds of [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use std::task::{Context, Poll, Waker};
    /// use bellwether::{Cache, Op};
    /// let cache: Cache<String, u32> = Cache::new(10);
    /// let change = cache.compute_async("n", |old| async move {
    ///     Op::Put(old.map_or(1, |n| *n + 1))
    /// });
    /// # let mut change = std::pin::pin!(change);
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # let Poll::Ready(change) = change.as_mut().poll(&mut context) else { panic!() };
    /// # assert!(change.applied && cache.get("n") == Some(1));
    /// ```
    ///
    /// # Cancellation
    /// From when `f` is called until its future has ended, this future holds the key's lease. If it
    /// is dropped then, the lease is given up and the entry is not changed: a caller that waits
    /// goes on at once, with a load or a decision of its own. If it is dropped before, it leaves
    /// the flight that it waited for. (A future that is neither polled nor dropped holds the others
    /// up, until their deadlines or the `lead_timeout`.)
    ///
    /// # Panics
    /// If `f` or its future panics; the entry is not changed then. Also if it is polled within a
    /// load or decision of this same key.
    #[doc(alias = "and_compute_with")]
    pub fn compute_async<'c, Q, F, Fut>(&'c self, q: &'c Q, f: F) -> impl Future<Output = Change<'c, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce(Option<Entry<'c, K, V>>) -> Fut,
        Fut: Future<Output = Op<V>>,
    {
        decide_async(|| Turn::new(self, q), f, Ok, sure)
    }

    /// As [`compute_async`](Self::compute_async), with a future that can fail. Its error is this
    /// caller's alone, and the entry is not changed then.
    ///
    /// # Errors
    /// That of the future.
    ///
    /// # Cancellation, panics
    /// As [`compute_async`](Self::compute_async).
    #[doc(alias = "and_try_compute_with")]
    pub fn try_compute_async<'c, Q, E, F, Fut>(
        &'c self,
        q: &'c Q,
        f: F,
    ) -> impl Future<Output = Result<Change<'c, K, V>, E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce(Option<Entry<'c, K, V>>) -> Fut,
        Fut: Future<Output = Result<Op<V>, E>>,
    {
        decide_async(|| Turn::new(self, q), f, |decided| decided, |change| change)
    }

    /// Stores the value of the future that `f` makes of the value that is there, if there is one
    /// that has not expired: short for [`compute_async`](Self::compute_async) with [`Op::Put`].
    ///
    /// # Cancellation, panics
    /// As [`compute_async`](Self::compute_async).
    #[doc(alias = "and_upsert_with")]
    pub fn upsert_async<'c, Q, F, Fut>(&'c self, q: &'c Q, f: F) -> impl Future<Output = Change<'c, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce(Option<Entry<'c, K, V>>) -> Fut,
        Fut: Future<Output = V>,
    {
        decide_async(|| Turn::new(self, q), f, |value| Ok(Op::Put(value)), sure)
    }
}
