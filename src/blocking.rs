//! The blocking face: how a thread waits, and the read-through verbs for threads.

use crate::cache::Cache;
use crate::deadline::Deadline;
use crate::engine::board::Wanted;
use crate::entry::CoreRef;
use crate::error::LoadError;
use crate::flight::reentry;
use crate::key::ToKey;
use crate::lease::{Met, embark};
use crate::stats::Event;
use crate::through::{Cloned, End, Form, Next, Through, land, plain_hit, store};
use crate::waiter::{Waited, Waiter, Woken};
use alloc::sync::Arc;
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

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// The value of a key, loaded by `load` if there is none: by one caller, once, while the others wait for it.
    ///
    /// An entry that is about to expire may be refreshed by this caller before it does (XFetch), while the others keep
    /// using it. If the caller who loads panics, one of those who wait takes over, with its own `load`; so it does if
    /// a loader of [`try_get_with`](Self::try_get_with) fails.
    ///
    /// This method has no way to report an error. A caller that asks, from within a loader of this key, for this key
    /// again, whose `wait_timeout` runs out, or that `max_waiters` or `max_loads` refuses, runs its own `load`, and its value
    /// is not stored ([`Stats::bypassed`] counts it).
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
        match self.read_through(q, true) {
            End::Value(value) => value,
            End::Lead(lease) => {
                let value = lease.guarded(|_| load());
                store::<K, V, Cloned>(lease, value, None)
            }
            End::Alone(_) => {
                self.core().count(Event::Bypassed);
                load()
            }
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
    pub fn try_get_with<Q, E>(&self, q: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        match self.read_through(q, false) {
            End::Value(value) => Ok(value),
            End::Lead(lease) => {
                let loaded = lease.guarded(|_| load());
                land::<K, V, Cloned, E>(lease, loaded, None)
            }
            End::Alone(alone) => match alone.error() {
                Some(error) => Err(error),
                None => {
                    self.core().count(Event::Bypassed);
                    load().map_err(|e| LoadError::Load(Arc::new(e)))
                }
            },
        }
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

    #[inline]
    fn read_through<Q>(&self, q: &Q, lenient: bool) -> End<'_, K, V, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let (core, hash) = (self.core(), self.hash(q));
        match plain_hit(core, q, hash) {
            Some(value) => End::Value(value),
            None => wait_through(Through::<K, V, Q, Cloned>::new(core, q, hash, lenient), core.config.wait_timeout),
        }
    }
}

/// Sees a lookup through, as a thread.
pub(crate) fn wait_through<'c, K, V, Q, F>(
    mut through: Through<'c, '_, K, V, Q, F>,
    timeout: Option<Duration>,
) -> End<'c, K, V, F::Out>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: Form<'c, K, V>,
{
    let core = through.core();
    let mut next = through.board();
    let mut deadline = None;
    loop {
        let mut waiter = match next {
            Next::End(end) => return end,
            Next::Wait(waiter) => waiter,
        };
        let until =
            *deadline.get_or_insert_with(|| timeout.map_or(Deadline::Never, |timeout| Deadline::after(core, timeout)));
        next = through.on(waiter.wait_until(until));
    }
}
