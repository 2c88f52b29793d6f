//! How long a caller waits: `wait_timeout`, `soft_timeout` and `hard_timeout`, per cache and per call. The clock is a manual
//! one, so what ends a wait, and when, is exact.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{BuildError, Builder, Cache, Clock, Entry, LoadError, ManualClock, Outcome};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

type Told = Result<(u64, Outcome), LoadError<Broken>>;
type Found<'c> = (Entry<'c, Key, u64>, Outcome);
type Request<'c> = bellwether::Request<'c, 'c, Key, u64, bellwether::DefaultHashBuilder, Key>;
type Set = fn(Request<'_>) -> Request<'_>;

fn told(found: Result<Found<'_>, LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, outcome))
}

/// A caller of key 1 who would load 77, with settings of its own, polled once.
fn caller<'t>(cache: &'t TestCache, set: impl FnOnce(Request<'t>) -> Request<'t>) -> Task<'t, Told> {
    let request = set(cache.entry(&1));
    let mut task = Task::new(async move { told(request.try_get_with_async(|| async { Ok(77) }).await) });
    task.step();
    task
}

fn timed_out(told: Told) -> bool {
    matches!(told, Err(LoadError::TimedOut))
}

/// A cache whose key 1 held the value 1 until now, and whose callers take that for ten seconds more.
fn with_old(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(10 * SECOND);
    let cache: TestCache = set(builder).build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    (cache, clock)
}

/// That this caller waits until this time to the nanosecond.
fn waits_for(clock: &ManualClock, mut task: Task<'_, Told>, time: Duration) -> Told {
    clock.advance(time - NANO);
    assert!(!task.woken());
    task.step();
    clock.advance(NANO);
    assert!(task.woken(), "by the timer");
    task.finish()
}

#[test]
fn the_shorter_of_wait_and_hard_ends_a_wait() {
    let cases: [(u64, u64, u64); 4] = [(2, 3, 2), (3, 2, 2), (2, u64::MAX, 2), (u64::MAX, 2, 2)];
    for (wait, hard, end) in cases {
        let (wait, hard) = (Duration::from_secs(wait), Duration::from_secs(hard));
        let (builder, clock) = timed();
        let cache: TestCache = builder.wait_timeout(wait).hard_timeout(hard).build().unwrap();
        let lease = lead(&cache);
        let task = caller(&cache, |request| request);
        assert!(timed_out(waits_for(&clock, task, Duration::from_secs(end))), "{wait:?}, {hard:?}");
        // The same of one call, whatever the cache was built with.
        let (builder, clock) = timed();
        let cache_of_calls: TestCache = builder.wait_timeout(SECOND).hard_timeout(SECOND).build().unwrap();
        let other = lead(&cache_of_calls);
        let task = caller(&cache_of_calls, |request| request.wait_timeout(wait).hard_timeout(hard));
        assert!(timed_out(waits_for(&clock, task, Duration::from_secs(end))), "{wait:?}, {hard:?} of the call");
        // The load goes on.
        assert_eq!((*lease.fulfil(5).unwrap(), *other.fulfil(6).unwrap()), (5, 6));
        assert_eq!((cache.get(&1), cache_of_calls.get(&1)), (Some(5), Some(6)));
    }
}

#[test]
fn a_leader_sees_its_own_load_through() {
    let (builder, clock) = timed();
    let builder = builder.wait_timeout(SECOND).soft_timeout(SECOND).hard_timeout(SECOND).stale_if_error(SECOND);
    let cache: TestCache = builder.build().unwrap();
    let slow = || (clock.advance(10 * SECOND), Ok::<_, Broken>(1)).1;
    assert_eq!(cache.try_get_with(&1, slow).unwrap(), 1);
    let mut task = task(&cache, 2, &value(2), 1);
    task.step();
    clock.advance(10 * SECOND);
    assert_eq!((task.finish().value(), cache.stats().wait_timeouts), (2, 0));
}

#[test]
fn a_soft_deadline_is_for_those_who_have_an_old_value() {
    let (cache, clock) = with_old(|b| b.soft_timeout(SECOND).hard_timeout(3 * SECOND));
    let lease = lead(&cache);
    let task = caller(&cache, |request| request);
    assert_eq!(waits_for(&clock, task, SECOND).unwrap(), (1, Outcome::Stale));
    assert_eq!((cache.stats().stale_serves, cache.stats().wait_timeouts, cache.get(&1)), (1, 1, None));
    // One who takes no stale value waits for the hard one; so does one for whom there is none.
    let strict = caller(&cache, |request| request.max_stale(Duration::ZERO));
    assert!(timed_out(waits_for(&clock, strict, 3 * SECOND)));
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    cache.invalidate(&1);
    let _cold = lead(&cache);
    let cold = caller(&cache, |request| request);
    assert!(timed_out(waits_for(&clock, cold, 3 * SECOND)));
}

#[test]
fn a_hard_deadline_gives_an_old_value_too() {
    let (cache, clock) = with_old(|b| b.hard_timeout(2 * SECOND));
    let _lease = lead(&cache);
    let task = caller(&cache, |request| request);
    assert_eq!(waits_for(&clock, task, 2 * SECOND).unwrap(), (1, Outcome::Stale));
    let by_wait = caller(&cache, |request| request.wait_timeout(SECOND));
    assert_eq!(waits_for(&clock, by_wait, SECOND).unwrap(), (1, Outcome::Stale));
    // Its own patience, where the cache has none left.
    clock.advance(20 * SECOND);
    let patient = told(cache.entry(&1).max_stale(100 * SECOND).try_get_with(|| Ok(77)));
    assert_eq!(patient.unwrap(), (1, Outcome::Stale), "and at once: so does the call say");
    let others = caller(&cache, |request| request);
    assert!(timed_out(waits_for(&clock, others, 2 * SECOND)));
}

#[test]
fn a_soft_deadline_past_the_old_values_time_is_none() {
    // Ten seconds of staleness, and a soft deadline that comes later.
    let (cache, clock) = with_old(|b| b.soft_timeout(12 * SECOND).hard_timeout(20 * SECOND));
    let lease = lead(&cache);
    let (mut answered, mut late) = (caller(&cache, |r| r), caller(&cache, |r| r));
    clock.advance(12 * SECOND);
    answered.step();
    late.step();
    assert_eq!(cache.stats().wait_timeouts, 0, "nothing has ended their wait");
    clock.advance(8 * SECOND);
    assert!(timed_out(late.finish()), "the hard one does");
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    assert_eq!(answered.finish().unwrap(), (2, Outcome::Coalesced));
}

#[test]
fn a_soft_deadline_does_not_end_the_wait_of_one_whose_old_value_is_removed() {
    let (cache, clock) = with_old(|b| b.soft_timeout(SECOND));
    let lease = lead(&cache);
    let mut task = caller(&cache, |request| request);
    cache.invalidate(&1);
    clock.advance(2 * SECOND);
    task.step();
    assert!(lease.fulfil(2).is_err(), "it was removed");
    assert_eq!(task.finish().unwrap(), (2, Outcome::Coalesced), "who waited gets it all the same");
}

#[test]
fn without_an_error_channel_a_deadline_gives_the_old_value_or_ones_own() {
    let (cache, clock) = with_old(|b| b.soft_timeout(SECOND).hard_timeout(2 * SECOND).bypass(true));
    let _lease = lead(&cache);
    let own = value(77);
    let mut old = task_infallibly(&cache, 1, &own, 0);
    old.step();
    clock.advance(SECOND);
    assert_eq!((old.finish().value(), own.calls()), (1, 0));
    cache.invalidate(&1);
    let _cold = lead(&cache);
    let mut alone = task_infallibly(&cache, 1, &own, 0);
    alone.step();
    clock.advance(SECOND);
    alone.step();
    clock.advance(SECOND);
    assert_eq!((alone.finish().value(), own.calls(), cache.stats().bypassed), (77, 1, 1));
    assert_eq!(cache.get(&1), None);
}

#[test]
fn a_deadline_of_zero_has_passed() {
    let (cache, _clock) = with_old(|b| b);
    let lease = lead(&cache);
    let zero = Duration::ZERO;
    let ask = |set: Set| told(set(cache.entry(&1)).try_get_with(|| Ok(77)));
    assert_eq!(ask(|r| r.soft_timeout(Duration::ZERO)).unwrap(), (1, Outcome::Stale));
    assert_eq!(ask(|r| r.hard_timeout(Duration::ZERO)).unwrap(), (1, Outcome::Stale));
    assert!(timed_out(ask(|r| r.hard_timeout(Duration::ZERO).max_stale(Duration::ZERO))));
    assert!(timed_out(ask(|r| r.wait_timeout(Duration::ZERO).max_stale(Duration::ZERO))));
    let mut task =
        Task::new(cache.entry(&1).hard_timeout(zero).max_stale(zero).try_get_with_async(|| async { Ok(77) }));
    assert!(timed_out(told(task.poll().expect("it does not wait"))));
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    // Where there is nothing to wait for there is no deadline.
    assert_eq!(ask(|r| r.hard_timeout(Duration::ZERO).soft_timeout(Duration::ZERO)).unwrap(), (2, Outcome::Hit));
    cache.invalidate(&1);
    assert_eq!(ask(|r| r.hard_timeout(Duration::ZERO)).unwrap(), (77, Outcome::Computed));
}

#[test]
fn endless_deadlines_neither_overflow_nor_set_an_alarm() {
    for endless in [Duration::MAX, Duration::from_nanos(u64::MAX)] {
        let (builder, _clock) = timed();
        let alarms = Alarms::default();
        let builder = builder.wait_timeout(endless).soft_timeout(endless).hard_timeout(endless).lead_timeout(endless);
        let cache: TestCache = builder.stale_if_error(endless).timer(alarms.clone()).build().unwrap();
        cache.insert(1, 1);
        cache.expire(&1);
        let lease = lead(&cache);
        let task = caller(&cache, |request| request.hard_timeout(endless).lead_timeout(endless));
        assert_eq!(*lease.fulfil(5).unwrap(), 5);
        assert_eq!(task.finish().unwrap(), (5, Outcome::Coalesced));
        assert_eq!(alarms.0.load(Ordering::SeqCst), 0, "its waker would be kept for ever");
    }
    // One less is a deadline; that it lies past the end of time does no harm.
    let most = Duration::from_nanos(u64::MAX - 1);
    let (cache, clock) = with_old(|b| b.wait_timeout(most).soft_timeout(most).hard_timeout(most).lead_timeout(most));
    let lease = lead(&cache);
    let mut task = caller(&cache, |request| request);
    clock.advance(1_000_000 * SECOND);
    task.step();
    assert_eq!(*lease.fulfil(5).unwrap(), 5);
    assert_eq!(task.finish().unwrap(), (5, Outcome::Coalesced));
}

#[test]
fn a_clock_that_steps_back_puts_soft_and_hard_deadlines_off() {
    let (cache, clock) = with_old(|b| b.soft_timeout(2 * SECOND));
    let _lease = lead(&cache);
    let start = clock.now();
    let mut soft = caller(&cache, |request| request);
    let mut hard = caller(&cache, |request| request.max_stale(Duration::ZERO).hard_timeout(2 * SECOND));
    clock.advance(2 * SECOND);
    clock.set(start - 1_000_000_000);
    soft.step();
    hard.step();
    clock.advance(2 * SECOND);
    soft.step();
    hard.step();
    clock.advance(SECOND);
    assert!(soft.woken() && hard.woken(), "the alarm that has gone off must be set again");
    assert_eq!(soft.finish().unwrap(), (1, Outcome::Stale));
    assert!(timed_out(hard.finish()));
}

#[test]
fn a_hard_deadline_is_one_for_the_whole_call() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.hard_timeout(2 * SECOND).build().unwrap();
    let first = lead(&cache);
    let mut task = caller(&cache, |request| request);
    clock.advance(SECOND);
    // Its flight is removed and given up; it looks again, and waits for another.
    cache.invalidate(&1);
    let _second = lead(&cache);
    drop(first);
    task.step();
    assert_eq!(cache.stats().coalesced, 2);
    clock.advance(SECOND);
    assert!(timed_out(task.finish()));
}

#[test]
fn a_value_that_is_there_beats_all_deadlines() {
    let (cache, clock) = with_old(|b| b.wait_timeout(SECOND).soft_timeout(SECOND).hard_timeout(SECOND));
    let lease = lead(&cache);
    let tasks: Vec<_> = (0..4).map(|_| caller(&cache, |request| request)).collect();
    assert_eq!(*lease.fulfil(5).unwrap(), 5);
    clock.advance(10 * SECOND);
    assert!(run(tasks).into_iter().all(|told| told.unwrap() == (5, Outcome::Coalesced)));
    assert_eq!(cache.stats().wait_timeouts, 0);
}

#[test]
fn threads_keep_the_same_deadlines() {
    let (cache, clock) = with_old(|b| b.stale_if_error(Duration::MAX));
    let cache = &cache;
    let (lease, waiting) = (lead(cache), cache.stats().coalesced);
    thread::scope(|scope| {
        let ask = |set: Set| scope.spawn(move || told(set(cache.entry(&1)).try_get_with(|| Ok(77))));
        let soft = ask(|r| r.soft_timeout(SECOND).hard_timeout(5 * SECOND));
        let hard = ask(|r| r.max_stale(Duration::ZERO).soft_timeout(SECOND).hard_timeout(5 * SECOND));
        let wait = ask(|r| r.max_stale(Duration::ZERO).wait_timeout(3 * SECOND).hard_timeout(5 * SECOND));
        let patient = ask(|r| r.max_stale(Duration::ZERO));
        waiting_for(cache, waiting + 4);
        // In small steps: when each of them began to wait is not known.
        until("three deadlines pass", || {
            clock.advance(SECOND / 10);
            cache.stats().wait_timeouts == 3
        });
        assert_eq!(soft.join().unwrap().unwrap(), (1, Outcome::Stale));
        assert!(timed_out(hard.join().unwrap()) && timed_out(wait.join().unwrap()));
        assert_eq!(*lease.fulfil(5).unwrap(), 5);
        assert_eq!(patient.join().unwrap().unwrap(), (5, Outcome::Coalesced));
    });
}

#[test]
fn each_deadline_under_a_custom_clock_needs_a_timer() {
    let build = |set: fn(Builder<Key, u64>) -> Builder<Key, u64>| {
        set(Cache::builder().max_capacity(1).clock(ManualClock::new())).build().err()
    };
    for set in [
        |b: Builder<Key, u64>| b.wait_timeout(SECOND),
        |b: Builder<Key, u64>| b.soft_timeout(SECOND).stale_if_error(SECOND),
        |b: Builder<Key, u64>| b.hard_timeout(SECOND),
        |b: Builder<Key, u64>| b.lead_timeout(SECOND),
    ] {
        assert_eq!(build(set), Some(BuildError::MissingTimer));
    }
    // What never comes needs nobody to tell of it, and what is no deadline needs no timer.
    assert_eq!(build(|b| b.hard_timeout(Duration::MAX).lead_timeout(Duration::MAX)), None);
    assert_eq!(build(|b| b.stale_if_error(SECOND).stale_while_refresh(SECOND).error_cooldown(SECOND)), None);
    assert_eq!(build(|b| b.lead_timeout(Duration::ZERO)), Some(BuildError::ZeroLeadTimeout));
}

#[test]
fn under_a_custom_clock_without_a_timer_calls_wait_by_the_systems_clock() {
    let builder = Cache::builder().max_capacity(10).clock(ManualClock::new()).stale_if_error(SECOND);
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    cache.expire(&1);
    let lease = lead(&cache);
    let milli = Duration::from_millis(5);
    let soft = cache.entry(&1).soft_timeout(milli).try_get_with(|| Ok(77));
    assert_eq!(told(soft).unwrap(), (1, Outcome::Stale));
    let hard = || cache.entry(&1).hard_timeout(milli).max_stale(Duration::ZERO);
    assert!(timed_out(told(hard().try_get_with(|| Ok(77)))));
    let task = Task::new(hard().try_get_with_async(|| async { Ok(77) }));
    assert!(timed_out(told(task.finish_when_woken())));
    let taken = cache.entry(&1).lead_timeout(milli).try_get_with(|| Ok(77));
    assert_eq!((told(taken).unwrap(), cache.stats().takeovers), ((77, Outcome::Computed), 1));
    assert!(lease.fulfil(5).is_err());
    assert_eq!(cache.get(&1), Some(77));
}
