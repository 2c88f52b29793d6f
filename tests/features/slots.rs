//! The slots that eviction goes over: none lost, none doubled, whatever happens to the entries.

use crate::common::*;
use bellwether::{Cache, Lookup, Ref};
use std::thread;
use std::time::Duration;

type Weighed = Cache<u32, u32, Spread>;

fn build(capacity: u64, shards: usize) -> (Weighed, bellwether::ManualClock) {
    let clock = bellwether::ManualClock::new();
    let builder = Cache::<u32, u32>::builder().max_capacity(capacity).weigher(|_, &weight| weight);
    // Enough entries expected for so many shards.
    let builder = builder.initial_capacity(4096 * shards).shards(shards).hasher(Spread::default());
    (builder.clock(clock.clone()).timer(clock.clone()).build().unwrap(), clock)
}

/// One operation of any kind on one of `keys` keys.
fn operate(cache: &Weighed, clock: &bellwether::ManualClock, random: &mut fastrand::Rng, keys: u32) {
    let (key, weight) = (random.u32(..keys), 1 + random.u32(..4) * random.u32(..4));
    match random.u32(..100) {
        0..30 => drop(cache.get_with(&key, || weight)),
        30..55 => drop(cache.get(&key)),
        55..70 => cache.insert(key, weight),
        70..80 => cache.insert_with_ttl(key, weight, Duration::from_nanos(random.u64(..2_000))),
        80..88 => drop(cache.remove(&key)),
        88..96 => match cache.lease(&key) {
            Lookup::Lead(lease) | Lookup::Refresh(_, lease) if weight > 3 => drop(lease.fulfil(weight)),
            Lookup::Lead(lease) | Lookup::Refresh(_, lease) => drop(lease),
            _ => {}
        },
        96..98 => clock.advance(Duration::from_nanos(random.u64(..100))),
        98 if random.u32(..200) == 0 => cache.set_capacity(random.u64(..400)),
        98 => drop(random.u32(..200) == 0 && cache.purge_expired() > 0),
        _ if random.u32(..2_000) == 0 => cache.retain(|key, _| key % 2 == 0),
        _ => drop(cache.remove_if(&key, |_, &weight| weight == 1)),
    }
}

#[test]
fn none_lost_none_doubled_after_a_million_operations() {
    for (shards, keys) in [(1, 300), (1, 20), (3, 1_000)] {
        let (cache, clock) = build(200, shards);
        let mut random = fastrand::Rng::with_seed(u64::from(keys));
        for step in 0..350_000 {
            operate(&cache, &clock, &mut random, keys);
            if step % 5_000 == 0 {
                cache.validate().unwrap();
                assert!(cache.weight() <= cache.capacity());
            }
        }
        cache.validate().unwrap();
    }
}

#[test]
fn none_lost_none_doubled_by_eight_threads() {
    for (shards, keys) in [(1, 10), (1, 300), (4, 300)] {
        let (cache, clock) = build(200, shards);
        thread::scope(|scope| {
            for seed in 0..8 {
                let (cache, clock) = (&cache, &clock);
                let mut random = fastrand::Rng::with_seed(seed);
                scope.spawn(move || (0..15_000).for_each(|_| operate(cache, clock, &mut random, keys)));
            }
        });
        cache.validate().unwrap();
        assert!(cache.weight() <= cache.capacity());
        cache.purge_expired();
        let walked: u64 = cache.iter().map(|r| u64::from(Ref::weight(&r))).sum();
        assert_eq!((cache.len(), cache.weight()), (cache.iter().count(), walked));
    }
}

/// An insertion, an explicit removal and an eviction of one key at the same time.
#[test]
fn an_insert_races_a_removal_and_an_eviction_of_its_key() {
    let cache: Cache<u32, u32, Spread> =
        Cache::<u32, u32>::builder().max_capacity(1).hasher(Spread::default()).build().unwrap();
    for round in 0..3_000 {
        thread::scope(|scope| {
            scope.spawn(|| cache.insert(1, round));
            scope.spawn(|| cache.invalidate(&1));
            cache.insert(2, round);
        });
        cache.validate().unwrap();
        assert!(cache.len() <= 1);
        assert!(cache.get(&1).is_none_or(|value| value == round));
    }
}
