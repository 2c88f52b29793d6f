//! The async eviction listener: each removed value is told once, in order, by one task at a time.

use crate::common::tasks::{Later, Task, yield_now};
use crate::common::*;
use bellwether::{Builder, Cache, RemovalCause, ThreadSpawn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;

type Told = Arc<Mutex<Vec<(Key, u64, RemovalCause)>>>;

/// A builder whose listener notes what it is told, and what was noted.
fn listened(builder: Builder<Key, u64>) -> (Builder<Key, u64>, Told) {
    let told = Told::default();
    let notes = told.clone();
    let listener = move |key, value, cause| {
        let notes = notes.clone();
        async move {
            yield_now().await;
            notes.lock().unwrap().push((key, value, cause));
        }
    };
    (builder.eviction_listener_async(listener), told)
}

fn take(told: &Told) -> Vec<(Key, u64, RemovalCause)> {
    std::mem::take(&mut *told.lock().unwrap())
}

#[test]
fn each_removal_is_told_once_and_in_order() {
    let (builder, clock) = timed();
    let (later, (builder, told)) = (Later::default(), listened(builder));
    let cache = builder.max_capacity(3).time_to_live(10 * SECOND).xfetch(0.0).spawner(later.spawner()).build().unwrap();
    (1..=3).for_each(|key| cache.insert(key, u64::from(key) * 10));
    assert!(later.0.lock().unwrap().is_empty(), "nothing to tell, no task");
    cache.insert(1, 11);
    cache.invalidate(&2);
    assert_eq!(cache.remove(&3), Some(30));
    cache.insert_with_ttl(4, 40, std::time::Duration::ZERO);
    assert!(take(&told).is_empty(), "the remover does not wait for it");
    assert_eq!(later.run(), 1, "one task for all of them");
    let causes = [RemovalCause::Replaced, RemovalCause::Explicit, RemovalCause::Explicit, RemovalCause::Rejected];
    let expected: Vec<_> = [(1, 10), (2, 20), (3, 30), (4, 40)]
        .into_iter()
        .zip(causes)
        .map(|((key, value), cause)| (key, value, cause))
        .collect();
    assert_eq!(take(&told), expected);
    // The next ones have another task.
    clock.advance(10 * SECOND);
    cache.purge_expired();
    assert_eq!(later.run(), 1);
    assert_eq!(take(&told), [(1, 11, RemovalCause::Expired)]);
    (0..5).for_each(|key| cache.insert(key, 1));
    assert_eq!(later.run(), 1);
    assert!(take(&told).iter().all(|told| told.2 == RemovalCause::Size));
}

#[test]
fn what_is_removed_while_the_task_runs_is_told_by_that_task() {
    let (later, (builder, told)) = (Later::default(), listened(Cache::builder().max_capacity(10)));
    let cache = builder.spawner(later.spawner()).build().unwrap();
    cache.insert(1, 1);
    cache.invalidate(&1);
    let mut task = Task::new(later.0.lock().unwrap().pop().unwrap());
    task.step();
    cache.insert(2, 2);
    cache.invalidate(&2);
    assert!(later.0.lock().unwrap().is_empty());
    task.finish();
    assert_eq!(take(&told).len(), 2);
}

#[test]
fn a_plain_listener_beside_it_may_panic() {
    let (later, (builder, told)) = (Later::default(), listened(Cache::builder().max_capacity(10)));
    let plain = |_: &Key, _: &u64, _| panic!("the listener panics, as it was told to");
    let cache = builder.eviction_listener(plain).spawner(later.spawner()).build().unwrap();
    cache.insert(1, 1);
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(|| cache.invalidate(&1)))).is_err());
    later.run();
    assert_eq!(take(&told), [(1, 1, RemovalCause::Explicit)]);
}

#[test]
fn a_panic_is_of_one_call_alone() {
    let (later, told) = (Later::default(), Told::default());
    let notes = told.clone();
    let listener = move |key: Key, value, cause| {
        assert_ne!(key, 2, "the listener panics, as it was told to");
        let notes = notes.clone();
        async move {
            yield_now().await;
            assert_ne!(key, 3, "its future panics, as it was told to");
            notes.lock().unwrap().push((key, value, cause));
        }
    };
    let builder: Builder<Key, u64> = Cache::builder().max_capacity(10);
    let cache = builder.eviction_listener_async(listener).spawner(later.spawner()).build().unwrap();
    (1..=4).for_each(|key| cache.insert(key, 1));
    (1..=4).for_each(|key| assert!(cache.invalidate(&key)));
    assert_eq!(quietly(|| later.run()), 1);
    assert_eq!(take(&told).iter().map(|told| told.0).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn a_task_that_is_dropped_leaves_the_rest_to_the_next_one() {
    let (later, (builder, told)) = (Later::default(), listened(Cache::builder().max_capacity(10)));
    let cache = builder.spawner(later.spawner()).build().unwrap();
    (1..=5).for_each(|key| cache.insert(key, 1));
    (1..=3).for_each(|key| assert!(cache.invalidate(&key)));
    let mut task = Task::new(later.0.lock().unwrap().pop().unwrap());
    // It has taken all three, and the first call is in progress.
    task.step();
    drop(task);
    assert_eq!(later.run(), 0);
    cache.invalidate(&4);
    // The same before it was polled.
    drop(later.0.lock().unwrap().pop().unwrap());
    cache.invalidate(&5);
    assert_eq!(later.run(), 1);
    assert_eq!(take(&told).iter().map(|told| told.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn values_are_neither_lost_nor_dropped_twice() {
    let census = Census::default();
    for served in [true, false] {
        let (later, told) = (Later::default(), Arc::new(AtomicUsize::new(0)));
        let count = told.clone();
        let listener = move |_: Key, value: Member<u64>, _| {
            let count = count.clone();
            async move {
                yield_now().await;
                count.fetch_add(usize::try_from(value.what).unwrap(), Ordering::SeqCst);
            }
        };
        let builder: Builder<Key, Member<u64>> = Cache::builder().max_capacity(10);
        let cache = builder.eviction_listener_async(listener).spawner(later.spawner()).build().unwrap();
        (0..50).for_each(|key| cache.insert(key, census.member(1)));
        cache.invalidate_all();
        drop(cache);
        // The task outlives the cache.
        if served {
            assert_eq!((later.run(), told.load(Ordering::SeqCst)), (1, 50));
        }
        drop(later);
        assert_eq!(census.alive(), 0, "{served}");
    }
}

#[test]
fn a_panic_of_a_clone_reaches_the_remover() {
    #[derive(Debug)]
    struct Brittle(Arc<AtomicBool>);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            assert!(!self.0.load(Ordering::SeqCst), "the clone panics, as it was told to");
            Self(self.0.clone())
        }
    }
    let (later, brittle) = (Later::default(), Arc::new(AtomicBool::new(true)));
    let builder: Builder<Key, Brittle> = Cache::builder().max_capacity(10);
    let cache = builder.eviction_listener_async(|_, _, _| async {}).spawner(later.spawner()).build().unwrap();
    cache.insert(1, Brittle(brittle.clone()));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(|| cache.invalidate(&1)))).is_err());
    assert_eq!((cache.len(), later.run()), (0, 0));
    drop(cache);
    assert_eq!(Arc::strong_count(&brittle), 1);
}

#[test]
fn its_future_may_use_the_cache_and_threads_may_remove_meanwhile() {
    static HANDLE: OnceLock<Weak<TestCache>> = OnceLock::new();
    let (told, overlap) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let count = told.clone();
    let listener = move |key: Key, value: u64, _| {
        let (count, overlap) = (count.clone(), overlap.clone());
        async move {
            assert!(!overlap.swap(true, Ordering::SeqCst), "two calls overlap");
            yield_now().await;
            if let Some(cache) = HANDLE.get().and_then(Weak::upgrade) {
                // (Removes nothing that is there: that would be told, too.)
                assert!(cache.get(&(key + 100_000)).is_none());
            }
            count.fetch_add(usize::try_from(value).unwrap(), Ordering::SeqCst);
            overlap.store(false, Ordering::SeqCst);
        }
    };
    let builder: Builder<Key, u64> = Cache::builder().max_capacity(50);
    let builder = builder.eviction_listener_async(listener).spawner(ThreadSpawn::new());
    let cache = Arc::new(builder.build().unwrap());
    HANDLE.set(Arc::downgrade(&cache)).unwrap();
    thread::scope(|scope| {
        for n in 0..4 {
            let cache = &cache;
            scope.spawn(move || (0..500).for_each(|key| cache.insert(n * 1000 + key, 1)));
        }
    });
    cache.invalidate_all();
    until("all are told", || told.load(Ordering::SeqCst) == 2000);
}
