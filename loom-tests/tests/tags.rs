//! The invalidation of a tag against loads and those who wait for them.
#![cfg(loom)]

use bellwether_loom_tests::{KEY, Shared, Value, ask, bugs, builder, fulfil, lead, load, model, share, spawn, wait};
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// A cache whose values have one tag, with a ring that has its first segment.
fn tagged() -> Shared {
    let cache = share(builder(10).tags_with(|_, _, tags| tags.add("tag")));
    cache.insert(64, Value::new(1));
    assert!(cache.invalidate(&64));
    cache.purge_expired();
    cache
}

fn number(cache: &Shared) -> Option<u32> {
    cache.get_ref(&KEY).map(|v| v.read())
}

/// A load began before the invalidation: whichever of the two ends first, its value is not found.
/// Sees «tag not stored».
#[test]
fn invalidation_meets_publish() {
    model(3, || {
        let cache = tagged();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.invalidate_tag("tag"));
        assert_eq!(fulfil(lease, 7), 7);
        thread.join().unwrap();
        assert_eq!(number(&cache), None);
        assert_eq!((load(&cache, 8), number(&cache)), (8, Some(8)));
    });
}

/// The source changes, and then the tag is invalidated, as a load begins: what it reads there is new, or is not found.
/// Sees «tag start», «tag not stored».
#[test]
fn invalidation_meets_a_load() {
    model(3, || {
        let (cache, source) = (tagged(), Arc::new(AtomicU32::new(7)));
        let (other, truth) = (cache.clone(), source.clone());
        let thread = spawn(move || {
            truth.store(8, Relaxed);
            other.invalidate_tag("tag");
        });
        let lease = lead(&cache);
        fulfil(lease, source.load(Relaxed));
        thread.join().unwrap();
        assert!(matches!(number(&cache), None | Some(8)), "a value from before the invalidation");
    });
}

/// One who comes after the invalidation meets a load from before it, which publishes: it waits for that, or is just too late
/// to, and does not get its value.
/// Sees «outdated for a waiter», «outdated on board», «tag not stored».
#[test]
fn publish_meets_one_who_invalidated() {
    model(2, || {
        let cache = tagged();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            other.invalidate_tag("tag");
            load(&other, 8)
        });
        assert_eq!(fulfil(lease, 7), 7);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(number(&cache), Some(8));
    });
}

/// One who waits already gets the value; whoever asks after both loads anew.
/// Sees «tag not stored», «silent bell».
#[test]
fn invalidation_meets_a_waiter() {
    model(2, || {
        let cache = tagged();
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let other = cache.clone();
        let thread = spawn(move || {
            other.invalidate_tag("tag");
            bellwether_loom_tests::answer(waiter, 9)
        });
        assert_eq!(fulfil(lease, 7), 7);
        // It came before.
        assert_eq!(thread.join().unwrap(), Some(7));
        assert_eq!(load(&cache, 8), 8);
    });
}

/// Two invalidations, the first of which is slow, and between them a load: its value is not found.
/// Sees «last tag stays», «tag not stored».
#[test]
fn invalidation_meets_invalidation() {
    model(3, || {
        let cache = tagged();
        let other = cache.clone();
        let thread = spawn(move || other.invalidate_tag("tag"));
        let lease = lead(&cache);
        fulfil(lease, 7);
        cache.invalidate_tag("tag");
        thread.join().unwrap();
        assert_eq!(number(&cache), None);
        assert!(matches!(ask(&cache), bellwether::Lookup::Lead(_)));
    });
}

bugs! {
    invalidation_meets_publish: "tag not stored";
    invalidation_meets_a_load: "tag start", "tag not stored";
    publish_meets_one_who_invalidated: "outdated for a waiter", "outdated on board", "tag not stored";
    invalidation_meets_a_waiter: "tag not stored", "silent bell";
    invalidation_meets_invalidation: "last tag stays", "tag not stored";
}
