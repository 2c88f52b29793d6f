//! `swap` and `drain`: the caller gets what it took out of the cache, and no other caller does.

use crate::common::*;
use bellwether::{Cache, Change, Entry, Lookup, RejectionCause, RemovalCause};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

fn told(change: &Change<'_, Key, u64>) -> (Option<u64>, Option<u64>, bool) {
    (change.old.as_deref().copied(), change.new.as_deref().copied(), change.applied)
}

#[test]
fn a_swap_tells_what_it_replaced() {
    let (cache, clock) = ten_seconds();
    assert_eq!(told(&cache.swap(1, 1)), (None, Some(1), true));
    assert_eq!(told(&cache.swap(1, 2)), (Some(1), Some(2), true));
    let pinned = cache.pin();
    assert_eq!(told(&pinned.swap(1, 3)), (Some(2), Some(3), true));
    drop(pinned);
    clock.advance(10 * SECOND);
    assert_eq!(told(&cache.swap(1, 4)), (None, Some(4), true), "the old value has expired");
    // A load in flight has no value. It is not stored, as with `insert`.
    let lease = match cache.lease(&2) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&cache.swap(2, 20)), (None, Some(20), true));
    assert!(lease.fulfil(21).is_err());
    assert_eq!((cache.get(&1), cache.get(&2), cache.len(), cache.weight()), (Some(4), Some(20), 2, 2));
    cache.validate().unwrap();
}

#[test]
fn a_swap_tells_if_the_value_is_not_kept_and_gives_it_back() {
    let rejections = Arc::new(Mutex::new(Vec::new()));
    let seen = rejections.clone();
    let (builder, _) = timed();
    let cache: TestCache = builder
        .weigher(|_, value: &u64| u32::try_from(*value).unwrap())
        .eviction_listener(move |key, value, cause| seen.lock().unwrap().push((*key, *value, cause)))
        .build()
        .unwrap();
    cache.insert(1, 10);
    let change = cache.swap(1, 101);
    assert_eq!(told(&change), (Some(10), Some(101), false));
    assert_eq!((Entry::key(change.new.as_ref().unwrap()), cache.get(&1)), (&1, None));
    assert_eq!((cache.stats().rejected, cache.weight(), cache.len()), (1, 0, 0));
    // The listener was told of the old value, and not of the one that the caller has.
    assert_eq!(*rejections.lock().unwrap(), [(1, 10, RemovalCause::Replaced)]);
    assert_eq!(cache.try_insert(1, 101).unwrap_err().cause(), RejectionCause::TooHeavy);
}

#[test]
fn swaps_of_one_key_hand_each_value_to_one_caller() {
    let cache: TestCache = Cache::new(10);
    let mut all: Vec<u64> = thread::scope(|scope| {
        let swapper = |from: u64| {
            let swap = |value| cache.swap(1, value).old.map(|old| *old);
            move || (from..from + 500).filter_map(swap).collect::<Vec<_>>()
        };
        let swappers: Vec<_> = (0..4).map(|n| scope.spawn(swapper(n * 1000))).collect();
        swappers.into_iter().flat_map(|swapper| swapper.join().unwrap()).collect()
    });
    all.extend(cache.get(&1));
    all.sort_unstable();
    let expected: Vec<u64> = (0..4).flat_map(|n| n * 1000..n * 1000 + 500).collect();
    assert!(all == expected, "{} values", all.len());
    cache.validate().unwrap();
}

#[test]
fn a_drain_takes_all_that_is_fresh() {
    let (cache, clock) = ten_seconds();
    (0..10).for_each(|key| cache.insert(key, 1));
    clock.advance(10 * SECOND);
    (10..90).for_each(|key| cache.insert(key, u64::from(key)));
    let lease = match cache.lease(&1000) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    };
    let mut drained: Vec<_> = cache.drain().map(|entry| (*Entry::key(&entry), Entry::into_value(entry))).collect();
    drained.sort_unstable();
    assert_eq!(drained, (10..90).map(|key| (key, u64::from(key))).collect::<Vec<_>>());
    assert_eq!((cache.len(), cache.weight(), cache.iter().count()), (0, 0, 0));
    assert!(lease.fulfil(7).is_err(), "a load that had begun is not stored");
    assert_eq!(cache.drain().count(), 0);
    cache.validate().unwrap();
}

#[test]
fn a_drain_that_is_dropped_removes_the_rest() {
    let cache: Cache<u32, u32> = Cache::new(10_000);
    (0..5000).for_each(|key| cache.insert(key, key));
    let mut drain = cache.drain();
    let first = drain.next().unwrap();
    assert!(!cache.is_empty(), "it goes on as it is asked to");
    // It holds no pin, and can be sent.
    thread::scope(|scope| scope.spawn(move || drop(drain)).join().unwrap());
    assert!(cache.is_empty());
    assert_eq!(*first, *Entry::key(&first));
    cache.validate().unwrap();
}

#[test]
fn each_value_is_taken_out_by_one_caller() {
    let census = Census::default();
    {
        let cache: Cache<u32, Member<u32>> = Cache::new(100_000);
        let removed = AtomicUsize::new(0);
        (0..4000).for_each(|key| cache.insert(key, census.member(key)));
        let mut times: HashMap<u32, u32> = HashMap::new();
        let taken: Vec<Vec<u32>> = thread::scope(|scope| {
            let drainers = (0..2).map(|_| scope.spawn(|| cache.drain().map(|entry| entry.what).collect::<Vec<_>>()));
            let drainers: Vec<_> = drainers.collect();
            let (cache, removed) = (&cache, &removed);
            let remover = scope.spawn(move || {
                let mine = (0..4000).rev().filter_map(|key| cache.remove(&key)).map(|value| value.what);
                let mine: Vec<_> = mine.collect();
                removed.fetch_add(mine.len(), Ordering::Relaxed);
                mine
            });
            let swapper = scope.spawn(move || {
                let swap = |key| cache.swap(key, census_free(key)).old.map(|old| old.what);
                (0..4000).step_by(7).filter_map(swap).collect::<Vec<_>>()
            });
            drainers.into_iter().chain([remover, swapper]).map(|taker| taker.join().unwrap()).collect()
        });
        let left: Vec<u32> = cache.drain().map(|entry| entry.what).collect();
        taken.into_iter().flatten().chain(left).for_each(|value| *times.entry(value).or_default() += 1);
        assert_eq!(times.len(), 4000 + (0..4000).step_by(7).count());
        assert!(times.values().all(|times| *times == 1));
        cache.validate().unwrap();
    }
    assert_eq!(census.alive(), 0);
}

/// A value of its own that no census counts.
fn census_free(key: u32) -> Member<u32> {
    Census::default().member(1_000_000 + key)
}

#[test]
fn a_panic_of_the_listener_loses_no_value() {
    for dropped in [false, true] {
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let cache: Cache<u32, u32> = Cache::builder()
            .max_capacity(10_000)
            .eviction_listener(move |_, _, _| {
                assert_ne!(count.fetch_add(1, Ordering::SeqCst) % 500, 0, "the listener panics, as it was told to");
            })
            .build()
            .unwrap();
        (0..2000).for_each(|key| cache.insert(key, key));
        let mut drain = cache.drain();
        if dropped {
            assert!(quietly(|| catch_unwind(AssertUnwindSafe(|| drop(drain)))).is_err());
        } else {
            let mut taken = Vec::new();
            loop {
                match quietly(|| catch_unwind(AssertUnwindSafe(|| drain.next()))) {
                    Ok(Some(entry)) => taken.push(*entry),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            taken.sort_unstable();
            assert_eq!(taken, (0..2000).collect::<Vec<_>>());
        }
        assert_eq!((told.load(Ordering::SeqCst), cache.len()), (2000, 0));
        cache.validate().unwrap();
    }
}
