//! Loads in the background of real threads, and of smol.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, Entry, LoadError, Outcome, Spawn, Task as Load, ThreadSpawn, Work};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

type Shared = Arc<TestCache>;
type Found = (Entry<'static, Key, u64>, Outcome);

fn told((entry, outcome): Found) -> (u64, Outcome) {
    (*entry, outcome)
}

fn shared() -> Shared {
    Arc::new(Cache::new(10))
}

/// As smol runs it.
fn on_smol() -> Shared {
    let spawner = |load: Load| smol::spawn(load).detach();
    Arc::new(Cache::builder().max_capacity(10).spawner(spawner).build().unwrap())
}

#[test]
fn loads_run_on_other_threads() {
    for cache in [shared(), on_smol()] {
        let here = thread::current().id();
        let elsewhere = move || assert_ne!(thread::current().id(), here);
        assert_eq!(told(cache.detached(&1).get_with(move || (elsewhere(), 1).1)), (1, Outcome::Computed));
        let found = cache.detached(&2).try_get_with(move || Ok::<_, Broken>((elsewhere(), 2).1));
        assert_eq!(told(found.unwrap()), (2, Outcome::Computed));
        let slow = move |value| async move {
            elsewhere();
            yield_now().await;
            value
        };
        assert_eq!(told(block_on(cache.detached(&3).get_with_async(move || slow(3)))), (3, Outcome::Computed));
        let found = cache.detached(&4).try_get_with_async(move || async move { Ok::<_, Broken>(slow(4).await) });
        assert_eq!(told(block_on(found).unwrap()), (4, Outcome::Computed));
        assert_eq!(told(cache.detached(&4).get_with(|| unreachable!())), (4, Outcome::Hit));
        (1..=4).for_each(|key| assert_eq!(cache.get(&key), Some(key.into())));
        let error = cache.detached(&5).try_get_with(|| Err(Broken("no"))).map(told).unwrap_err();
        assert!(matches!(error, LoadError::Load(error) if error.0 == "no"));
        assert_eq!((cache.stats().loads, cache.stats().load_failures), (5, 1));
    }
}

#[test]
fn futures_of_detached_loads_may_be_sent_and_kept() {
    let cache = shared();
    let key = 1;
    fn kept<F: Future + Send + 'static>(future: F) -> Pin<Box<dyn Future<Output = F::Output> + Send>> {
        Box::pin(future)
    }
    let of = cache.clone();
    let mut future = kept(async move { told(of.detached(&key).get_with_async(|| async { 5 }).await) });
    let answer = thread::spawn(move || block_on(future.as_mut())).join().unwrap();
    assert_eq!((answer, cache.get(&1)), ((5, Outcome::Computed), Some(5)));
}

#[test]
fn a_load_asks_for_its_own_key() {
    for cache in [shared(), on_smol()] {
        // The deadline only keeps the test from hanging.
        let late = Duration::from_secs(60);
        let again = cache.clone();
        let (entry, _) = cache.detached(&1).get_with(move || {
            let strict = again.try_get_with(&1, || Ok::<_, Broken>(0));
            assert!(matches!(strict, Err(LoadError::Reentrant)));
            let detached = again.detached(&1).hard_timeout(late).try_get_with(|| Ok::<_, Broken>(0)).map(told);
            assert!(matches!(detached, Err(LoadError::Reentrant)));
            let (alone, _) = again.detached(&1).hard_timeout(late).get_with(|| 2);
            *alone + 10
        });
        assert_eq!((*entry, cache.get(&1), cache.stats().bypassed), (12, Some(12), 1));
        let again = cache.clone();
        let (entry, _) = block_on(cache.detached(&2).get_with_async(move || async move {
            yield_now().await;
            let strict = again.detached(&2).try_get_with_async(|| async { Ok::<_, Broken>(0) }).await.map(told);
            assert!(matches!(strict, Err(LoadError::Reentrant)));
            *again.detached(&2).get_with_async(|| async { 3 }).await.0 + 10
        }));
        assert_eq!((*entry, cache.get(&2)), (13, Some(13)));
        // Another key is no affair of its. (A thread of smol must not be blocked.)
        let other = cache.clone();
        let load = move || async move { *other.detached(&4).get_with_async(|| async { 4 }).await.0 + 1 };
        assert_eq!(*block_on(cache.detached(&3).get_with_async(load)).0, 5);
        (1..=4).for_each(|key| nothing_in_flight(&cache, key));
    }
}

#[test]
fn a_load_keeps_the_cache_and_drops_it_when_all_others_have() {
    type Counted = Cache<u32, Member<u32>>;
    let census = Census::default();
    let cache: Arc<Counted> = Arc::new(Cache::new(10));
    cache.insert(7, census.member(7));
    let (gate, of_load) = (Gate::default(), census.clone());
    let passed = gate.clone();
    let mut caller = {
        let cache = cache.clone();
        Task::new(async move {
            let load = || async move {
                passed.pass();
                of_load.member(1)
            };
            cache.detached(&1).get_with_async(load).await.0.what
        })
    };
    caller.step();
    drop(caller);
    let weak = Arc::downgrade(&cache);
    drop(cache);
    assert!(weak.upgrade().is_some(), "the load has it still");
    gate.open();
    until("the load drops the cache", || weak.strong_count() == 0);
    until("and that its values", || census.alive() == 0);
}

#[test]
fn an_entry_keeps_the_cache_of_a_load_in_the_background() {
    let cache = shared();
    let (entry, _) = cache.detached(&1).get_with(|| 5);
    let weak = Arc::downgrade(&cache);
    drop(cache);
    assert_eq!((*entry, *Entry::key(&entry)), (5, 1));
    drop(entry);
    until("the load's thread has ended", || weak.strong_count() == 0);
}

/// Tells blocking loads from others.
struct Sorts(mpsc::Sender<&'static str>, ThreadSpawn);

impl Spawn for Sorts {
    fn spawn(&self, task: Load) {
        self.0.send("task").unwrap();
        self.1.spawn(task);
    }
    fn spawn_blocking(&self, work: Work) {
        self.0.send("work").unwrap();
        self.1.spawn_blocking(work);
    }
}

#[test]
fn blocking_loads_go_where_they_may_block() {
    let (sender, sorts) = mpsc::channel();
    let builder = Cache::builder().max_capacity(10).spawner(Sorts(sender, ThreadSpawn::new()));
    let cache: Shared = Arc::new(builder.build().unwrap());
    drop(cache.detached(&1).get_with(|| 1));
    drop(block_on(cache.detached(&2).get_with_async(|| async { 2 })));
    drop(cache.detached(&3).try_get_with(|| Err(Broken("no"))));
    drop(cache.detached(&1).get_with(|| unreachable!()));
    assert_eq!(sorts.try_iter().collect::<Vec<_>>(), ["work", "task", "work"]);
}

#[test]
fn a_load_in_the_background_that_hangs_is_taken_over() {
    let (builder, clock) = timed();
    let cache: Shared = Arc::new(builder.lead_timeout(3 * SECOND).build().unwrap());
    let (loader, gate) = Loader::gated(End::Value(4));
    let load = loader.clone();
    let (own, other) = (cache.clone(), value(5));
    let caller = thread::spawn(move || *own.detached(&1).get_with(move || load.run().unwrap()).0);
    loader.begun(1);
    clock.advance(3 * SECOND);
    let taken = task(&cache, 1, &other, 0).finish();
    assert_eq!((taken.value(), cache.get(&1), cache.stats().takeovers), (5, Some(5), 1));
    assert_eq!(caller.join().unwrap(), 5, "its caller gets what there is");
    gate.open();
    until("the load's thread lets go of the cache", || Arc::strong_count(&cache) == 1);
    assert_eq!((cache.get(&1), cache.len()), (Some(5), 1));
    nothing_in_flight(&cache, 1);
}

#[test]
fn no_more_load_than_may_in_the_background_either() {
    let cache: Shared = Arc::new(Cache::builder().max_capacity(10).max_loads(1).bypass(true).build().unwrap());
    let (loader, gate) = Loader::gated(End::Value(1));
    let load = loader.clone();
    let of = cache.clone();
    let mut first =
        Task::new(async move { told(of.detached(&1).get_with_async(|| async move { load.run().unwrap() }).await) });
    first.step();
    let strict = cache.detached(&2).try_get_with(|| Ok::<_, Broken>(2)).map(told);
    assert!(matches!(strict, Err(LoadError::Overloaded)));
    let here = thread::current().id();
    let ran: Arc<std::sync::Mutex<Option<ThreadId>>> = Arc::default();
    let on = ran.clone();
    let alone = cache.detached(&2).get_with(move || (*on.lock().unwrap() = Some(thread::current().id()), 2).1);
    assert_eq!((told(alone), *ran.lock().unwrap()), ((2, Outcome::Computed), Some(here)), "for itself alone");
    assert_eq!((cache.get(&2), cache.stats().bypassed), (None, 1));
    gate.open();
    assert_eq!(first.finish_when_woken(), (1, Outcome::Computed));
    until("its place is free", || cache.detached(&2).try_get_with(|| Ok::<_, Broken>(3)).is_ok());
    assert_eq!(cache.get(&2), Some(3));
}

/// Everything at once, some callers giving up: each load is run once, and what is stored is what was loaded.
#[test]
fn many_callers_of_loads_in_the_background() {
    for cache in [shared(), on_smol()] {
        let loads = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for caller in 0..6_u32 {
                let (cache, loads) = (&cache, &loads);
                scope.spawn(move || {
                    for step in 0..60_u32 {
                        let key = (step * 5 + caller) % 12;
                        let counted = loads.clone();
                        let load = move || async move {
                            yield_now().await;
                            counted.fetch_add(1, Ordering::SeqCst);
                            u64::from(key)
                        };
                        let mut task = Task::new(cache.detached(&key).get_with_async(load));
                        let found = task.poll();
                        if found.is_none() && (step + caller) % 3 == 0 {
                            continue;
                        }
                        let (entry, _) = found.unwrap_or_else(|| task.finish_when_woken());
                        assert_eq!((*entry, *Entry::key(&entry)), (u64::from(key), key));
                    }
                });
            }
        });
        until("all loads have ended", || (0..12).all(|key| !cache.is_loading(&key)));
        until("and let go of the cache", || Arc::strong_count(&cache) == 1);
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.handovers, stats.bypassed), (loads.load(Ordering::SeqCst) as u64, 0, 0));
        cache.validate().unwrap();
    }
}
