//! Terms of one value (`Expiry`): by every way to give them, they do the same.

use crate::common::tasks::{Later, Task};
use crate::common::*;
use bellwether::{
    Builder, Cache, Expiry, Load, LoadError, Loaded, Lookup, ManualClock, Outcome, Refresh, RejectionCause,
};
use std::sync::Arc;
use std::time::Duration;

type Shared = Arc<TestCache>;

/// Fresh for 10 s, refreshed from 5 s on, served while it is refreshed until 15 s, and for an error until 30 s.
fn terms() -> Expiry {
    let windows = Expiry::new().stale_while_refresh(5 * SECOND).stale_if_error(20 * SECOND);
    windows.ttl(10 * SECOND).refresh(Refresh::at(0.5))
}

type Set = fn(Builder<Key, u64>) -> Builder<Key, u64>;

/// A way to come to a cache whose key 1 has these terms since 0 s, while all others would be there for a minute.
type Way = fn(Builder<Key, u64>, Expiry) -> Shared;

fn build(builder: Builder<Key, u64>) -> Shared {
    Arc::new(builder.build().unwrap())
}

const WAYS: &[(&str, Way)] = &[
    ("expiry_with, inserted", |builder, terms| {
        let cache = build(builder.expiry_with(move |_, _| terms));
        cache.insert(1, 1);
        cache
    }),
    ("expiry_with, loaded", |builder, terms| {
        let cache = build(builder.expiry_with(move |_, _| terms));
        cache.get_with(&1, || 1);
        cache
    }),
    ("insert_with", |builder, terms| {
        let cache = build(builder);
        cache.insert_with(1, 1, terms);
        cache
    }),
    ("try_insert_with over another value", |builder, terms| {
        let cache = build(builder);
        cache.insert(1, 7);
        cache.pin().try_insert_with(1, 1, terms).unwrap();
        cache
    }),
    ("Loaded::With, a thread", |builder, terms| {
        let cache = build(builder);
        cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(Loaded::With(1, terms))).unwrap();
        cache
    }),
    ("Loaded::With, a task, before the request's", |builder, terms| {
        let cache = build(builder);
        let request = cache.entry(&1).expiry(Expiry::new().ttl(SECOND).stale_if_error(SECOND));
        let load = |_| async move { Ok::<_, Broken>(Loaded::With(1, terms)) };
        Task::new(request.revalidate_with_async(load)).finish().unwrap();
        cache
    }),
    ("the request, a thread", |builder, terms| {
        let cache = build(builder);
        cache.entry(&1).expiry(terms).get_with(|| 1);
        cache
    }),
    ("the request, a task", |builder, terms| {
        let cache = build(builder);
        Task::new(cache.entry(&1).ttl(SECOND).expiry(terms).get_with_async(|| async { 1 })).finish();
        cache
    }),
    ("detached", |builder, terms| {
        let later = Later::default();
        let cache = build(builder.spawner(later.spawner()));
        let own = cache.clone();
        let mut task = Task::new(async move { own.detached(&1).expiry(terms).get_with_async(|| async { 1 }).await.1 });
        assert!(task.poll().is_none());
        later.run();
        assert_eq!(task.finish_when_woken(), Outcome::Computed);
        cache
    }),
    ("a lease", |builder, terms| {
        let cache = build(builder);
        assert!(lead(&cache).fulfil_with(1, terms).is_ok());
        cache
    }),
    ("a refresh in place of another", |builder, terms| {
        let cache = build(builder);
        cache.insert(1, 7);
        cache.expire(&1);
        cache.entry(&1).expiry(terms).get_with(|| 1);
        cache
    }),
    ("renew_with", |builder, terms| {
        let cache = build(builder);
        cache.insert(1, 1);
        cache.expire(&1);
        assert_eq!(lead(&cache).renew_with(terms).as_deref(), Some(&1));
        cache
    }),
    ("Loaded::NotModifiedWith", |builder, terms| {
        let cache = build(builder);
        cache.insert(1, 1);
        cache.expire(&1);
        cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(Loaded::NotModifiedWith(terms))).unwrap();
        cache
    }),
    ("part by part", |builder, terms| {
        let windows = Expiry::new().stale_while_refresh(5 * SECOND).stale_if_error(20 * SECOND);
        let cache = build(builder.expiry_with(move |_, _| windows.ttl(SECOND)));
        cache.entry(&1).expiry(Expiry::new().refresh(Refresh::at(0.5))).exact_ttl(10 * SECOND).get_with(|| 1);
        assert_eq!(windows.ttl(10 * SECOND).refresh(Refresh::at(0.5)), terms);
        cache
    }),
];

/// The same with settings that keep a hit from going by its quiet time.
const CACHES: &[(&str, Set)] = &[("plain", |b| b), ("tagged", |b| b.tags_with(|_, _, tags| tags.add("all")))];

/// Runs `body` on a cache of each way and kind, `at` so long after the value was given its terms.
fn each_way(at: Duration, body: impl Fn(&TestCache, &ManualClock)) {
    for (kind, set) in CACHES {
        for (name, way) in WAYS {
            println!("{name}, {kind}, at {at:?}");
            let (builder, clock) = timed();
            let plain = builder.max_capacity(9).time_to_live(60 * SECOND).refresh(Refresh::never());
            let cache = way(set(plain), terms());
            clock.advance(at);
            body(&cache, &clock);
            cache.validate().unwrap();
        }
    }
}

fn outcome(cache: &TestCache) -> Outcome {
    cache.entry(&1).get_with(|| 2).1
}

#[test]
fn the_mark() {
    each_way(5 * SECOND - Duration::from_micros(1), |cache, _| assert_eq!(outcome(cache), Outcome::Hit));
    each_way(5 * SECOND, |cache, _| assert_eq!(outcome(cache), Outcome::Refreshed));
}

#[test]
fn the_expiry() {
    each_way(10 * SECOND - Duration::from_micros(1), |cache, _| assert_eq!(cache.get(&1), Some(1)));
    each_way(10 * SECOND, |cache, _| {
        assert_eq!(cache.get(&1), None);
        assert_eq!(outcome(cache), Outcome::Computed);
    });
}

/// What a caller gets who meets another one's load and does not wait, and whether it had to join that.
fn while_refreshed(cache: &TestCache) -> (Option<Outcome>, u64) {
    let Lookup::Lead(_lease) = cache.lease(&1) else { panic!("it is to be refreshed") };
    let before = cache.stats().coalesced;
    let found = cache.entry(&1).wait_timeout(Duration::ZERO).try_get_with(|| Err(Broken("another leads")));
    (found.ok().map(|(_, outcome)| outcome), cache.stats().coalesced - before)
}

#[test]
fn the_window_while_it_is_refreshed() {
    let in_time = Some(Outcome::Stale);
    each_way(14 * SECOND, |cache, _| assert_eq!(while_refreshed(cache), (in_time, 0), "served at once"));
    each_way(16 * SECOND, |cache, _| assert_eq!(while_refreshed(cache), (in_time, 1), "only as the wait is over"));
    each_way(31 * SECOND, |cache, _| assert_eq!(while_refreshed(cache), (None, 1)));
}

#[test]
fn the_window_for_an_error() {
    let failed = |cache: &TestCache| cache.try_get_with(&1, || Err::<u64, _>(Broken("down")));
    each_way(29 * SECOND, |cache, clock| {
        assert_eq!(failed(cache).unwrap(), 1);
        assert_eq!(cache.purge_expired(), 0, "it may be served still");
        clock.advance(2 * SECOND);
        assert_eq!(cache.purge_expired(), 1);
    });
    each_way(31 * SECOND, |cache, _| assert!(matches!(failed(cache), Err(LoadError::Load(_)))));
    // A caller's own word counts before the value's.
    each_way(14 * SECOND, |cache, _| {
        let strict = cache.entry(&1).max_stale(Duration::ZERO).try_get_with(|| Err::<u64, _>(Broken("down")));
        assert!(strict.is_err());
        let lax = cache.entry(&1).max_stale(60 * SECOND).try_get_with(|| Err::<u64, _>(Broken("down")));
        assert!(lax.is_ok_and(|(value, outcome)| (*value, outcome) == (1, Outcome::Stale)));
    });
}

#[test]
fn the_cooldown_after_a_failure_is_as_ever() {
    each_way(11 * SECOND, |cache, clock| {
        let loader = Loader::new(End::Fail("down"));
        let ask = || cache.try_get_with(&1, || loader.run());
        assert_eq!((ask().unwrap(), ask().unwrap(), loader.calls()), (1, 1, 1));
        clock.advance(2 * SECOND);
        assert_eq!((ask().unwrap(), loader.calls()), (1, 2));
    });
}

#[test]
fn terms_go_with_their_value() {
    each_way(SECOND, |cache, clock| {
        cache.invalidate(&1);
        cache.entry(&1).expiry(Expiry::new().ttl(60 * SECOND).refresh(Refresh::never())).get_with(|| 3);
        cache.entry(&2).expiry(Expiry::new().ttl(60 * SECOND).refresh(Refresh::never())).get_with(|| 3);
        clock.advance(59 * SECOND);
        assert_eq!((outcome(cache), cache.get(&2)), (Outcome::Hit, Some(3)));
    });
}

struct Two;

impl Load<Key, u64> for Two {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        if *key == 1 { Ok(2) } else { Err(Broken("no such key")) }
    }
}

#[test]
fn a_cache_with_its_loader_asks_for_the_terms_of_each_value() {
    let (builder, clock) = timed();
    let later = Later::default();
    let builder = builder.max_capacity(9).refresh(Refresh::never()).spawner(later.spawner());
    let cache = builder.expiry_with(|_, _| terms()).loader(Two).build().unwrap();
    cache.insert(1, 1);
    clock.advance(5 * SECOND);
    assert_eq!((cache.load(&1).unwrap(), later.run()), (1, 1), "past its mark, in the background");
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(14 * SECOND);
    assert_eq!((cache.load(&1).unwrap(), later.run()), (2, 1), "stale, while it is refreshed");
    assert_eq!(cache.load_all([&1]).pop().unwrap().unwrap(), 2);
}

/// XFetch, as a value's own policy.
#[test]
fn dice_of_its_own() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).refresh(Refresh::never()).build().unwrap();
    let often = Expiry::new().ttl(10 * SECOND).refresh(Refresh::xfetch(1e9)).cost(SECOND);
    cache.insert_with(1, 1, often);
    cache.insert_with(2, 1, often.refresh(Refresh::xfetch(0.0)));
    clock.advance(SECOND);
    assert_eq!(outcome(&cache), Outcome::Refreshed);
    clock.advance(8 * SECOND);
    assert_eq!(cache.entry(&2).get_with(|| 2).1, Outcome::Hit);
}

#[test]
fn with_a_time_to_idle_the_mark_is_the_same() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).time_to_idle(60 * SECOND).build().unwrap();
    cache.insert_with(1, 1, terms());
    clock.advance(4 * SECOND);
    assert_eq!(outcome(&cache), Outcome::Hit);
    clock.advance(SECOND);
    assert_eq!(outcome(&cache), Outcome::Refreshed);
}

/// A lead goes by what a load costs: as told, or else as the key's last load took, or else as loads take.
#[test]
fn the_cost() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).time_to_live(60 * SECOND).build().unwrap();
    let led = Expiry::new().ttl(10 * SECOND).refresh(Refresh::lead(1.0));
    let first_refresh = |key: Key, expiry: Expiry| {
        cache.insert_with(key, 1, expiry);
        let began = clock.now_in_seconds();
        while cache.entry(&key).get_with(|| 2).1 == Outcome::Hit {
            clock.advance(SECOND);
        }
        clock.now_in_seconds() - began
    };
    let load = |key: Key| cache.get_with(&key, || (clock.advance(Duration::from_millis(3_500)), 1).1);
    load(1);
    assert_eq!(first_refresh(1, led), 7, "the key's last load");
    assert_eq!(first_refresh(2, led), 7, "loads of this cache");
    load(3);
    assert_eq!(first_refresh(3, led.cost(2 * SECOND)), 8);
    // A lease whose value comes from elsewhere.
    assert!(lead_of(&cache, 4).fulfil_with(1, led.cost(3 * SECOND)).is_ok());
    clock.advance(6 * SECOND);
    assert_eq!(cache.entry(&4).get_with(|| 2).1, Outcome::Hit);
    clock.advance(SECOND);
    assert_eq!(cache.entry(&4).get_with(|| 2).1, Outcome::Refreshed);
}

fn lead_of(cache: &TestCache, key: Key) -> bellwether::Lease<'_, Key, u64> {
    match cache.lease(&key) {
        Lookup::Lead(lease) => lease,
        _ => panic!("nobody else loads it"),
    }
}

trait Seconds {
    fn now_in_seconds(&self) -> u64;
}

impl Seconds for ManualClock {
    fn now_in_seconds(&self) -> u64 {
        bellwether::Clock::now(self) / 1_000_000_000
    }
}

/// The age counts as time that has passed, whether or not the cache is as old as that.
#[test]
fn the_age() {
    for cache_is_old in [true, false] {
        let aged = |age: Duration, then: Duration| {
            let (builder, clock) = timed();
            let cache: TestCache = builder.max_capacity(9).refresh(Refresh::never()).build().unwrap();
            if cache_is_old {
                clock.advance(1000 * SECOND);
            }
            let kept = cache.try_insert_with(1, 1, terms().age(age));
            clock.advance(then);
            (cache, kept)
        };
        let (cache, _) = aged(4 * SECOND, SECOND - Duration::from_micros(1));
        assert_eq!(outcome(&cache), Outcome::Hit);
        let (cache, _) = aged(4 * SECOND, SECOND);
        assert_eq!(outcome(&cache), Outcome::Refreshed);
        let (cache, _) = aged(4 * SECOND, 6 * SECOND);
        assert_eq!(cache.get(&1), None);
        // Over when it came, and still to be served.
        let (cache, kept) = aged(12 * SECOND, SECOND);
        assert_eq!((kept.is_ok(), cache.get(&1)), (true, None));
        assert_eq!(while_refreshed(&cache), (Some(Outcome::Stale), 0));
        let (cache, _) = aged(12 * SECOND, 4 * SECOND);
        assert_eq!(while_refreshed(&cache), (Some(Outcome::Stale), 1));
        let failing = |cache: &TestCache| cache.try_get_with(&1, || Err::<u64, _>(Broken("down")));
        let (cache, _) = aged(12 * SECOND, 17 * SECOND);
        assert!(failing(&cache).is_ok());
        let (cache, _) = aged(12 * SECOND, 18 * SECOND);
        assert!(failing(&cache).is_err());
        // Nobody could be served it.
        let (cache, kept) = aged(30 * SECOND, Duration::ZERO);
        assert_eq!(kept.unwrap_err().cause(), RejectionCause::ZeroTimeToLive);
        assert!(cache.is_empty());
    }
}

/// Who waits for a load gets its value, though that is over already.
#[test]
fn a_value_that_is_over_goes_to_all_who_wait() {
    let (builder, _clock) = timed();
    let cache: TestCache = builder.max_capacity(9).build().unwrap();
    for age in [12 * SECOND, 100 * SECOND] {
        cache.invalidate(&1);
        let lease = lead(&cache);
        let mut waiter = Task::new(cache.try_get_with_async(&1, || async { Err(Broken("it waits")) }));
        assert!(waiter.poll().is_none());
        let stored = lease.fulfil_with(5, terms().age(age)).is_ok();
        assert_eq!((waiter.finish_when_woken().unwrap(), stored), (5, age == 12 * SECOND));
    }
}

/// With jitter, by the rule of each kind of time to live.
#[test]
fn jitter() {
    let lives = |expiry: Expiry| {
        let (builder, clock) = timed();
        let cache: Cache<Key, u64> = builder.max_capacity(2000).ttl_jitter(0.5).build().unwrap();
        (0..1000).for_each(|key| cache.insert_with(key, 1, expiry.stale_if_error(SECOND)));
        clock.advance(9 * SECOND);
        (0..1000).filter(|key| cache.contains_key(key)).count()
    };
    assert_eq!(lives(Expiry::new().exact_ttl(10 * SECOND)), 1000);
    assert!((100..400).contains(&lives(Expiry::new().ttl(10 * SECOND))));
}

#[test]
#[should_panic(expected = "out of its bounds")]
fn a_policy_out_of_its_bounds() {
    let _ = Expiry::new().refresh(Refresh::at(1.5));
}

/// An age from before the cache, over a value whose load was measured.
#[test]
fn an_age_beyond_the_caches_own_over_another_value() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).time_to_live(7200 * SECOND).build().unwrap();
    cache.get_with(&1, || (clock.advance(SECOND), 1).1);
    cache.insert_with(1, 2, Expiry::new().age(3600 * SECOND));
    assert!(cache.get_stale(&1, SECOND).unwrap().1.since_made >= 3600 * SECOND);
    let within = cache.entry(&1).max_age(60 * SECOND).get_with(|| 3);
    assert_eq!((*within.0, within.1), (3, Outcome::Computed), "an hour old, not a second");
}

#[test]
fn its_parts_are_what_was_given() {
    let parts = terms().age(SECOND).cost(2 * SECOND).from_tier().parts();
    assert_eq!((parts.ttl, parts.is_exact, parts.age), (Some(10 * SECOND), false, SECOND));
    assert_eq!((parts.stale_while_refresh, parts.stale_if_error), (Some(5 * SECOND), Some(20 * SECOND)));
    assert_eq!((parts.refresh, parts.cost, parts.from_tier), (Some(Refresh::at(0.5)), Some(2 * SECOND), true));
    assert_eq!(Expiry::new().exact_ttl(Duration::MAX).parts().ttl, Some(Duration::MAX));
    let none = Expiry::new().parts();
    assert_eq!((none.ttl, none.is_exact, none.refresh, none.from_tier), (None, false, None, false));
    assert_eq!((none.stale_while_refresh, none.stale_if_error, none.cost), (None, None, None));
}
