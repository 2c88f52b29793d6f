//! Publication against removal: weight and listener exactly once, and no stale value stored.
#![cfg(loom)]

use bellwether::Waited;
use bellwether_loom_tests::{KEY, Shared, Told, Value, bugs, expired_and_listened, lead, listened, model, spawn, wait};
use std::time::Duration;

/// The key is gone; `told` were removed with a value.
fn empty(cache: &Shared, told: &Told, removed: usize) {
    assert!(!cache.is_loading(&KEY));
    assert!(cache.get_ref(&KEY).is_none());
    assert_eq!((cache.len(), cache.weight()), (0, 0));
    assert_eq!(told.count(), removed, "{told:?}");
}

/// A removal during a load wins for good.
/// Sees «weight left behind», «handed over counts», «never REMOVED», «remover's look».
#[test]
fn publish_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let stored = lease.fulfil(Value::new(7)).is_ok();
        let removed = thread.join().unwrap();
        assert!(stored || !removed);
        empty(&cache, &told, usize::from(stored));
    });
}

/// The same with one who waits: it gets the value, stored or not.
/// Sees «weight left behind», «silent bell».
#[test]
fn publish_meets_removal_and_a_waiter() {
    model(2, || {
        let (cache, told) = listened(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let other = cache.clone();
        let remover = spawn(move || other.invalidate(&KEY));
        let thread = spawn(move || match waiter.wait() {
            Waited::Ready(entry) => assert_eq!(entry.read(), 7),
            other => panic!("{other:?}"),
        });
        let stored = lease.fulfil(Value::new(7)).is_ok();
        remover.join().unwrap();
        thread.join().unwrap();
        empty(&cache, &told, usize::from(stored));
    });
}

/// An insert during a load wins for good.
/// Sees «weight left behind».
#[test]
fn publish_meets_insert() {
    model(3, || {
        let (cache, told) = listened(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(2)));
        let stored = lease.fulfil(Value::new(7)).is_ok();
        thread.join().unwrap();
        assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), Some(2));
        assert_eq!((cache.len(), cache.weight()), (1, 1));
        assert_eq!(told.count(), usize::from(stored));
    });
}

/// `retain` removes flights, and keeps entries that it is asked to keep.
/// Sees «weight left behind».
#[test]
fn publish_meets_retain() {
    model(3, || {
        let (cache, told) = listened(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.retain(|_, value| value.read() == 7));
        let stored = lease.fulfil(Value::new(7)).is_ok();
        thread.join().unwrap();
        let left = cache.len();
        assert_eq!(cache.weight(), left as u64);
        assert_eq!(cache.get_ref(&KEY).is_some(), left == 1);
        assert_eq!(told.count() + left, usize::from(stored));
    });
}

/// A value with a time to live of zero marks itself, against a removal.
/// Sees «marked twice».
#[test]
fn handed_over_only_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || assert!(!other.invalidate(&KEY)));
        assert!(lease.fulfil_with_ttl(Value::new(7), Duration::ZERO).is_err());
        thread.join().unwrap();
        empty(&cache, &told, 0);
    });
}

/// A refresh publishes as the old entry is removed: either the swap comes first, and the remover removes the new
/// one, or the value is only handed over.
/// Sees «lost swap stays», «slot without a reference».
#[test]
fn refresh_meets_removal() {
    model(3, || {
        let (cache, told) = expired_and_listened();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let stored = lease.fulfil(Value::new(7)).is_ok();
        assert_eq!(thread.join().unwrap(), stored, "an expired value counts as none");
        empty(&cache, &told, 1 + usize::from(stored));
    });
}

/// A refresh begins, and publishes, as the old entry is removed: before that, after it, or just too late to be stored.
/// Sees «lost swap stays».
#[test]
fn beginning_refresh_meets_removal() {
    model(2, || {
        let (cache, told) = expired_and_listened();
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let stored = lead(&cache).fulfil(Value::new(7)).is_ok();
        let removed = thread.join().unwrap();
        let left = cache.get_ref(&KEY).map(|v| v.read());
        assert!(left.is_none() || left == Some(7));
        assert_eq!(stored, removed || left.is_some());
        assert_eq!((cache.len(), cache.weight()), (usize::from(left.is_some()), u64::from(left.is_some())));
        assert_eq!(told.count(), 1 + usize::from(removed), "{told:?}");
    });
}

/// A refresh publishes as the old entry is overwritten.
/// Sees «lost swap stays».
#[test]
fn refresh_meets_insert() {
    model(3, || {
        let (cache, told) = expired_and_listened();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(2)));
        let stored = lease.fulfil(Value::new(7)).is_ok();
        thread.join().unwrap();
        assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), Some(2));
        assert_eq!((cache.len(), cache.weight()), (1, 1));
        assert_eq!(told.count(), 1 + usize::from(stored));
    });
}

/// A refresh is given up as the old entry is removed: nothing is left, and a caller starts afresh.
/// Sees «handed in silence».
#[test]
fn abandoned_refresh_meets_removal() {
    model(3, || {
        let (cache, told) = expired_and_listened();
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        drop(lease);
        assert!(!thread.join().unwrap());
        match waiter.wait() {
            Waited::Abandoned => {}
            Waited::Lead(lease) => assert!(lease.fulfil(Value::new(7)).is_err()),
            other => panic!("{other:?}"),
        }
        empty(&cache, &told, 1);
    });
}

/// Two wait for a flight that was given up and then removed: one ends it, neither leads.
/// Sees «leads what was removed».
#[test]
fn heirs_of_a_removed_flight_meet() {
    for with_old in [false, true] {
        model(3, move || {
            let (cache, told) = if with_old { expired_and_listened() } else { listened(10) };
            let (lease, one, two) = (lead(&cache), wait(&cache), wait(&cache));
            drop(lease);
            assert!(!cache.invalidate(&KEY));
            let thread = spawn(move || assert!(matches!(one.wait(), Waited::Abandoned)));
            assert!(matches!(two.wait(), Waited::Abandoned));
            thread.join().unwrap();
            assert_eq!(cache.stats().handovers, 0);
            empty(&cache, &told, usize::from(with_old));
        });
    }
}

bugs! {
    heirs_of_a_removed_flight_meet: "leads what was removed";
    publish_meets_removal: "weight left behind", "handed over counts", "never REMOVED", "remover's look";
    publish_meets_removal_and_a_waiter: "weight left behind", "silent bell";
    publish_meets_insert: "weight left behind";
    publish_meets_retain: "weight left behind";
    handed_over_only_meets_removal: "marked twice";
    refresh_meets_removal: "lost swap stays", "slot without a reference";
    beginning_refresh_meets_removal: "lost swap stays";
    refresh_meets_insert: "lost swap stays";
    abandoned_refresh_meets_removal: "handed in silence";
}
