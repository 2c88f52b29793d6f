//! Everything at once from several threads, with values that notice being dropped twice or never: for the sanitizers.

use crate::common::{Census, Constant, Member, quietly};
use bellwether::{Cache, Lookup, Op, Ref};
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

type Stressed<S> = Cache<u32, Member<u32>, S>;

/// Steps a thread; `BELLWETHER_STRESS` multiplies them.
fn steps() -> u32 {
    let times = std::env::var("BELLWETHER_STRESS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    4_000 * times
}

/// Every value says which key it belongs to.
fn step<S: BuildHasher>(cache: &Stressed<S>, census: &Census, random: u32) {
    let (key, what) = (random % 31, (random >> 8) % 32);
    let value = || census.member(key);
    let mine = |v: &Member<u32>| assert_eq!(v.what, key, "a value of another key");
    match what {
        0..=5 => cache.get_ref(&key).iter().for_each(|r| mine(r)),
        6 | 7 => cache.get_entry(&key).iter().for_each(|e| mine(e)),
        8..=11 => mine(&cache.get_with(&key, value)),
        12 => drop(cache.try_get_with(&key, || Err::<Member<u32>, _>("no"))),
        13 => drop(catch_unwind(AssertUnwindSafe(|| {
            cache.get_with(&key, || panic!("a loader panics, as it was told to"))
        }))),
        14..=17 => cache.insert(key, value()),
        18 | 19 => cache.remove(&key).iter().for_each(mine),
        20 | 21 => lease(cache, key, random >> 16, value()),
        22 => {
            let change = cache.compute(&key, |v| {
                v.into_iter().for_each(mine);
                match random >> 20 & 3 {
                    0 => Op::Remove,
                    1 => Op::Nop,
                    _ => Op::Put(value()),
                }
            });
            change.old.iter().chain(&change.new).for_each(|entry| mine(entry));
        }
        23 => cache.iter().for_each(|r| assert_eq!(*Ref::key(&r), r.what)),
        24 if random >> 24 == 0 => cache.invalidate_all(),
        25 if random >> 24 == 0 => cache.retain(|k, v| *k == v.what && k % 2 == 0),
        26 if random >> 24 < 16 => drop(cache.purge_expired()),
        27 if random >> 24 < 16 => cache.set_capacity(u64::from(random >> 16) % 40),
        28 => cache.insert_with_ttl(key, value(), Duration::from_nanos(u64::from(random >> 28))),
        _ => {
            let pinned = cache.pin();
            pinned.insert(key, value());
            pinned.get_ref(&key).iter().for_each(|r| mine(r));
            pinned.invalidate(&key);
        }
    }
}

fn lease<S: BuildHasher>(cache: &Stressed<S>, key: u32, random: u32, value: Member<u32>) {
    match cache.lease(&key) {
        Lookup::Lead(lease) | Lookup::Refresh(_, lease) => match random % 6 {
            0 => drop(lease),
            1 => lease.fail(),
            2 => lease.fail_with("no"),
            3 => drop(lease.renew()),
            4 => drop(lease.fulfil_with_ttl(value, Duration::ZERO)),
            _ => drop(lease.fulfil(value)),
        },
        Lookup::Wait(waiter) if random % 2 == 0 => drop(waiter),
        Lookup::Wait(waiter) => drop(waiter.wait()),
        _ => {}
    }
}

fn stress<S: BuildHasher + Default + Send + Sync>(shards: usize) {
    let (census, told) = (Census::default(), AtomicUsize::new(0));
    let clock = bellwether::ManualClock::new();
    let cache: Stressed<S> = Cache::builder()
        .max_capacity(20)
        // There are as many shards as that only where as many entries are expected, and weights are unknown.
        .weigher(|_, _| 1)
        .initial_capacity(shards * 4096)
        .shards(shards)
        .time_to_live(Duration::from_nanos(500))
        .xfetch(3.0)
        .clock(clock.clone())
        .eviction_listener(|k, v: &Member<u32>, _| assert_eq!(*k, v.what))
        .hasher(S::default())
        .build()
        .unwrap();
    quietly(|| {
        thread::scope(|scope| {
            for thread in 0..4_u32 {
                let (cache, census, clock, told) = (&cache, &census, &clock, &told);
                scope.spawn(move || {
                    let mut random = u64::from(thread) + 1;
                    for _ in 0..steps() {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        step(cache, census, (random >> 32) as u32);
                        clock.advance(Duration::from_nanos(random >> 60));
                    }
                    told.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
    });
    assert_eq!(told.load(Ordering::SeqCst), 4, "no thread died");
    assert!((0..31).all(|key| !cache.is_loading(&key)), "no flight was left behind");
    assert!(cache.weight() <= cache.capacity());
    cache.purge_expired();
    assert_eq!((cache.len() as u64, cache.weight()), (cache.iter().count() as u64, cache.len() as u64));
    cache.set_capacity(0);
    assert_eq!(cache.len(), 0, "the hand finds every entry");
    drop(cache);
    assert_eq!(census.alive(), 0, "everything that was made was dropped");
}

#[test]
fn everything_at_once() {
    stress::<bellwether::DefaultHashBuilder>(1);
    stress::<bellwether::DefaultHashBuilder>(3);
}

#[test]
fn everything_at_once_in_one_bucket() {
    stress::<Constant>(1);
}
