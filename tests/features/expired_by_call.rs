//! Values whose time a call ends: `expire`, `expire_tag`, `expire_all`; and reads of what is over.

use crate::callers::*;
use crate::common::tasks::{block_on, slowly};
use crate::common::*;
use bellwether::{Builder, Clock, Entry, Loaded, LoadingCache, Lookup, ManualClock, Outcome};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// The calls that end the time of key 1's value.
const CALLS: [fn(&TestCache); 3] =
    [|cache| _ = cache.expire(&1), |cache| cache.expire_tag("all"), |cache| cache.expire_all()];

type Set = fn(Builder<Key, u64>) -> Builder<Key, u64>;
/// Caches whose entries expire, or never do; with tags and without.
const CACHES: [(Set, bool); 4] = [
    (|b| b, false),
    (|b| b.time_to_live(60 * SECOND).xfetch(0.0), false),
    (|b| b.tags_with(|_, _, tags| tags.add("all")), true),
    (|b| b.tags_with(|_, _, tags| tags.add("all")).time_to_live(60 * SECOND).xfetch(0.0), true),
];

/// Runs a scenario with each call on each cache that the call is for, by threads and by tasks.
fn everywhere(set: Set, scenario: impl Fn(&Shared, &ManualClock, fn(&TestCache), Face)) {
    for (n, call) in CALLS.into_iter().enumerate() {
        for (kind, tagged) in CACHES {
            if n == 1 && !tagged {
                continue;
            }
            for face in FACES {
                let (builder, clock) = timed();
                let cache = Arc::new(set(kind(builder)).build().unwrap());
                scenario(&cache, &clock, call, face);
                until("no load runs any more", || cache.stats().loading == 0);
                cache.validate().unwrap();
            }
        }
    }
}

fn ask(cache: &Shared, face: Face, loader: &Loader) -> Told {
    let loader = loader.clone();
    match face {
        Face::Thread => told(cache.entry(&1).try_get_with(|| loader.run())),
        Face::Task => told(block_on(cache.entry(&1).try_get_with_async(|| slowly(loader, 1)))),
        Face::DetachedThread => told(cache.detached(&1).try_get_with(move || loader.run())),
        Face::DetachedTask => told(block_on(cache.detached(&1).try_get_with_async(move || slowly(loader, 1)))),
    }
}

fn begin(cache: &Shared, face: Face, loader: &Loader) -> mpsc::Receiver<Told> {
    let loader = loader.clone();
    in_a_thread(cache, move |cache| ask(cache, face, &loader))
}

fn value(value: u64) -> Loader {
    Loader::new(End::Value(value))
}

#[test]
fn what_is_over_is_found_no_longer_and_loaded_anew() {
    everywhere(
        |b| b,
        |cache, _, call, face| {
            for old in [1, 2] {
                assert_eq!(ask(cache, face, &value(old)).unwrap(), (old, Outcome::Computed));
                assert_eq!(ask(cache, face, &value(9)).unwrap(), (old, Outcome::Hit));
                call(cache);
                assert_eq!((cache.get(&1), cache.contains_key(&1), cache.peek(&1).is_some()), (None, false, false));
                assert_eq!((cache.pin().get(&1), cache.iter().count()), (None, 0));
                assert!(!cache.expire(&1), "it is over already");
                assert!(!cache.invalidate(&1), "as is any value that is over");
                cache.insert(1, old);
                assert_eq!(cache.get(&1), Some(old), "a value inserted since is good");
                call(cache);
            }
            assert_eq!(cache.stats().evictions, 0);
        },
    );
}

#[test]
fn what_is_over_is_served_stale_within_its_windows() {
    everywhere(
        |b| b.stale_if_error(10 * SECOND).error_cooldown(Duration::ZERO),
        |cache, clock, call, face| {
            cache.insert(1, 1);
            clock.advance(5 * SECOND);
            call(cache);
            let fails = Loader::new(End::Fail("no"));
            clock.advance(10 * SECOND - Duration::from_nanos(1));
            assert_eq!(ask(cache, face, &fails).unwrap(), (1, Outcome::Stale));
            cache.purge_expired();
            assert_eq!(cache.len(), 1, "it may still be served");
            clock.advance(Duration::from_nanos(1));
            assert!(ask(cache, face, &fails).is_err());
            assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
            assert_eq!((cache.stats().expirations, cache.stats().stale_serves), (1, 1));
        },
    );
    everywhere(
        |b| b.stale_while_refresh(10 * SECOND),
        |cache, _, call, face| {
            cache.insert(1, 1);
            call(cache);
            let (loader, gate) = Loader::gated(End::Value(2));
            let leader = begin(cache, face, &loader);
            loader.begun(1);
            assert_eq!(ask(cache, face, &value(9)).unwrap(), (1, Outcome::Stale));
            gate.open();
            let detached = matches!(face, Face::DetachedThread | Face::DetachedTask);
            let expected = if detached { (1, Outcome::Stale) } else { (2, Outcome::Computed) };
            assert_eq!(answer(&leader).unwrap(), expected);
            until("it is loaded", || cache.get(&1) == Some(2));
        },
    );
}

#[test]
fn a_cooldown_holds_for_what_a_call_has_ended() {
    everywhere(
        |b| b.stale_if_error(60 * SECOND).error_cooldown(10 * SECOND),
        |cache, clock, call, face| {
            cache.insert(1, 1);
            call(cache);
            let fails = Loader::new(End::Fail("no"));
            (0..3).for_each(|_| assert_eq!(ask(cache, face, &fails).unwrap(), (1, Outcome::Stale)));
            assert_eq!(fails.calls(), 1, "one failing load is one call");
            clock.advance(10 * SECOND);
            assert_eq!(ask(cache, face, &value(2)).unwrap(), (2, Outcome::Computed));
        },
    );
}

#[test]
fn a_load_that_began_before_is_stored_as_over_or_not_at_all() {
    for old in [false, true] {
        for ended in [false, true] {
            let set: Set = |b| b.stale_if_error(10 * SECOND);
            everywhere(set, |cache, _, call, face| {
                if old {
                    cache.insert(1, 1);
                    call(cache);
                }
                let (loader, gate) = Loader::gated(End::Value(2));
                let leader = begin(cache, face, &loader);
                loader.begun(1);
                let waiter = begin(cache, face, &value(9));
                waiting_for(cache, 1);
                if ended {
                    call(cache);
                }
                let expired = !ended;
                gate.open();
                assert_eq!(answer(&leader).unwrap(), (2, Outcome::Computed));
                assert_eq!(answer(&waiter).unwrap(), (2, Outcome::Coalesced), "it came before the call");
                assert_eq!(cache.get(&1).is_some(), expired, "{face:?} old: {old}");
                if !ended {
                    return;
                }
                let by_key = !cache.is_loading(&1) && cache.get_stale(&1, SECOND).is_none();
                assert!(!by_key || !old, "the newer value is the one to be served stale");
                if let Some((stale, age)) = cache.get_stale(&1, SECOND) {
                    assert_eq!((*stale, age.stale_for), (2, Some(Duration::ZERO)));
                    let fails = Loader::new(End::Fail("no"));
                    assert_eq!(ask(cache, face, &fails).unwrap(), (2, Outcome::Stale));
                    cache.expire(&1);
                }
                cache.invalidate(&1);
                assert_eq!(ask(cache, face, &value(3)).unwrap(), (3, Outcome::Computed));
                assert_eq!(cache.get(&1), Some(3));
            });
        }
    }
}

#[test]
fn those_who_come_after_the_call_get_no_value_from_before_it() {
    for old in [false, true] {
        everywhere(
            |b| b,
            |cache, _, call, face| {
                if old {
                    cache.insert(1, 1);
                    call(cache);
                }
                let (loader, gate) = Loader::gated(End::Value(2));
                let leader = begin(cache, Face::Thread, &loader);
                loader.begun(1);
                call(cache);
                let late = begin(cache, face, &value(3));
                // It waits for the load, or has begun one of its own.
                until("it came", || cache.stats().coalesced == 1 || cache.stats().loads == 2);
                gate.open();
                assert_eq!(answer(&leader).unwrap(), (2, Outcome::Computed));
                assert_eq!(answer(&late).unwrap(), (3, Outcome::Computed), "{face:?}, old: {old}");
                assert_eq!(cache.get(&1), Some(3));
            },
        );
    }
}

#[test]
fn a_renewal_that_began_before_renews_nothing() {
    everywhere(
        |b| b,
        |cache, _, call, _| {
            cache.insert(1, 1);
            call(cache);
            let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
            call(cache);
            assert_eq!(*lease.renew().unwrap(), 1);
            assert_eq!(cache.get(&1), None);
            let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
            assert_eq!(lease.stale(), Some(&1));
            assert_eq!(*lease.renew().unwrap(), 1);
            assert_eq!(cache.get(&1), Some(1), "this one began since");
        },
    );
}

#[test]
fn what_is_over_stays_so_as_the_clock_steps_back() {
    for (n, call) in CALLS.into_iter().enumerate().skip(1) {
        for (kind, _) in CACHES.into_iter().filter(|&(_, tagged)| n == 2 || tagged) {
            let (builder, clock) = timed();
            let cache: TestCache = kind(builder).build().unwrap();
            let over = || {
                cache.insert(1, 10);
                clock.advance(10 * SECOND);
                call(&cache);
                clock.set(clock.now() - 5_000_000_000);
                assert_eq!(cache.get(&1), None);
            };
            over();
            assert_eq!(cache.purge_expired(), 1);
            over();
            let Lookup::Lead(_lease) = cache.lease(&1) else { panic!("a value that is over was served") };
            // No caller can get it any more, so there is nothing to ask about.
            cache.retain(|_, value| panic!("asked about {value}"));
            assert_eq!(cache.len(), 0);
        }
    }
}

#[test]
fn all_is_ended_at_once_and_confirmed_one_by_one() {
    for task in [false, true] {
        for (kind, _) in CACHES {
            let (builder, _clock) = timed();
            let cache: TestCache = kind(builder).stale_if_error(60 * SECOND).build().unwrap();
            (0..50).for_each(|key| cache.insert(key, u64::from(key)));
            cache.expire_all();
            assert_eq!((cache.len(), cache.iter().count()), (50, 0));
            for key in 0..50 {
                let confirm = |old: Option<Entry<'_, Key, u64>>| {
                    assert_eq!(old.map(|old| *old), Some(u64::from(key)));
                    Ok::<_, Broken>(Loaded::NotModified)
                };
                let found = match task {
                    true => block_on(cache.entry(&key).revalidate_with_async(|old| async move { confirm(old) })),
                    false => cache.entry(&key).revalidate_with(confirm),
                };
                assert_eq!(found.unwrap().1, Outcome::Computed);
                assert_eq!(cache.iter().count(), key as usize + 1);
            }
            cache.validate().unwrap();
        }
    }
}

#[test]
fn all_keys_of_a_loading_cache_are_ended() {
    let calls = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let load = move |_: &Key| Ok::<_, Broken>(calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
    let cache: LoadingCache<Key, u64, _> = timed().0.loader(load).build().unwrap();
    assert_eq!(cache.load_all(&[1, 2, 3]).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    cache.expire_all();
    assert_eq!(cache.load(&2).unwrap(), 3);
    assert_eq!(cache.load_all(&[1, 2, 3]).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [4, 3, 5]);
    assert_eq!(cache.load_all(&[1, 2, 3]).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [4, 3, 5]);
}

#[test]
fn what_a_call_has_ended_makes_room() {
    for (kind, _) in CACHES {
        let cache: TestCache = kind(timed().0).build().unwrap();
        (0..100).for_each(|key| cache.insert(key, 1));
        cache.expire_all();
        (100..200).for_each(|key| cache.insert(key, 2));
        assert!((100..200).all(|key| cache.get(&key) == Some(2)), "no good value goes before one that is over");
        assert_eq!(cache.stats().evictions, 0);
        cache.validate().unwrap();
    }
}

#[test]
fn failures_that_are_kept_go() {
    for call in [CALLS[0], CALLS[2]] {
        let cache = Arc::new(timed().0.negative_ttl(60 * SECOND).build().unwrap());
        for kept in ["first", "second"] {
            let fails = Loader::new(End::Fail(kept));
            assert!(ask(&cache, Face::Thread, &fails).is_err());
            assert!(ask(&cache, Face::Thread, &value(9)).is_err(), "it is kept");
            call(&cache);
        }
        assert_eq!(ask(&cache, Face::Thread, &value(1)).unwrap(), (1, Outcome::Computed));
    }
}

#[test]
fn an_idle_value_that_is_over_is_not_found() {
    let cache: TestCache = timed().0.time_to_idle(60 * SECOND).build().unwrap();
    cache.insert(1, 1);
    cache.expire_all();
    assert_eq!((cache.get(&1), cache.get_stale(&1, 60 * SECOND).is_none()), (None, true));
    cache.insert(1, 2);
    assert_eq!(cache.get(&1), Some(2));
    assert!(cache.expire(&1) && cache.get(&1).is_none());
}

#[test]
fn a_plain_read_of_what_is_over_tells_for_how_long() {
    let (cache, clock) = ten_seconds();
    assert!(cache.get_stale(&1, Duration::MAX).is_none());
    cache.insert(1, 1);
    let read = |window| cache.get_stale(&1, window).map(|(entry, age)| (*entry, age.since_made, age.stale_for));
    assert_eq!(read(Duration::ZERO), Some((1, Duration::ZERO, None)));
    clock.advance(10 * SECOND);
    assert_eq!(read(Duration::ZERO), None);
    assert_eq!(read(Duration::from_nanos(1)), Some((1, 10 * SECOND, Some(Duration::ZERO))));
    clock.advance(5 * SECOND);
    assert_eq!(read(5 * SECOND), None);
    assert_eq!(read(6 * SECOND), Some((1, 15 * SECOND, Some(5 * SECOND))));
    assert_eq!(cache.pin().get_stale(&1, 6 * SECOND).map(|found| *found.0), Some(1));
    // It begins nothing, and disturbs no load.
    let lease = lead(&cache);
    assert_eq!(lease.stale_for(), Some(5 * SECOND));
    assert_eq!(read(6 * SECOND), Some((1, 15 * SECOND, Some(5 * SECOND))));
    drop(lease.fulfil(2));
    assert_eq!(read(6 * SECOND), Some((2, Duration::ZERO, None)));
    assert_eq!((cache.stats().loads, cache.stats().stale_serves, cache.stats().coalesced), (1, 0, 0));
    let Lookup::Lead(cold) = cache.lease(&2) else { panic!() };
    assert_eq!(cold.stale_for(), None);
    cache.invalidate(&1);
    assert_eq!(read(Duration::MAX), None);
}

#[test]
fn an_invalidated_tag_leaves_nothing_to_be_read() {
    let cache: TestCache =
        timed().0.tags_with(|_, v, tags| tags.add(v)).stale_if_error(60 * SECOND).record_stats().build().unwrap();
    cache.insert(1, 1);
    cache.insert(2, 2);
    cache.expire_tag(&1_u64);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
    assert_eq!(cache.get_stale(&1, 60 * SECOND).map(|found| *found.0), Some(1));
    assert_eq!(Entry::expires_in(&cache.get_stale(&1, 60 * SECOND).unwrap().0), Some(Duration::ZERO));
    cache.invalidate_tag(&1_u64);
    assert!(cache.get_stale(&1, 60 * SECOND).is_none());
    assert_eq!((cache.stats().hits, cache.stats().misses), (3, 2));
}

/// A failure, or an absence, whose load began before the call is no answer to those who come after it.
#[test]
fn failures_from_before_the_call_are_not_kept() {
    let end = |found: bool, lease: bellwether::Lease<'_, Key, u64>| match found {
        true => lease.fail_with(Broken("down")),
        false => lease.not_found(),
    };
    for found in [true, false] {
        for all in [true, false] {
            for there_was_one in [true, false] {
                println!("an error: {found}, all: {all}, an old value: {there_was_one}");
                let (builder, clock) = timed();
                let cache: TestCache = builder.negative_ttl(60 * SECOND).time_to_live(SECOND).build().unwrap();
                // So that entries have numbers already.
                cache.expire_all();
                if there_was_one {
                    cache.insert(1, 1);
                    clock.advance(2 * SECOND);
                }
                let lease = lead(&cache);
                if all {
                    cache.expire_all();
                } else {
                    cache.expire(&1);
                }
                end(found, lease);
                assert_eq!(cache.try_get_with(&1, || Ok::<_, Broken>(2)).unwrap(), 2, "loaded anew");
                let again = lead_anew(&cache);
                end(found, again);
                assert!(cache.try_get_with(&1, || Ok::<_, Broken>(3)).is_err(), "one from after it is kept");
                cache.validate().unwrap();
            }
        }
    }
}

fn lead_anew(cache: &TestCache) -> bellwether::Lease<'_, Key, u64> {
    cache.invalidate(&1);
    lead(cache)
}
