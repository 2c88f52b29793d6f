//! What callers demand of a value, against loads that began before: fences of `expire` and its like, forced loads, and
//! loads that live while they are wanted.
#![cfg(loom)]

use bellwether::{Lookup, Task};
use bellwether_loom_tests::*;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

fn number(cache: &Shared) -> Option<u32> {
    cache.get_ref(&KEY).map(|v| v.read())
}

/// The key's refresh ends as the key is expired: whichever is first, its value is not found, and what is loaded since is.
/// Sees «fence not seen», «fence by a store», «no fence for the refresh», «successor stamped blindly».
#[test]
fn expire_meets_the_publish_of_a_refresh() {
    model(3, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.expire(&KEY));
        fulfil(lease, 7);
        thread.join().unwrap();
        assert_eq!(number(&cache), None);
        assert_eq!((load(&cache, 8), number(&cache)), (8, Some(8)));
    });
}

/// The key's refresh confirms the old value as the key is expired.
/// Sees «a fenced load renews», «no fence for the refresh».
#[test]
fn expire_meets_a_renewal() {
    model(2, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.expire(&KEY));
        assert_eq!(lease.renew().map(|old| old.read()), Some(1));
        thread.join().unwrap();
        assert_eq!(number(&cache), None);
    });
}

/// One who has expired the key meets a load from before, which publishes: it does not get that value.
/// Sees «a fenced load for a late caller», «no fence for the refresh», «fence seen no more».
#[test]
fn publish_meets_one_who_expired() {
    model(2, || {
        let cache = expired();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            other.expire(&KEY);
            load(&other, 8)
        });
        fulfil(lease, 7);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(number(&cache), Some(8));
    });
}

/// All values are ended as one is published whose load began before.
/// Sees «all not ended».
#[test]
fn expire_all_meets_publish() {
    model(2, || {
        let cache = cache(10);
        // From the first call on, loom explores the orders of the words of the next one.
        cache.expire_all();
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || other.expire_all());
        assert_eq!(fulfil(lease, 7), 7);
        thread.join().unwrap();
        assert_eq!(number(&cache), None);
        assert_eq!((load(&cache, 8), number(&cache)), (8, Some(8)));
    });
}

/// The same with the value's tag, and with one who comes since.
/// Sees «tag not ended», «outdated for a waiter», «outdated on board».
#[test]
fn publish_meets_one_who_expired_the_tag() {
    model(2, || {
        let cache = share(builder(10).tags_with(|_, _, tags| tags.add("tag")));
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || {
            other.expire_tag("tag");
            load(&other, 8)
        });
        assert_eq!(fulfil(lease, 7), 7);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(number(&cache), Some(8));
    });
}

/// A forced caller meets a load from before its call, and gets none of its values.
/// Sees «an old load for a forced caller».
#[test]
fn a_forced_caller_meets_publish() {
    model(1, || {
        let cache = cache(10);
        cache.insert(KEY, Value::new(1));
        let Lookup::Lead(lease) = cache.lease_anew_owned(&KEY) else { panic!() };
        let other = cache.clone();
        let thread = spawn(move || other.entry(&KEY).force().get_with(|| Value::new(8)).0.read());
        fulfil(lease, 7);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(number(&cache), Some(8));
    });
}

/// The last waiter leaves as the load's task goes to sleep: it is woken, and ends.
/// Sees «last leaver is silent».
#[test]
fn the_last_waiter_meets_its_load() {
    model(3, || {
        let loads: Arc<Mutex<Vec<Task>>> = Arc::default();
        let spawned = loads.clone();
        let cache: Shared = share(builder(10).spawner(move |load: Task| spawned.lock().unwrap().push(load)));
        let request = cache.detached(&KEY).while_wanted();
        let mut request = Box::pin(request.get_with_async(std::future::pending::<Value>));
        assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let load = loads.lock().unwrap().pop().unwrap();
        let thread = spawn(move || run(load));
        drop(request);
        thread.join().unwrap();
        assert!(!cache.is_loading(&KEY));
    });
}

bugs! {
    expire_meets_the_publish_of_a_refresh: "fence not seen", "fence by a store", "no fence for the refresh", "successor stamped blindly";
    expire_meets_a_renewal: "a fenced load renews", "no fence for the refresh";
    publish_meets_one_who_expired: "a fenced load for a late caller", "no fence for the refresh", "fence seen no more";
    expire_all_meets_publish: "all not ended";
    publish_meets_one_who_expired_the_tag: "tag not ended", "outdated for a waiter", "outdated on board";
    a_forced_caller_meets_publish: "an old load for a forced caller";
    the_last_waiter_meets_its_load: "last leaver is silent";
}
