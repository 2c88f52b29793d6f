//! Old values in place of errors: `stale_if_error`, `error_cooldown`, `max_stale`.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Builder, Entry, Lease, LoadError, ManualClock, Outcome, RemovalCause};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

type Told = Result<(u64, Outcome), LoadError<Broken>>;

fn told(found: Result<(Entry<'_, Key, u64>, Outcome), LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, outcome))
}

/// A cache whose key 1 held the value 1 until now: ten seconds of life, ten more in place of an error, three of cooldown.
fn over_now(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(10 * SECOND);
    let cache: TestCache = set(builder.error_cooldown(3 * SECOND)).build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    (cache, clock)
}

fn failing() -> Loader {
    Loader::new(End::Fail("no"))
}

/// A caller of key 1 as a thread, and as a task by turns.
fn ask_by_turns(cache: &TestCache, n: usize, loader: &Loader) -> Told {
    if n % 2 == 0 {
        told(cache.entry(&1).try_get_with(|| loader.run()))
    } else {
        told(Task::new(cache.entry(&1).try_get_with_async(|| async { loader.run() })).finish())
    }
}

#[test]
fn a_failing_refresh_leaves_the_old_value_in_service() {
    let (cache, clock) = over_now(|b| b);
    let loader = failing();
    let mut leader = task(&cache, 1, &loader, 1);
    leader.step();
    let request = || cache.entry(&1).try_get_with_async(|| async { loader.run() });
    let mut waiters: Vec<_> = (0..4).map(|_| Task::new(request())).collect();
    waiters.iter_mut().for_each(Task::step);
    assert_eq!(leader.finish().value(), 1, "the leader gets it");
    assert!(run(waiters).into_iter().all(|w| told(w).unwrap() == (1, Outcome::Stale)), "so do those who wait");
    assert_eq!((loader.calls(), cache.stats().stale_serves, cache.stats().load_failures), (1, 5, 1));
    // And whoever comes: the loader is not called before the cooldown is over.
    for n in 0..4 {
        assert_eq!(ask_by_turns(&cache, n, &loader).unwrap(), (1, Outcome::Stale));
        assert_eq!((cache.get(&1), cache.contains_key(&1), cache.is_loading(&1)), (None, false, false));
    }
    assert_eq!(cache.get_with(&1, || unreachable!()), 1);
    clock.advance(3 * SECOND - NANO);
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (1, Outcome::Stale));
    assert_eq!((loader.calls(), cache.get(&1)), (1, None));
    clock.advance(NANO);
    assert_eq!(ask_by_turns(&cache, 1, &loader).unwrap(), (1, Outcome::Stale));
    assert_eq!(loader.calls(), 2, "now it is");
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (1, Outcome::Stale));
    assert_eq!(loader.calls(), 2, "and it cools down again");
    clock.advance(3 * SECOND);
    assert_eq!(ask_by_turns(&cache, 0, &value(2)).unwrap(), (2, Outcome::Computed));
    assert_eq!((cache.get(&1), cache.len()), (Some(2), 1));
    cache.validate().unwrap();
}

#[test]
fn past_its_window_an_error_is_an_error() {
    let (cache, clock) = over_now(|b| b);
    let loader = failing();
    clock.advance(10 * SECOND - NANO);
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (1, Outcome::Stale));
    clock.advance(NANO);
    // The cooldown would last, but there is nothing to serve.
    for n in 0..3 {
        let error = ask_by_turns(&cache, n, &loader).unwrap_err();
        assert!(matches!(error, LoadError::Load(error) if error.0 == "no"));
    }
    assert_eq!(loader.calls(), 4);
    // Those who waited get it, too, if the window ends while they do.
    let lease = lead(&cache);
    let mut waiter = task(&cache, 1, &loader, 0);
    waiter.step();
    lease.fail_with(Broken("late"));
    assert_eq!(waiter.finish().load_error().0, "late");
    assert_eq!(ask_by_turns(&cache, 0, &value(2)).unwrap(), (2, Outcome::Computed));
}

#[test]
fn without_an_error_channel_the_old_value_is_given_as_well() {
    let (cache, clock) = over_now(|b| b);
    let lease = lead(&cache);
    let own = value(7);
    let mut waiter = task_infallibly(&cache, 1, &own, 0);
    waiter.step();
    lease.fail_with(Broken("no"));
    assert_eq!((waiter.finish().value(), own.calls()), (1, 0));
    clock.advance(10 * SECOND);
    let lease = lead(&cache);
    let mut waiter = task_infallibly(&cache, 1, &own, 0);
    waiter.step();
    lease.fail_with(Broken("no"));
    assert_eq!((waiter.finish().value(), own.calls()), (7, 1), "it takes the load on: there is no old value for it");
    assert_eq!(cache.get(&1), Some(7));
}

#[test]
fn what_is_removed_during_a_failing_refresh_is_not_served_again() {
    type Remove = fn(&TestCache);
    let removals: [Remove; 5] = [
        |c| assert!(!c.invalidate(&1), "it was over"),
        |c| assert_eq!(c.remove(&1), None),
        |c| c.invalidate_all(),
        |c| c.retain(|_, _| false),
        |c| c.insert_with_ttl(1, 9, Duration::ZERO),
    ];
    for remove in removals {
        let (cache, _clock) = over_now(|b| b);
        let loader = failing();
        let mut leader = task(&cache, 1, &loader, 1);
        leader.step();
        let mut waiter = task(&cache, 1, &loader, 0);
        waiter.step();
        remove(&cache);
        assert_eq!(leader.finish().load_error().0, "no");
        assert_eq!(waiter.finish().load_error().0, "no");
        assert_eq!((cache.get(&1), cache.len()), (None, 0));
        assert_eq!(cache.get_with(&1, || 2), 2, "nor later");
        // The same during the cooldown.
        let (cache, _clock) = over_now(|b| b);
        assert_eq!(cache.try_get_with(&1, || loader.run()).unwrap(), 1);
        remove(&cache);
        assert!(cache.try_get_with(&1, || loader.run()).is_err());
        cache.validate().unwrap();
    }
}

#[test]
fn an_insertion_ends_the_cooldown() {
    let (cache, clock) = over_now(|b| b);
    assert_eq!(cache.try_get_with(&1, || failing().run()).unwrap(), 1);
    cache.insert(1, 2);
    assert_eq!((cache.get(&1), cache.get_with(&1, || 3)), (Some(2), 2));
    clock.advance(10 * SECOND);
    let loader = value(4);
    assert_eq!((cache.get_with(&1, || loader.run().unwrap()), loader.calls()), (4, 1));
}

#[test]
fn soft_expiry_then_a_failing_load() {
    let (builder, clock) = timed();
    // No time to live at all: only `expire` ends it.
    let cache: TestCache = builder.stale_if_error(10 * SECOND).error_cooldown(3 * SECOND).build().unwrap();
    cache.insert(1, 1);
    clock.advance(1000 * SECOND);
    assert!(cache.expire(&1));
    let loader = failing();
    for n in 0..3 {
        assert_eq!(ask_by_turns(&cache, n, &loader).unwrap(), (1, Outcome::Stale));
    }
    assert_eq!((loader.calls(), cache.get(&1), cache.purge_expired()), (1, None, 0));
    clock.advance(3 * SECOND);
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (1, Outcome::Stale));
    assert_eq!(loader.calls(), 2);
    clock.advance(7 * SECOND);
    assert!(ask_by_turns(&cache, 0, &loader).is_err(), "ten seconds since `expire`");
    assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
}

#[test]
fn a_panic_cools_down_too() {
    let (cache, clock) = over_now(|b| b);
    quietly(|| {
        let panics = || cache.get_with(&1, || panic!("a loader panics, as it was told to"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    });
    let loader = value(2);
    assert_eq!((ask_by_turns(&cache, 0, &loader).unwrap(), loader.calls()), ((1, Outcome::Stale), 0));
    clock.advance(3 * SECOND);
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (2, Outcome::Computed));
}

#[test]
fn a_refresh_that_is_given_up_does_not_cool_down() {
    let (cache, _clock) = over_now(|b| b);
    drop(lead(&cache));
    let mut cancelled = task(&cache, 1, &value(2), 1);
    cancelled.step();
    drop(cancelled);
    let loader = value(3);
    assert_eq!((cache.get_with(&1, || loader.run().unwrap()), loader.calls()), (3, 1));
}

#[test]
fn no_cooldown_and_an_endless_one() {
    let (cache, _clock) = over_now(|b| b.error_cooldown(Duration::ZERO));
    let loader = failing();
    (0..3).for_each(|n| assert_eq!(ask_by_turns(&cache, n, &loader).unwrap(), (1, Outcome::Stale)));
    assert_eq!(loader.calls(), 3);
    let (cache, clock) = over_now(|b| b.error_cooldown(Duration::MAX));
    let loader = failing();
    for n in 0..10 {
        assert_eq!(ask_by_turns(&cache, n, &loader).unwrap(), (1, Outcome::Stale));
        clock.advance(SECOND);
    }
    assert_eq!(loader.calls(), 1);
    assert!(ask_by_turns(&cache, 0, &loader).is_err(), "its window ends all the same");
}

#[test]
fn one_calls_patience_is_its_own() {
    let (cache, clock) = over_now(|b| b);
    let loader = failing();
    let strict = |loader: &Loader| told(cache.entry(&1).max_stale(Duration::ZERO).try_get_with(|| loader.run()));
    assert!(strict(&loader).is_err());
    // During the cooldown others are served, and it loads.
    assert_eq!(ask_by_turns(&cache, 0, &loader).unwrap(), (1, Outcome::Stale));
    assert!(strict(&loader).is_err());
    assert_eq!(loader.calls(), 2);
    // While somebody refreshes, it waits; a patient one does not, though the cache knows no `stale_while_refresh`.
    let lease = lead_past_the_cooldown(&cache, &clock);
    let request = cache.entry(&1).max_stale(Duration::ZERO);
    let mut waiter = Task::new(request.try_get_with_async(|| async { loader.run() }));
    waiter.step();
    let patient = cache.entry(&1).max_stale(6 * SECOND);
    assert_eq!(told(patient.try_get_with(|| loader.run())).unwrap(), (1, Outcome::Stale));
    lease.fail_with(Broken("no"));
    assert!(matches!(told(waiter.finish()), Err(LoadError::Load(_))));
    // Longer than the cache's own window.
    clock.advance(20 * SECOND);
    let patient = |stale| told(cache.entry(&1).max_stale(stale).try_get_with(|| loader.run()));
    assert!(patient(25 * SECOND).is_err(), "25 seconds over");
    assert_eq!(patient(25 * SECOND + NANO).unwrap(), (1, Outcome::Stale));
    assert_eq!(patient(Duration::MAX).unwrap(), (1, Outcome::Stale));
    // Kept is it for no longer than the cache says.
    assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
    assert!(patient(Duration::MAX).is_err());
}

/// Five seconds after the value was over.
fn lead_past_the_cooldown<'c>(cache: &'c TestCache, clock: &ManualClock) -> Lease<'c, Key, u64> {
    clock.advance(5 * SECOND);
    lead(cache)
}

#[test]
fn with_a_time_to_idle_nothing_is_stale() {
    let (builder, clock) = timed();
    let builder = builder.time_to_idle(10 * SECOND);
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let loader = failing();
    for calls in 1..3 {
        assert!(ask_by_turns(&cache, calls, &loader).is_err());
        assert_eq!(loader.calls(), calls, "the next reader may try again");
    }
    assert!(told(cache.entry(&1).max_stale(Duration::MAX).try_get_with(|| loader.run())).is_err());
    assert_eq!((cache.purge_expired(), cache.len()), (1, 0));
}

#[test]
fn what_may_still_be_served_is_kept_and_tells_the_listener_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let tell = move |key: &Key, value: &u64, cause| listener.lock().unwrap().push((*key, *value, cause));
    let (cache, clock) = over_now(|b| b.stale_while_refresh(5 * SECOND).eviction_listener(tell));
    assert_eq!(cache.try_get_with(&1, || failing().run()).unwrap(), 1);
    clock.advance(10 * SECOND - NANO);
    assert_eq!((cache.purge_expired(), cache.len(), cache.weight()), (0, 1, 1));
    clock.advance(NANO);
    assert_eq!((cache.purge_expired(), cache.len(), cache.weight()), (1, 0, 0));
    assert_eq!(*told.lock().unwrap(), [(1, 1, RemovalCause::Expired)]);
}

#[test]
fn threads_that_wait_get_the_old_value_of_a_failing_refresh() {
    let (cache, _clock) = over_now(|b| b);
    let (loader, gate) = Loader::gated(End::Fail("no"));
    thread::scope(|scope| {
        let (leader, waiters) = flight(scope, &cache, 1, &loader, 6, &failing());
        let infallible = ask_infallibly(scope, &cache, 1, &value(7));
        waiting_for(&cache, 7);
        gate.open();
        let answers = waiters.into_iter().chain([leader, infallible]).map(Caller::answer);
        assert!(answers.map(|answer| answer.value()).all(|value| value == 1));
    });
    assert_eq!((loader.calls(), cache.stats().loads, cache.stats().stale_serves), (1, 1, 8));
    nothing_in_flight_but_old(&cache);
}

/// `nothing_in_flight`, where a value that is over is kept.
fn nothing_in_flight_but_old(cache: &TestCache) {
    assert!(!cache.is_loading(&1));
    assert_eq!((cache.len(), cache.get(&1)), (1, None));
    cache.validate().unwrap();
}

#[test]
fn an_early_refresh_that_fails_knows_no_staleness() {
    let (cache, clock) = due_for_early_refresh();
    clock.advance(SECOND);
    let loader = failing();
    let strict = cache.entry(&1).max_stale(Duration::ZERO).try_get_with(|| loader.run());
    assert_eq!(told(strict).unwrap(), (1, Outcome::Stale), "the value is good");
    assert_eq!((cache.get(&1), ask_by_turns(&cache, 0, &loader).unwrap()), (Some(1), (1, Outcome::Hit)));
    assert_eq!(loader.calls(), 1, "no dice are rolled before the cooldown is over");
    clock.advance(SECOND);
    assert_eq!((ask_by_turns(&cache, 0, &loader).unwrap(), loader.calls()), ((1, Outcome::Stale), 2));
}

/// Threads by the hundred over a source that is down: the loader is called once a cooldown, and everybody gets the old value.
#[test]
fn no_error_storm_while_the_source_is_down() {
    let (cache, clock) = over_now(|b| b);
    let loader = failing();
    for round in 1..4 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..200 {
                        assert_eq!(ask_by_turns(&cache, 2 * n, &loader).unwrap(), (1, Outcome::Stale));
                        assert_eq!(cache.get(&1), None);
                    }
                });
            }
        });
        assert_eq!(loader.calls(), round);
        clock.advance(3 * SECOND);
    }
    nothing_in_flight_but_old(&cache);
}
