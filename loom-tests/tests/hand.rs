//! Slots and the hand: seating, taking over, evicting.
#![cfg(loom)]

use bellwether::{Lookup, RemovalCause};
use bellwether_loom_tests::{
    KEY, SAME, SAME_TOO, Shared, Still, Told, Value, all_reached, all_told, ask, bugs, builder, cache, expired_of,
    expired_with, lead, listened, model, share, spawn, two, weighed,
};
use std::time::Duration;

/// `KEY` weighs 2 of so many that what is retired is not yet heavy.
fn heavy() -> (Shared, Told) {
    let (cache, told) = weighed(999);
    cache.insert(KEY, Value::new(2));
    (cache, told)
}

/// A slot is installed as its entry is removed. (That no slot keeps a removed node is asserted as the cache is dropped.)
/// Sees «no slot fence».
#[test]
fn seating_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(1)));
        let removed = cache.invalidate(&KEY);
        thread.join().unwrap();
        assert_eq!(cache.len(), usize::from(!removed));
        all_reached(&cache, &told, 1);
    });
}

/// The same by the publisher of a flight.
/// Sees «no slot fence».
#[test]
fn seating_of_a_flight_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let stored = lease.fulfil(Value::new(1)).is_ok();
        thread.join().unwrap();
        all_reached(&cache, &told, usize::from(stored));
    });
}

/// A replacing insert takes the slot over as the hand takes what is in it.
/// Sees «seat not checked».
#[test]
fn take_over_meets_the_hand() {
    fn full() -> (Shared, Told) {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        (cache, told)
    }
    two(
        1,
        full,
        |c| c.insert(KEY, Value::new(2)),
        |c| c.set_capacity(0),
        |c, told, (), ()| {
            let stored = told.count() + c.len();
            assert!(stored == 1 || stored == 2);
            all_reached(c, told, stored);
        },
    );
}

/// The hand takes an entry as it is removed: one of the two, and the slot's share goes once.
/// Sees «slot not emptied».
#[test]
fn hand_meets_removal() {
    fn full() -> (Shared, Told) {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        (cache, told)
    }
    let remove = |c: &Shared| _ = c.invalidate(&KEY);
    two(2, full, |c| c.set_capacity(0), remove, |c, told, (), ()| all_told(c, told, 1));
}

/// The hand closes an entry that another finds absent, and then removes: it was gone before that.
/// Sees «closed counts».
#[test]
fn hand_meets_one_who_looks_and_removes() {
    model(2, || {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(0));
        let found = cache.contains_key(&KEY);
        let removed = cache.invalidate(&KEY);
        assert!(found || !removed, "removed after it was gone");
        thread.join().unwrap();
        let cause = if removed { RemovalCause::Explicit } else { RemovalCause::Size };
        assert_eq!(told.all().iter().map(|&(.., cause)| cause).collect::<Vec<_>>(), [cause]);
        all_told(&cache, &told, 1);
    });
}

/// The hand takes an entry that no listener is told of, as a reader takes a share of it: the list's share and the slot's go at
/// once, and the reader's keeps the value.
/// Sees «one share of two», «no count fence».
#[test]
fn hand_meets_a_keeper() {
    model(2, || {
        let cache = cache(1);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.get_entry(&KEY).is_none_or(|kept| kept.read() == 1));
        cache.set_capacity(0);
        assert!(thread.join().unwrap(), "the value of the key");
        assert_eq!((cache.validate(), cache.len()), (Ok(()), 0));
    });
}

/// Two hands at once take different entries.
/// Sees «slot not emptied».
#[test]
fn two_hands() {
    model(1, || {
        let (cache, told) = listened(2);
        cache.insert(KEY, Value::new(1));
        cache.insert(SAME, Value::new(2));
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(1));
        cache.set_capacity(1);
        thread.join().unwrap();
        all_reached(&cache, &told, 2);
    });
}

/// Two hands that serve two newcomers.
/// Sees «slot not emptied».
#[test]
fn two_newcomers() {
    model(1, || {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.insert(SAME, Value::new(2)));
        cache.insert(SAME_TOO, Value::new(3));
        thread.join().unwrap();
        all_reached(&cache, &told, 3);
    });
}

/// READY → REFRESHING against READY → CLOSED: a refresh that has begun is not evicted, and one that is evicted has
/// not begun.
/// Sees «torn update».
#[test]
fn refresh_meets_the_hand() {
    model(1, || {
        let (cache, told) = expired_of(1);
        let other = cache.clone();
        let thread = spawn(move || match ask(&other) {
            Lookup::Lead(lease) => assert!(lease.fulfil(Value::new(2)).is_ok(), "its flight was evicted"),
            other => panic!("{other:?}"),
        });
        cache.insert(SAME, Value::new(3));
        thread.join().unwrap();
        all_reached(&cache, &told, 3);
    });
}

/// A refresh that has begun is not evicted: its value is stored.
/// Sees «hand evicts a refresh».
#[test]
fn published_refresh_meets_the_hand() {
    model(1, || {
        let (cache, told) = expired_of(1);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.insert(SAME, Value::new(3)));
        assert!(lease.fulfil(Value::new(2)).is_ok(), "its flight was evicted");
        thread.join().unwrap();
        all_reached(&cache, &told, 3);
    });
}

/// A refresh ends without a value as the hand passes over its entry: that goes when either is done.
/// Sees «no room after a refresh», «no room fence», «hand looks once».
#[test]
fn failed_refresh_meets_the_hand() {
    model(2, || {
        // No cooldown: with the hand's looks at that there would be 15 times as many executions.
        let (cache, told) = expired_with(builder(1).error_cooldown(Duration::ZERO));
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(0));
        lease.fail();
        thread.join().unwrap();
        all_reached(&cache, &told, 1);
    });
}

/// The capacity shrinks as an entry is added: one of the two sees the other.
/// Sees «no room fence».
#[test]
fn insert_meets_a_smaller_capacity() {
    model(3, || {
        let (cache, told) = listened(1);
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(0));
        cache.insert(KEY, Value::new(1));
        thread.join().unwrap();
        let stored = told.count() + cache.len();
        all_reached(&cache, &told, stored);
    });
}

/// Two threads store one new key in a full cache. Each may have evicted an entry for it, whose weight its own was to take:
/// the one whose link fails gives that weight back.
/// Sees «displaced weight kept», «weight not undone».
#[test]
fn two_newcomers_of_one_key_in_a_full_cache() {
    fn full() -> (Shared, Told) {
        let (cache, told) = listened(1);
        cache.insert(1, Value::new(1));
        (cache, told)
    }
    let (one, other) = (|c: &Shared| c.insert(KEY, Value::new(2)), |c: &Shared| c.insert(KEY, Value::new(3)));
    two(1, full, one, other, |c, told, (), ()| {
        // (An insert that has reserved weight for a link that fails may have the other one evict more.)
        assert_eq!(c.len() as u64, c.weight());
        all_told(c, told, 3);
    });
}

/// A flight is removed as its value is published in a full cache: the weight of the entry that was evicted for it is given
/// back.
/// Sees «displaced weight kept», «weight left behind».
#[test]
fn a_removed_flight_in_a_full_cache() {
    model(2, || {
        let (cache, told) = listened(1);
        // The second one for the hand to have passed the hole that `listened` leaves.
        cache.insert(1, Value::new(1));
        cache.insert(1 << 32, Value::new(1));
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let stored = lease.fulfil(Value::new(2)).is_ok();
        thread.join().unwrap();
        all_told(&cache, &told, 2 + usize::from(stored));
    });
}

/// A heavier value takes the place of one that is being removed: each weight is counted in once and out once.
/// Sees «weight not undone», «old weight twice».
#[test]
fn heavier_replacement_meets_removal() {
    let remove = |c: &Shared| _ = c.invalidate(&KEY);
    two(2, heavy, |c| c.insert(KEY, Value::new(3)), remove, |c, told, (), ()| all_told(c, told, 2));
}

/// The same with a lighter value.
/// Sees «old weight twice».
#[test]
fn lighter_replacement_meets_removal() {
    let remove = |c: &Shared| _ = c.invalidate(&KEY);
    two(2, heavy, |c| c.insert(KEY, Value::new(1)), remove, |c, told, (), ()| all_told(c, told, 2));
}

/// A heavier value takes the place of one as the capacity shrinks to what that weighed: it is evicted, or not stored.
/// Sees «weight not undone», «old weight twice».
#[test]
fn heavier_replacement_meets_the_hand() {
    let replace = |c: &Shared| c.insert(KEY, Value::new(3));
    two(
        1,
        heavy,
        replace,
        |c| c.set_capacity(1),
        |c, told, (), ()| {
            let stored = told.count();
            assert!(c.is_empty() && (stored == 1 || stored == 2), "{told:?}");
            all_told(c, told, stored);
        },
    );
}

/// Three buckets' entries in the order of the list (0, 2, 1), of which the first and the last have just expired.
fn half_expired() -> (Shared, Told) {
    let (clock, told) = (Still::default(), Told::default());
    let cache = share(builder(10).clock(clock.clone()).eviction_listener(told.listener()));
    for (key, seconds) in [(0, 1), (2, 9), (1, 1)] {
        cache.insert_with_ttl(key, Value::new(1), Duration::from_secs(seconds));
    }
    clock.tick();
    (cache, told)
}

/// A purge, of which each slice is a node, stops where an entry is removed: it does not rely on it afterwards, and misses
/// nothing behind it.
/// Sees «walk stays on its node».
#[test]
fn purge_in_slices_meets_removal() {
    let remove = |c: &Shared| usize::from(c.invalidate(&2));
    two(
        1,
        half_expired,
        |c| c.purge_expired(),
        remove,
        |c, told, purged, removed| {
            assert_eq!((purged, removed, c.len()), (2, 1, 0));
            all_told(c, told, 3);
        },
    );
}

/// A purge in slices meets a good value that takes the place of an expired one: that is purged or replaced, and the good
/// one stays.
/// Sees «old weight twice».
#[test]
fn purge_in_slices_meets_an_insert() {
    let insert = |c: &Shared| (c.insert(1, Value::new(2)), 0).1;
    two(
        2,
        half_expired,
        |c| c.purge_expired(),
        insert,
        |c, told, purged, _| {
            assert!(purged == 1 || purged == 2);
            assert_eq!(c.get_ref(&1).map(|v| v.read()), Some(2));
            assert_eq!(c.len(), 2);
            all_told(c, told, 4);
        },
    );
}

bugs! {
    seating_meets_removal: "no slot fence";
    seating_of_a_flight_meets_removal: "no slot fence";
    take_over_meets_the_hand: "seat not checked";
    hand_meets_removal: "slot not emptied";
    hand_meets_one_who_looks_and_removes: "closed counts";
    hand_meets_a_keeper: "one share of two", "no count fence";
    two_newcomers_of_one_key_in_a_full_cache: "displaced weight kept", "weight not undone";
    a_removed_flight_in_a_full_cache: "displaced weight kept", "weight left behind";
    heavier_replacement_meets_removal: "weight not undone", "old weight twice";
    lighter_replacement_meets_removal: "old weight twice";
    heavier_replacement_meets_the_hand: "weight not undone", "old weight twice";
    purge_in_slices_meets_removal: "walk stays on its node";
    purge_in_slices_meets_an_insert: "old weight twice";
    two_hands: "slot not emptied";
    two_newcomers: "slot not emptied";
    refresh_meets_the_hand: "torn update";
    published_refresh_meets_the_hand: "hand evicts a refresh";
    failed_refresh_meets_the_hand: "no room after a refresh", "no room fence", "hand looks once";
    insert_meets_a_smaller_capacity: "no room fence";
}
