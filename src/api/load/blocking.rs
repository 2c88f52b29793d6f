//! The blocking API: how a thread waits, and the read-through verbs for threads.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::CoreRef;
use crate::api::handle::form::{AsValue, ReturnAs};
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::OwnedRole;
use crate::api::handle::waiter::{Waited, Waiter, Woken};
use crate::api::load::read_through::{Attempt, Met, ReadThrough, Resolution, certain, manner_of, meet, plain_hit};
use crate::engine::Core;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::role::{Asker, Manner};
use crate::engine::wait::thread::sleep;
use crate::runtime::xfetch::{NEVER, nanos};
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

impl<'c, K, V> Waiter<'c, K, V> {
    /// Sleeps until the flight has ended, or this waiter gets its lease.
    pub fn wait(mut self) -> Waited<'c, K, V> {
        self.wait_until(NEVER).map_or(Waited::TimedOut, Waited::from)
    }

    /// As [`wait`](Self::wait), for at most `timeout`. The system's monotonic clock measures it;
    /// under a custom clock with a timer, that clock does.
    ///
    /// # Errors
    /// The waiter itself, still registered with the flight, if the timeout passes first.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Waited<'c, K, V>, Self> {
        let end = self.core().config.wait_end(nanos(timeout));
        self.wait_until(end).map(Waited::from).ok_or(self)
    }

    /// Waits as a thread. Returns None if the time `at` comes first.
    pub(crate) fn wait_until(&mut self, at: u64) -> Option<Woken<'c, K, V>> {
        loop {
            if let Some((core, subscription, due)) = self.parked() {
                sleep(core, subscription, at.min(due));
            }
            // Read the clock before the check: the flight may have ended just as the time came, and
            // then its result counts.
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
    /// Runs the lookup to its end, as a thread. (Never inlined: inlining it here would keep
    /// `get_with` from being inlined, and each hit would cost a call.)
    #[inline(never)]
    pub(crate) fn run<E: Send + Sync + 'static>(
        &mut self,
        load: impl FnOnce(Option<&Lease<'c, K, V>>) -> Result<Loaded<V>, E>,
    ) -> Result<F::Out, LoadError<E>> {
        while let Some((waiter, at)) = self.waits() {
            let woken = waiter.wait_until(at);
            self.on(woken);
        }
        if let Some(lease) = self.leads() {
            // The lease stays where it is until it ends: it is large.
            let loaded = lease.guarded(|_| load(Some(lease)));
            lease.end_load();
            return self.finish_led(loaded);
        }
        let end = self.end();
        // In each arm the loader and the value that this lookup keeps are dropped while the result
        // is a local. If one of these drops panics, the result is dropped, too; a result that is
        // already being returned would leak.
        match end {
            Resolution::Value(value) => {
                drop((load, self.keeps()));
                Ok(value)
            }
            Resolution::Refused(why) => {
                drop((load, self.keeps()));
                Err(why.into())
            }
            Resolution::Lead(_) => unreachable!("its lease was found above"),
            Resolution::Alone => self.alone(load(None)),
        }
    }
}

impl<'c, K, V, Q, F> Attempt<'c, '_, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// As [`ReadThrough::run`].
    #[inline]
    pub(crate) fn run<E: Send + Sync + 'static>(
        mut self,
        load: impl FnOnce(Option<&Lease<'c, K, V>>) -> Result<Loaded<V>, E>,
    ) -> Result<F::Out, LoadError<E>> {
        match self {
            Self::Hit(found) => {
                // The value is a local while `load` is dropped, so it does not leak if that panics.
                drop(load);
                Ok(found)
            }
            Self::ReadThrough(ref mut through) => through.run(load),
        }
    }
}

/// Counts a lookup as a miss when it ends, even if its loader panics.
struct Missed<'c, K, V>(&'c Core<K, V>);

impl<K, V> Drop for Missed<'_, K, V> {
    fn drop(&mut self) {
        self.0.counters.lookup(false);
    }
}

/// Runs the lookup of a key that is no plain hit to its end, as a thread. The usual course of it is
/// here: the caller leads, and its loader gives a value without terms. The machine
/// ([`ReadThrough`]), which is large, takes any other course.
#[inline(never)]
fn read_through<'c, 'q, K, V, Q, E>(
    core: &'c Core<K, V>,
    q: &'q Q,
    hash: u64,
    infallible: bool,
    load: impl FnOnce(Option<&Lease<'c, K, V>>) -> Result<Loaded<V>, E>,
) -> Result<V, LoadError<E>>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    V: Clone,
    E: Send + Sync + 'static,
{
    let manner = manner_of(core, Manner::of_verb(infallible), true);
    let machine = || ReadThrough::<_, _, _, AsValue>::begun(CoreRef::borrowed(core), q, hash, manner);
    if core.overloaded() {
        return machine().run(load);
    }
    let mut lease = match meet_value(core, q, hash, manner) {
        OwnedRole::Lead(lease) => lease,
        met => {
            let mut through = machine();
            through.met(met, &[]);
            return through.run(load);
        }
    };
    let missed = Missed(core);
    let loaded = lease.guarded(|_| load(Some(&lease)));
    lease.end_load();
    match loaded {
        Ok(Loaded::New(value)) if core.config.limits.has_no_terms() => {
            Ok(lease.store::<AsValue>(value, Outcome::Computed))
        }
        loaded => {
            core::mem::forget(missed);
            machine().finish(lease, loaded)
        }
    }
}

/// Looks a key up, for [`read_through`].
#[inline(never)]
fn meet_value<'c, K, V, Q>(core: &'c Core<K, V>, q: &Q, hash: u64, manner: Manner) -> Met<'c, K, V, V>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    V: Clone,
{
    let asker = Asker { limits: &core.config.limits, manner };
    meet::<_, _, _, AsValue>(&CoreRef::borrowed(core), q, hash, asker)
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// Reads a key through, as a thread.
    #[inline]
    fn read_through<'q, Q, E>(
        &'q self,
        q: &'q Q,
        infallible: bool,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        let (core, hash) = (self.core(), self.hash(q));
        match plain_hit(core, q, hash) {
            Some(value) => {
                // The value is a local while `load` is dropped, so it does not leak if that panics.
                drop(load);
                Ok(value)
            }
            None => read_through(core, q, hash, infallible, |_| load().map(Loaded::New)),
        }
    }

    /// Returns the value of a key. If there is none, one caller loads it by its `load`, once, while
    /// the others wait for it.
    ///
    /// If an entry is about to expire, one caller refreshes it early ([`Refresh`](crate::Refresh)),
    /// while the others keep using it. If the leader's `load` panics, one of the waiters takes over
    /// with its own `load`. One of the waiters of this method also takes over if the leader is a
    /// caller of [`try_get_with`](Self::try_get_with) whose loader fails.
    ///
    /// This method cannot report an error. A caller whose `wait_timeout` runs out, or which
    /// `max_waiters` or `max_loads` refuses, gets a stale value if one may be served, and waits on
    /// if not. With [`bypass`](crate::Builder::bypass), or within the loader of another key, it
    /// runs its own `load` instead of waiting on. A caller that asks for this key from within a
    /// loader of this same key does so, too, and so does a caller that finds no value while too
    /// much retired memory waits to be freed. The value of such a load is not stored;
    /// [`Stats::bypassed`] counts it.
    ///
    /// Blocks while another thread loads. A loader that waits for its own caller by way of other
    /// keys waits for ever, unless a `wait_timeout` is set: the cache cannot see cycles over
    /// several keys.
    ///
    /// # Panics
    /// If `load` panics; the panic reaches this caller only. Also if this caller waited for a
    /// flight whose leaders have panicked as often as
    /// [`max_handovers`](crate::Builder::max_handovers) permits.
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
        certain(self.read_through(q, true, || Ok(load())))
    }

    /// As [`get_with`](Self::get_with), with a loader that can fail. A failing load is called once,
    /// and all callers that waited for it get its error. No value is stored then, and the next
    /// caller loads anew.
    ///
    /// If an early refresh fails while the old value is still fresh, the caller gets the old value,
    /// and the entry is not refreshed again during the `error_cooldown`.
    ///
    /// # Errors
    /// * [`LoadError::Load`], `Foreign` or `Abandoned` if the load failed.
    /// * `Panicked` if the leaders of the flight panicked as often as
    ///   [`max_handovers`](crate::Builder::max_handovers) permits.
    /// * `TimedOut` after this caller's own `wait_timeout` or `hard_timeout`.
    /// * `Reentrant` if this thread is loading this same key.
    /// * `Overloaded` if no more callers may wait or load.
    ///
    /// # Panics
    /// If `load` panics. The panic reaches this caller only, and one of the waiters takes over.
    #[doc(alias = "get_or_insert_with")]
    #[inline]
    pub fn try_get_with<Q, E>(&self, q: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        self.read_through(q, false, load)
    }
}
