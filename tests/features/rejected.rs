//! Values that the cache was given and did not keep: who is told, and what becomes of them.

use crate::common::*;
use bellwether::{Builder, Cache, CacheEvent, Loaded, Lookup, Observer, Op, RejectionCause, RemovalCause};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Told = Arc<Mutex<Vec<(Key, u64, RemovalCause)>>>;

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<RejectionCause>>>);

impl Observer for Events {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if let CacheEvent::Rejected { cause, .. } = event {
            self.0.lock().unwrap().push(*cause);
        }
    }
}

/// A cache in which a value weighs what it says.
fn weighed(with: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, Told, Events) {
    let (told, events) = (Told::default(), Events::default());
    let theirs = told.clone();
    let (builder, _) = timed();
    let builder = builder.max_capacity(100).weigher(|_, value| *value as u32).observer(events.clone());
    let listener = move |key: &Key, value: &u64, cause| theirs.lock().unwrap().push((*key, *value, cause));
    (with(builder.eviction_listener(listener)).build().unwrap(), told, events)
}

fn taken<T>(told: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut told.lock().unwrap())
}

use RemovalCause::{Explicit, Rejected, Replaced};

#[test]
fn an_insert_that_is_refused_is_told_and_counted() {
    let (cache, told, events) = weighed(|b| b);
    cache.insert(1, 50);
    cache.insert(1, 101);
    assert_eq!(taken(&told), [(1, 50, Replaced), (1, 101, Rejected)]);
    cache.insert(2, 102);
    cache.insert_with_ttl(3, 1, Duration::ZERO);
    assert_eq!(taken(&told), [(2, 102, Rejected), (3, 1, Rejected)]);
    // On a pin, once that is gone.
    let pinned = cache.pin();
    pinned.insert(4, 101);
    pinned.insert_with_ttl(5, 1, Duration::ZERO);
    assert_eq!(taken(&told), []);
    drop(pinned);
    assert_eq!(taken(&told), [(4, 101, Rejected), (5, 1, Rejected)]);
    let (heavy, zero) = (RejectionCause::TooHeavy, RejectionCause::ZeroTimeToLive);
    assert_eq!(taken(&events.0), [heavy, heavy, zero, heavy, zero]);
    assert_eq!((cache.stats().rejected, cache.len()), (5, 0));
    assert_eq!(cache.stats().evictions + cache.stats().expirations, 0);
}

#[test]
fn the_pair_comes_back_with_the_reason() {
    let (cache, told, events) = weighed(|b| b.time_to_live(SECOND));
    cache.insert(1, 50);
    let rejected = cache.try_insert(1, 101).unwrap_err();
    assert_eq!((rejected.cause(), *rejected.key(), *rejected.value()), (RejectionCause::TooHeavy, 1, 101));
    assert_eq!(rejected.to_string(), "the cache did not keep the value: it is heavier than the whole capacity");
    assert_eq!(rejected.into_pair(), (1, 101));
    // The old value is no longer true; what was given back is its owner's affair.
    assert_eq!((cache.get(&1), taken(&told)), (None, vec![(1, 50, Replaced)]));
    let zero = cache.try_insert_with_ttl(2, 1, Duration::ZERO).unwrap_err();
    assert_eq!(zero.cause(), RejectionCause::ZeroTimeToLive);
    let pinned = cache.pin();
    assert!(pinned.try_insert(3, 101).is_err() && pinned.try_insert_with_ttl(3, 1, Duration::ZERO).is_err());
    assert!(pinned.try_insert(3, 1).is_ok() && pinned.try_insert_with_ttl(3, 2, SECOND).is_ok());
    drop(pinned);
    assert_eq!((cache.get(&3), taken(&told)), (Some(2), vec![(3, 1, Replaced)]));
    assert_eq!((cache.stats().rejected, taken(&events.0).len()), (4, 4));
    let error: Box<dyn std::error::Error + Send + Sync> = cache.try_insert(1, 101).unwrap_err().into();
    assert!(error.source().is_none());
}

#[test]
fn a_value_that_is_loaded_and_refused_is_told() {
    let (cache, told, events) = weighed(|b| b);
    assert_eq!(cache.get_with(&1, || 101), 101);
    assert_eq!(cache.try_get_with(&1, || Ok::<_, Infallible>(102)).unwrap(), 102);
    assert_eq!(*cache.entry(&1).get_with(|| 103).0, 103);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("there is nobody else") };
    assert_eq!(*lease.fulfil(104).unwrap_err(), 104);
    cache.compute(&1, |_| Op::Put(105));
    assert_eq!(taken(&told), [101, 102, 103, 104, 105].map(|value| (1, value, Rejected)));
    // In the place of an old one.
    cache.insert(1, 50);
    cache.compute(&1, |_| Op::Put(106));
    assert_eq!(taken(&told), [(1, 50, Replaced), (1, 106, Rejected)]);
    assert_eq!((cache.stats().rejected, taken(&events.0)), (6, vec![RejectionCause::TooHeavy; 6]));
    assert!(cache.is_empty());
    cache.validate().unwrap();
}

#[test]
fn a_time_to_live_of_zero_by_the_settings_is_told() {
    let (cache, told, _) = weighed(|b| b.ttl_with(|key, _| (*key == 1).then_some(Duration::ZERO)));
    cache.get_with(&1, || 1);
    cache.insert(1, 2);
    assert_eq!(taken(&told), [(1, 1, Rejected), (1, 2, Rejected)]);
    let (cache, told, _) = weighed(|b| b.time_to_live(Duration::ZERO));
    cache.get_with(&1, || 1);
    cache.insert(1, 2);
    assert_eq!(taken(&told), [(1, 1, Rejected), (1, 2, Rejected)]);
}

#[test]
fn what_is_refused_for_want_of_memory_is_told() {
    let (cache, told, events) = weighed(|b| b);
    let held = cache.pin();
    while cache.stats().rejected == 0 {
        cache.insert(1, 1);
    }
    assert_eq!(taken(&told).pop(), Some((1, 1, Rejected)));
    assert_eq!(cache.try_insert(1, 1).unwrap_err().cause(), RejectionCause::RetiredMemory);
    assert_eq!(cache.get_with(&1, || 2), 2);
    assert_eq!((taken(&told), taken(&events.0)), (vec![(1, 2, Rejected)], vec![RejectionCause::RetiredMemory; 3]));
    drop(held);
    // (Pins of this binary's other tests hold up memory, too.)
    until("memory is freed", || cache.try_insert(1, 1).is_ok());
}

/// What was loaded on these terms was not refused; nor was what lost to a newer write or removal.
#[test]
fn what_was_not_to_be_kept_or_lost_is_not_told() {
    let (cache, told, events) = weighed(|b| b);
    let unstored = |_: Option<_>| Ok::<_, Infallible>(Loaded::Unstored(1));
    assert_eq!(*cache.entry(&1).revalidate_with(unstored).unwrap().0, 1);
    let for_no_time = |_: Option<_>| Ok::<_, Infallible>(Loaded::NewFor(1, Duration::ZERO));
    assert_eq!(*cache.entry(&1).revalidate_with(for_no_time).unwrap().0, 1);
    assert_eq!(*cache.entry(&1).ttl(Duration::ZERO).get_with(|| 1).0, 1);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("there is nobody else") };
    assert_eq!(*lease.fulfil_with_ttl(1, Duration::ZERO).unwrap_err(), 1);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("there is nobody else") };
    cache.insert(1, 2);
    assert_eq!(*lease.fulfil(1).unwrap_err(), 1);
    assert_eq!((taken(&told), taken(&events.0), cache.stats().rejected), (vec![], vec![], 0));
    cache.remove(&1);
    assert_eq!(taken(&told), [(1, 2, Explicit)]);
}

/// A pair that is not kept is lost neither by a listener that panics, told of it or of what it replaces, nor twice.
#[test]
fn a_listener_that_panics_loses_nothing() {
    for panics_at in [Replaced, Rejected] {
        let census = Census::default();
        let cache: Cache<Member<Key>, Member<u64>> = Cache::builder()
            .max_capacity(8)
            .eviction_listener(move |_, _, cause| {
                assert_ne!(cause, panics_at, "the listener panics, as it was told to")
            })
            .build()
            .unwrap();
        let pair = || (census.member(1), census.member(2));
        let (key, value) = pair();
        cache.insert(key, value);
        let (key, value) = pair();
        let insert = || cache.insert_with_ttl(key, value, Duration::ZERO);
        assert!(quietly(|| catch_unwind(AssertUnwindSafe(insert))).is_err());
        let (key, value) = pair();
        cache.insert(key, value);
        let (key, value) = pair();
        let insert = || drop(cache.try_insert_with_ttl(key, value, Duration::ZERO));
        assert_eq!(quietly(|| catch_unwind(AssertUnwindSafe(insert))).is_err(), panics_at == Replaced);
        let (key, value) = pair();
        let load = || drop(cache.entry(&key).get_with(|| value));
        assert!(quietly(|| catch_unwind(AssertUnwindSafe(load))).is_ok());
        drop(key);
        drop(cache);
        assert_eq!(census.alive(), 0, "{panics_at:?}");
    }
}
