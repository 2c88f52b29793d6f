//! Refresh ahead of expiry with a fixed mark: one reader past it refreshes, in every way to call.

use crate::common::tasks::{Later, Task};
use crate::common::*;
use bellwether::{BuildError, Builder, Cache, Load, LoadAsync, ManualClock, Outcome, Refresh};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A cache whose key 1 was loaded within a second: at 1 s by the clock, to expire at 11 s.
fn loaded(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let cache: TestCache = set(builder.max_capacity(9).time_to_live(10 * SECOND)).build().unwrap();
    cache.get_with(&1, || (clock.advance(SECOND), 1).1);
    (cache, clock)
}

/// How a read-through at this time goes: by a thread and, in a second cache, by a task.
fn outcome_at(second: u32, set: impl Fn(Builder<Key, u64>) -> Builder<Key, u64>) -> Outcome {
    let (cache, clock) = loaded(&set);
    clock.advance(second * SECOND - SECOND);
    let (_, thread) = cache.entry(&1).get_with(|| 2);
    let (cache, clock) = loaded(&set);
    clock.advance(second * SECOND - SECOND);
    let (_, task) = Task::new(cache.entry(&1).get_with_async(|| async { 2 })).finish();
    assert_eq!(thread, task);
    thread
}

#[test]
fn each_policy_has_its_mark() {
    for (policy, mark) in [
        (Refresh::at(0.5), 6),
        (Refresh::after(5 * SECOND), 6),
        (Refresh::lead(5.0), 6),
        (Refresh::lead(5.0).not_before(0.8), 9),
        (Refresh::at(0.5).not_before(0.2), 6),
        (Refresh::lead(0.1).not_after(0.5), 6),
        (Refresh::xfetch(1e9).not_before(0.8), 9),
    ] {
        let set = |builder: Builder<Key, u64>| builder.refresh(policy);
        assert_eq!(outcome_at(mark - 1, set), Outcome::Hit, "{policy:?}");
        assert_eq!(outcome_at(mark, set), Outcome::Refreshed, "{policy:?}");
        assert_eq!(outcome_at(10, set), Outcome::Refreshed, "{policy:?}");
        assert_eq!(outcome_at(11, set), Outcome::Computed, "{policy:?}");
    }
    assert_eq!(outcome_at(10, |b| b.refresh(Refresh::never())), Outcome::Hit);
}

#[test]
fn short_forms_are_the_policies() {
    assert_eq!(outcome_at(5, |b| b.refresh_at(0.5)), Outcome::Hit);
    assert_eq!(outcome_at(6, |b| b.refresh_at(0.5)), Outcome::Refreshed);
    assert_eq!(outcome_at(6, |b| b.refresh_after(5 * SECOND)), Outcome::Refreshed);
    assert_eq!(outcome_at(6, |b| b.refresh_lead(5.0)), Outcome::Refreshed);
    assert_eq!(outcome_at(10, |b| b.refresh_at(0.1).xfetch(0.0)), Outcome::Hit, "the last one counts");
}

/// A value that took `load` to load, read `at` after it was stored, by a thread of a cache without settings of its own
/// for refresh ahead.
fn by_default(load: Duration, at: Duration) -> Outcome {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).time_to_live(100 * SECOND).build().unwrap();
    cache.get_with(&1, || (clock.advance(load), 1).1);
    clock.advance(at);
    cache.entry(&1).get_with(|| 2).1
}

#[test]
fn by_default_the_mark_is_three_loads_before_the_expiry_within_bounds() {
    assert_eq!((outcome_at(7, |b| b), outcome_at(8, |b| b)), (Outcome::Hit, Outcome::Refreshed));
    for (load, mark) in [(10 * SECOND, 70), (17 * SECOND, 50), (60 * SECOND, 50), (Duration::from_micros(1), 93)] {
        assert_eq!(by_default(load, (mark - 1) * SECOND), Outcome::Hit, "{load:?}");
        assert_eq!(by_default(load, mark * SECOND), Outcome::Refreshed, "{load:?}");
    }
    assert_eq!(by_default(Duration::ZERO, 99 * SECOND), Outcome::Hit, "how long a load takes is not known");
}

#[test]
fn by_default_an_inserted_value_has_a_mark_once_the_cost_of_a_load_is_known() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).time_to_live(100 * SECOND).build().unwrap();
    let refreshed_at = |second: u32, insert: &dyn Fn()| {
        insert();
        clock.advance(second * SECOND);
        cache.entry(&1).get_with(|| 2).1 == Outcome::Refreshed
    };
    assert!(!refreshed_at(99, &|| cache.insert(1, 1)), "no load was measured yet");
    assert!(!refreshed_at(92, &|| cache.insert_with_cost(1, 1, SECOND)));
    assert!(refreshed_at(93, &|| cache.insert_with_cost(1, 1, SECOND)));
    cache.get_with(&2, || (clock.advance(10 * SECOND), 2).1);
    cache.invalidate(&1);
    assert!(!refreshed_at(69, &|| cache.insert(1, 1)));
    // (δ as the entry has it is rounded down, by 1.6 % at most.)
    assert!(refreshed_at(71, &|| cache.insert(1, 1)), "as loads of this cache usually take");
    assert!(
        !refreshed_at(99, &|| cache.insert_with_cost(1, 1, Duration::ZERO)),
        "the caller says that it costs nothing"
    );
}

#[test]
fn by_default_a_cache_with_its_loader_refreshes_in_the_background() {
    let (builder, clock) = timed();
    let later = Later::default();
    let builder = builder.max_capacity(9).time_to_live(100 * SECOND).spawner(later.spawner());
    let cache = builder.loader(CountAsync(Count(AtomicU64::new(0)))).build().unwrap();
    cache.insert_with_cost(1, 100, SECOND);
    let read = || Task::new(cache.load_async(&1)).finish_when_woken().unwrap();
    clock.advance(92 * SECOND);
    assert_eq!((read(), later.run()), (100, 0));
    clock.advance(SECOND);
    assert_eq!((read(), read(), later.run(), cache.get(&1)), (100, 100, 1, Some(0)));
}

/// Tags and a time to idle keep the hit from going by its quiet time alone.
#[test]
fn the_mark_is_the_same_with_tags_and_with_a_time_to_idle() {
    for policy in [Refresh::at(0.5), Refresh::after(5 * SECOND), Refresh::lead(5.0)] {
        let tagged = |b: Builder<Key, u64>| b.refresh(policy).tags_with(|_, _, tags| tags.add("all"));
        let idle = |b: Builder<Key, u64>| b.refresh(policy).time_to_idle(60 * SECOND);
        assert_eq!((outcome_at(5, tagged), outcome_at(6, tagged)), (Outcome::Hit, Outcome::Refreshed), "{policy:?}");
        // (With a time to idle a lead goes by δ as the entry has it: rounded down by 1.6 % at most.)
        let mark = if policy == Refresh::lead(5.0) { 7 } else { 6 };
        assert_eq!((outcome_at(5, idle), outcome_at(mark, idle)), (Outcome::Hit, Outcome::Refreshed), "{policy:?}");
    }
}

#[test]
fn the_mark_moves_with_each_refresh_and_each_insert() {
    let (cache, clock) = loaded(|b| b.refresh_at(0.5));
    clock.advance(5 * SECOND);
    assert_eq!(cache.entry(&1).get_with(|| 2).1, Outcome::Refreshed);
    clock.advance(4 * SECOND);
    assert_eq!(cache.entry(&1).get_with(|| 3).1, Outcome::Hit);
    cache.insert(1, 4);
    clock.advance(4 * SECOND);
    assert_eq!(cache.entry(&1).get_with(|| 5).1, Outcome::Hit);
    clock.advance(SECOND);
    assert_eq!(cache.entry(&1).get_with(|| 5).1, Outcome::Refreshed, "an inserted value has a mark, too");
    assert_eq!(cache.stats().early_refreshes, 2);
}

#[test]
fn an_entry_that_never_expires_is_refreshed_by_its_age() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(9).refresh_after(5 * SECOND).build().unwrap();
    cache.insert(1, 1);
    for round in 2..6 {
        clock.advance(5 * SECOND - Duration::from_micros(1));
        assert_eq!(cache.entry(&1).get_with(|| round).1, Outcome::Hit);
        clock.advance(Duration::from_micros(1));
        assert_eq!(cache.entry(&1).get_with(|| round).1, Outcome::Refreshed);
        assert_eq!(cache.get(&1), Some(round));
    }
}

#[test]
fn a_refresh_that_fails_is_tried_again_after_the_cooldown() {
    let (cache, clock) = loaded(|b| b.refresh_at(0.2).error_cooldown(2 * SECOND));
    clock.advance(2 * SECOND);
    let calls = AtomicUsize::new(0);
    let fail = || cache.try_get_with(&1, || Err::<u64, _>((calls.fetch_add(1, SeqCst), Broken("down")).1));
    for (at, expected) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)] {
        assert_eq!(fail().unwrap(), 1, "the value is still good");
        assert_eq!(calls.load(SeqCst), expected, "{at} s past the mark");
        clock.advance(SECOND);
    }
}

#[test]
fn in_the_background_no_caller_waits() {
    let later = Later::default();
    let (cache, clock) = loaded(|b| b.refresh_at(0.5).spawner(later.spawner()));
    let cache = Arc::new(cache);
    clock.advance(5 * SECOND);
    for _ in 0..3 {
        let (entry, outcome) = cache.detached(&1).get_with(|| 2);
        assert_eq!((*entry, outcome), (1, Outcome::Hit));
    }
    assert_eq!((later.run(), cache.get(&1), cache.stats().early_refreshes), (1, Some(2), 1));
}

struct Count(AtomicU64);

impl Load<Key, u64> for Count {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        Ok(self.0.fetch_add(1, SeqCst))
    }
}

struct CountAsync(Count);

impl LoadAsync<Key, u64> for CountAsync {
    type Error = Broken;
    async fn load(&self, key: &Key) -> Result<u64, Broken> {
        Load::load(&self.0, key)
    }
}

#[test]
fn a_cache_with_its_loader_refreshes_past_the_mark() {
    let (builder, clock) = timed();
    let cache = builder.max_capacity(9).time_to_live(10 * SECOND).refresh_at(0.5).loader(Count(AtomicU64::new(0)));
    let cache = cache.build().unwrap();
    assert_eq!(cache.load(&1).unwrap(), 0);
    clock.advance(5 * SECOND - Duration::from_micros(1));
    assert_eq!(cache.load(&1).unwrap(), 0);
    clock.advance(Duration::from_micros(1));
    assert_eq!(cache.load_all([&1]).pop().unwrap().unwrap(), 0, "the old one, at once");
    until("it is refreshed in the background", || cache.get(&1) == Some(1));

    let (builder, clock) = timed();
    let later = Later::default();
    let builder = builder.max_capacity(9).time_to_live(10 * SECOND).refresh_at(0.5).spawner(later.spawner());
    let cache = builder.loader(CountAsync(Count(AtomicU64::new(0)))).build().unwrap();
    cache.insert(1, 100);
    clock.advance(5 * SECOND);
    assert_eq!(Task::new(cache.load_async(&1)).finish_when_woken().unwrap(), 100, "the old one, at once");
    assert_eq!(later.run(), 1);
    assert_eq!(cache.get(&1), Some(0));
}

#[test]
fn numbers_out_of_their_bounds_are_refused() {
    let built = |refresh: Refresh| Cache::<u32, u32>::builder().max_capacity(9).refresh(refresh).build().err();
    for wrong in [Refresh::lead(-1.0), Refresh::at(1.5), Refresh::at(-0.5), Refresh::lead(1.0).not_before(2.0)] {
        assert_eq!(built(wrong), Some(BuildError::Refresh(wrong)));
        assert!(built(wrong).unwrap().to_string().contains("0.0..=1.0"));
    }
    assert!(matches!(built(Refresh::lead(f64::NAN)), Some(BuildError::Refresh(_))));
    assert_eq!(built(Refresh::xfetch(-1.0)), Some(BuildError::Beta(-1.0)));
    assert_eq!(built(Refresh::after(Duration::ZERO)), None);
}
