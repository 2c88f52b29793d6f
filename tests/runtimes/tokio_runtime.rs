//! Runtimes of tokio that end while their cache lives on, that lack a timer, or that nobody has
//! named.
#![cfg(feature = "tokio")]

use crate::common::tasks::block_on;
use crate::common::*;
use bellwether::{Cache, Clock, CoarseClock, LoadError, LoadingCache, Lookup, Timer, TokioSpawn, TokioTimer};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of each kind.
fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build(),
        Builder::new_multi_thread().worker_threads(1).enable_all().build(),
    ]
    .map(Result::unwrap)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn alarms_outlive_their_runtime() {
    for runtime in runtimes() {
        let timer = TokioTimer::new(runtime.handle().clone());
        let alarms: Vec<_> = (0..4).map(|_| Arc::new(Woken::default())).collect();
        let soon = CoarseClock::new().precise() + 20_000_000;
        timer.wake_at(soon, Waker::from(alarms[0].clone()));
        // One that has begun to sleep, where the runtime runs at all.
        runtime.block_on(tokio::task::yield_now());
        timer.wake_at(soon, Waker::from(alarms[1].clone()));
        drop(runtime);
        timer.wake_at(soon, Waker::from(alarms[2].clone()));
        timer.wake_at(0, Waker::from(alarms[3].clone()));
        until("all are woken", || alarms.iter().all(|alarm| alarm.0.load(Ordering::SeqCst) == 1));
        assert!(CoarseClock::new().precise() >= soon);
    }
}

#[test]
fn deadlines_outlive_their_runtime() {
    for runtime in runtimes() {
        let handle = runtime.handle().clone();
        let (spawn, timer) = (TokioSpawn::new(handle.clone()), TokioTimer::new(handle));
        let builder = Cache::builder().max_capacity(10).spawner(spawn).timer(timer);
        let cache: Arc<TestCache> = Arc::new(builder.wait_timeout(Duration::from_millis(20)).build().unwrap());
        let _hung = lead(&cache);
        let ask = |cache: &TestCache| {
            block_on(cache.try_get_with_async(&1, || async { Err::<u64, _>(Broken("it is loading")) }))
        };
        thread::scope(|scope| {
            // One waits already as the runtime ends.
            let waiting = scope.spawn(|| ask(&cache));
            waiting_for(&cache, 1);
            drop(runtime);
            assert!(matches!(waiting.join().unwrap(), Err(LoadError::TimedOut)));
        });
        assert!(matches!(ask(&cache), Err(LoadError::TimedOut)));
        assert!(matches!(cache.try_get_with(&1, || Err(Broken("it is loading"))), Err(LoadError::TimedOut)));
        let mut detached = cache.detached(&1).hard_timeout(Duration::from_millis(20));
        detached = detached.wait_timeout(Duration::MAX);
        let loaded = block_on(detached.try_get_with_async(|| async { Err::<u64, _>(Broken("it is loading")) }));
        assert!(matches!(loaded, Err(LoadError::TimedOut)));
    }
}

#[test]
fn loads_of_a_runtime_that_has_ended_are_handed_over() {
    for runtime in runtimes() {
        let spawn = TokioSpawn::new(runtime.handle().clone());
        let cache: Arc<TestCache> = Arc::new(Cache::builder().max_capacity(10).spawner(spawn).build().unwrap());
        thread::scope(|scope| {
            let one = scope.spawn(|| {
                let never = || async { std::future::pending::<Result<u64, Broken>>().await };
                block_on(cache.detached(&1).try_get_with_async(never)).map(|found| *found.0)
            });
            until("it loads", || cache.is_loading(&1));
            let heir = ask(scope, &cache, 1, &Loader::new(End::Value(2)));
            waiting_for(&cache, 1);
            drop(runtime);
            assert_eq!(heir.answer().value(), 2, "who waits takes it on");
            // The one whose load was lost is told that, or waits for the other.
            assert!(one.join().unwrap().ok().is_none_or(|value| value == 2));
        });
        assert!(cache.detached(&2).try_get_with(|| Ok::<_, Broken>(3)).is_err());
        nothing_in_flight(&cache, 2);
    }
}

#[test]
fn a_runtime_without_a_time_driver_is_refused() {
    let build = |mut builder: Builder| builder.build().unwrap();
    let mut timeless = Builder::new_multi_thread();
    timeless.worker_threads(1);
    for runtime in [build(Builder::new_current_thread()), build(timeless)] {
        quietly(|| {
            let refused = catch_unwind(|| TokioTimer::new(runtime.handle().clone())).expect_err("it panics");
            let text = refused.downcast_ref::<String>().map(String::as_str).or(refused.downcast_ref::<&str>().copied());
            assert!(text.unwrap().contains("enable_time"), "{text:?}");
            assert!(catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { TokioTimer::current() }))).is_err());
            let refused = TokioTimer::try_new(runtime.handle().clone()).expect_err("it is refused");
            assert!(refused.to_string().contains("enable_time"), "{refused}");
        });
    }
    for runtime in runtimes() {
        assert!(TokioTimer::try_new(runtime.handle().clone()).is_ok());
        runtime.block_on(async { TokioTimer::current() });
        let handle = runtime.handle().clone();
        drop(runtime);
        assert!(TokioTimer::try_new(handle).is_ok(), "it has ended, but a thread serves");
    }
}

/// Needs a runtime, as any client of a database does.
async fn fetch(key: u64) -> Result<u64, Infallible> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(key + tokio::spawn(async { 100 }).await.unwrap())
}

fn without_a_spawner() -> LoadingCache<u64, u64, impl bellwether::LoadAsync<u64, u64, Error = Infallible>> {
    Cache::builder().max_capacity(10).loader(|key: &u64| fetch(*key)).build().unwrap()
}

#[test]
fn a_cache_without_a_spawner_loads_in_the_runtime_that_it_is_called_from() {
    for runtime in runtimes() {
        let cache = without_a_spawner();
        runtime.block_on(async {
            assert_eq!(cache.load_async(&1).await.unwrap(), 101);
            let all = cache.load_all_async(&[1, 2, 3]).await;
            assert_eq!(all.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [101, 102, 103]);
            assert!(cache.refresh_async(&4));
            while cache.get(&4) != Some(104) {
                tokio::task::yield_now().await;
            }
            assert_eq!(*cache.cache().detached(&5).get_with_async(|| async { fetch(5).await.unwrap() }).await.0, 105);
            assert_eq!(*cache.cache().detached(&6).try_get_with_async(|| fetch(6)).await.unwrap().0, 106);
        });
        assert_eq!(cache.stats().load_failures, 0);
    }
}

#[test]
fn and_blocking_loads_on_its_threads_for_those() {
    fn is_here() -> bool {
        Handle::try_current().is_ok()
    }
    for runtime in runtimes() {
        let cache: Arc<Cache<u64, bool>> = Arc::new(Cache::new(10));
        let loader = |_: &u64| Ok::<_, Infallible>(is_here());
        let loading = Cache::builder().max_capacity(10).loader(loader).build().unwrap();
        let within = async {
            let (cache, loading) = (cache.clone(), loading.clone());
            let blocking = move || {
                assert!(*cache.detached(&1).get_with(is_here).0);
                assert!(*cache.detached(&2).try_get_with(|| Ok::<_, Infallible>(is_here())).unwrap().0);
                assert!(loading.refresh(&3));
                until("it is loaded", || loading.get(&3).is_some());
                assert_eq!(loading.get(&3), Some(true));
            };
            tokio::task::spawn_blocking(blocking).await.unwrap();
        };
        runtime.block_on(within);
        // Outside of all runtimes: a thread.
        let name = cache.detached(&4).get_with(|| !is_here() && thread::current().name() == Some("bellwether load"));
        assert!(*name.0);
        assert!(loading.refresh(&5));
        until("it is loaded", || loading.get(&5).is_some());
        assert_eq!(loading.get(&5), Some(false));
    }
}

#[test]
fn a_future_without_its_runtime_says_what_is_missing() {
    let cache = without_a_spawner();
    // By a thread that knows no runtime: the load panics there, with tokio's words.
    let lost = quietly(|| block_on(cache.load_async(&1)));
    assert!(lost.is_err(), "{lost:?}");
    let Lookup::Lead(_) = cache.lease(&1) else { panic!("it is still loading") };
}
