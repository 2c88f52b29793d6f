//! Law 1: at any moment at most one load of a key is stored by the cache.

use crate::common::*;
use bellwether::{Cache, Lookup, Waited};
use std::thread;

#[test]
fn a_cold_herd_computes_once() {
    for callers in [10, 100, 1000] {
        let cache: TestCache = Cache::new(100);
        let (loader, gate) = Loader::gated(End::Value(7));
        thread::scope(|scope| {
            let (leader, waiting) = flight(scope, &cache, 1, &loader, callers - 1, &loader);
            gate.open();
            assert_eq!(leader.answer().value(), 7);
            assert!(waiting.into_iter().all(|w| w.answer().value() == 7));
        });
        assert_eq!(loader.calls(), 1);
        assert_eq!(cache.get(&1), Some(7));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_herd_on_an_expired_entry_computes_once() {
    let (cache, clock) = ten_seconds();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    assert_eq!(cache.get(&1), None);
    let (loader, gate) = Loader::gated(End::Value(2));
    thread::scope(|scope| {
        let (leader, waiting) = flight(scope, &cache, 1, &loader, 50, &loader);
        gate.open();
        assert_eq!(leader.answer().value(), 2);
        assert!(waiting.into_iter().all(|w| w.answer().value() == 2));
    });
    assert_eq!((loader.calls(), cache.len()), (1, 1));
    nothing_in_flight(&cache, 1);
}

#[test]
fn a_herd_computes_once_where_nothing_is_kept() {
    // Zero TTL, and capacities that hold nothing or next to nothing.
    let (zero, _) = timed();
    let caches =
        [zero.time_to_live(std::time::Duration::ZERO).build().unwrap(), Cache::new(0), Cache::new(1), Cache::new(2)];
    for cache in &caches {
        let keys = [1, 2, 3];
        let flights: Vec<_> = keys.iter().map(|_| Loader::gated(End::Value(9))).collect();
        thread::scope(|scope| {
            let all: Vec<_> = (keys.iter().zip(&flights))
                .map(|(&key, (loader, _))| flight(scope, cache, key, loader, 30, loader))
                .collect();
            flights.iter().for_each(|(_, gate)| gate.open());
            for (leader, waiting) in all {
                assert_eq!(leader.answer().value(), 9);
                assert!(waiting.into_iter().all(|w| w.answer().value() == 9));
            }
        });
        assert!(flights.iter().all(|(loader, _)| loader.calls() == 1));
        assert!(cache.weight() <= cache.capacity());
        keys.iter().for_each(|&key| nothing_in_flight(cache, key));
    }
    assert_eq!(caches[0].len() + caches[1].len(), 0);
}

#[test]
fn an_early_refresh_is_one_load_and_the_others_keep_the_value() {
    let (cache, _clock) = due_for_early_refresh();
    let (loader, gate) = Loader::gated(End::Value(2));
    thread::scope(|scope| {
        let leader = ask(scope, &cache, 1, &loader);
        loader.begun(1);
        // Everybody else is served the old value, without waiting.
        assert_eq!(cache.get(&1), Some(1));
        assert_eq!(cache.get_with(&1, || unreachable!()), 1);
        assert!(cache.is_loading(&1));
        gate.open();
        assert_eq!(leader.answer().value(), 2);
    });
    assert_eq!(cache.get(&1), Some(2));
    assert_eq!(cache.stats().early_refreshes, 1);
    assert_eq!((cache.len(), cache.weight()), (1, 1));
}

#[test]
fn a_later_miss_joins_an_early_refresh() {
    let (cache, clock) = due_for_early_refresh();
    let (loader, gate) = Loader::gated(End::Value(2));
    thread::scope(|scope| {
        let leader = ask(scope, &cache, 1, &loader);
        loader.begun(1);
        clock.advance(20 * SECOND); // The old value is over while its refresh is in flight.
        assert_eq!(cache.get(&1), None);
        let late = ask(scope, &cache, 1, &loader);
        waiting_for(&cache, 1);
        gate.open();
        assert_eq!((leader.answer().value(), late.answer().value()), (2, 2));
    });
    assert_eq!(loader.calls(), 1);
}

#[test]
fn an_entry_that_is_being_refreshed_is_not_evicted() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(2).time_to_live(SECOND).xfetch(0.0).build().unwrap();
    cache.insert(1, 1);
    clock.advance(SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("expired: this caller leads") };
    assert_eq!(lease.stale(), Some(&1));
    for key in 10..100 {
        cache.insert(key, 0);
        assert!(cache.weight() <= 2);
    }
    assert!(cache.is_loading(&1), "the flight is still there");
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("somebody leads already") };
    let entry = lease.fulfil(2).expect("nothing removed the entry: it is stored");
    assert_eq!(*entry, 2);
    assert!(matches!(waiter.wait(), Waited::Ready(e) if *e == 2));
    assert_eq!(cache.get(&1), Some(2));
    assert!(cache.weight() <= 2);
}

#[test]
fn two_leaders_by_hand_are_refused() {
    let cache: TestCache = Cache::new(10);
    let Lookup::Lead(first) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(second) = cache.lease(&1) else { panic!("one lease at a time") };
    drop(first);
    // The flight was given up: whoever looks first leads, be it a waiter or a newcomer.
    let Lookup::Lead(third) = cache.lease(&1) else { panic!("a newcomer may take it on") };
    third.fulfil(3).unwrap();
    assert!(matches!(second.wait(), Waited::Ready(e) if *e == 3));
    assert_eq!(cache.stats().handovers, 1);
}
