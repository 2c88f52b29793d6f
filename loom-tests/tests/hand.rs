//! Slots and the hand: seating, taking over, evicting.
#![cfg(loom)]

use bellwether::Lookup;
use bellwether_loom_tests::{
    KEY, SAME, SAME_TOO, Shared, Told, Value, ask, bugs, expired_of, lead, listened, model, spawn,
};

/// Weight is within the capacity; the hand still reaches everything; `stored` values were each told of once.
fn all_reached(cache: &Shared, told: &Told, stored: usize) {
    assert!(cache.weight() <= cache.capacity(), "{} of {}", cache.weight(), cache.capacity());
    cache.set_capacity(0);
    assert_eq!((cache.len(), cache.weight()), (0, 0), "the hand does not reach an entry");
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(told.count(), stored, "{told:?}");
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

/// The hand passes the position that a pusher has reserved and not yet filled.
/// Sees «overtaken push stays».
#[test]
fn push_overtaken_by_the_hand() {
    model(2, || {
        let (cache, told) = listened(1);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(1)));
        cache.insert(SAME, Value::new(2));
        thread.join().unwrap();
        all_reached(&cache, &told, 2);
    });
}

/// A replacing insert takes the slot over as the hand takes what is in it.
/// Sees «seat not checked».
#[test]
fn take_over_meets_the_hand() {
    model(2, || {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(2)));
        cache.set_capacity(0);
        thread.join().unwrap();
        let stored = told.count() + cache.len();
        assert!(stored == 1 || stored == 2);
        all_reached(&cache, &told, stored);
    });
}

/// The hand takes an entry as it is removed: one of the two, and the slot's share goes once.
/// Sees «slot not emptied».
#[test]
fn hand_meets_removal() {
    model(3, || {
        let (cache, told) = listened(1);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        cache.insert(SAME, Value::new(2));
        thread.join().unwrap();
        all_reached(&cache, &told, 2);
    });
}

/// Two hands at once take different entries.
/// Sees «slot not emptied».
#[test]
fn two_hands() {
    model(2, || {
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
    model(2, || {
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
    model(2, || {
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
    model(3, || {
        let (cache, told) = expired_of(1);
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

bugs! {
    seating_meets_removal: "no slot fence";
    seating_of_a_flight_meets_removal: "no slot fence";
    push_overtaken_by_the_hand: "overtaken push stays";
    take_over_meets_the_hand: "seat not checked";
    hand_meets_removal: "slot not emptied";
    two_hands: "slot not emptied";
    two_newcomers: "slot not emptied";
    refresh_meets_the_hand: "torn update";
    published_refresh_meets_the_hand: "hand evicts a refresh";
    failed_refresh_meets_the_hand: "no room after a refresh", "no room fence", "hand looks once";
    insert_meets_a_smaller_capacity: "no room fence";
}
