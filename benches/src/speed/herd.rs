//! A stampede: many ask for one key that is not there, one loads it, and what is measured is when the last of the
//! others goes on, in milliseconds from the end of the load.

use crate::rounds::{Contestant, Sample};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const BELLWETHER: &str = "bellwether";
pub(crate) const ONCE_LOCK: &str = "`OnceLock`";
pub(crate) const ONCE_CELL: &str = "tokio `OnceCell`";
const QUICK: &str = "quick_cache";
const MOKA: &str = "moka";

const KEY: u64 = 7;
const VALUE: u64 = 49;
const ROOM: u64 = 1000;
/// How long the load takes once all have asked: by then all sleep.
const ASLEEP: Duration = Duration::from_millis(40);
const STEP: Duration = Duration::from_millis(1);
/// The worker threads of the tasks' runtime.
const WORKERS: usize = 2;

/// What there is to know of one stampede.
struct Herd {
    size: usize,
    arrived: AtomicUsize,
    loads: AtomicUsize,
    /// What the next two are counted from, in nanoseconds.
    origin: Instant,
    loaded: AtomicU64,
    last: AtomicU64,
}

impl Herd {
    fn of(size: usize) -> Arc<Self> {
        let (arrived, loads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (origin, loaded, last) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { size, arrived, loads, origin, loaded, last })
    }

    fn arrive(&self) {
        self.arrived.fetch_add(1, SeqCst);
    }

    fn begin(&self) {
        self.loads.fetch_add(1, SeqCst);
    }

    fn all_asked(&self) -> bool {
        self.arrived.load(SeqCst) == self.size
    }

    fn finish(&self) -> u64 {
        self.loaded.store(self.now(), SeqCst);
        VALUE
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn load(&self) -> u64 {
        self.begin();
        while !self.all_asked() {
            thread::sleep(STEP);
        }
        thread::sleep(ASLEEP);
        self.finish()
    }

    async fn load_async(&self) -> u64 {
        self.begin();
        while !self.all_asked() {
            tokio::time::sleep(STEP).await;
        }
        tokio::time::sleep(ASLEEP).await;
        self.finish()
    }

    /// Notes that one goes on. By an atomic: a lock would hold the herd up itself.
    fn go_on(&self, value: u64) {
        self.last.fetch_max(self.now(), SeqCst);
        assert_eq!(value, VALUE);
    }

    fn sample(&self, name: &str) -> Sample {
        assert_eq!(self.loads.load(SeqCst), 1, "{name}: loads of one key");
        let nanos = self.last.load(SeqCst) - self.loaded.load(SeqCst);
        Sample::of(nanos as f64 / 1e6)
    }
}

/// A new, empty cache that a whole herd asks for the one key.
type Ask = Box<dyn Fn(&Herd) -> u64 + Send + Sync>;
type AskAsync = Arc<dyn Fn(Arc<Herd>) -> Pin<Box<dyn Future<Output = u64> + Send>> + Send + Sync>;

/// A herd of so many threads.
pub(crate) fn threads(size: usize) -> Vec<Contestant> {
    let of = |name, fresh: fn() -> Ask| {
        let turn = move |_| {
            let (herd, ask) = (Herd::of(size), fresh());
            let ask_and_go_on = || {
                herd.arrive();
                herd.go_on(ask(&herd));
            };
            thread::scope(|scope| (0..size).for_each(|_| drop(scope.spawn(ask_and_go_on))));
            herd.sample(name)
        };
        Contestant { name, turn: Box::new(turn) }
    };
    vec![
        of(BELLWETHER, || {
            let cache = bellwether::Cache::new(ROOM);
            Box::new(move |herd| cache.get_with(&KEY, || herd.load()))
        }),
        of(ONCE_LOCK, || {
            let cell = OnceLock::new();
            Box::new(move |herd| *cell.get_or_init(|| herd.load()))
        }),
        of(QUICK, || {
            let cache = quick_cache::sync::Cache::new(ROOM as usize);
            Box::new(move |herd| {
                let Ok(value) = cache.get_or_insert_with(&KEY, || Ok::<_, Infallible>(herd.load()));
                value
            })
        }),
        of(MOKA, || {
            let cache = moka::sync::Cache::new(ROOM);
            Box::new(move |herd| cache.get_with(KEY, || herd.load()))
        }),
    ]
}

/// A herd of so many tasks.
pub(crate) fn tasks(size: usize) -> crate::Result<Vec<Contestant>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build()?;
    let runtime = Arc::new(runtime);
    let of = |name, fresh: fn() -> AskAsync| {
        let runtime = Arc::clone(&runtime);
        let turn = move |_| {
            let (herd, ask) = (Herd::of(size), fresh());
            let task = |herd: Arc<Herd>, ask: AskAsync| async move {
                herd.arrive();
                let value = ask(Arc::clone(&herd)).await;
                herd.go_on(value);
            };
            let tasks: Vec<_> = (0..size).map(|_| runtime.spawn(task(Arc::clone(&herd), Arc::clone(&ask)))).collect();
            let all = async {
                for task in tasks {
                    task.await.expect("a task does not panic");
                }
            };
            runtime.block_on(all);
            herd.sample(name)
        };
        Contestant { name, turn: Box::new(turn) }
    };
    Ok(vec![
        of(BELLWETHER, || {
            let cache = Arc::new(bellwether::Cache::<u64, u64>::new(ROOM));
            Arc::new(move |herd| {
                let cache = Arc::clone(&cache);
                Box::pin(async move { cache.get_with_async(&KEY, || herd.load_async()).await })
            })
        }),
        of(ONCE_CELL, || {
            let cell = Arc::new(tokio::sync::OnceCell::new());
            Arc::new(move |herd| {
                let cell = Arc::clone(&cell);
                Box::pin(async move { *cell.get_or_init(|| herd.load_async()).await })
            })
        }),
        of(QUICK, || {
            let cache = Arc::new(quick_cache::sync::Cache::<u64, u64>::new(ROOM as usize));
            Arc::new(move |herd| {
                let cache = Arc::clone(&cache);
                Box::pin(async move {
                    let load = async { Ok::<_, Infallible>(herd.load_async().await) };
                    let Ok(value) = cache.get_or_insert_async(&KEY, load).await;
                    value
                })
            })
        }),
        of(MOKA, || {
            let cache = moka::future::Cache::<u64, u64>::new(ROOM);
            Arc::new(move |herd| {
                let cache = cache.clone();
                Box::pin(async move { cache.get_with(KEY, herd.load_async()).await })
            })
        }),
    ])
}
