//! Where an entry, its successor and their callers meet: refresh, renewal, and `compute`.
#![cfg(loom)]

use bellwether::{Lookup, Waited};
use bellwether_loom_tests::*;

/// READY → REFRESHING by two who find it expired: one successor, and the other waits for it.
/// Sees «second refresh».
#[test]
fn two_callers_refresh() {
    model(2, || {
        let cache = expired();
        let other = cache.clone();
        let thread = spawn(move || load(&other, 8));
        let mine = load(&cache, 9);
        assert_eq!(thread.join().unwrap(), mine);
        assert_eq!(cache.stats().loads, 1);
        landed(&cache, Some(mine));
    });
}

/// The successor publishes and takes the place of the old one, while a caller comes by one or the other.
/// Sees «torn update», «word release».
#[test]
fn refresh_meets_a_caller() {
    model(2, || {
        let cache = expired();
        let lease = lead(&cache);
        assert_eq!(lease.stale().map(Value::read), Some(1));
        let other = cache.clone();
        let thread = spawn(move || assert_eq!(load(&other, 8), 7));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        assert_eq!(cache.stats().loads, 1);
        landed(&cache, Some(7));
    });
}

/// A successor fails, and so REFRESHING → READY: by its leader or by a caller who meets it first. That one's own
/// successor is not taken off by the late leader.
/// Sees «any refresh ends», «refresh never ends».
#[test]
fn failed_refresh_meets_a_caller() {
    model(3, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || match ask(&other) {
            Lookup::Lead(lease) => Some(lease),
            Lookup::Wait(waiter) => {
                assert!(matches!(waiter.wait(), Waited::Abandoned));
                None
            }
            other => panic!("{other:?}"),
        });
        lease.fail();
        let second = thread.join().unwrap();
        assert_eq!(cache.is_loading(&KEY), second.is_some());
        if let Some(second) = second {
            drop(wait(&cache));
            assert!(second.fulfil(Value::new(8)).is_ok());
            landed(&cache, Some(8));
        }
    });
}

/// A successor is given up: whoever waits or comes by leads on, with the old value still at hand.
/// Sees «never handed», «handed in silence».
#[test]
fn abandoned_refresh_meets_a_caller() {
    model(3, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            let lease = match ask(&other) {
                Lookup::Lead(lease) => lease,
                Lookup::Wait(waiter) => match waiter.wait() {
                    Waited::Lead(lease) => lease,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            assert_eq!(lease.stale().map(Value::read), Some(1));
            fulfil(lease, 8)
        });
        drop(lease);
        assert_eq!(thread.join().unwrap(), 8);
        landed(&cache, Some(8));
    });
}

/// A successor that was given up: the sweep ends it as a new caller claims it.
/// Sees «torn update».
#[test]
fn purge_meets_an_empty_refresh() {
    model(3, || {
        let cache = expired();
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let other = cache.clone();
        let thread = spawn(move || other.purge_expired());
        assert_eq!(fulfil(lead(&cache), 8), 8);
        thread.join().unwrap();
        drop(waiter);
        landed(&cache, Some(8));
    });
}

/// A successor that was given up: the sweep ends it as the last one who waits leaves.
/// Sees «last leaver leaves it».
#[test]
fn purge_meets_the_last_leaver_of_a_refresh() {
    model(3, || {
        let cache = expired();
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let other = cache.clone();
        let thread = spawn(move || other.purge_expired());
        drop(waiter);
        thread.join().unwrap();
        assert!(!cache.is_loading(&KEY), "a flight was left behind");
    });
}

/// PUBLISHING → DEAD, the old entry being good for longer: those who wait, and those who come by, get it.
/// Sees «renewed too early».
#[test]
fn renewal_meets_a_caller() {
    model(3, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || load(&other, 8));
        assert_eq!(lease.renew().map(|e| e.read()), Some(1));
        assert_eq!(thread.join().unwrap(), 1);
        assert_eq!(cache.stats().loads, 1);
        landed(&cache, Some(1));
    });
}

/// `compute` waits for the swap of a published successor, and sees its value.
/// Sees «torn update».
#[test]
fn compute_meets_a_refresh() {
    model(1, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            other.compute(&KEY, |old| bellwether::Op::Put(Value::new(old.map_or(0, Value::read) + 1)));
        });
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        landed(&cache, Some(8));
    });
}

/// Two read-modify-writes of one key: none is lost.
/// Sees «second refresh».
#[test]
fn compute_meets_compute() {
    model(1, || {
        let cache = cache(10);
        cache.insert(KEY, Value::new(1));
        let increment = |old: Option<&Value>| bellwether::Op::Put(Value::new(old.unwrap().read() + 1));
        let other = cache.clone();
        let thread = spawn(move || drop(other.compute(&KEY, increment)));
        cache.compute(&KEY, increment);
        thread.join().unwrap();
        landed(&cache, Some(3));
    });
}

bugs! {
    two_callers_refresh: "second refresh";
    refresh_meets_a_caller: "torn update", "word release";
    failed_refresh_meets_a_caller: "any refresh ends", "refresh never ends";
    abandoned_refresh_meets_a_caller: "never handed", "handed in silence";
    purge_meets_an_empty_refresh: "torn update";
    purge_meets_the_last_leaver_of_a_refresh: "last leaver leaves it";
    renewal_meets_a_caller: "renewed too early";
    compute_meets_a_refresh: "torn update";
    compute_meets_compute: "second refresh";
}
