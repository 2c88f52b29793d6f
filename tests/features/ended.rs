//! Values whose time is over go as others come: none stays for good, and none that is good goes in
//! its stead. Each is counted, and told to the listener, as expired, however it was found.

use crate::common::*;
use bellwether::{Cache, Lookup, ManualClock, RemovalCause, Tags};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

type Spreading = TestCache<Spread>;

fn build(set: impl FnOnce(bellwether::Builder<Key, u64>) -> bellwether::Builder<Key, u64>) -> (Spreading, ManualClock) {
    let clock = ManualClock::new();
    clock.advance(1_000 * SECOND);
    let builder = Cache::builder().max_capacity(u64::MAX).clock(clock.clone()).timer(clock.clone()).seed(7);
    (set(builder).hasher(Spread::default()).build().unwrap(), clock)
}

/// Inserts new keys, each for an hour, until no more than `left` of the others are there; how many
/// were inserted.
fn inserts_until(cache: &Spreading, left: usize) -> usize {
    let first = 10_000_000 + cache.stats().expirations as u32 * 10;
    (0..400_000)
        .find(|&at| {
            cache.insert_with_ttl(first + at, 0, 3_600 * SECOND);
            cache.len() <= left + at as usize + 1
        })
        .expect("they stay for good") as usize
        + 1
}

#[test]
fn an_unbounded_cache_keeps_no_expired_entries_while_others_are_inserted() {
    // Of 20,000 entries all but one in `good` expire; with those that do not before, behind and
    // among the others.
    for good in [2, 20, 100] {
        let (cache, clock) = build(|b| b);
        for key in 0..20_000 {
            let hours = if key % good == 0 || key > 19_900 { 24 } else { 1 };
            cache.insert_with_ttl(key, 1, hours * 3_600 * SECOND);
        }
        let stay = (0..20_000).filter(|key| key % good == 0 || *key > 19_900).count();
        clock.advance(3_600 * SECOND);
        let expired = 20_000 - stay;
        let needed = inserts_until(&cache, stay);
        println!("1 of {good} is good: {expired} had expired, {needed} inserts");
        assert!(needed <= expired, "{needed} inserts for {expired}");
        assert_eq!((cache.stats().expirations, cache.stats().evictions), (expired as u64, 0));
        cache.validate().unwrap();
    }
}

#[test]
fn few_expired_entries_among_many_good_ones_are_found_within_a_round() {
    let (cache, clock) = build(|b| b);
    for key in 0..5_000 {
        cache.insert_with_ttl(key, 1, if key % 50 == 7 { SECOND } else { 24 * 3_600 * SECOND });
    }
    clock.advance(SECOND);
    let needed = inserts_until(&cache, 4_900);
    assert!(needed <= 5_000, "{needed}");
}

#[test]
fn loads_and_kept_failures_tidy_up_as_inserts_do() {
    let (cache, clock) = build(|b| b.time_to_live(10 * SECOND).negative_ttl(10 * SECOND).xfetch(0.0));
    for key in 0..2_000 {
        let _ = cache.try_get_with(&key, || if key % 2 == 0 { Ok(1) } else { Err(Broken("no")) });
    }
    assert_eq!(cache.len(), 2_000);
    clock.advance(10 * SECOND);
    (10_000..12_000).for_each(|key| assert_eq!(cache.get_with(&key, || 2), 2));
    assert_eq!(cache.len(), 2_000);
    cache.validate().unwrap();
}

#[test]
fn idle_entries_go_and_used_ones_stay() {
    let (cache, clock) = build(|b| b.time_to_idle(10 * SECOND));
    (0..2_000).for_each(|key| cache.insert(key, 1));
    clock.advance(6 * SECOND);
    (0..2_000).filter(|key| key % 4 == 0).for_each(|key| assert_eq!(cache.get(&key), Some(1)));
    clock.advance(6 * SECOND);
    (10_000..12_000).for_each(|key| cache.insert(key, 2));
    assert_eq!(cache.len(), 2_500);
    assert!((0..2_000).all(|key| cache.contains_key(&key) == (key % 4 == 0)));
}

#[test]
fn entries_whose_tag_was_invalidated_go() {
    // (One tag: two may share a cell, by chance.)
    let tags = |_: &Key, value: &u64, tags: &mut Tags<'_>| {
        if *value == 0 {
            tags.add(value);
        }
    };
    let (cache, _clock) = build(|b| b.tags_with(tags));
    (0..2_000).for_each(|key| cache.insert(key, u64::from(key % 2)));
    cache.invalidate_tag(&0_u64);
    (10_000..12_000).for_each(|key| cache.insert(key, 7));
    assert_eq!(cache.len(), 3_000);
}

#[test]
fn entries_that_were_ended_by_hand_go() {
    let (cache, _clock) = build(|b| b);
    (0..1_000).for_each(|key| cache.insert(key, 1));
    (0..900).for_each(|key| assert!(cache.expire(&key)));
    (10_000..11_000).for_each(|key| cache.insert(key, 7));
    assert_eq!(cache.len(), 1_100);
}

#[test]
fn what_may_be_served_stale_stays_for_so_long() {
    let (cache, clock) = build(|b| b.time_to_live(10 * SECOND).stale_if_error(60 * SECOND).xfetch(0.0));
    (0..500).for_each(|key| cache.insert(key, 1));
    clock.advance(30 * SECOND);
    (10_000..11_000).for_each(|key| cache.insert_with_ttl(key, 2, 3_600 * SECOND));
    assert_eq!(cache.len(), 1_500);
    clock.advance(40 * SECOND);
    (20_000..21_000).for_each(|key| cache.insert_with_ttl(key, 2, 3_600 * SECOND));
    assert_eq!(cache.len(), 2_000);
}

/// 500 entries have expired and 500 are good, wherever they lie: 450 more make no good one go.
#[test]
fn in_a_full_cache_what_has_expired_goes_first() {
    type Expires = fn(u32) -> bool;
    let orders: [(&str, Expires); 4] = [
        ("the older half", |key| key < 500),
        ("the newer half", |key| key >= 500),
        ("every second", |key| key % 2 == 0),
        ("the middle", |key| (250..750).contains(&key)),
    ];
    for (which, expires) in orders {
        // Some in main, too.
        for used in [false, true] {
            let (cache, clock) = build(|b| b.max_capacity(1_000));
            for key in 0..1_000 {
                cache.insert_with_ttl(key, 1, if expires(key) { SECOND } else { 3_600 * SECOND });
            }
            if used {
                (0..1_000).filter(|key| key % 3 == 0).for_each(|key| (0..3).for_each(|_| _ = cache.get(&key)));
                (5_000..5_100).for_each(|key| cache.insert_with_ttl(key, 1, SECOND));
            }
            let evictions = cache.stats().evictions;
            clock.advance(SECOND);
            (10_000..10_450).for_each(|key| cache.insert_with_ttl(key, 2, 3_600 * SECOND));
            assert_eq!(cache.stats().evictions, evictions, "{which}, used: {used}");
        }
    }
}

#[test]
fn the_same_where_loads_store() {
    let (cache, clock) = build(|b| b.max_capacity(1_000).time_to_live(3_600 * SECOND));
    for key in 0..1_000 {
        cache.insert_with_ttl(key, 1, if key % 2 == 0 { SECOND } else { 3_600 * SECOND });
    }
    clock.advance(SECOND);
    (10_000..10_450).for_each(|key| assert_eq!(cache.get_with(&key, || 2), 2));
    assert_eq!(cache.stats().evictions, 0);
    assert!((0..1_000).filter(|key| key % 2 == 1).all(|key| cache.contains_key(&key)));
}

/// How a value that has expired is found, and by what it might have been taken for removed.
#[test]
fn each_value_that_ended_by_its_time_is_expired_however_it_was_found() {
    type Find = fn(&TestCache);
    let ways: [(&str, Find); 12] = [
        ("remove", |c| assert_eq!(c.remove(&1), None)),
        ("remove, pinned", |c| assert_eq!(c.pin().remove(&1), None)),
        ("invalidate", |c| assert!(!c.invalidate(&1))),
        ("invalidate_all", |c| c.invalidate_all()),
        ("retain", |c| c.retain(|_, _| false)),
        ("insert", |c| c.insert(1, 2)),
        ("get_with", |c| assert_eq!(c.get_with(&1, || 2), 2)),
        ("lease", |c| match c.lease(&1) {
            Lookup::Refresh(_, lease) | Lookup::Lead(lease) => drop(lease.fulfil(2)),
            other => panic!("{other:?}"),
        }),
        ("a failure that is kept", |c| assert!(c.try_get_with(&1, || Err::<u64, _>(Broken("no"))).is_err())),
        ("purge", |c| assert_eq!(c.purge_expired(), 1)),
        ("the hand", |c| c.set_capacity(0)),
        ("another insert", |c| (2..40).for_each(|key| c.insert(key, 2))),
    ];
    for (way, find) in ways {
        let told: Arc<Mutex<Vec<(Key, u64, RemovalCause)>>> = Arc::default();
        let log = told.clone();
        let (builder, clock) = timed();
        let builder = builder.time_to_live(10 * SECOND).negative_ttl(SECOND).xfetch(0.0);
        let builder = builder.eviction_listener(move |&k, &v, cause| log.lock().unwrap().push((k, v, cause)));
        let cache: TestCache = builder.build().unwrap();
        cache.insert(1, 1);
        clock.advance(10 * SECOND);
        find(&cache);
        let stats = cache.stats();
        assert_eq!(told.lock().unwrap()[..], [(1, 1, RemovalCause::Expired)], "{way}");
        assert_eq!((stats.expirations, stats.invalidations, stats.evictions), (1, 0, 0), "{way}");
    }
}

/// And a value that is good is not.
#[test]
fn a_good_value_is_removed_for_what_it_was() {
    let (cache, clock) = ten_seconds();
    (1..=4).for_each(|key| cache.insert(key, 1));
    clock.advance(10 * SECOND - Duration::from_nanos(1));
    assert_eq!(cache.remove(&1), Some(1));
    cache.insert(2, 2);
    cache.set_capacity(2);
    let stats = cache.stats();
    assert_eq!((stats.expirations, stats.invalidations, stats.evictions), (0, 1, 1));
}

/// While room is made for it, a call ends all values for the first time: the newcomer, which came
/// before, is over, and goes though nobody asks for its key.
#[test]
fn a_newcomer_that_is_ended_as_it_comes_goes() {
    for newcomer in 1_000..1_060 {
        let (shared, called): (Arc<OnceLock<Cache<u32, u32>>>, AtomicBool) = Default::default();
        // (Weak: the cache owns the closure.)
        let others = Arc::downgrade(&shared);
        let keeps = move |_: &u32, _: &u32| {
            if !called.swap(true, Ordering::Relaxed) {
                let shared = others.upgrade().expect("it is called");
                let cache = shared.get().expect("it is built");
                cache.expire_all();
                // Two rounds end, so that what the call has noted is done with.
                (100..110).for_each(|key| cache.insert(key, 1));
            }
            false
        };
        let built = Cache::builder().max_capacity(3).shards(1).keep_while(keeps).build().unwrap();
        assert!(shared.set(built).is_ok());
        let cache = shared.get().expect("it was set");
        (0..3).for_each(|key| cache.insert(key, 1));
        cache.insert(newcomer, 1);
        cache.set_capacity(1_000);
        (200..700).for_each(|key| cache.insert(key, 1));
        assert_eq!(cache.len(), cache.iter().count(), "newcomer {newcomer}");
    }
}
