//! Expired entries leave: as room is needed, by the janitor. (By a purge in slices: `tests/process/flat.rs`.)

use crate::common::*;
use bellwether::{Cache, ManualClock, RemovalCause};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn the_expired_go_first() {
    let (builder, clock) = timed();
    let causes: Arc<[AtomicUsize; 2]> = Arc::default();
    let told = causes.clone();
    let listener = move |_: &u32, _: &u64, cause| {
        told[usize::from(cause == RemovalCause::Expired)].fetch_add(1, SeqCst);
    };
    let cache: TestCache = builder.max_capacity(100).eviction_listener(listener).build().unwrap();
    (0..50).for_each(|key| cache.insert_with_ttl(key, 0, SECOND));
    // However often they were used.
    (0..150).for_each(|get| assert_eq!(cache.get(&(get % 50)), Some(0)));
    (50..100).for_each(|key| cache.insert(key, 0));
    clock.advance(SECOND);
    (100..150).for_each(|key| cache.insert(key, 0));
    assert!((50..150).all(|key| cache.contains_key(&key)), "what had not expired stays");
    assert_eq!(causes.each_ref().map(|count| count.load(SeqCst)), [0, 50]);
    assert_eq!((cache.stats().expirations, cache.stats().evictions, cache.len()), (50, 0, 100));
}

#[test]
fn a_janitor_removes_what_has_expired() {
    let (cache, clock) = ten_seconds();
    let cache = Arc::new(cache);
    let janitor = cache.start_janitor(SECOND).unwrap();
    (0..100).for_each(|key| cache.insert(key, 0));
    clock.advance(9 * SECOND);
    assert_eq!(cache.len(), 100);
    // It may not have begun its first nap before.
    until("the janitor came", || {
        clock.advance(SECOND);
        cache.is_empty()
    });
    (0..10).for_each(|key| cache.insert(key, 0));
    until("the janitor came again", || {
        clock.advance(SECOND);
        cache.is_empty()
    });
    drop(janitor);
    (0..10).for_each(|key| cache.insert(key, 0));
    clock.advance(100 * SECOND);
    assert_eq!(cache.len(), 10, "nobody comes any more");
}

#[test]
fn a_janitor_does_not_keep_the_cache() {
    let (cache, clock) = ten_seconds();
    let cache = Arc::new(cache);
    let janitor = cache.start_janitor(SECOND).unwrap();
    until("only the janitor's weak reference is left", || Arc::strong_count(&cache) == 1);
    let weak = Arc::downgrade(&cache);
    drop(cache);
    until("the cache is gone", || weak.strong_count() == 0);
    clock.advance(SECOND);
    drop(janitor);
}

#[test]
fn a_janitor_that_cannot_work_is_refused() {
    let cache: Arc<TestCache> = Arc::new(Cache::new(10));
    let error = cache.start_janitor(Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "a janitor cannot come at intervals of zero");
    let builder = Cache::builder().max_capacity(10).clock(ManualClock::new());
    let cache: Arc<TestCache> = Arc::new(builder.build().unwrap());
    let error = cache.start_janitor(SECOND).unwrap_err();
    assert_eq!(error.to_string(), "under a custom clock a janitor needs a timer");
    // By the system's clock.
    let cache: Arc<TestCache> = Arc::new(Cache::builder().max_capacity(10).time_to_live(SECOND).build().unwrap());
    let janitor = cache.start_janitor(Duration::from_millis(1)).unwrap();
    cache.insert_with_ttl(1, 1, Duration::from_nanos(1));
    until("the janitor came", || cache.is_empty());
    drop(janitor);
}
