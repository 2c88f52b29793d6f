//! Loads that the cache's spawner runs: how they are spawned, and how their callers wait.

use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::form::ReturnAs;
use crate::api::handle::lease::{Interest, Lease};
use crate::api::load::fate::Fate;
use crate::api::load::future::Loading;
#[cfg(feature = "std")]
use crate::api::load::oneshot::oneshot;
use crate::api::load::read_through::{ReadThrough, Resolution, deliver};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::flight::failure::SharedError;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::span;
#[cfg(feature = "std")]
use crate::runtime::spawn::Spawn;
use crate::runtime::spawn::Task;
#[cfg(feature = "std")]
use crate::sys::unwind;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use equivalent::Equivalent;

/// What a loader is called for: the key, and the lease under which it loads. A load for its caller
/// alone has no lease.
pub(crate) struct Call<'l, K, V> {
    pub(crate) key: &'l K,
    lease: Option<&'l Lease<'static, K, V>>,
}

impl<'l, K, V> Call<'l, K, V> {
    fn under(lease: &'l Lease<'static, K, V>) -> Self {
        Self { key: lease.key(), lease: Some(lease) }
    }

    fn alone(key: &'l K) -> Self {
        Self { key, lease: None }
    }

    /// Returns the value that the load will replace, fresh or expired, if there is one.
    pub(crate) fn old(&self) -> Option<Entry<'static, K, V>> {
        self.lease.and_then(Lease::old_entry)
    }
}

/// Runs a lookup to its end, as a thread. With `here`, a load that the caller must wait for in any
/// case runs on this thread.
#[cfg(feature = "std")]
pub(crate) fn run_detached<K, V, Q, F, E>(
    mut through: ReadThrough<'static, '_, K, V, Q, F>,
    here: bool,
    load: impl FnOnce(Call<'_, K, V>) -> Result<Loaded<V>, E> + Send + 'static,
) -> Result<F::Out, LoadError<E>>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'static, K, V>,
    E: Send + Sync + 'static,
{
    let (limits, mut load, fate) = (through.limits().clone(), Some(load), Fate::default());
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
            (Resolution::Alone, Some(load)) => {
                let key = through.query().to_key();
                let loaded = load(Call::alone(&key));
                drop(key);
                return through.alone(loaded);
            }
            (Resolution::Lead(mut lease), Some(load)) if here && through.must_wait(&lease) => {
                let loaded = lease.guarded(|_| load(Call::under(&lease)));
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
    /// Has the cache's spawner run the load. `key` makes a key that the loader's future may borrow.
    fn spawn(self, lease: Lease<'static, K, V>, key: impl FnOnce() -> K, job: Job);
    /// Returns the load as a future, for its caller alone.
    fn alone(self, key: K, core: &CoreRef<'static, K, V>) -> Alone<V>;
}

/// A load for one caller alone; its value is not stored.
pub(crate) type Alone<V> = Pin<Box<dyn Future<Output = Result<Loaded<V>, LoadError<Infallible>>> + Send>>;

/// A caller's loader, and the function that interprets its output.
pub(crate) struct Closure<L, T>(pub(crate) L, pub(crate) T);

impl<K, V, E, L, Fut, T> Background<K, V> for Closure<L, T>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: FnOnce(Call<'_, K, V>) -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    T: FnOnce(Fut::Output) -> Result<Loaded<V>, E> + Send + 'static,
{
    fn spawn(self, lease: Lease<'static, K, V>, _: impl FnOnce() -> K, job: Job) {
        spawn(lease, self.0, self.1, job);
    }
    fn alone(self, key: K, _: &CoreRef<'static, K, V>) -> Alone<V> {
        let loading = self.0(Call::alone(&key));
        drop(key);
        alone(loading, self.1)
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
    Box::pin(async move { as_loaded(loading.await).map_err(foreign) })
}

fn foreign<E: Send + Sync + 'static>(error: E) -> LoadError<Infallible> {
    LoadError::of_flight(Some(Arc::new(error) as SharedError))
}

/// Has the spawner run a load for one caller alone, which blocks.
#[cfg(feature = "std")]
pub(crate) fn alone_blocking<V, E>(
    spawner: &dyn Spawn,
    load: impl FnOnce() -> Result<Loaded<V>, E> + Send + 'static,
) -> Alone<V>
where
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let loaded = offload(spawner, load);
    Box::pin(async move { loaded.await?.map_err(foreign) })
}

/// Has the spawner run work that blocks. The future gives its result, or tells that it panicked or
/// was dropped.
#[cfg(feature = "std")]
pub(crate) fn offload<T: Send + Sync + 'static>(
    spawner: &dyn Spawn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<T, LoadError<Infallible>>> + Send>> {
    let (told, result) = oneshot();
    let flights = reentry::serving();
    spawner.spawn_blocking(Box::new(span::of_caller(move || {
        let done = unwind::caught(|| reentry::during(&flights, work));
        told.tell(done.map_err(|panic| LoadError::Panicked(unwind::text_of(&*panic))));
    })));
    Box::pin(async { result.await.unwrap_or(Err(LoadError::NotRun)) })
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
    let q = through.query();
    let (limits, mut load, fate) = (through.limits().clone(), Some(load), Fate::default());
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
                let loaded = load.alone(q.to_key(), through.core()).await?;
                return through.alone(Ok(loaded));
            }
            (Resolution::Lead(lease), Some(load)) => {
                let job = Job { limits: limits.clone(), fate: fate.clone(), serves: Vec::new() };
                through.hand_on(lease, |lease, serves| load.spawn(lease, || q.to_key(), Job { serves, ..job }));
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
    load: impl FnOnce(Call<'_, K, V>) -> Result<Loaded<V>, E> + Send + 'static,
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
        let loaded = reentry::during(&job.flights(&lease), || job.fate.of(|| load(Call::under(&lease))));
        lease.end_load();
        job.fate.returned_for(&lease, &loaded);
        deliver(lease, loaded, &job.limits);
    })));
}

/// Has the spawner run a load as a task.
pub(crate) fn spawn<K, V, E, Fut>(
    lease: Lease<'static, K, V>,
    load: impl FnOnce(Call<'_, K, V>) -> Fut + Send + 'static,
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
        let loading = reentry::during(&flights, || job.fate.of(|| load(Call::under(&lease))));
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
        let loaded = as_loaded(output);
        job.fate.returned_for(&lease, &loaded);
        deliver(lease, loaded, &job.limits);
    }));
    core.get().config.spawner().spawn(task);
}
