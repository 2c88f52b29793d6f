//! A first look: `get_settled`, and that of a request, which gives the value only where a read-through would do nothing else.

use crate::common::*;
use bellwether::{Builder, Cache, Entry, Lookup, ManualClock, Outcome, Refresh};
use std::time::Duration;

/// A cache whose key 1 was inserted just now, is due for a refresh in 5 s, and expires in 10 s.
fn built(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let cache: TestCache = set(builder.time_to_live(10 * SECOND).refresh(Refresh::at(0.5))).build().unwrap();
    cache.insert(1, 1);
    (cache, clock)
}

fn counts(cache: &TestCache) -> (u64, u64) {
    let stats = cache.stats();
    (stats.hits, stats.misses)
}

fn settled(cache: &TestCache) -> Option<u64> {
    cache.get_settled(&1, |value| value * 10)
}

#[test]
fn it_is_a_hit_or_nothing_at_all() {
    let (cache, clock) = built(|b| b.record_stats());
    assert_eq!((settled(&cache), counts(&cache)), (Some(10), (1, 0)));
    assert_eq!((cache.get_settled(&2, |value| *value), counts(&cache)), (None, (1, 0)), "it is not counted");
    clock.advance(10 * SECOND);
    assert_eq!((settled(&cache), counts(&cache)), (None, (1, 0)), "it has expired");
    cache.insert(1, 2);
    assert_eq!(settled(&cache), Some(20));
    cache.invalidate(&1);
    assert_eq!(settled(&cache), None);
    let forever: TestCache = Cache::new(10);
    forever.insert(1, 3);
    assert_eq!(settled(&forever), Some(30));
    forever.expire(&1);
    assert_eq!(settled(&forever), None);
}

#[test]
fn a_value_that_is_due_is_left_to_the_caller_that_refreshes_it() {
    let (cache, clock) = built(|b| b.lead_timeout(3 * SECOND));
    clock.advance(5 * SECOND - Duration::from_nanos(1));
    assert_eq!((settled(&cache), cache.get(&1)), (Some(10), Some(1)));
    clock.advance(Duration::from_nanos(1));
    assert_eq!((settled(&cache), cache.get(&1), cache.stats().loads), (None, Some(1), 0));
    let Lookup::Refresh(old, lease) = cache.lease(&1) else { panic!("it is due") };
    assert_eq!((*old, settled(&cache), cache.get(&1)), (1, None, Some(1)));
    lease.fulfil(2).unwrap();
    assert_eq!(settled(&cache), Some(20));
}

#[test]
fn so_is_a_value_whose_refresh_hangs() {
    let (cache, clock) = built(|b| b.lead_timeout(3 * SECOND));
    let Lookup::Lead(lease) = cache.lease_anew(&1) else { panic!("nobody else refreshes it") };
    assert_eq!(settled(&cache), Some(10), "it is good, and refreshed");
    clock.advance(2 * SECOND);
    assert_eq!(settled(&cache), Some(10));
    clock.advance(2 * SECOND);
    assert_eq!((settled(&cache), cache.get(&1)), (None, Some(1)));
    drop(lease);
}

#[test]
fn a_tag_ends_it() {
    let (cache, _) = built(|b| b.tags_with(|_, value: &u64, tags: &mut bellwether::Tags<'_>| tags.add(value)));
    assert_eq!(settled(&cache), Some(10));
    cache.invalidate_tag(&1_u64);
    assert_eq!(settled(&cache), None);
}

/// What a request says of the cache's own settings alone is no reason to look closer; what it says of the value, and of a
/// leader that hangs, is.
#[test]
fn a_request_looks_closer_where_its_settings_matter() {
    let (cache, clock) = built(|b| b.lead_timeout(3 * SECOND).record_stats());
    let found = |(entry, outcome): (Entry<'_, Key, u64>, Outcome)| (*entry, outcome);
    clock.advance(SECOND);
    assert_eq!(found(cache.entry(&1).ttl(SECOND).hard_timeout(SECOND).get_with(|| 2)), (1, Outcome::Hit));
    assert_eq!(found(cache.entry(&1).max_stale(SECOND).get_with(|| 2)), (1, Outcome::Hit));
    assert_eq!(found(cache.entry(&1).max_age(2 * SECOND).get_with(|| 2)), (1, Outcome::Hit));
    assert_eq!(counts(&cache), (3, 0), "each is counted once");
    assert_eq!(found(cache.entry(&1).max_age(SECOND / 2).get_with(|| 2)), (2, Outcome::Computed));
    assert_eq!(found(cache.entry(&1).force().get_with(|| 3)), (3, Outcome::Computed));
    let Lookup::Lead(lease) = cache.lease_anew(&1) else { panic!("nobody else refreshes it") };
    clock.advance(SECOND);
    assert_eq!(found(cache.entry(&1).get_with(|| 4)), (3, Outcome::Hit), "another caller refreshes it");
    assert_eq!(found(cache.entry(&1).lead_timeout(2 * SECOND).get_with(|| 4)), (3, Outcome::Hit));
    let impatient = cache.entry(&1).lead_timeout(SECOND / 2).get_with(|| 4);
    assert_eq!((found(impatient), cache.stats().takeovers), ((4, Outcome::Refreshed), 1));
    assert!(lease.fulfil(5).is_err());
}
