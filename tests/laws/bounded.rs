//! Law 7: weight, retired memory, and that dropping the cache drops everything, at once.

use crate::common::*;
use bellwether::{Cache, Lookup};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[test]
fn weight_stays_within_the_capacity_from_many_threads() {
    for (capacity, shards) in [(0, 1), (1, 1), (2, 2), (500, 1), (500, 4)] {
        let builder = Cache::builder().max_capacity(capacity).weigher(|&key, _| key % 7);
        // Enough entries expected for so many shards.
        let cache: TestCache = builder.initial_capacity(shards * 4096).shards(shards).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    for step in 0..5_000_u32 {
                        let key = step.wrapping_mul(0x9E37_79B9).rotate_left(thread) % 1000;
                        match step % 4 {
                            0 => cache.insert(key, 1),
                            1 => drop(cache.remove(&key)),
                            2 => drop(cache.get_with(&key, || 2)),
                            _ => drop(cache.get(&key)),
                        }
                    }
                });
            }
        });
        assert!(cache.weight() <= capacity, "{} of {capacity}", cache.weight());
        // The counters agree with what a walk finds.
        let walked: u64 = cache.iter().map(|r| u64::from(bellwether::Ref::weight(&r))).sum();
        assert_eq!((cache.len(), cache.weight()), (cache.iter().count(), walked));
        assert_eq!(cache.stats().evictions > 0, capacity > 0);
        cache.invalidate_all();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}

#[test]
fn the_hand_spares_what_is_used_and_takes_the_oldest() {
    // (Which keys the sketch takes for each other depends on the hasher.)
    let cache: TestCache<Spread> = Cache::builder().max_capacity(100).hasher(Spread::default()).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, 0));
    (0..10).for_each(|get| assert_eq!(cache.get(&(get % 5)), Some(0)));
    (100..195).for_each(|key| cache.insert(key, 0));
    assert!((0..5).all(|key| cache.contains_key(&key)), "used entries went to main");
    // Nearly: the sketch takes a few for keys that were seen twice.
    assert!((5..100).filter(|key| cache.contains_key(key)).count() < 20, "first in, first out");
    assert_eq!((cache.len(), cache.stats().evictions), (100, 95));
}

#[test]
fn a_heavy_entry() {
    let builder = Cache::builder().max_capacity(100).weigher(|_, &v| v as u32);
    let cache: TestCache = builder.initial_capacity(4 * 4096).shards(4).build().unwrap();
    (0..20).for_each(|key| cache.insert(key, 5));
    assert_eq!(cache.weight(), 100);
    cache.insert(1, 101);
    assert_eq!((cache.get(&1), cache.weight()), (None, 95), "not kept, and the old value is gone");
    assert_eq!(cache.get_with(&1, || u64::from(u32::MAX)), u64::from(u32::MAX), "handed to its caller");
    assert_eq!((cache.get(&1), cache.len()), (None, 19));
    cache.insert(1, 100);
    assert_eq!((cache.contains_key(&1), cache.len(), cache.weight()), (true, 1, 100), "it displaces all the others");
    cache.remove(&1);
    cache.insert(2, 0);
    assert_eq!((cache.get(&2), cache.weight()), (Some(0), 1), "0 counts as 1");
}

#[test]
fn capacity_can_change() {
    let builder = Cache::builder().max_capacity(1000).weigher(|_, _| 1);
    let cache: TestCache = builder.initial_capacity(3 * 4096).shards(3).build().unwrap();
    (0..1000).for_each(|key| cache.insert(key, 0));
    for capacity in [500, 20, 1, 0] {
        cache.set_capacity(capacity);
        assert_eq!((cache.capacity(), cache.weight()), (capacity, capacity));
        assert_eq!(cache.iter().count() as u64, capacity);
    }
    cache.set_capacity(u64::MAX);
    (0..3000).for_each(|key| cache.insert(key, 0));
    assert_eq!((cache.len(), cache.weight()), (3000, 3000));
}

#[test]
fn removing_and_inserting_grows_no_ring() {
    // One entry stays for good while others come and go: the slots between must be used again.
    let cache: TestCache = Cache::new(1000);
    cache.insert(0, 0);
    for key in 0..300_000_u32 {
        cache.insert(1 + key % 100, 0);
        cache.remove(&(1 + key % 100));
    }
    assert_eq!(cache.len(), 1);
    cache.set_capacity(0);
    assert_eq!(cache.len(), 0, "every entry can still be found by the hand");
}

#[test]
fn everything_is_dropped_with_the_cache_at_once() {
    let census = Census::default();
    type Scenario = fn(&Census, &Cache<Member<u32>, Member<u32>>);
    let scenarios: [(&str, Scenario); 6] = [
        ("entries", |census, cache| (0..100).for_each(|k| cache.insert(census.member(k), census.member(k)))),
        ("overwritten", |census, cache| (0..1000).for_each(|k| cache.insert(census.member(k % 3), census.member(k)))),
        ("evicted", |census, cache| {
            cache.set_capacity(10);
            (0..500).for_each(|k| drop(cache.get_with(&census.member(k), || census.member(k))));
        }),
        ("removed", |census, cache| {
            (0..200).for_each(|k| cache.insert(census.member(k), census.member(k)));
            cache.retain(|key, _| key.what % 2 == 0);
            cache.invalidate_all();
        }),
        ("flights", |census, cache| {
            let Lookup::Lead(lease) = cache.lease(&census.member(1)) else { panic!() };
            let Lookup::Wait(waiter) = cache.lease(&census.member(1)) else { panic!() };
            cache.insert(census.member(1), census.member(5));
            assert!(lease.fulfil(census.member(2)).is_err(), "the insert won");
            drop(waiter);
            cache.lease(&census.member(2)).must_lead().fail_with("no");
            drop(cache.lease(&census.member(3)).must_lead());
        }),
        ("handles", |census, cache| {
            cache.insert(census.member(1), census.member(1));
            let (entry, borrowed) = (cache.get_entry(&census.member(1)), cache.get_ref(&census.member(1)));
            cache.invalidate_all();
            assert_eq!((entry.unwrap().what, borrowed.unwrap().what), (1, 1));
        }),
    ];
    for (name, scenario) in scenarios {
        let cache = Cache::new(1000);
        scenario(&census, &cache);
        drop(cache);
        assert_eq!(census.alive(), 0, "{name}");
    }
}

trait MustLead<'c, K, V> {
    fn must_lead(self) -> bellwether::Lease<'c, K, V>;
}

impl<'c, K, V> MustLead<'c, K, V> for Lookup<'c, K, V> {
    fn must_lead(self) -> bellwether::Lease<'c, K, V> {
        match self {
            Self::Lead(lease) => lease,
            _ => panic!("nobody else leads, and there is no value"),
        }
    }
}

#[test]
fn owned_handles_keep_the_cache_alive() {
    let census = Census::default();
    let cache: Arc<Cache<u32, Member<u32>>> = Arc::new(Cache::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease_owned(&1) else { panic!() };
    drop(cache);
    let value = census.member(3);
    let loader = thread::spawn(move || drop(lease.fulfil(value)));
    let waiting = thread::spawn(move || match waiter.wait() {
        bellwether::Waited::Ready(entry) => entry.what,
        other => panic!("{:?}", std::mem::discriminant(&other)),
    });
    loader.join().unwrap();
    assert_eq!(waiting.join().unwrap(), 3);
    assert_eq!(census.alive(), 0, "the last handle took the cache with it");
}

/// A lease whose flight was removed, or taken over, takes no entry's place.
#[test]
fn a_loaded_value_that_is_not_kept_evicts_nothing() {
    let clock = bellwether::ManualClock::new();
    let builder = Cache::builder().max_capacity(2).lead_timeout(Duration::from_secs(1));
    let cache: Cache<u32, u32> = builder.clock(clock.clone()).timer(clock.clone()).build().unwrap();
    let (one, two) = (cache.get_with(&1, || 1), cache.get_with(&2, || 2));
    let Lookup::Lead(removed) = cache.lease(&3) else { panic!("there is no value") };
    cache.invalidate(&3);
    assert!(removed.fulfil(3).is_err());
    let Lookup::Lead(late) = cache.lease(&4) else { panic!("there is no value") };
    clock.advance(Duration::from_secs(1));
    let Lookup::Lead(second) = cache.lease(&4) else { panic!("the first is overdue") };
    assert!(late.fulfil(4).is_err());
    assert_eq!([cache.get(&1), cache.get(&2)], [Some(one), Some(two)]);
    assert!(second.fulfil(5).is_ok(), "it is kept, in place of one of the two");
    assert_eq!((cache.len(), cache.weight(), cache.get(&4), cache.validate()), (2, 2, Some(5), Ok(())));
}
