//! Read-through whose loads run in the background, and outlive their callers.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::lease::{Interest, Lease};
use crate::api::load::fate::Fate;
use crate::api::load::form::{AsEntry, ReturnAs};
use crate::api::load::future::Loading;
use crate::api::load::read_through::{ReadThrough, Resolution, as_loaded, deliver};
use crate::api::load::request::{Found, settings};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
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
use core::task::Poll;
use core::time::Duration;
use equivalent::Equivalent;

/// A read-through of one key whose load runs in the background. From [`Cache::detached`].
///
/// A setting that is not given is the cache's. The request ends in one of four verbs, which do as
/// the verbs of [`Cache`] and return an [`Entry`](crate::Entry) and the
/// [`Outcome`](crate::Outcome).
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Detached<'q, K, V, S, Q: ?Sized> {
    cache: Arc<Cache<K, V, S>>,
    q: &'q Q,
    pub(super) limits: Limits,
}

impl<K, V, S> Cache<K, V, S> {
    /// Begins a read-through whose load, if this caller leads, is run by the cache's
    /// [`spawner`](crate::Builder::spawner).
    ///
    /// So the load goes on if this caller is cancelled or stops waiting (`soft_timeout`,
    /// `hard_timeout`), and a task that is not polled holds up no other caller. A caller that leads
    /// an early refresh, or a refresh while a stale value may be served, gets the old value at
    /// once.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::sync::Arc;
    /// let cache: Arc<Cache<String, u64>> = Arc::new(Cache::new(10));
    /// let (entry, outcome) = cache.detached("answer").get_with(|| 42);
    /// assert_eq!((*entry, outcome), (42, Outcome::Computed));
    /// ```
    ///
    /// Each load costs an allocation and the spawner's own cost; a hit costs neither. Without std,
    /// a load panics if no spawner was given.
    pub fn detached<'q, Q: ?Sized>(self: &Arc<Self>, q: &'q Q) -> Detached<'q, K, V, S, Q> {
        Detached { cache: self.clone(), q, limits: self.core().config.limits.clone() }
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
        ReadThrough::new(self.cache.kept(), self.q, self.cache.hash(self.q), self.limits.clone(), infallible)
    }

    /// As [`Cache::get_with`]; the calling thread sleeps while the load runs. After the
    /// `hard_timeout` the caller gets an old value if one may be served. If there is none it waits
    /// on: it has no other loader, and no way to report an error.
    ///
    /// # Panics
    /// If the load comes to nothing, and there is neither a value nor an old value that may be
    /// served. The load comes to nothing if it panics, if the spawner drops it (in both cases one
    /// of the waiters takes over), or if another caller takes it over (`lead_timeout`) and fails.
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V + Send + 'static) -> Found<'static, K, V> {
        not_lost(run_detached(self.through(true), false, || Ok(Loaded::New(load()))))
    }

    /// As [`Cache::try_get_with`]; the calling thread sleeps while the load runs.
    ///
    /// # Errors
    /// As [`Cache::try_get_with`], and:
    ///
    /// * `TimedOut` after the `hard_timeout`.
    /// * `Panicked` if the load panics, and `NotRun` if the spawner drops it or cannot run it. In
    ///   both cases one of the waiters takes over.
    /// * `Abandoned` if another caller takes the load over (`lead_timeout`) and comes to nothing.
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

/// Returns the value of an infallible lookup in the background.
///
/// # Panics
/// If there is none. Such a lookup fails only if its load was lost: it panicked, was dropped, or
/// was taken over by a leader that failed.
fn not_lost<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        Err(_) => panic!("the load in the background came to nothing: it panicked, was dropped, or was taken over"),
    }
}

/// Runs a lookup to its end, as a thread. With `here`, a load that the caller must wait for in any
/// case runs on this thread.
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
            // In these arms the loader and the lookup are dropped while the result is a local: it
            // would leak if it were already being returned and a drop panicked.
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
                let job = Job { limits: limits.clone(), fate: fate.clone(), serves: Vec::new() };
                through.hand_on(lease, |lease, serves| spawn_blocking(lease, load, Job { serves, ..job }));
            }
            (end, None) => return through.lost(end, fate.error()),
        }
    }
}

/// A load that runs in the background, or for its caller alone.
///
/// A task that waits for the load holds this value. That task is `Send` for all `K` and `V` only if
/// this type names neither the loader's error nor its future: within a task the compiler knows
/// nothing of the lifetimes in `K` and `V`, and so cannot find these types. For that reason both
/// are hidden behind these functions, and an error has no type until the caller gets it.
pub(crate) trait Background<K, V> {
    /// Has the cache's spawner run the load.
    fn spawn(self, lease: Lease<'static, K, V>, job: Job);
    /// Returns the load as a future, for its caller alone.
    fn alone(self) -> Alone<V>;
}

/// A load for one caller alone; its value is not stored.
pub(crate) type Alone<V> = Pin<Box<dyn Future<Output = Result<Loaded<V>, SharedError>> + Send>>;

/// A loader, and the function that interprets its output.
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

/// Makes a load for one caller alone of a loader's future.
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

/// Runs a lookup to its end, as a task. An error of the loader is returned as
/// [`Foreign`](LoadError::Foreign), until [`typed`](LoadError::typed) gives it its type.
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
            // As in `run_detached`: the result is a local while the loader and the lookup are
            // dropped.
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
                let job = Job { limits: limits.clone(), fate: fate.clone(), serves: Vec::new() };
                through.hand_on(lease, |lease, serves| load.spawn(lease, Job { serves, ..job }));
            }
            (end, None) => return through.lost(end, fate.error()),
        }
    }
}

/// The parts of a load in the background beside its lease and its loader.
pub(crate) struct Job {
    pub(crate) limits: Limits,
    pub(crate) fate: Fate,
    /// The flights whose loads wait for this one.
    pub(crate) serves: Vec<FlightId>,
}

impl Job {
    /// Returns the job of a load that no caller waits for.
    pub(crate) fn unattended(limits: Limits) -> Self {
        Self { limits, fate: Fate::default(), serves: Vec::new() }
    }

    /// Returns the flights that the loader must not wait for: its own, and those that wait for it.
    fn flights<K, V>(&self, lease: &Lease<'_, K, V>) -> Vec<FlightId> {
        let mut flights = self.serves.clone();
        flights.push(lease.flight());
        flights
    }
}

/// Has the spawner run a load as blocking work.
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
        if lease.is_begun_in_vain() {
            return;
        }
        lease.begin_load();
        let loaded = reentry::during(&job.flights(&lease), || job.fate.of(load));
        lease.end_load();
        job.fate.returned();
        deliver(lease, loaded, &job.limits);
    })));
}

/// Has the spawner run a load as a task.
pub(crate) fn spawn<K, V, E, Fut>(
    lease: Lease<'static, K, V>,
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
        // The lease is dropped after the locals below, however the task ends.
        let mut lease = lease;
        if lease.is_begun_in_vain() {
            return;
        }
        lease.begin_load();
        let flights = job.flights(&lease);
        let loading = reentry::during(&flights, || job.fate.of(load));
        let mut loading = pin!(Some(loading));
        let mut loading = Loading::new(&flights, loading.as_mut());
        let mut interest = Interest::NONE;
        let output = poll_fn(|cx| match job.fate.of(|| Pin::new(&mut loading).poll(cx)) {
            Poll::Pending if lease.has_lost_interest(&mut interest, cx) => Poll::Ready(None),
            polled => polled.map(Some),
        });
        let output = output.await;
        drop(loading);
        drop(interest);
        let Some(output) = output else { return };
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
