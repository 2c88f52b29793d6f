//! Loads in the background of tokio, and deadlines by its timer.
#![cfg(feature = "tokio")]

use crate::common::*;
use bellwether::{Cache, Clock, CoarseClock, LoadError, Outcome, Timer, TokioSpawn, TokioTimer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

type Shared = Arc<TestCache>;

/// A runtime of each kind.
fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build(),
    ]
    .map(Result::unwrap)
}

/// A cache whose loads and deadlines are this runtime's, and whose key 1 holds 1, is over, and may be served for want of another.
fn on(runtime: &Runtime) -> Shared {
    let (spawn, timer) = (TokioSpawn::new(runtime.handle().clone()), TokioTimer::new(runtime.handle().clone()));
    let builder = Cache::builder().max_capacity(10).spawner(spawn).timer(timer);
    let cache: TestCache = builder.stale_if_error(Duration::MAX).build().unwrap();
    cache.insert(1, 1);
    cache.expire(&1);
    Arc::new(cache)
}

/// A load that waits for the test, and is counted as it begins.
#[derive(Clone, Default)]
struct Held(Arc<(AtomicUsize, Notify)>);

impl Held {
    async fn load(self, value: u64) -> Result<u64, Broken> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        self.0.1.notified().await;
        Ok(value)
    }
    fn loads(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
    fn let_go(&self) {
        self.0.1.notify_one();
    }
}

/// Has the runtime go on until something has come about.
async fn when(done: impl Fn() -> bool) {
    while !done() {
        yield_now().await;
    }
}

/// HybridCache's test: all who wanted the value are cancelled, and the load goes on.
#[test]
fn a_load_goes_on_when_all_its_callers_are_cancelled() {
    for runtime in runtimes() {
        let (cache, held) = (on(&runtime), Held::default());
        runtime.block_on(async {
            let ask = |key| {
                let (cache, held) = (cache.clone(), held.clone());
                tokio::spawn(async move {
                    let found = cache.detached(&key).try_get_with_async(move || held.load(5)).await;
                    found.map(|(entry, outcome)| (*entry, outcome))
                })
            };
            let callers: Vec<_> = (0..10).map(|_| ask(2)).collect();
            when(|| cache.stats().coalesced == 9 && held.loads() == 1).await;
            callers.iter().for_each(|caller| caller.abort());
            for caller in callers {
                assert!(caller.await.unwrap_err().is_cancelled());
            }
            assert!(cache.is_loading(&2));
            let late = ask(2);
            when(|| cache.stats().coalesced == 10).await;
            held.let_go();
            assert_eq!(late.await.unwrap().unwrap(), (5, Outcome::Coalesced));
        });
        assert_eq!((cache.get(&2), held.loads(), cache.stats().handovers), (Some(5), 1, 0));
        nothing_in_flight_of(&cache, 2);
    }
}

fn nothing_in_flight_of(cache: &TestCache, key: Key) {
    assert!(!cache.is_loading(&key));
    // (A flight may end a moment before its load is over, and all in its place.)
    until("the load is over", || cache.stats().loading == 0);
    cache.validate().unwrap();
}

/// FusionCache's, by the runtime's own timer.
#[test]
fn a_soft_timeout_below_the_time_of_the_load() {
    for runtime in runtimes() {
        let (cache, held) = (on(&runtime), Held::default());
        runtime.block_on(async {
            let soft = Duration::from_millis(5);
            let mut callers = Vec::new();
            for n in 0..20 {
                let (cache, held) = (cache.clone(), held.clone());
                callers.push(tokio::spawn(async move {
                    if n < 10 {
                        let found =
                            cache.detached(&1).soft_timeout(soft).try_get_with_async(move || held.load(2)).await;
                        return found.map(|(entry, outcome)| (*entry, outcome));
                    }
                    // These load themselves, if they are to: not before one in the background does.
                    when(|| held.loads() == 1).await;
                    let found = cache.entry(&1).soft_timeout(soft).try_get_with_async(|| held.load(3)).await;
                    found.map(|(entry, outcome)| (*entry, outcome))
                }));
            }
            for caller in callers {
                assert_eq!(caller.await.unwrap().unwrap(), (1, Outcome::Stale));
            }
            assert_eq!((held.loads(), cache.stats().loads, cache.get(&1)), (1, 1, None));
            held.let_go();
            when(|| cache.get(&1) == Some(2)).await;
        });
    }
}

#[test]
fn a_hard_timeout_by_tokios_timer() {
    for runtime in runtimes() {
        let (cache, held) = (on(&runtime), Held::default());
        runtime.block_on(async {
            let (load, milli) = (held.clone(), Duration::from_millis(5));
            let found = cache.detached(&2).hard_timeout(milli).try_get_with_async(move || load.load(2)).await;
            assert!(matches!(found, Err(LoadError::TimedOut)));
            let found = cache.entry(&2).wait_timeout(milli).try_get_with_async(|| held.clone().load(3)).await;
            assert!(matches!(found, Err(LoadError::TimedOut)));
            when(|| held.loads() == 1).await;
            held.let_go();
            when(|| cache.get(&2) == Some(2)).await;
        });
    }
}

#[test]
fn blocking_loads_do_not_block_the_runtime() {
    for runtime in runtimes() {
        let cache = on(&runtime);
        let (held, of) = (Gate::default(), cache.clone());
        let gate = held.clone();
        runtime.block_on(async {
            let (told, tell) = oneshot::channel();
            thread::spawn(move || {
                told.send(of.detached(&2).try_get_with(move || (gate.pass(), Ok::<_, Broken>(2)).1).is_ok())
            });
            when(|| cache.is_loading(&2)).await;
            // It goes on with another meanwhile.
            let (entry, _) = cache.detached(&3).get_with_async(|| async { 3 }).await;
            assert_eq!((*entry, cache.get(&2)), (3, None));
            held.open();
            assert!(tell.await.unwrap());
            // A thread of the runtime may wait for what the runtime's other threads load.
            let (entry, _) = cache.detached(&4).get_with(|| 4);
            assert_eq!((*entry, cache.get(&2)), (4, Some(2)));
        });
    }
}

#[test]
fn a_load_that_panics_on_tokio_is_told_to_its_caller() {
    for runtime in runtimes() {
        let cache = on(&runtime);
        quietly(|| {
            let panics = || async { panic!("a load panics, as it was told to") };
            let found = runtime.block_on(cache.detached(&2).try_get_with_async::<Broken, _, _>(panics));
            assert!(matches!(found, Err(LoadError::Panicked(_))));
            let panics = || -> u64 { panic!("a load panics, as it was told to") };
            assert!(matches!(
                cache.detached(&2).try_get_with(move || Ok::<_, Broken>(panics())),
                Err(LoadError::Panicked(_))
            ));
        });
        assert_eq!((cache.stats().load_failures, cache.get_with(&2, || 5)), (2, 5));
    }
}

#[test]
fn a_runtime_that_is_gone_leaves_nobody_waiting() {
    for runtime in runtimes() {
        let (cache, held) = (on(&runtime), Held::default());
        let load = held.clone();
        let mut pending = tasks::Task::new(cache.detached(&2).try_get_with_async(move || load.load(2)));
        pending.step();
        if runtime.handle().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread {
            until("the load begins", || held.loads() == 1);
        }
        drop(runtime);
        assert!(matches!(pending.finish_when_woken(), Err(LoadError::NotRun)));
        assert!(matches!(cache.detached(&2).try_get_with(|| Ok::<_, Broken>(5)), Err(LoadError::NotRun)));
        nothing_in_flight_of(&cache, 2);
        assert_eq!(cache.get_with(&2, || 7), 7);
    }
}

/// Notes by the timer's clock when it was woken.
struct Noted(std::sync::Mutex<Vec<u64>>);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push(CoarseClock::new().precise());
    }
}

#[test]
fn alarms_of_tokio_go_off_once_each_and_none_before_its_time() {
    for runtime in runtimes() {
        let timer = TokioTimer::new(runtime.handle().clone());
        let start = CoarseClock::new().precise();
        let alarms: Vec<_> =
            (0..50).map(|n| (start + (n * 37 % 50) * 200_000, Arc::new(Noted(Default::default())))).collect();
        let never = Arc::new(Noted(Default::default()));
        timer.wake_at(u64::MAX - 1, Waker::from(never.clone()));
        alarms.iter().for_each(|(at, noted)| timer.wake_at(*at, Waker::from(noted.clone())));
        runtime.block_on(when(|| alarms.iter().all(|(_, noted)| !noted.0.lock().unwrap().is_empty())));
        for (at, noted) in alarms {
            let woken = noted.0.lock().unwrap();
            assert!(woken.len() == 1 && woken[0] >= at, "{woken:?} for {at}");
        }
        assert!(never.0.lock().unwrap().is_empty());
    }
}
