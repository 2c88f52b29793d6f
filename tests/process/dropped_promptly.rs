//! How long a removed value lives where no reader is pinned. A test binary of its own, which runs one test at a time: a pin of
//! any cache of the process holds all of them up.
#![cfg(feature = "std")]
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Cache, Lookup, ManualClock, Op, Ref, RemovalCause};
use common::{Census, Member};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Members = Cache<u32, Arc<Member<u32>>>;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most evicted values that are alive after an insert.
fn most_evicted(cache: &Members, census: &Census) -> isize {
    (0..5000)
        .map(|key| {
            cache.insert(key, Arc::new(census.member(key)));
            census.alive() - cache.len() as isize
        })
        .max()
        .unwrap()
}

fn weighed(capacity: u64, each: u32) -> Members {
    Cache::builder().max_capacity(capacity).weigher(move |_, _| each).build().unwrap()
}

#[test]
fn an_eviction_from_a_cache_of_four_drops_at_once() {
    let _alone = alone();
    let census = Census::default();
    assert_eq!(most_evicted(&Cache::new(4), &census), 0);
    assert_eq!(most_evicted(&Cache::new(15), &census), 0);
}

#[test]
fn few_that_are_heavy_are_dropped_at_once() {
    let _alone = alone();
    let census = Census::default();
    assert_eq!(most_evicted(&weighed(4 << 16, 1 << 16), &census), 0);
    assert_eq!(most_evicted(&weighed(4, 1), &census), 0);
}

#[test]
fn of_a_hundred_at_most_twelve_evicted_ones_live_on() {
    let _alone = alone();
    let census = Census::default();
    assert!(most_evicted(&Cache::new(100), &census) < 12);
    assert!(most_evicted(&weighed(100, 1), &census) <= 12);
    assert!(most_evicted(&weighed(100 << 16, 1 << 16), &census) <= 12);
}

#[test]
fn of_a_thousand_at_most_an_eighth_of_evicted_ones_live_on() {
    let _alone = alone();
    let census = Census::default();
    // Two bags: an eighth, rounded up to bags.
    assert!(most_evicted(&Cache::new(1000), &census) <= 128);
    assert!(most_evicted(&weighed(1000, 1), &census) <= 128);
}

#[test]
fn replaced_values_are_dropped_as_evicted_ones_are() {
    let _alone = alone();
    let census = Census::default();
    for (capacity, most) in [(4, 0), (100, 11)] {
        let cache = Cache::new(capacity);
        for key in 0..1000 {
            cache.insert(1, census.member(key));
            assert!(census.alive() - cache.len() as isize <= most, "capacity {capacity}");
        }
    }
}

/// That this leaves nothing alive, of a cache with entries 0 to 9, in caches large and small, and with a listener.
fn leaves_nothing(what: &str, remove: impl Fn(&Cache<u32, Member<u32>>, &Census)) {
    let _alone = alone();
    for capacity in [100, 100_000] {
        for listened in [false, true] {
            let census = Census::default();
            let mut builder = Cache::builder().max_capacity(capacity).seed(3);
            if listened {
                builder = builder.eviction_listener(|_: &u32, _: &Member<u32>, _: RemovalCause| ());
            }
            let cache = builder.build().unwrap();
            (0..10).for_each(|key| cache.insert(key, census.member(key)));
            assert_eq!(census.alive(), 10);
            remove(&cache, &census);
            assert_eq!(census.alive(), cache.len() as isize, "{what}: capacity {capacity}, listened to: {listened}");
            assert!(cache.len() < 10, "{what}");
        }
    }
}

#[test]
fn invalidate_drops_at_once() {
    leaves_nothing("invalidate", |cache, census| {
        for key in 0..10 {
            assert!(cache.invalidate(&key));
            assert_eq!(census.alive(), 9 - key as isize);
        }
    });
}

#[test]
fn remove_gives_the_only_clone_there_is() {
    let _alone = alone();
    let census = Census::default();
    let cache: Members = Cache::new(100);
    cache.insert(1, Arc::new(census.member(1)));
    let mine = cache.remove(&1).unwrap();
    assert_eq!(Arc::strong_count(&mine), 1);
    drop(mine);
    assert_eq!(census.alive(), 0);
}

#[test]
fn remove_if_drops_at_once() {
    leaves_nothing("remove_if", |cache, _| drop(cache.remove_if(&3, |_, _| true)));
}

#[test]
fn compute_drops_what_it_removes_at_once() {
    leaves_nothing("compute", |cache, _| drop(cache.compute(&3, |_| Op::Remove)));
}

#[test]
fn retain_and_its_like_drop_at_once() {
    leaves_nothing("retain", |cache, _| cache.retain(|key, _| key % 2 == 0));
    leaves_nothing("drain", |cache, _| drop(cache.drain()));
    leaves_nothing("drained", |cache, _| cache.drain().for_each(drop));
    leaves_nothing("invalidate_all", |cache, _| cache.invalidate_all());
}

#[test]
fn a_smaller_capacity_drops_at_once() {
    leaves_nothing("set_capacity", |cache, _| cache.set_capacity(3));
}

#[test]
fn an_insert_that_is_not_kept_drops_what_it_replaces_at_once() {
    leaves_nothing("insert_with_ttl", |cache, census| cache.insert_with_ttl(3, census.member(0), Duration::ZERO));
}

#[test]
fn the_last_handle_of_a_removed_value_drops_it_at_once() {
    leaves_nothing("Entry", |cache, census| {
        let entry = cache.get_entry(&3).unwrap();
        cache.invalidate(&3);
        assert_eq!(census.alive(), 10, "it is held");
        drop(entry);
    });
}

#[test]
fn a_value_that_is_handed_over_only_is_dropped_with_its_handle() {
    let _alone = alone();
    let census = Census::default();
    let cache = Cache::<u32, Member<u32>>::new(100);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let entry = lease.fulfil_with_ttl(census.member(1), Duration::ZERO);
    assert_eq!((census.alive(), cache.len()), (1, 0));
    drop(entry);
    assert_eq!(census.alive(), 0);
    let found = cache.entry(&1).ttl(Duration::ZERO).get_with(|| census.member(2));
    drop(found);
    assert_eq!(census.alive(), 0);
}

#[test]
fn expired_values_are_dropped_as_they_are_purged() {
    let _alone = alone();
    let (census, clock) = (Census::default(), ManualClock::new());
    let builder = Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(1)).clock(clock.clone());
    let cache = builder.eviction_listener(|_, _, _| ()).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, census.member(key)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.purge_expired(), 10);
    assert_eq!(census.alive(), 0, "though the listener was told of them last");
}

#[test]
fn several_removals_under_one_pin_are_dropped_with_it() {
    leaves_nothing("Pinned", |cache, census| {
        let pin = cache.pin();
        (0..5).for_each(|key| assert!(pin.invalidate(&key)));
        assert_eq!(census.alive(), 10, "not under the pin");
    });
}

/// What could not be dropped for a reader is, once that is gone, by the next operation that removes something.
#[test]
fn what_a_reader_holds_up_goes_with_the_next_removal() {
    let _alone = alone();
    let census = Census::default();
    let cache = Cache::new(100_000);
    (0..300).for_each(|key| cache.insert(key, census.member(key)));
    let reader = cache.get_ref(&0).unwrap();
    (1..200).for_each(|key| assert!(cache.invalidate(&key)));
    assert_eq!((census.alive(), Ref::key(&reader)), (300, &0));
    drop(reader);
    cache.invalidate(&200);
    // Full bags go a few at a time.
    cache.invalidate(&201);
    assert_eq!(census.alive(), cache.len() as isize);
}

/// The same by an insert that replaces something; and no reader has to be waited for twice as long as it was there.
#[test]
fn what_a_reader_holds_up_goes_with_a_later_insert() {
    let _alone = alone();
    let census = Census::default();
    let cache = Cache::new(100_000);
    (0..10).for_each(|key| cache.insert(key, census.member(key)));
    let reader = cache.get_ref(&0).unwrap();
    cache.invalidate(&1);
    cache.insert(2, census.member(12));
    assert_eq!(census.alive(), 11, "held up");
    drop(reader);
    cache.insert(3, census.member(13));
    assert_eq!(census.alive(), cache.len() as isize);
}

#[test]
fn what_readers_that_come_and_go_have_held_up_goes_when_they_are_gone() {
    let _alone = alone();
    let census = Census::default();
    let cache = Cache::new(8);
    (0..8).for_each(|key| cache.insert(key, census.member(key)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    assert!(cache.get_ref(&0).is_none_or(|value| value.what < 20_000));
                }
            });
        }
        (8..20_000).for_each(|key| cache.insert(key, census.member(key)));
        stop.store(true, Relaxed);
    });
    // At growing intervals it is looked for an end of the pins.
    (0..128).for_each(|key| cache.insert(key, census.member(key)));
    assert_eq!(census.alive(), cache.len() as isize);
}

/// The error of a load, counted as long as it is alive.
#[derive(Debug)]
struct Counted {
    _alive: Arc<()>,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}
impl std::error::Error for Counted {}

/// A full cache of plain keys and values, which keeps failures; and what counts their errors.
fn plain() -> (Cache<u64, u64>, Arc<()>) {
    let cache = Cache::builder().max_capacity(10_000).negative_ttl(Duration::from_secs(600)).build().unwrap();
    (0..40_000).for_each(|key| cache.insert(key, key));
    (cache, Arc::new(()))
}

fn fail(cache: &Cache<u64, u64>, key: u64, alive: &Arc<()>) {
    let failed = cache.try_get_with(&key, || Err::<u64, _>(Counted { _alive: alive.clone() }));
    assert!(failed.is_err());
}

/// Where keys and values own nothing, the error of a kept failure does not wait for others of its kind.
#[test]
fn an_error_among_plain_values_does_not_wait_for_other_errors() {
    let _alone = alone();
    let (cache, alive) = plain();
    fail(&cache, 1 << 40, &alive);
    cache.invalidate(&(1 << 40));
    assert_eq!(Arc::strong_count(&alive), 1, "removed by key");
    for key in 1 << 41..(1 << 41) + 10 {
        fail(&cache, key, &alive);
        cache.insert(key, 1);
    }
    // An eighth of the capacity, and bags that are sealed and wait meanwhile.
    (1 << 42..(1 << 42) + 5000).for_each(|key| cache.insert(key, key));
    assert_eq!(Arc::strong_count(&alive), 1, "replaced");
}

#[test]
fn an_error_among_plain_values_goes_once_the_reader_has() {
    let _alone = alone();
    let (cache, alive) = plain();
    (0..3).for_each(|key| fail(&cache, 1 << 40 | key, &alive));
    {
        let _pin = cache.pin();
        thread::scope(|scope| {
            scope.spawn(|| {
                for key in 0..3 {
                    cache.invalidate(&(1 << 40 | key));
                }
            });
        });
        assert_eq!(Arc::strong_count(&alive), 4, "a reader is pinned");
    }
    for key in 1 << 41..(1 << 41) + 200 {
        cache.insert(key, key);
        cache.remove(&key);
    }
    assert_eq!(Arc::strong_count(&alive), 1);
}
