//! Nodes are freed after everyone has let go of them, and once.
#![cfg(loom)]

use bellwether_loom_tests::{KEY, SAME, SAME_TOO, Shared, Value, bugs, cache, expired, lead, listened, model, spawn};

/// Removes two more keys that were inserted for this: with what was retired before, that completes a bag.
fn fill_a_bag(cache: &Shared) {
    for key in [SAME, SAME_TOO] {
        cache.invalidate(&key);
    }
}

fn filled() -> Shared {
    let cache = cache(10);
    for (key, value) in [(KEY, 1), (SAME, 2), (SAME_TOO, 3)] {
        cache.insert(key, Value::new(value));
    }
    cache
}

/// A borrowed value stays readable, whatever is overwritten and collected meanwhile.
/// Sees «no pin», «no grace».
#[test]
fn reader_under_a_pin() {
    model(3, || {
        let cache = cache(10);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || {
            let value = other.get_ref(&KEY).expect("never absent");
            let number = value.read();
            assert_eq!(value.read(), number);
        });
        cache.insert(KEY, Value::new(2));
        cache.insert(KEY, Value::new(3));
        thread.join().unwrap();
        assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), Some(3));
    });
}

/// A walk over nodes that are removed under it.
/// Sees «no pin».
#[test]
fn walker_under_a_pin() {
    model(3, || {
        let cache = filled();
        let other = cache.clone();
        let thread = spawn(move || {
            let pin = other.pin();
            assert!(pin.iter().map(|v| v.read()).sum::<u32>() <= 6);
        });
        cache.invalidate(&KEY);
        fill_a_bag(&cache);
        thread.join().unwrap();
        assert_eq!(cache.len(), 0);
    });
}

/// A counted value is freed after its last reader, who holds no pin, has let go of it.
/// Sees «unshare».
#[test]
fn entry_meets_removal() {
    model(3, || {
        let cache = filled();
        let entry = {
            let bellwether::Lookup::Hit(entry) = cache.lease_owned(&KEY) else { unreachable!() };
            entry
        };
        let thread = spawn(move || {
            assert_eq!(entry.read(), 1);
            drop(entry);
        });
        assert!(cache.invalidate(&KEY));
        fill_a_bag(&cache);
        thread.join().unwrap();
        assert_eq!(cache.len(), 0);
    });
}

/// A share is taken of a node that everybody lets go of: refused, or it keeps the node.
/// Sees «mark not asked», «no share fence», «last share taken back».
#[test]
fn share_meets_removal() {
    model(3, || {
        let cache = filled();
        let other = cache.clone();
        let thread = spawn(move || {
            let entry = other.get_entry(&KEY);
            // Here no pin is held.
            assert!(entry.is_none_or(|e| e.read() == 1));
        });
        assert!(cache.invalidate(&KEY));
        fill_a_bag(&cache);
        thread.join().unwrap();
        assert_eq!(cache.len(), 0);
    });
}

/// A leader takes its value, of which it has no share, as that is removed and collected.
/// Sees «taken after the pin», «no pin», «no grace».
#[test]
fn loaded_value_meets_removal() {
    model(2, || {
        let cache = cache(10);
        for (key, value) in [(SAME, 2), (SAME_TOO, 3)] {
            cache.insert(key, Value::new(value));
        }
        let other = cache.clone();
        let thread = spawn(move || assert_eq!(other.get_with(&KEY, || Value::new(1)).read(), 1));
        cache.invalidate(&KEY);
        fill_a_bag(&cache);
        thread.join().unwrap();
        assert!(cache.len() <= 1);
    });
}

/// The same where a listener is told of the removal: then removers give all their shares back.
/// Sees «zero revived», «refusal unordered».
#[test]
fn share_meets_a_removal_that_is_told() {
    model(2, || {
        let (cache, told) = listened(10);
        for (key, value) in [(KEY, 1), (SAME, 2), (SAME_TOO, 3)] {
            cache.insert(key, Value::new(value));
        }
        let other = cache.clone();
        let thread = spawn(move || assert!(other.get_entry(&KEY).is_none_or(|e| e.read() == 1)));
        assert!(cache.invalidate(&KEY));
        fill_a_bag(&cache);
        thread.join().unwrap();
        assert_eq!((cache.len(), told.count()), (0, 3));
    });
}

/// Two threads retire into one bag: each in a place of its own, and one of them seals it.
/// Sees «torn bag».
#[test]
fn two_retirers() {
    model(3, || {
        let cache = filled();
        let other = cache.clone();
        let thread = spawn(move || assert!(other.invalidate(&KEY)));
        assert!(cache.invalidate(&SAME));
        thread.join().unwrap();
        assert!(cache.invalidate(&SAME_TOO));
    });
}

/// A finder comes by a successor that is published and not yet in its place.
/// Sees «successor not ready».
#[test]
fn finder_meets_a_published_successor() {
    model(3, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            let found = other.get_ref(&KEY).map(|v| v.read());
            assert!(matches!(found, None | Some(7)), "{found:?}");
        });
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), Some(7));
    });
}

/// The same while the old entry is removed, so that the successor is only handed over, retired and collected.
/// Sees «no pin», «no grace».
#[test]
fn finder_meets_a_lost_successor() {
    model(2, || {
        let cache = expired();
        let lease = lead(&cache);
        let (finder, remover) = (cache.clone(), cache.clone());
        let finding = spawn(move || {
            let found = finder.get_ref(&KEY).map(|v| v.read());
            assert!(matches!(found, None | Some(7)), "{found:?}");
        });
        let removing = spawn(move || {
            remover.invalidate(&KEY);
        });
        let entry = lease.fulfil(Value::new(7));
        drop(entry);
        finding.join().unwrap();
        removing.join().unwrap();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    });
}

bugs! {
    reader_under_a_pin: "no pin", "no grace";
    walker_under_a_pin: "no pin";
    entry_meets_removal: "unshare";
    share_meets_removal: "mark not asked", "no share fence", "last share taken back";
    share_meets_a_removal_that_is_told: "zero revived", "refusal unordered";
    loaded_value_meets_removal: "taken after the pin", "no pin", "no grace";
    two_retirers: "torn bag";
    finder_meets_a_published_successor: "successor not ready";
    finder_meets_a_lost_successor: "no pin", "no grace";
}
