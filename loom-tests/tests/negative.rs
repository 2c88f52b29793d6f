//! Failures that are kept: against removal, insertion, finders, and the hand.
#![cfg(loom)]

use bellwether::{Builder, LoadError};
use bellwether_loom_tests::{KEY, Plain, Shared, Still, Told, Value, ask, bugs, builder, lead, model, share, spawn};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A cache that keeps failures, with a ring that has its first segment.
fn keeping(capacity: u64) -> (Shared, Told, Still) {
    keeping_with(builder(capacity))
}

fn keeping_with(builder: Builder<u64, Value, Plain>) -> (Shared, Told, Still) {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder.time_to_live(SECOND).negative_ttl(SECOND).clock(clock.clone());
    let cache = share(builder.eviction_listener(told.listener()));
    cache.insert(KEY, Value::new(1));
    (cache, told, clock)
}

/// The same, without `KEY`.
fn cold(capacity: u64) -> (Shared, Told) {
    let (cache, told, _) = keeping(capacity);
    assert!(cache.invalidate(&KEY));
    cache.purge_expired();
    (cache, told)
}

/// The same, where `KEY` has just expired.
fn stale(capacity: u64) -> (Shared, Told) {
    let (cache, told, clock) = keeping(capacity);
    clock.tick();
    (cache, told)
}

/// The same, where the load of `KEY` has failed.
fn failed(capacity: u64) -> (Shared, Told) {
    let (cache, told) = cold(capacity);
    lead(&cache).fail_with(Value::new(5));
    assert_eq!((cache.len(), cache.weight()), (1, 1));
    (cache, told)
}

/// Stands for the answer that there is no value.
const ABSENT: u32 = 0;

/// Read-through with a loader that can fail: the value, or the error.
fn through(cache: &Shared, load: Result<u32, u32>) -> Result<u32, u32> {
    match cache.try_get_with(&KEY, || load.map(Value::new).map_err(Value::new)) {
        Ok(value) => Ok(value.read()),
        Err(LoadError::Load(error)) => Err(error.read()),
        Err(LoadError::NotFound) => Err(ABSENT),
        Err(other) => panic!("{other:?}"),
    }
}

/// So many are stored, everything is in its place and counted, and the hand reaches it all; one value was told of.
fn adds_up(cache: &Shared, told: &Told, stored: usize) {
    assert!(!cache.is_loading(&KEY), "a flight was left behind");
    assert_eq!(cache.validate(), Ok(()));
    assert_eq!((cache.len(), cache.weight()), (stored, stored as u64));
    cache.set_capacity(0);
    assert_eq!((cache.len(), cache.weight()), (0, 0), "the hand does not reach an entry");
    assert_eq!(cache.validate(), Ok(()));
    assert_eq!(told.count(), 1, "{told:?}");
}

fn fails_as_it_is_removed((cache, told): (Shared, Told)) {
    let lease = lead(&cache);
    let other = cache.clone();
    let thread = spawn(move || assert!(!other.invalidate(&KEY)));
    lease.fail_with(Value::new(5));
    thread.join().unwrap();
    adds_up(&cache, &told, 0);
}

/// A load fails, and that is to be kept, as its flight is removed: it is not.
/// Sees «failure's weight left».
#[test]
fn failure_meets_removal() {
    model(3, || fails_as_it_is_removed(cold(10)));
}

/// The same as a value is inserted: that is what stays.
/// Sees «failure's weight left», «weight not undone».
#[test]
fn failure_meets_insert() {
    model(2, || {
        let (cache, _) = cold(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(2)));
        lease.fail_with(Value::new(5));
        thread.join().unwrap();
        assert_eq!(through(&cache, Err(6)), Ok(2));
        assert_eq!((cache.len(), cache.weight(), cache.validate()), (1, 1, Ok(())));
    });
}

/// A load fails as another asks: it is told, whether it waits or finds the failure, and does not load.
/// Sees «word release», «silent bell».
#[test]
fn failure_meets_a_finder() {
    model(2, || {
        let (cache, told) = cold(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || through(&other, Err(6)));
        lease.fail_with(Value::new(5));
        assert_eq!((thread.join().unwrap(), through(&cache, Err(7))), (Err(5), Err(5)));
        assert_eq!(cache.stats().loads, 1);
        adds_up(&cache, &told, 1);
    });
}

/// A refresh fails, and that is to be kept, as the old entry is removed: either it takes that one's place and is what is
/// removed, or it is not kept. (With a weigher: without one, no ring adds weights up.)
/// Sees «failure's weight left», «weightless in its slot».
#[test]
fn failed_refresh_meets_removal() {
    model(3, || {
        let (cache, told, clock) = keeping_with(builder(10).weigher(|_, _| 1));
        clock.tick();
        fails_as_it_is_removed((cache, told));
    });
}

/// The same as another asks, who may come to it by the old entry: it is told, and does not load.
/// Sees «failed before the swap».
#[test]
fn failed_refresh_meets_a_finder() {
    model(2, || {
        let (cache, told) = stale(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || through(&other, Ok(8)));
        lease.fail_with(Value::new(5));
        assert_eq!((thread.join().unwrap(), through(&cache, Err(7))), (Err(5), Err(5)));
        assert_eq!(cache.stats().loads, 1);
        adds_up(&cache, &told, 1);
    });
}

/// The same as the capacity shrinks: the hand or the leader evicts the failure. (That the hand meets it where it has its place
/// and is not FAILED yet, and still has it when the leader looks for room, takes two preemptions: out of reach.)
/// Sees «no room fence».
#[test]
#[ignore = "takes minutes"]
fn failed_refresh_meets_the_hand() {
    model(1, || {
        let (cache, told) = stale(1);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(0));
        lease.fail_with(Value::new(5));
        thread.join().unwrap();
        adds_up(&cache, &told, 0);
    });
}

/// A failure that is kept is evicted as it is removed: its weight goes once.
/// Sees «marked twice», «slot not emptied».
#[test]
fn eviction_meets_removal() {
    model(3, || {
        let (cache, told) = failed(1);
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(0));
        assert!(!cache.invalidate(&KEY));
        thread.join().unwrap();
        adds_up(&cache, &told, 0);
    });
}

/// It is replaced by one who passes over it and loads, as it is removed.
/// Sees «marked twice».
#[test]
fn passing_over_meets_removal() {
    model(2, || {
        let (cache, _) = failed(10);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        // By `lease`, to which a failure is no answer.
        let bellwether::Lookup::Lead(lease) = ask(&cache) else { panic!("it leads") };
        let _ = lease.fulfil(Value::new(8));
        thread.join().unwrap();
        let left = cache.len();
        assert_eq!((cache.weight(), cache.validate()), (left as u64, Ok(())));
        assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), (left == 1).then_some(8));
    });
}

/// A load answers that there is no value, which is kept, as another asks: it is told so, and does not load.
/// Sees «failed before the swap».
#[test]
fn absence_meets_a_finder() {
    model(2, || {
        let (cache, told) = stale(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || through(&other, Ok(8)));
        lease.not_found();
        assert_eq!((thread.join().unwrap(), through(&cache, Err(7))), (Err(ABSENT), Err(ABSENT)));
        assert_eq!(cache.stats().loads, 1);
        adds_up(&cache, &told, 1);
    });
}

/// The same where it is not kept, and only the old value goes. The other is told so, or comes later and loads: then its value
/// stays.
/// Sees «told before the old value goes».
#[test]
fn unkept_absence_meets_a_finder() {
    model(2, || {
        let (cache, _) = stale(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || through(&other, Ok(8)));
        lease.not_found_for(Duration::ZERO);
        let left = match thread.join().unwrap() {
            Err(ABSENT) => 0,
            Ok(8) => 1,
            other => panic!("{other:?}"),
        };
        assert_eq!((cache.len(), cache.weight(), cache.validate()), (left, left as u64, Ok(())));
        assert!(!cache.is_loading(&KEY));
    });
}

/// The same as the old value is removed.
/// Sees «marked twice».
#[test]
fn unkept_absence_meets_removal() {
    model(3, || {
        let (cache, told) = stale(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || assert!(!other.invalidate(&KEY)));
        lease.not_found_for(Duration::ZERO);
        thread.join().unwrap();
        adds_up(&cache, &told, 0);
    });
}

bugs! {
    absence_meets_a_finder: "failed before the swap";
    unkept_absence_meets_a_finder: "told before the old value goes";
    unkept_absence_meets_removal: "marked twice";
    failure_meets_removal: "failure's weight left";
    failure_meets_insert: "failure's weight left", "weight not undone";
    failure_meets_a_finder: "word release", "silent bell";
    failed_refresh_meets_removal: "failure's weight left", "weightless in its slot";
    failed_refresh_meets_a_finder: "failed before the swap";
    failed_refresh_meets_the_hand: "no room fence";
    eviction_meets_removal: "marked twice", "slot not emptied";
    passing_over_meets_removal: "marked twice";
}
