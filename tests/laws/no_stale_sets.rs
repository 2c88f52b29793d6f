//! Law 4: insert, remove, invalidate, invalidate_all and retain during a load win for good.

use crate::common::*;
use bellwether::{Cache, Lookup, Op};
use std::thread;

type Change = (&'static str, fn(&TestCache), Option<u64>);

/// What changes the key in mid-flight, and what is stored right after it.
const CHANGES: &[Change] = &[
    ("invalidate", |c| assert!(!c.invalidate(&1) || c.stats().early_refreshes > 0), None),
    ("remove", |c| assert!(c.remove(&1).is_none_or(|old| old == 1)), None),
    ("invalidate_all", |c| c.invalidate_all(), None),
    ("retain none", |c| c.retain(|_, _| false), None),
    ("retain all", |c| c.retain(|_, _| true), None),
    ("insert", |c| c.insert(1, 50), Some(50)),
    ("insert twice", |c| (c.insert(1, 49), c.insert(1, 50)).1, Some(50)),
    ("insert, remove", |c| assert_eq!((c.insert(1, 50), c.remove(&1)).1, Some(50)), None),
    ("insert of nothing", |c| c.insert_with_ttl(1, 50, std::time::Duration::ZERO), None),
];

/// A cold flight with two who wait, a change, and callers after it.
fn change_in_mid_flight(cache: &TestCache, (name, change, stored): Change) {
    let (old, old_gate) = Loader::gated(End::Value(2));
    let (new, new_gate) = Loader::gated(End::Value(3));
    thread::scope(|scope| {
        let (leader, waiting) = flight(scope, cache, 1, &old, 2, &old);
        change(cache);
        assert_eq!(cache.get(&1), stored, "{name}");
        let late = if stored.is_none() {
            // Callers after the change start a flight of their own.
            let (late, mut others) = flight(scope, cache, 1, &new, 2, &new);
            others.push(late);
            others
        } else {
            vec![ask(scope, cache, 1, &new)]
        };
        old_gate.open();
        assert_eq!(leader.answer().value(), 2, "{name}: the leader has its value");
        assert!(waiting.into_iter().all(|w| w.answer().value() == 2), "{name}: so have those who waited");
        assert_eq!(cache.get(&1), stored, "{name}: and it is not stored");
        new_gate.open();
        assert!(late.into_iter().all(|l| l.answer().value() == stored.unwrap_or(3)), "{name}");
    });
    assert_eq!(cache.get(&1), Some(stored.unwrap_or(3)), "{name}");
    assert_eq!((old.calls(), new.calls()), (1, usize::from(stored.is_none())), "{name}");
    assert_eq!((cache.len(), cache.weight()), (1, 1), "{name}");
    nothing_in_flight(cache, 1);
}

#[test]
fn during_a_first_load() {
    for &change in CHANGES {
        change_in_mid_flight(&Cache::new(10), change);
    }
}

#[test]
fn during_the_reload_of_an_expired_entry() {
    for &change in CHANGES {
        let (cache, clock) = ten_seconds();
        cache.insert(1, 1);
        clock.advance(10 * SECOND);
        change_in_mid_flight(&cache, change);
    }
}

#[test]
fn during_an_early_refresh() {
    // (A good value that `retain` keeps goes on being refreshed: see below.)
    for &(name, change, stored) in CHANGES.iter().filter(|(name, ..)| *name != "retain all") {
        let (cache, _clock) = due_for_early_refresh();
        let Lookup::Refresh(_, lease) = cache.lease(&1) else { panic!("{name}") };
        change(&cache);
        assert_eq!(cache.get(&1), stored, "{name}");
        let entry = lease.fulfil(2).expect_err("only handed over");
        assert_eq!((*entry, bellwether::Entry::weight(&entry)), (2, 0), "{name}");
        assert_eq!(cache.get(&1), stored, "{name}");
        assert_eq!(cache.len(), stored.iter().count(), "{name}");
        nothing_in_flight(&cache, 1);
    }
}

/// Every value that is good, or may be served as stale, is asked about, whoever loads its replacement.
#[test]
fn retain_asks_about_values_that_are_being_refreshed_and_their_refresh_goes_on() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(60 * SECOND).stale_if_error(3600 * SECOND).xfetch(1e9);
    let cache: TestCache = builder.build().unwrap();
    let lead = |key: Key| match cache.lease(&key) {
        Lookup::Lead(lease) | Lookup::Refresh(_, lease) => lease,
        other => panic!("{other:?}"),
    };
    for key in [1, 2] {
        cache.get_with(&key, || (clock.advance(SECOND), u64::from(key)).1);
    }
    cache.insert(3, 3);
    cache.expire(&3);
    // Good ones, one that is over and may be served as stale, and one that has no value.
    let [kept, dropped, stale, first] = [1, 2, 3, 4].map(lead);
    let mut asked = Vec::new();
    cache.retain(|&key, _| {
        asked.push(key);
        key != 2
    });
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3]);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    assert!(kept.fulfil(10).is_ok() && dropped.fulfil(20).is_err() && first.fulfil(40).is_err());
    assert_eq!([1, 2, 4].map(|key| cache.get(&key)), [Some(10), None, None]);
    stale.fail_with(Broken("down"));
    assert_eq!(cache.try_get_with(&3, || Err(Broken("down"))).unwrap(), 3, "it was kept for this");
    cache.validate().unwrap();
}

#[test]
fn a_change_before_the_leader_gives_up() {
    for &(name, change, stored) in CHANGES {
        let cache: TestCache = Cache::new(10);
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!("{name}") };
        let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("{name}") };
        change(&cache);
        drop(lease);
        // Nothing of the old flight is worth taking on: the waiter is told to look again.
        assert!(matches!(waiter.wait(), bellwether::Waited::Abandoned), "{name}");
        assert_eq!(cache.get(&1), stored, "{name}");
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_waiting_caller_looks_again_when_its_flight_was_removed_and_given_up() {
    let cache: TestCache = Cache::new(10);
    let (dying, gate) = Loader::gated(End::Panic);
    let heir = Loader::new(End::Value(5));
    quietly(|| {
        thread::scope(|scope| {
            let (leader, waiting) = flight(scope, &cache, 1, &dying, 8, &heir);
            cache.invalidate(&1);
            gate.open();
            assert!(leader.answer().panicked());
            assert!(waiting.into_iter().all(|w| w.answer().value() == 5));
        });
    });
    assert_eq!((heir.calls(), cache.get(&1)), (1, Some(5)));
}

#[test]
fn compute_decides_once_while_nobody_loads() {
    let cache: TestCache = Cache::new(10);
    let (loader, gate) = Loader::gated(End::Value(1));
    thread::scope(|scope| {
        let leader = ask(scope, &cache, 1, &loader);
        loader.begun(1);
        let adders: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..100).for_each(|_| drop(cache.compute(&1, |v| Op::Put(v.unwrap() + 1))))))
            .collect();
        gate.open();
        assert_eq!(leader.answer().value(), 1);
        adders.into_iter().for_each(|a| a.join().unwrap());
    });
    assert_eq!(cache.get(&1), Some(801), "no update is lost");
    assert_eq!((cache.len(), cache.weight()), (1, 1));
    cache.compute(&1, |v| {
        assert_eq!(v, Some(&801));
        Op::Nop
    });
    assert_eq!(cache.get(&1), Some(801));
    cache.compute(&1, |_| Op::Remove);
    assert_eq!((cache.get(&1), cache.len(), cache.weight()), (None, 0, 0));
    cache.compute(&1, |v| {
        assert_eq!(v, None);
        Op::Nop
    });
    nothing_in_flight(&cache, 1);
    cache.compute(&1, |_| Op::Put(9));
    assert_eq!(cache.get(&1), Some(9));
}

#[test]
fn compute_shows_no_expired_value_and_serves_the_old_one_meanwhile() {
    let (cache, clock) = ten_seconds();
    cache.insert(1, 1);
    cache.compute(&1, |v| {
        assert_eq!((v, cache.get(&1)), (Some(&1), Some(1)));
        cache.insert(1, 5);
        Op::Put(2)
    });
    assert_eq!(cache.get(&1), Some(5), "an insert in between wins");
    clock.advance(10 * SECOND);
    cache.compute(&1, |v| {
        assert_eq!(v, None);
        Op::Put(3)
    });
    assert_eq!(cache.get(&1), Some(3));
}
