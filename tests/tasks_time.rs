//! Deadlines of tasks, and the default timer.
mod common;

use bellwether::{BuildError, Cache, Clock, CoarseClock, LoadError, Lookup, ManualClock, ThreadTimer, Timer};
use common::tasks::*;
use common::*;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A cache whose callers wait for two seconds at most.
fn two_seconds() -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    (builder.wait_timeout(2 * SECOND).bypass(true).build().unwrap(), clock)
}

#[test]
fn a_deadline_ends_a_wait_and_the_load_goes_on() {
    let (cache, clock) = two_seconds();
    let (loader, own) = (value(4), value(77));
    let mut leader = task(&cache, 1, &loader, 1);
    leader.step();
    let mut strict = task(&cache, 1, &own, 0);
    let mut lenient = task_infallibly(&cache, 1, &own, 0);
    strict.step();
    lenient.step();
    clock.advance(2 * SECOND - Duration::from_nanos(1));
    assert!(!strict.woken() && !lenient.woken());
    strict.step();
    clock.advance(Duration::from_nanos(1));
    assert!(strict.woken() && lenient.woken(), "by the timer");
    assert!(matches!(strict.finish(), Answer::Error(LoadError::TimedOut)));
    assert_eq!((own.calls(), cache.stats().bypassed), (0, 0));
    assert_eq!(lenient.finish().value(), 77, "without an error channel it runs its own loader");
    assert_eq!((cache.get(&1), cache.stats().wait_timeouts, cache.stats().bypassed), (None, 2, 1));
    assert_eq!(leader.finish().value(), 4);
    assert_eq!((cache.get(&1), loader.calls()), (Some(4), 1), "what was loaded alone is not stored");
    nothing_in_flight(&cache, 1);
}

#[test]
fn one_deadline_for_the_whole_call() {
    let (cache, clock) = two_seconds();
    let mut leader = task(&cache, 1, &value(4), 1);
    leader.step();
    let mut waiter = task(&cache, 1, &value(5), 1);
    waiter.step();
    clock.advance(SECOND);
    // Its flight is removed and given up; it looks again, and waits for another.
    cache.invalidate(&1);
    let mut second = task(&cache, 1, &value(6), 1);
    second.step();
    drop(leader);
    waiter.step();
    assert_eq!(cache.stats().coalesced, 2);
    clock.advance(SECOND);
    assert!(matches!(waiter.finish(), Answer::Error(LoadError::TimedOut)));
    assert_eq!(second.finish().value(), 6);
}

#[test]
fn an_answer_that_is_there_beats_the_deadline() {
    let (cache, clock) = two_seconds();
    let mut leader = task(&cache, 1, &value(4), 1);
    leader.step();
    let waiters = waiting(&cache, 4, &value(5));
    leader.finish();
    clock.advance(10 * SECOND);
    assert!(run(waiters).iter().all(|w| w.value() == 4));
    assert_eq!(cache.stats().wait_timeouts, 0);
}

#[test]
fn the_last_of_an_abandoned_flight_to_time_out_leaves_nothing() {
    let (cache, clock) = two_seconds();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let waiters = waiting(&cache, 2, &value(5));
    clock.advance(2 * SECOND);
    drop(lease);
    // Given up before they looked: one of them takes it on all the same, or it ends.
    assert!(run(waiters).iter().all(|w| w.value() == 5));
    assert_eq!(cache.get(&1), Some(5));
    nothing_in_flight(&cache, 1);
}

#[test]
fn the_last_waker_is_woken_by_the_timer() {
    let (cache, clock) = two_seconds();
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let wakes: [Arc<Wakes>; 3] = Default::default();
    let mut migrant = task(&cache, 1, &value(2), 1);
    wakes.iter().for_each(|w| assert!(migrant.poll_by(&Waker::from(w.clone())).is_none()));
    clock.advance(2 * SECOND);
    assert!(wakes[2].count() > 0);
    assert!(matches!(migrant.poll(), Some(Answer::Error(LoadError::TimedOut))));
}

#[test]
fn a_wait_without_end_sets_no_alarm() {
    let (builder, _) = timed();
    let alarms = Alarms::default();
    let cache: TestCache = builder.wait_timeout(Duration::MAX).timer(alarms.clone()).build().unwrap();
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let waiters = waiting(&cache, 2, &value(2));
    leader.finish();
    run(waiters);
    assert_eq!(alarms.0.load(Ordering::SeqCst), 0, "its waker would be kept for ever");
}

#[test]
fn a_clock_that_steps_back_puts_a_deadline_off() {
    let (cache, clock) = two_seconds();
    let start = clock.now();
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let mut waiter = task(&cache, 1, &value(2), 1);
    waiter.step();
    clock.advance(2 * SECOND);
    clock.set(start);
    assert!(waiter.woken());
    waiter.step();
    clock.advance(2 * SECOND);
    assert!(waiter.woken(), "the alarm that has gone off must be set again");
    assert!(matches!(waiter.finish(), Answer::Error(LoadError::TimedOut)));
}

#[test]
fn deadlines_under_a_custom_clock_need_a_timer() {
    let refused = Cache::<Key, u64>::builder().max_capacity(1).clock(ManualClock::new()).wait_timeout(SECOND).build();
    assert_eq!(refused.err(), Some(BuildError::MissingTimer));
}

#[test]
fn by_the_default_clock_a_load_without_end_holds_nobody_up() {
    let cache: TestCache =
        Cache::builder().max_capacity(10).wait_timeout(Duration::from_millis(5)).bypass(true).build().unwrap();
    let mut leader = Task::new(cache.get_with_async(&1, pending));
    leader.step();
    let strict = Task::new(cache.try_get_with_async(&1, async || Ok::<_, Broken>(2)));
    assert!(matches!(strict.finish_when_woken(), Err(LoadError::TimedOut)));
    let lenient = Task::new(cache.get_with_async(&1, async || 3));
    assert_eq!(lenient.finish_when_woken(), 3);
    assert_eq!((cache.stats().wait_timeouts, cache.stats().bypassed), (2, 1));
    assert!(cache.is_loading(&1));
    drop(leader);
    nothing_in_flight(&cache, 1);
}

/// Asks for the key as it is dropped.
struct Asks<'c>(&'c TestCache, &'c Mutex<Option<Result<u64, LoadError<Broken>>>>);

impl Drop for Asks<'_> {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = Some(self.0.try_get_with(&1, || Ok(2)));
    }
}

#[test]
fn a_loader_that_asks_for_its_key_as_it_is_dropped_is_told_so() {
    // The deadline only keeps the test from hanging.
    let cache: TestCache = Cache::builder().max_capacity(10).wait_timeout(Duration::from_millis(5)).build().unwrap();
    let told = Mutex::new(None);
    let mut leader = Task::new(cache.get_with_async(&1, async || {
        let _asks = Asks(&cache, &told);
        pending().await
    }));
    leader.step();
    drop(leader);
    let told = told.lock().unwrap().take();
    assert!(matches!(told, Some(Err(LoadError::Reentrant))), "{told:?}");
    nothing_in_flight(&cache, 1);
}

/// Notes when it was woken, by the clock of the timer.
struct Noted {
    due: u64,
    fired: Mutex<Vec<u64>>,
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.fired.lock().unwrap().push(CoarseClock::new().now());
    }
}

#[test]
fn alarms_go_off_once_each_and_none_before_its_time() {
    let (clock, timer) = (CoarseClock::new(), ThreadTimer::new());
    let now = clock.now();
    // 200 alarms over 40 ms, out of order, some of them over already, and one that is never due.
    let alarms: Vec<_> = (0..200)
        .map(|n| {
            Arc::new(Noted { due: (now + (n * 77 % 200) * 200_000).saturating_sub(2_000_000), fired: Mutex::default() })
        })
        .collect();
    let never = Arc::new(Noted { due: u64::MAX, fired: Mutex::default() });
    timer.wake_at(never.due, Waker::from(never.clone()));
    std::thread::scope(|scope| {
        for half in alarms.chunks(100) {
            scope.spawn(move || half.iter().for_each(|a| timer.wake_at(a.due, Waker::from(a.clone()))));
        }
    });
    until("all alarms go off", || alarms.iter().all(|a| !a.fired.lock().unwrap().is_empty()));
    for alarm in &alarms {
        let fired = alarm.fired.lock().unwrap();
        assert!(fired.len() == 1 && fired[0] >= alarm.due, "{fired:?} for {}", alarm.due);
    }
    assert!(never.fired.lock().unwrap().is_empty());
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics, as it was told to")
    }
}

/// Sets another alarm as it goes off.
struct Again(AtomicU64);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        if self.0.fetch_add(1, Ordering::SeqCst) < 3 {
            ThreadTimer::new().wake_at(CoarseClock::new().now(), Waker::from(self));
        }
    }
}

#[test]
fn a_waker_that_panics_or_sets_an_alarm_does_not_end_the_timer() {
    let timer = ThreadTimer::new();
    let now = CoarseClock::new().now();
    quietly(|| {
        let (last, again) = (Arc::new(Wakes::default()), Arc::new(Again(AtomicU64::new(0))));
        for n in 0..5 {
            timer.wake_at(now + n * 1_000_000, Waker::from(Arc::new(Panics)));
        }
        timer.wake_at(now, Waker::from(again.clone()));
        timer.wake_at(now + 8_000_000, Waker::from(last.clone()));
        until("the last alarm goes off", || last.count() == 1);
        until("so do those that were set by others", || again.0.load(Ordering::SeqCst) == 4);
    });
}
