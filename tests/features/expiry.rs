//! Expiry and early refresh, with their extremes. The clock is a manual one throughout.

use crate::common::*;
use bellwether::{BuildError, Builder, Cache, Clock, Entry, Loaded, Lookup, Ref};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn a_value_lives_for_its_time_to_the_nanosecond() {
    let (cache, clock) = ten_seconds();
    cache.insert(1, 1);
    clock.advance(10 * SECOND - Duration::from_nanos(1));
    assert_eq!((cache.get(&1), cache.contains_key(&1)), (Some(1), true));
    clock.advance(Duration::from_nanos(1));
    assert_eq!((cache.get(&1), cache.contains_key(&1)), (None, false));
    assert!(cache.get_ref(&1).is_none() && cache.get_entry(&1).is_none() && cache.peek(&1).is_none());
    assert_eq!((cache.iter().count(), cache.remove(&1)), (0, None));
}

#[test]
fn expiry_counts_from_completion_and_handles_tell_their_times() {
    let (cache, clock) = ten_seconds();
    cache.get_with(&1, || {
        clock.advance(5 * SECOND);
        1
    });
    clock.advance(4 * SECOND);
    let (by_ref, entry) = (cache.get_ref(&1).unwrap(), cache.get_entry(&1).unwrap());
    assert_eq!((Ref::age(&by_ref), Ref::expires_in(&by_ref)), (4 * SECOND, Some(6 * SECOND)));
    assert_eq!((Entry::age(&entry), Entry::expires_in(&entry)), (4 * SECOND, Some(6 * SECOND)));
    assert_eq!((*Ref::key(&by_ref), *Entry::key(&entry), Entry::weight(&entry)), (1, 1, 1));
    clock.advance(60 * SECOND);
    assert_eq!((*entry, Entry::expires_in(&entry)), (1, Some(Duration::ZERO)), "it stays readable");
}

#[test]
fn which_time_to_live_wins() {
    let (builder, clock) = timed();
    let cache: TestCache =
        builder.time_to_live(10 * SECOND).ttl_with(|&key, _| (key % 2 == 0).then_some(3 * SECOND)).build().unwrap();
    cache.insert(1, 0);
    cache.insert(2, 0);
    cache.insert_with_ttl(4, 0, 5 * SECOND);
    cache.insert_with_ttl(6, 0, Duration::MAX);
    let Lookup::Lead(lease) = cache.lease(&8) else { panic!() };
    drop(lease.fulfil_with_ttl(0, SECOND));
    let lives = |key| cache.peek(&key).map(|r| Ref::expires_in(&r));
    assert_eq!([1, 2, 4, 8].map(lives), [10, 3, 5, 1].map(|s| Some(Some(s * SECOND))));
    assert_eq!(lives(6), Some(None), "for ever");
    clock.set(u64::MAX);
    assert!(cache.contains_key(&6) && !cache.contains_key(&1));
    assert_eq!(cache.purge_expired(), 4);
    assert_eq!(cache.len(), 1);
    // Zero is handed over and not stored, and takes the old value with it.
    cache.insert_with_ttl(6, 1, Duration::ZERO);
    assert_eq!((cache.get(&6), cache.len(), cache.weight()), (None, 0, 0));
}

#[test]
fn extreme_times_to_live_do_not_overflow() {
    let extremes = [Duration::from_nanos(1), Duration::from_nanos(u64::MAX - 1), Duration::from_secs(u64::MAX)];
    for ttl in extremes {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_live(ttl).xfetch(f64::MAX).time_to_idle(ttl).build().unwrap();
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), Some(1));
        cache.get_with(&2, || {
            clock.advance(Duration::MAX);
            2
        });
        assert_eq!(cache.peek(&2).is_some(), cache.get(&2).is_some());
        cache.insert(3, 3);
        clock.advance(Duration::MAX);
        let _ = (cache.get_with(&3, || 4), cache.purge_expired());
        assert!(cache.weight() <= 100);
    }
}

#[test]
fn a_clock_that_stands_still_or_steps_back() {
    let (cache, clock) = ten_seconds();
    cache.insert(1, 1);
    for _ in 0..1000 {
        assert_eq!(cache.get(&1), Some(1), "time stands still");
    }
    clock.set(0); // Before the cache was built.
    assert_eq!(cache.get(&1), Some(1), "an entry then lives longer");
    cache.insert(2, 2);
    assert_eq!(cache.get_with(&3, || 3), 3);
    clock.set(Clock::now(&clock) + 9_000_000_000);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(2)));
    let age = Ref::age(&cache.get_ref(&2).unwrap());
    assert!(age <= 9 * SECOND);
    clock.set(u64::MAX);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    clock.set(0);
    assert_eq!(cache.purge_expired(), 0);
}

#[test]
fn idling() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.time_to_idle(5 * SECOND).time_to_live(20 * SECOND).build().unwrap();
    cache.insert(1, 1);
    cache.insert(2, 2);
    for _ in 0..4 {
        clock.advance(4 * SECOND);
        assert_eq!(cache.get(&1), Some(1), "kept alive by being read");
        assert_eq!(cache.peek(&2).is_some(), cache.contains_key(&2), "looking on does not keep alive");
    }
    assert!(!cache.contains_key(&2));
    clock.advance(4 * SECOND);
    assert_eq!(cache.get(&1), None, "20 seconds in all");
    cache.insert(3, 3);
    clock.advance(5 * SECOND - Duration::from_nanos(1));
    assert!(cache.contains_key(&3));
    clock.advance(Duration::from_nanos(1));
    assert!(!cache.contains_key(&3), "exactly five seconds");
}

#[test]
fn an_endless_time_to_idle_does_not_hide_the_time_to_live() {
    for idle in [Duration::from_nanos(u64::MAX - 1), Duration::from_nanos(u64::MAX), Duration::MAX] {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_idle(idle).time_to_live(SECOND).build().unwrap();
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), Some(1));
        clock.advance(SECOND);
        assert_eq!(cache.get(&1), None, "{idle:?}");
    }
}

#[test]
fn early_refresh_depends_on_beta_and_on_the_load_time() {
    for (beta, load, early) in [(0.0, 1000, false), (1e9, 0, false), (1e9, 1000, true)] {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_live(3600 * SECOND).xfetch(beta).build().unwrap();
        cache.get_with(&1, || {
            clock.advance(Duration::from_millis(load));
            1
        });
        assert_eq!(matches!(cache.lease(&1), Lookup::Refresh(..)), early, "beta {beta}, load {load} ms");
        assert_eq!(cache.get(&1), Some(1), "a plain read never rolls");
    }
    // An inserted value takes as long as the key's last load, or as it is told; one without a time to live is never
    // refreshed.
    let (cache, _clock) = due_for_early_refresh();
    cache.insert(1, 5);
    assert!(matches!(cache.lease(&1), Lookup::Refresh(e, _) if *e == 5));
    cache.insert_with_cost(1, 6, Duration::ZERO);
    assert!(matches!(cache.lease(&1), Lookup::Hit(e) if *e == 6));
    let (builder, clock) = timed();
    let eternal: TestCache = builder.xfetch(1e9).build().unwrap();
    eternal.get_with(&1, || (clock.advance(SECOND), 1).1);
    assert!(matches!(eternal.lease(&1), Lookup::Hit(_)));
}

#[test]
fn a_seed_makes_the_dice_repeatable() {
    let run = |seed| -> Vec<u32> {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_live(100 * SECOND).xfetch(1.0).seed(seed).build().unwrap();
        (0..20)
            .map(|_| {
                cache.invalidate(&1);
                cache.get_with(&1, || (clock.advance(10 * SECOND), 1).1);
                (0..100).take_while(|_| (clock.advance(SECOND), matches!(cache.lease(&1), Lookup::Hit(_))).1).count()
                    as u32
            })
            .collect()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(3).iter().any(|&at| at < 99), "and some refreshes are early");
}

#[test]
fn jitter_spreads_and_only_shortens() {
    let (builder, _clock) = timed();
    let cache: TestCache = builder.time_to_live(10 * SECOND).ttl_jitter(0.5).build().unwrap();
    let lives: Vec<_> =
        (0..50).map(|key| (cache.insert(key, 0), Ref::expires_in(&cache.get_ref(&key).unwrap()).unwrap()).1).collect();
    assert!(lives.iter().all(|&t| t >= 5 * SECOND && t <= 10 * SECOND));
    assert!(lives.iter().max().unwrap().saturating_sub(*lives.iter().min().unwrap()) > 2 * SECOND);
    cache.insert_with_ttl(99, 0, 7 * SECOND);
    assert_eq!(Ref::expires_in(&cache.get_ref(&99).unwrap()), Some(7 * SECOND), "an explicit one is left alone");
}

#[test]
fn renewing_keeps_the_old_value_and_answers_those_who_wait() {
    let (cache, clock) = ten_seconds();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    let entry = lease.renew().expect("there is an old value");
    assert_eq!((*entry, Entry::expires_in(&entry)), (1, Some(10 * SECOND)));
    assert!(matches!(waiter.wait(), bellwether::Waited::Ready(e) if *e == 1));
    assert_eq!((cache.get(&1), cache.len(), cache.weight()), (Some(1), 1, 1));
    nothing_in_flight(&cache, 1);
    // Nothing to renew: the flight is given up.
    let Lookup::Lead(lease) = cache.lease(&2) else { panic!() };
    assert!(lease.renew().is_none());
    nothing_in_flight(&cache, 2);
}

#[test]
fn bad_settings_are_refused_with_words() {
    let base = || Cache::<Key, u64>::builder().max_capacity(10);
    let refused = [
        (Cache::<Key, u64>::builder(), BuildError::MissingCapacity),
        (base().xfetch(-1.0), BuildError::Beta(-1.0)),
        (base().xfetch(f64::INFINITY), BuildError::Beta(f64::INFINITY)),
        (base().ttl_jitter(1.0), BuildError::Jitter(1.0)),
        (base().ttl_jitter(-0.1), BuildError::Jitter(-0.1)),
        (base().shards(0), BuildError::Shards(0)),
        (base().shards(1025), BuildError::Shards(1025)),
        (base().time_to_idle(Duration::ZERO), BuildError::ZeroTimeToIdle),
        (base().clock(bellwether::ManualClock::new()).wait_timeout(SECOND), BuildError::MissingTimer),
        (base().max_loads(0), BuildError::ZeroMaxLoads),
    ];
    for (builder, why) in refused {
        let error = builder.build().expect_err("refused");
        assert_eq!(error, why);
        assert!(!error.to_string().is_empty());
    }
    assert!(matches!(base().xfetch(f64::NAN).build(), Err(BuildError::Beta(b)) if b.is_nan()));
    assert!(matches!(base().ttl_jitter(f64::NAN).build(), Err(BuildError::Jitter(j)) if j.is_nan()));
}

/// A clock that stands still, and counts how often it is asked for the precise time.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicU64>);

impl Clock for Asked {
    fn now(&self) -> u64 {
        0
    }
    fn precise(&self) -> u64 {
        self.0.fetch_add(1, Relaxed);
        0
    }
}

#[test]
fn a_load_is_timed_where_its_value_may_expire() {
    let asked = Asked::default();
    let reads = |load: &dyn Fn()| {
        let before = asked.0.load(Relaxed);
        load();
        asked.0.load(Relaxed) - before
    };
    let of = |set: fn(Builder<Key, u64>) -> Builder<Key, u64>| {
        set(Cache::builder().max_capacity(10).clock(asked.clone())).build().unwrap()
    };
    let plain: TestCache = of(|b| b);
    let timed: TestCache = of(|b| b.time_to_live(10 * SECOND));
    let idle: TestCache = of(|b| b.time_to_idle(10 * SECOND));
    for (cache, expected) in [(&plain, 0), (&timed, 2), (&idle, 2)] {
        assert_eq!(reads(&|| assert_eq!(cache.get_with(&1, || 1), 1)), expected);
        assert_eq!(reads(&|| assert_eq!(cache.try_get_with(&2, || Ok::<_, Broken>(2)).unwrap(), 2)), expected);
    }
    // What its loader, or whoever has its lease, may give a time to live.
    let minute = || Ok::<_, Broken>(Loaded::NewFor(3, 60 * SECOND));
    assert_eq!(reads(&|| drop(plain.entry(&3).revalidate_with(|_| minute()).unwrap())), 2);
    assert_eq!(reads(&|| assert_eq!(*plain.entry(&4).ttl(SECOND).get_with(|| 4).0, 4)), 2);
    let fulfil = || {
        if let Lookup::Lead(lease) = plain.lease(&5) {
            drop(lease.fulfil_with_ttl(5, SECOND))
        }
    };
    assert_eq!(reads(&fulfil), 2);
}

#[test]
fn a_time_to_live_of_its_own_is_refreshed_early_in_a_cache_that_has_none() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.xfetch(1e6).build().unwrap();
    let slow = |_: Option<Entry<'_, Key, u64>>| {
        clock.advance(SECOND);
        Ok::<_, Broken>(Loaded::NewFor(1, 10 * SECOND))
    };
    drop(cache.entry(&1).revalidate_with(slow).unwrap());
    assert!(
        matches!(cache.lease(&1), Lookup::Refresh(..)),
        "its load has taken a second, a million of which are past its end"
    );
}
