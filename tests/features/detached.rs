//! Loads in the background: they outlive their callers, and a caller who need not wait does not.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Builder, Entry, LoadError, ManualClock, Outcome, Task as Load};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

type Shared = Arc<TestCache>;
type Found = (Entry<'static, Key, u64>, Outcome);
type Told = Result<(u64, Outcome), LoadError<Broken>>;

fn told(found: Result<Found, LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, outcome))
}

/// A cache whose loads wait until they are told to run.
fn later(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (Shared, ManualClock, Later) {
    let (builder, clock) = timed();
    let later = Later::default();
    (Arc::new(set(builder.spawner(later.spawner())).build().unwrap()), clock, later)
}

/// The same, whose key 1 holds 1 and is over now, for ten seconds of staleness.
fn with_old(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (Shared, ManualClock, Later) {
    let (cache, clock, later) = later(|b| set(b.time_to_live(10 * SECOND).xfetch(0.0)));
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    (cache, clock, later)
}

/// A caller of key 1 as a task, polled once, that ends at once if it may.
fn caller(cache: &Shared, loader: &Loader) -> Result<Told, Task<'static, Told>> {
    let (cache, loader) = (cache.clone(), loader.clone());
    let mut task =
        Task::new(async move { told(cache.detached(&1).try_get_with_async(move || slowly(loader, 1)).await) });
    task.poll().ok_or(task)
}

fn waits(cache: &Shared, loader: &Loader) -> Task<'static, Told> {
    caller(cache, loader).expect_err("it waits")
}

#[test]
fn a_load_survives_the_cancellation_of_all_who_want_it() {
    let (cache, _clock, later) = later(|b| b);
    let loader = value(5);
    let callers: Vec<_> = (0..5).map(|_| waits(&cache, &loader)).collect();
    drop(callers);
    assert!(cache.is_loading(&1));
    assert_eq!(loader.calls(), 0, "it has not even begun");
    assert_eq!((later.run(), cache.get(&1), loader.calls()), (1, Some(5), 1));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.handovers, stats.coalesced), (1, 0, 4));
    nothing_in_flight(&cache, 1);
}

#[test]
fn callers_share_a_load_in_the_background() {
    let (cache, _clock, later) = later(|b| b);
    let (first, others) = (value(5), value(6));
    let leader = waits(&cache, &first);
    let detached = waits(&cache, &others);
    let plain = waiting(&cache, 2, &others);
    later.run();
    assert_eq!(leader.finish().unwrap(), (5, Outcome::Computed));
    assert_eq!(detached.finish().unwrap(), (5, Outcome::Coalesced));
    assert!(run(plain).iter().all(|answer| answer.value() == 5));
    assert_eq!(
        (first.calls(), others.calls(), caller(&cache, &others).ok().unwrap().unwrap()),
        (1, 0, (5, Outcome::Hit))
    );
}

#[test]
fn nobody_pays_for_an_early_refresh() {
    let (cache, clock, later) = later(|b| b.time_to_live(10 * SECOND).xfetch(1e9));
    cache.get_with(&1, || (clock.advance(SECOND), 1).1);
    let loader = value(2);
    assert_eq!(caller(&cache, &loader).ok().unwrap().unwrap(), (1, Outcome::Hit));
    assert_eq!((cache.is_loading(&1), cache.get(&1), cache.stats().early_refreshes), (true, Some(1), 1));
    assert_eq!(told(cache.detached(&1).try_get_with(|| Ok(3))).unwrap(), (1, Outcome::Hit), "a thread as well");
    assert_eq!((later.run(), cache.get(&1), loader.calls()), (1, Some(2), 1));
}

#[test]
fn nobody_waits_while_a_stale_value_may_be_served() {
    let (cache, _clock, later) = with_old(|b| b.stale_while_refresh(10 * SECOND));
    let loader = value(2);
    assert_eq!(caller(&cache, &loader).ok().unwrap().unwrap(), (1, Outcome::Stale));
    assert_eq!(told(cache.detached(&1).try_get_with(|| Ok(3))).unwrap(), (1, Outcome::Stale));
    assert_eq!((cache.get(&1), cache.stats().stale_serves), (None, 2));
    assert_eq!((later.run(), cache.get(&1)), (1, Some(2)));
    // By one call's own patience.
    let (cache, _clock, later) = with_old(|b| b);
    let patient = cache.detached(&1).max_stale(SECOND).try_get_with(|| Ok::<_, Broken>(2));
    assert_eq!(told(patient).unwrap(), (1, Outcome::Stale));
    assert_eq!((later.run(), cache.get(&1)), (1, Some(2)));
}

#[test]
fn a_caller_who_is_not_polled_stalls_nobody() {
    let (cache, _clock, later) = later(|b| b);
    let leader = waits(&cache, &value(5));
    let waiters = waiting(&cache, 3, &value(6));
    later.run();
    assert!(run(waiters).iter().all(|answer| answer.value() == 5), "though the leader was polled once");
    assert_eq!(leader.finish().unwrap(), (5, Outcome::Computed));
}

/// FusionCache's test of its soft timeout: a slow factory, and a stale value.
#[test]
fn a_soft_timeout_below_the_time_of_the_load() {
    let (cache, clock, later) = with_old(|b| b.stale_if_error(10 * SECOND).soft_timeout(SECOND));
    let (loader, mut callers) = (value(2), Vec::new());
    for _ in 0..10 {
        callers.push(waits(&cache, &loader));
        // And ten who would load themselves.
        let (cache, loader) = (cache.clone(), loader.clone());
        let plain = async move {
            let found = cache.entry(&1).try_get_with_async(|| slowly(loader, 1)).await;
            found.map(|(entry, outcome)| (*entry, outcome))
        };
        let mut plain = Task::new(plain);
        plain.step();
        callers.push(plain);
    }
    clock.advance(SECOND - NANO);
    assert!(callers.iter().all(|caller| !caller.woken()));
    clock.advance(NANO);
    assert!(run(callers).into_iter().all(|told| told.unwrap() == (1, Outcome::Stale)));
    assert_eq!((cache.stats().loads, cache.stats().stale_serves, cache.get(&1)), (1, 20, None));
    assert_eq!((later.run(), loader.calls(), cache.get(&1)), (1, 1, Some(2)), "the load goes on");
}

#[test]
fn a_hard_timeout_and_the_load_goes_on() {
    let (cache, clock, later) = later(|b| b.hard_timeout(2 * SECOND).wait_timeout(SECOND));
    let loader = value(5);
    let (own, others) = (waits(&cache, &loader), waits(&cache, &loader));
    clock.advance(SECOND);
    assert!(!own.woken(), "`wait_timeout` is for the loads of others");
    assert!(matches!(others.finish(), Err(LoadError::TimedOut)));
    clock.advance(SECOND);
    assert!(matches!(own.finish(), Err(LoadError::TimedOut)));
    assert_eq!((later.run(), cache.get(&1), loader.calls()), (1, Some(5), 1));
    // As a thread.
    let request = cache.detached(&2).hard_timeout(Duration::ZERO);
    assert!(matches!(told(request.try_get_with(|| Ok(6))), Err(LoadError::TimedOut)));
    assert_eq!((later.run(), cache.get(&2)), (1, Some(6)));
}

#[test]
fn without_an_error_channel_there_is_only_the_load_to_wait_for() {
    let (cache, clock, later) = with_old(|b| b.stale_if_error(10 * SECOND).hard_timeout(SECOND));
    let infallible = |key: Key, value| {
        let cache = cache.clone();
        let mut task = Task::new(async move {
            let (entry, outcome) = cache.detached(&key).get_with_async(move || async move { value }).await;
            (*entry, outcome)
        });
        task.step();
        task
    };
    let (old, mut cold) = (infallible(1, 2), infallible(2, 3));
    clock.advance(SECOND);
    assert_eq!(old.finish(), (1, Outcome::Stale));
    cold.step();
    assert_eq!((later.run(), cold.finish()), (2, (3, Outcome::Computed)));
    assert_eq!((cache.get(&1), cache.stats().bypassed), (Some(2), 0));
}

#[test]
fn a_failing_load_is_all_the_waiters() {
    let (cache, clock, later) = with_old(|b| b.stale_if_error(5 * SECOND));
    let loader = Loader::new(End::Fail("no"));
    let callers: Vec<_> = (0..3).map(|_| waits(&cache, &loader)).collect();
    later.run();
    assert!(run(callers).into_iter().all(|told| told.unwrap() == (1, Outcome::Stale)));
    assert_eq!(caller(&cache, &loader).ok().unwrap().unwrap(), (1, Outcome::Stale), "it cools down");
    clock.advance(5 * SECOND);
    let callers: Vec<_> = (0..3).map(|_| waits(&cache, &loader)).collect();
    later.run();
    let failed = |told: Told| matches!(told, Err(LoadError::Load(error)) if error.0 == "no");
    assert!(run(callers).into_iter().all(failed));
    assert_eq!(loader.calls(), 2);
}

/// A load is lost: who was to load is told so, unless the other, who takes over, is faster.
fn lost(cache: &Shared, loader: &Loader, lose: impl Fn()) {
    for leader_first in [true, false] {
        let (leader, others) = (waits(cache, loader), value(6));
        let request = cache.entry(&1).try_get_with_async(|| slowly(others.clone(), 1));
        let mut waiter = Task::new(async move { request.await.map(|(entry, _)| (*entry, Outcome::Computed)) });
        waiter.step();
        quietly(&lose);
        let mut told = run(if leader_first { vec![leader, waiter] } else { vec![waiter, leader] });
        if leader_first {
            assert!(matches!(told.remove(0), Err(LoadError::Panicked(_) | LoadError::NotRun)));
        }
        assert!(told.into_iter().all(|told| told.unwrap().0 == 6));
        assert_eq!((others.calls(), cache.get(&1)), (1, Some(6)));
        nothing_in_flight(cache, 1);
        cache.invalidate(&1);
    }
}

#[test]
fn a_load_that_panics_or_is_dropped_is_lost() {
    let (cache, _clock, later) = later(|b| b);
    let panics = || {
        for load in std::mem::take(&mut *later.0.lock().unwrap()) {
            assert!(catch_unwind(AssertUnwindSafe(|| Task::new(load).finish())).is_err());
        }
    };
    lost(&cache, &Loader::new(End::Panic), panics);
    assert_eq!(cache.stats().load_failures, 2);
    lost(&cache, &value(5), || later.0.lock().unwrap().clear());
    // Begun, and then dropped.
    lost(&cache, &value(5), || Task::new(later.0.lock().unwrap().pop().unwrap()).step());
    assert_eq!(cache.stats().load_failures, 2);
}

#[test]
fn nobody_is_left_waiting_for_a_load_that_is_lost() {
    for kind in 0..3 {
        let (builder, _clock) = timed();
        let spawner = move |load: Load| match kind {
            0 => drop(load),
            1 => panic!("a spawner panics, as it was told to"),
            _ => drop(catch_unwind(AssertUnwindSafe(|| Task::new(load).finish()))),
        };
        let cache: Shared = Arc::new(builder.spawner(spawner).build().unwrap());
        let panic = || -> u64 { panic!("a load panics, as it was told to") };
        quietly(|| {
            let told = catch_unwind(AssertUnwindSafe(|| {
                told(cache.detached(&1).try_get_with(move || if kind == 2 { Ok(panic()) } else { Ok(5) }))
            }));
            let right = match (kind, told) {
                (0, Ok(Err(LoadError::NotRun))) | (1, Err(_)) => true,
                (2, Ok(Err(LoadError::Panicked(text)))) => &*text == "a load panics, as it was told to",
                _ => false,
            };
            assert!(right, "{kind}");
            let infallible = catch_unwind(AssertUnwindSafe(|| *cache.detached(&1).get_with(panic).0));
            assert!(infallible.is_err(), "there is no other way to say so");
        });
        nothing_in_flight(&cache, 1);
        assert_eq!(cache.get_with(&1, || 7), 7);
        cache.validate().unwrap();
    }
}
