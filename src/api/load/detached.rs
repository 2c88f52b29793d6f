//! Read-through whose loads run in the background, and outlive their callers.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::lease::Lease;
use crate::api::load::fate::Fate;
use crate::api::load::form::{AsEntry, ReturnAs};
use crate::api::load::future::Loading;
use crate::api::load::read_through::{ReadThrough, Resolution, as_loaded, deliver};
use crate::api::load::request::{Found, settings};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::flight::expiry::Ttl;
use crate::flight::failure::SharedError;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::span;
use crate::runtime::spawn::Task;
use crate::runtime::xfetch::nanos;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::hash::{BuildHasher, Hash};
use core::pin::{Pin, pin};
use core::time::Duration;
use equivalent::Equivalent;

/// A read-through of one key whose load runs in the background. From [`Cache::detached`].
///
/// What is not set is as the cache was built. It ends in one of four verbs, which do as those of [`Cache`], and give an
/// [`Entry`](crate::Entry) and the [`Outcome`](crate::Outcome).
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Detached<'q, K, V, S, Q: ?Sized> {
    cache: Arc<Cache<K, V, S>>,
    q: &'q Q,
    limits: Limits,
}

impl<K, V, S> Cache<K, V, S> {
    /// A read-through whose load, if this caller is the one to load, is run by the cache's
    /// [`spawner`](crate::Builder::spawner). So it goes on if this caller is cancelled or does not wait any longer
    /// (`soft_timeout`, `hard_timeout`), a task that is not polled holds up nobody, and nobody pays for an early refresh, or for
    /// one while a stale value may be served: its caller gets the old value at once.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::sync::Arc;
    /// let cache: Arc<Cache<String, u64>> = Arc::new(Cache::new(10));
    /// let (entry, outcome) = cache.detached("answer").get_with(|| 42);
    /// assert_eq!((*entry, outcome), (42, Outcome::Computed));
    /// ```
    ///
    /// Costs an allocation, and what the spawner does, for each load; nothing for a hit. Without std, where no spawner was given, a
    /// load panics.
    pub fn detached<'q, Q: ?Sized>(self: &Arc<Self>, q: &'q Q) -> Detached<'q, K, V, S, Q> {
        Detached { cache: self.clone(), q, limits: self.core().config.limits }
    }
}

impl<K, V, S, Q: ?Sized> Detached<'_, K, V, S, Q> {
    settings!(self, self.limits);
}

impl<'q, K, V, S, Q> Detached<'q, K, V, S, Q>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
{
    fn through(&self, infallible: bool) -> ReadThrough<'static, 'q, K, V, Q, AsEntry> {
        ReadThrough::new(self.cache.kept(), self.q, self.cache.hash(self.q), self.limits, infallible)
    }

    /// As [`Cache::get_with`], by a thread that sleeps meanwhile. After the `hard_timeout` it gets an old value if it may; where
    /// there is none it waits on: it has no other loader, and no way to report an error.
    ///
    /// # Panics
    /// If the load panics, is dropped by the spawner, or is taken over (`lead_timeout`) by one that fails, and there is neither a
    /// value nor an old one that may be served; one of those who wait takes over.
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V + Send + 'static) -> Found<'static, K, V> {
        not_lost(run_detached(self.through(true), false, || Ok(Loaded::New(load()))))
    }

    /// As [`Cache::try_get_with`], by a thread that sleeps meanwhile.
    ///
    /// # Errors
    /// As [`Cache::try_get_with`]; `TimedOut` after the `hard_timeout`, too; `Abandoned` if the load panics, or is dropped by the
    /// spawner: then one of those who wait takes over.
    #[cfg(feature = "std")]
    pub fn try_get_with<E>(
        self,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        run_detached(self.through(false), false, || load().map(Loaded::New))
    }

    /// As [`Cache::get_with_async`].
    ///
    /// # Cancellation
    /// The load goes on.
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with).
    pub async fn get_with_async<F, Fut>(self, load: F) -> Found<'static, K, V>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = V> + Send + 'static,
    {
        let load = Closure(load, |value| Ok::<_, Infallible>(Loaded::New(value)));
        not_lost(run_detached_async(|| self.through(true), load).await)
    }

    /// As [`Cache::try_get_with_async`].
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Cancellation
    /// The load goes on.
    pub async fn try_get_with_async<E, F, Fut>(self, load: F) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        run_detached_async(|| self.through(false), Closure(load, as_loaded)).await.map_err(LoadError::typed)
    }
}

/// The value of a lookup that can fail only because its load was lost: it panicked, was dropped, or was taken over by one that
/// failed.
fn not_lost<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        Err(_) => panic!("the load in the background came to nothing: it panicked, was dropped, or was taken over"),
    }
}

/// Sees a lookup through, as a thread. `here`: a load for which nobody could go on sooner runs on this very thread.
#[cfg(feature = "std")]
pub(crate) fn run_detached<K, V, Q, F, E>(
    mut through: ReadThrough<'static, '_, K, V, Q, F>,
    here: bool,
    load: impl FnOnce() -> Result<Loaded<V>, E> + Send + 'static,
) -> Result<F::Out, LoadError<E>>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'static, K, V>,
    E: Send + Sync + 'static,
{
    let (limits, mut load, fate) = (through.limits(), Some(load), Fate::default());
    loop {
        while let Some((waiter, at)) = through.waits() {
            let woken = waiter.wait_until(at);
            through.on(woken);
        }
        match (through.end(), load.take()) {
            // What it ends with is a local still as the loader and the rest of this go.
            (Resolution::Value(value), load) => {
                drop((load, through));
                return Ok(value);
            }
            (Resolution::Refused(why), load) => {
                drop((load, through));
                return Err(why.into());
            }
            (Resolution::Alone, Some(load)) => return through.alone(load()),
            (Resolution::Lead(mut lease), Some(load)) if here && through.must_wait(&lease) => {
                let loaded = lease.guarded(|_| load());
                lease.end_load();
                return through.finish(lease, loaded);
            }
            (Resolution::Lead(lease), Some(load)) => {
                let job = Job { limits, fate: fate.clone(), serves: Vec::new() };
                through.hand_on(lease, |lease, serves| spawn_blocking(lease, load, Job { serves, ..job }));
            }
            (end, None) => return through.lost(end, fate.error()),
        }
    }
}

/// A load that is run in the background, or by its caller alone.
///
/// A task that waits for the load holds it. That task is `Send` for all `K` and `V` only if this
/// type names neither the loader's error nor its future: the compiler cannot find these within a
/// task, where it knows nothing of the lifetimes in `K` and `V`. So both are behind these
/// functions, and an error has no type until the caller is told.
pub(crate) trait Background<K, V> {
    /// Has it run by the cache's spawner.
    fn spawn(self, lease: Lease<'static, K, V>, job: Job);
    /// Runs it for its caller alone.
    fn alone(self) -> Alone<V>;
}

/// A load for one caller alone.
pub(crate) type Alone<V> = Pin<Box<dyn Future<Output = Result<Loaded<V>, SharedError>> + Send>>;

/// A loader, and what its output means.
struct Closure<L, T>(L, T);

impl<K, V, E, L, Fut, T> Background<K, V> for Closure<L, T>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: FnOnce() -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    T: FnOnce(Fut::Output) -> Result<Loaded<V>, E> + Send + 'static,
{
    fn spawn(self, lease: Lease<'static, K, V>, job: Job) {
        spawn(lease, self.0, self.1, job);
    }
    fn alone(self) -> Alone<V> {
        alone(self.0(), self.1)
    }
}

/// A loader's future, for one caller alone.
pub(crate) fn alone<V, E, Fut>(
    loading: Fut,
    as_loaded: impl FnOnce(Fut::Output) -> Result<Loaded<V>, E> + Send + 'static,
) -> Alone<V>
where
    E: Send + Sync + 'static,
    Fut: Future + Send + 'static,
{
    Box::pin(async move { as_loaded(loading.await).map_err(|error| Arc::new(error) as SharedError) })
}

/// The same, as a task. A loader's error comes back [`Foreign`](LoadError::Foreign), until it is
/// [`typed`](LoadError::typed).
pub(crate) async fn run_detached_async<'q, K, V, Q, F, L>(
    begin: impl FnOnce() -> ReadThrough<'static, 'q, K, V, Q, F>,
    load: L,
) -> Result<F::Out, LoadError<Infallible>>
where
    Q: ?Sized + Equivalent<K> + ToKey<K> + 'q,
    F: ReturnAs<'static, K, V>,
    L: Background<K, V>,
{
    let mut through = begin();
    let (limits, mut load, fate) = (through.limits(), Some(load), Fate::default());
    loop {
        while let Some((waiter, at)) = through.waits() {
            let woken = waiter.wait_async(at).await;
            through.on(woken);
        }
        match (through.end(), load.take()) {
            // What it ends with is a local still as the loader and the rest of this go.
            (Resolution::Value(value), load) => {
                drop((load, through));
                return Ok(value);
            }
            (Resolution::Refused(why), load) => {
                drop((load, through));
                return Err(why.into());
            }
            (Resolution::Alone, Some(load)) => {
                return match load.alone().await {
                    Ok(loaded) => through.alone(Ok(loaded)),
                    Err(error) => Err(LoadError::of_flight(Some(error))),
                };
            }
            (Resolution::Lead(lease), Some(load)) => {
                let job = Job { limits, fate: fate.clone(), serves: Vec::new() };
                through.hand_on(lease, |lease, serves| load.spawn(lease, Job { serves, ..job }));
            }
            (end, None) => return through.lost(end, fate.error()),
        }
    }
}

/// What a load in the background is given beside its lease and its loader.
pub(crate) struct Job {
    pub(crate) limits: Limits,
    pub(crate) fate: Fate,
    /// The flights that wait for it.
    pub(crate) serves: Vec<FlightId>,
}

impl Job {
    /// Of a load that no caller waits for.
    pub(crate) fn unattended(limits: Limits) -> Self {
        Self { limits, fate: Fate::default(), serves: Vec::new() }
    }

    /// The flights that the loader must not wait for: its own, and those that wait for it.
    fn flights<K, V>(&self, lease: &Lease<'_, K, V>) -> Vec<FlightId> {
        let mut flights = self.serves.clone();
        flights.push(lease.flight());
        flights
    }
}

/// Runs a load in the background, on a thread that it may block.
#[cfg(feature = "std")]
pub(crate) fn spawn_blocking<K, V, E>(
    mut lease: Lease<'static, K, V>,
    load: impl FnOnce() -> Result<Loaded<V>, E> + Send + 'static,
    job: Job,
) where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let core = lease.core().clone();
    core.get().config.spawner().spawn_blocking(Box::new(span::of_caller(move || {
        lease.begin_load();
        let loaded = reentry::during(&job.flights(&lease), || job.fate.of(load));
        lease.end_load();
        job.fate.returned();
        deliver(lease, loaded, &job.limits);
    })));
}

/// Runs a load in the background, as a task.
pub(crate) fn spawn<K, V, E, Fut>(
    mut lease: Lease<'static, K, V>,
    load: impl FnOnce() -> Fut + Send + 'static,
    as_loaded: impl FnOnce(Fut::Output) -> Result<Loaded<V>, E> + Send + 'static,
    job: Job,
) where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    Fut: Future + Send + 'static,
{
    let core = lease.core().clone();
    let task: Task = Box::pin(span::task_of_caller(async move {
        lease.begin_load();
        let flights = job.flights(&lease);
        let loading = reentry::during(&flights, || job.fate.of(load));
        let mut loading = pin!(Some(loading));
        let mut loading = Loading::new(&flights, loading.as_mut());
        let output = poll_fn(|cx| job.fate.of(|| Pin::new(&mut loading).poll(cx))).await;
        drop(loading);
        lease.end_load();
        job.fate.returned();
        deliver(lease, as_loaded(output), &job.limits);
    }));
    core.get().config.spawner().spawn(task);
}

impl<K, V, S, Q: ?Sized + fmt::Debug> fmt::Debug for Detached<'_, K, V, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("key", &self.q).field("limits", &self.limits).finish_non_exhaustive()
    }
}
