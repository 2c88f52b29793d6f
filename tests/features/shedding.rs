//! Load shedding and staleness: who is not made to wait, and what it gets instead.

use crate::common::*;
use bellwether::{Cache, LoadError, Lookup, Waited};
use std::thread;

fn lead<'c>(cache: &'c TestCache, key: Key) -> bellwether::Lease<'c, Key, u64> {
    match cache.lease(&key) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn try_load(cache: &TestCache, key: Key) -> Result<u64, LoadError<Broken>> {
    cache.try_get_with(&key, || Ok(100 + u64::from(key)))
}

#[test]
fn no_more_wait_than_may() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_waiters(2).bypass(true).build().unwrap();
    let lease = lead(&cache, 1);
    let waiters: Vec<_> = (0..2).map(|_| cache.lease(&1)).collect();
    assert!(matches!(try_load(&cache, 1), Err(LoadError::Overloaded)));
    assert_eq!(cache.get_with(&1, || 7), 7, "its own value, not stored");
    assert_eq!((cache.stats().bypassed, cache.stats().coalesced), (1, 2));
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    assert!(matches!(waiter.wait(), Waited::Overloaded));
    // Another key is not concerned, and a place that was left can be taken.
    assert_eq!(try_load(&cache, 2).unwrap(), 102);
    drop(waiters);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| try_load(&cache, 1));
        until("the place was taken", || cache.stats().coalesced == 3);
        assert_eq!(*lease.fulfil(5).unwrap(), 5);
        assert_eq!(waiting.join().unwrap().unwrap(), 5);
    });
}

#[test]
fn nobody_waits_where_none_may() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_waiters(0).build().unwrap();
    let lease = lead(&cache, 1);
    assert!(matches!(try_load(&cache, 1), Err(LoadError::Overloaded)));
    drop(lease);
    assert_eq!(try_load(&cache, 1).unwrap(), 101);
}

#[test]
fn no_more_load_than_may() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_loads(2).bypass(true).build().unwrap();
    let (first, second) = (lead(&cache, 1), lead(&cache, 2));
    assert!(matches!(try_load(&cache, 3), Err(LoadError::Overloaded)));
    assert_eq!(cache.get_with(&3, || 7), 7);
    assert_eq!((cache.get(&3), cache.is_loading(&3)), (None, false));
    // Every way for a load to end gives its place back.
    drop(first);
    lead(&cache, 3).fail();
    lead(&cache, 3).fail_with("no");
    assert_eq!(try_load(&cache, 3).unwrap(), 103);
    quietly(|| {
        let panics = || cache.get_with(&4, || panic!("a loader panics, as it was told to"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    });
    assert_eq!(try_load(&cache, 4).unwrap(), 104);
    // So does an insertion over it, when the load ends.
    let lease = lead(&cache, 5);
    cache.insert(5, 5);
    assert!(matches!(try_load(&cache, 6), Err(LoadError::Overloaded)));
    assert!(lease.fulfil(6).is_err());
    assert_eq!(try_load(&cache, 6).unwrap(), 106);
    // One that is taken over is the same load, and `compute` has its turn.
    let third = lead(&cache, 7);
    let Lookup::Wait(waiter) = cache.lease(&2) else { panic!() };
    drop(second);
    let Waited::Lead(second) = waiter.wait() else { panic!() };
    assert!(matches!(try_load(&cache, 8), Err(LoadError::Overloaded)));
    cache.compute(&8, |_| bellwether::Op::Put(8));
    assert_eq!(cache.get(&8), Some(8));
    drop((second, third));
    (10..20).for_each(|key| assert_eq!(try_load(&cache, key).unwrap(), 100 + u64::from(key)));
}

#[test]
fn loads_stay_within_the_bound_under_threads() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let cache: TestCache = Cache::builder().max_capacity(5).max_loads(2).build().unwrap();
    let (now, most, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..6_u32 {
            let (cache, now, most, refused) = (&cache, &now, &most, &refused);
            scope.spawn(move || {
                for step in 0..3_000_u32 {
                    let key = step.wrapping_mul(0x9E37_79B9).rotate_left(thread * 5) % 40;
                    let load = || {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, SeqCst);
                        Ok::<_, Broken>(u64::from(key))
                    };
                    match cache.try_get_with(&key, load) {
                        Ok(value) => assert_eq!(value, u64::from(key)),
                        Err(LoadError::Overloaded) => drop(refused.fetch_add(1, SeqCst) == 0),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!((1..=2).contains(&most.load(SeqCst)) && refused.load(SeqCst) > 0, "{most:?} at once, {refused:?} refused");
    assert_eq!(try_load(&cache, 100).unwrap(), 200, "nothing is left counted");
}

#[test]
fn a_stale_value_is_served_while_one_caller_refreshes() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_while_refresh(5 * SECOND);
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    assert_eq!((cache.get(&1), cache.purge_expired(), cache.len()), (None, 0, 1), "plain reads never give it");
    let lease = lead(&cache, 1);
    assert_eq!(lease.stale(), Some(&1));
    assert_eq!(try_load(&cache, 1).unwrap(), 1, "nobody else waits");
    assert!(matches!(cache.lease(&1), Lookup::Hit(entry) if *entry == 1));
    assert_eq!((cache.stats().stale_serves, cache.stats().coalesced), (2, 0));
    clock.advance(5 * SECOND);
    assert!(matches!(cache.lease(&1), Lookup::Wait(_)), "but not for longer");
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    assert_eq!((cache.get(&1), try_load(&cache, 1).unwrap()), (Some(2), 2));
    // It is the next caller who loads, if that one gave up.
    clock.advance(10 * SECOND);
    drop(lead(&cache, 1));
    assert_eq!(try_load(&cache, 1).unwrap(), 101);
    clock.advance(15 * SECOND);
    assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
}

#[test]
fn a_stale_value_is_served_where_no_more_may_load() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_while_refresh(5 * SECOND);
    let cache: TestCache = builder.max_loads(1).build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let other = lead(&cache, 2);
    assert_eq!(try_load(&cache, 1).unwrap(), 1);
    clock.advance(5 * SECOND);
    assert!(matches!(try_load(&cache, 1), Err(LoadError::Overloaded)));
    drop(other);
    assert_eq!(try_load(&cache, 1).unwrap(), 101);
}

#[test]
fn removal_is_not_staleness() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.time_to_live(10 * SECOND).stale_while_refresh(5 * SECOND).build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let lease = lead(&cache, 1);
    cache.invalidate(&1);
    assert_eq!(try_load(&cache, 1).unwrap(), 101, "a new flight");
    assert!(lease.fulfil(2).is_err());
    assert_eq!(cache.get(&1), Some(101));
}

#[test]
fn soft_expiry_keeps_the_value_for_its_refresh() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.xfetch(0.0).stale_while_refresh(5 * SECOND).build().unwrap();
    assert!(!cache.expire(&1), "there is none");
    cache.insert(1, 1);
    assert!(cache.expire(&1) && !cache.expire(&1), "it is over already");
    assert_eq!((cache.get(&1), cache.contains_key(&1), cache.purge_expired(), cache.len()), (None, false, 0, 1));
    let lease = lead(&cache, 1);
    assert_eq!((lease.stale(), try_load(&cache, 1).unwrap()), (Some(&1), 1));
    // It reaches the value that is being loaded.
    assert!(!cache.expire(&1));
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    assert_eq!((cache.get(&1), try_load(&cache, 1).unwrap()), (None, 101));
    assert_eq!(cache.get(&1), Some(101));
    assert!(cache.expire(&1));
    clock.advance(5 * SECOND);
    assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
}
