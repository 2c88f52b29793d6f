//! `lead_timeout`: a leader that hangs is replaced, by one of those who wait, and what it still comes to is its own.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, Entry, Lease, Lookup, ManualClock, Waited, Waiter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

fn waiter(cache: &TestCache) -> Waiter<'_, Key, u64> {
    match cache.lease(&1) {
        Lookup::Wait(waiter) => waiter,
        other => panic!("{other:?}"),
    }
}

/// A waiter that takes the lead as it is polled.
fn takes_over<'c>(task: Task<'_, Waited<'c, Key, u64>>) -> Lease<'c, Key, u64> {
    match task.finish() {
        Waited::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// Leaders that hang, each in its way.
enum Hung<'c> {
    Held(Lease<'c, Key, u64>),
    Forgotten,
    Unpolled(Task<'c, Answer>),
}

impl<'c> Hung<'c> {
    fn all() -> [fn(&'c TestCache) -> Self; 3] {
        [
            |cache| Self::Held(lead(cache)),
            |cache| {
                std::mem::forget(lead(cache));
                Self::Forgotten
            },
            |cache| {
                let mut task = task(cache, 1, &value(4), 1);
                task.step();
                Self::Unpolled(task)
            },
        ]
    }

    /// It comes back to life, late, with the value 4: for itself alone.
    fn revives(self) {
        match self {
            Self::Held(lease) => {
                let own = lease.fulfil(4).unwrap_err();
                assert_eq!((*own, *Entry::key(&own), Entry::weight(&own)), (4, 1, 0));
            }
            Self::Forgotten => {}
            Self::Unpolled(task) => assert_eq!(task.finish().value(), 4),
        }
    }
}

#[test]
fn one_of_the_tasks_that_wait_takes_over_from_a_leader_that_hangs() {
    for kind in 0..3 {
        let (cache, clock) = three_seconds(|b| b);
        let hung = Hung::all()[kind](&cache);
        let loader = value(5);
        let mut waiters = waiting(&cache, 6, &loader);
        clock.advance(3 * SECOND - NANO);
        assert!(waiters.iter().all(|waiter| !waiter.woken()));
        waiters.iter_mut().for_each(Task::step);
        clock.advance(NANO);
        assert!(waiters.iter().all(Task::woken), "by the timer");
        assert!(run(waiters).iter().all(|answer| answer.value() == 5));
        let stats = cache.stats();
        assert_eq!((loader.calls(), stats.takeovers, stats.handovers, stats.loads), (1, 1, 0, 2));
        hung.revives();
        assert_eq!((cache.get(&1), cache.len(), cache.stats().takeovers), (Some(5), 1, 1));
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}

#[test]
fn one_of_the_threads_that_wait_takes_over_from_a_leader_that_hangs() {
    for kind in 0..3 {
        let (cache, clock) = three_seconds(|b| b);
        let hung = Hung::all()[kind](&cache);
        let (loader, gate) = Loader::gated(End::Value(5));
        thread::scope(|scope| {
            let either = |n: u32| {
                if n % 2 == 0 { ask(scope, &cache, 1, &loader) } else { ask_infallibly(scope, &cache, 1, &loader) }
            };
            let threads: Vec<_> = (0..6).map(either).collect();
            waiting_for(&cache, 6);
            clock.advance(3 * SECOND - NANO);
            assert_eq!(loader.calls(), 0);
            clock.advance(NANO);
            loader.begun(1);
            hung.revives();
            assert_eq!((cache.get(&1), cache.is_loading(&1)), (None, true));
            gate.open();
            assert!(threads.into_iter().all(|thread| thread.answer().value() == 5));
        });
        assert_eq!((loader.calls(), cache.stats().takeovers, cache.get(&1)), (1, 1, Some(5)));
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}

type Late = fn(Lease<'_, Key, u64>);

/// What a leader may do with its lease when that is another's.
const LATE: [(&str, Late); 7] = [
    ("fulfil", |lease| {
        let own = lease.fulfil(4).unwrap_err();
        assert_eq!((*own, *Entry::key(&own), Entry::weight(&own)), (4, 1, 0));
        let copy = own.clone();
        drop(own);
        assert_eq!((*copy, *Entry::key(&copy)), (4, 1));
    }),
    ("fulfil_with_ttl", |lease| assert_eq!(*lease.fulfil_with_ttl(4, Duration::MAX).unwrap_err(), 4)),
    ("fail", |lease| lease.fail()),
    ("fail_with", |lease| lease.fail_with("late")),
    ("renew", |lease| drop(lease.renew())),
    ("drop", |lease| drop(lease)),
    ("panic", |lease| {
        let panics = catch_unwind(AssertUnwindSafe(|| {
            let _lease = lease;
            panic!("a leader panics, as it was told to")
        }));
        assert!(panics.is_err());
    }),
];

#[test]
fn whatever_a_fenced_leader_does_late_changes_nothing() {
    for (what, late) in LATE {
        for after in [false, true] {
            let (cache, clock) = three_seconds(|b| b.time_to_live(10 * SECOND).xfetch(0.0));
            let hung = lead(&cache);
            let mut taker = task(&cache, 1, &value(5), 2);
            taker.step();
            clock.advance(3 * SECOND);
            // It leads; another, a task and a thread, waits for it.
            taker.step();
            let mut other = task(&cache, 1, &value(6), 0);
            other.step();
            if after {
                assert_eq!(taker.finish().value(), 5);
                quietly(|| late(hung));
            } else {
                quietly(|| late(hung));
                assert!(cache.is_loading(&1) && !other.woken(), "{what}");
                assert_eq!(taker.finish().value(), 5);
            }
            assert_eq!((other.finish().value(), cache.get(&1)), (5, Some(5)), "{what}, after: {after}");
            clock.advance(10 * SECOND - NANO);
            assert_eq!((cache.get(&1), cache.len(), cache.weight()), (Some(5), 1, 1), "{what}, after: {after}");
            clock.advance(NANO);
            assert_eq!((cache.get(&1), cache.purge_expired(), cache.len()), (None, 1, 0), "{what}, after: {after}");
            nothing_in_flight(&cache, 1);
            cache.validate().unwrap();
        }
    }
}

#[test]
fn a_fenced_refresher_does_not_touch_the_old_value() {
    for (what, late) in LATE {
        let (cache, clock) =
            three_seconds(|b| b.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(100 * SECOND).seed(1));
        cache.insert(1, 1);
        clock.advance(10 * SECOND);
        let (hung, taker) = (lead(&cache), Task::new(waiter(&cache)));
        clock.advance(3 * SECOND);
        let lease = takes_over(taker);
        quietly(|| late(hung));
        assert_eq!((lease.stale(), cache.get(&1)), (Some(&1), None), "{what}");
        // The old value is not cooling down: whoever comes when this one has given up, loads.
        drop(lease);
        assert_eq!(cache.get_with(&1, || 2), 2, "{what}");
        assert_eq!(cache.get(&1), Some(2), "{what}");
        cache.validate().unwrap();
    }
}

#[test]
fn a_fenced_refresher_does_not_touch_a_value_that_was_renewed() {
    for (what, late) in LATE {
        let (cache, clock) = three_seconds(|b| b.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(100 * SECOND));
        cache.insert(1, 1);
        clock.advance(10 * SECOND);
        let (hung, taker) = (lead(&cache), Task::new(waiter(&cache)));
        clock.advance(3 * SECOND);
        assert_eq!(*takes_over(taker).renew().unwrap(), 1);
        clock.advance(10 * SECOND - NANO);
        assert_eq!(cache.get(&1), Some(1), "{what}");
        clock.advance(NANO);
        quietly(|| late(hung));
        assert_eq!(cache.get(&1), None, "{what}");
        assert_eq!(cache.get_with(&1, || 2), 2, "{what}: no refresh of its has failed");
    }
}

#[test]
fn what_fenced_leaders_leave_behind_is_dropped_once() {
    type Counted = Cache<Member<u32>, Member<u32>>;
    let (keys, values) = (Census::default(), Census::default());
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(10).clock(clock.clone()).timer(clock.clone());
    let cache: Counted = builder.lead_timeout(SECOND).build().unwrap();
    let key = keys.member(1);
    let mut kept = Vec::new();
    let mut hung = Vec::new();
    for round in 0..4 {
        match cache.lease(&key) {
            Lookup::Lead(lease) => hung.push(lease),
            Lookup::Wait(waiter) => {
                clock.advance(SECOND);
                let Waited::Lead(lease) = waiter.wait() else { panic!("in round {round}") };
                hung.push(lease);
            }
            other => panic!("{}", matches!(other, Lookup::Hit(_))),
        }
    }
    for (n, lease) in (0..).zip(hung) {
        match lease.fulfil(values.member(n)) {
            Ok(stored) => assert_eq!((n, stored.what), (3, 3), "the last one leads"),
            Err(own) => kept.push((n, own)),
        }
    }
    assert_eq!((cache.get(&key).map(|v| v.what), kept.len()), (Some(3), 3));
    cache.remove(&key);
    for (n, own) in &kept {
        assert_eq!((own.what, Entry::key(own).what), (*n, 1), "their own value, under the right key");
    }
    drop((kept, key));
    drop(cache);
    assert_eq!((keys.alive(), values.alive()), (0, 0));
}

#[test]
fn fenced_leaders_that_own_the_cache_let_go_of_it() {
    let ends: [fn(Lease<'static, Key, u64>); 5] = [
        |lease| assert!(lease.fulfil(4).is_err()),
        |lease| lease.fail(),
        |lease| lease.fail_with("late"),
        |lease| drop(lease.renew()),
        |lease| drop(lease),
    ];
    for end in ends {
        let (cache, clock) = three_seconds(|b| b);
        let cache = std::sync::Arc::new(cache);
        cache.insert(1, 1);
        cache.expire(&1);
        let Lookup::Lead(hung) = cache.lease_owned(&1) else { panic!() };
        clock.advance(3 * SECOND);
        assert_eq!(cache.get_with(&1, || 5), 5);
        end(hung);
        assert_eq!(std::sync::Arc::strong_count(&cache), 1);
    }
}

#[test]
fn hung_leaders_are_replaced_in_turn() {
    let (cache, clock) = three_seconds(|b| b);
    let first = lead(&cache);
    let mut waiters: Vec<_> = (0..3).map(|_| Task::new(waiter(&cache))).collect();
    waiters.iter_mut().for_each(Task::step);
    let mut hung = vec![first];
    for round in 1..4 {
        clock.advance(3 * SECOND - NANO);
        waiters.iter_mut().for_each(Task::step);
        clock.advance(NANO);
        hung.push(takes_over(waiters.remove(0)));
        // Those that are left wait for the new leader as long as for the old one.
        waiters.iter_mut().for_each(Task::step);
        assert_eq!(cache.stats().takeovers, round);
    }
    let last = hung.pop().unwrap();
    hung.into_iter().for_each(|lease| assert_eq!(*lease.fulfil(4).unwrap_err(), 4));
    assert_eq!(*last.fulfil(5).unwrap(), 5);
    assert_eq!((cache.get(&1), cache.stats().takeovers, cache.stats().loads), (Some(5), 3, 4));
}
