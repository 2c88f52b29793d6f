//! A leader whose lease was taken over.

use bellwether::{Cache, Entry, Lookup, ManualClock, Waited};
use std::sync::Arc;
use std::time::Duration;

/// Its value is its own caller's, under the key, and nothing keeps the cache alive when all handles are gone.
#[test]
fn what_a_fenced_leader_has_keeps_nothing_alive_but_itself() {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(10).lead_timeout(Duration::from_secs(1));
    let cache: Cache<String, Arc<u32>> = builder.clock(clock.clone()).timer(clock.clone()).build().unwrap();
    let (cache, [late, other]) = (Arc::new(cache), [7, 8].map(Arc::new));
    let key = String::from("key");
    let Lookup::Lead(first) = cache.lease_owned(&key) else { panic!("there is no value") };
    let Lookup::Wait(waiter) = cache.lease_owned(&key) else { panic!("it is loading") };
    clock.advance(Duration::from_secs(1));
    let Ok(Waited::Lead(second)) = waiter.wait_timeout(Duration::ZERO) else { panic!("it is overdue") };
    let mine = first.fulfil(late.clone()).expect_err("it was taken over");
    assert!(second.fulfil(other.clone()).is_ok());
    assert_eq!(cache.get(&key).as_deref(), Some(&8));
    assert!(cache.invalidate(&key));
    assert_eq!((&**Entry::key(&mine), **mine, Entry::weight(&mine)), ("key", 7, 0));
    assert_eq!((cache.stats().takeovers, cache.len()), (1, 0));
    drop(mine);
    assert_eq!(Arc::strong_count(&cache), 1);
    drop(cache);
    assert_eq!([late, other].map(|value| Arc::strong_count(&value)), [1, 1]);
}
