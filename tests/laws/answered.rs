//! Laws 2 and 3: every waiter is answered, and a dead leader poisons nothing.

use crate::common::*;
use bellwether::{Cache, LoadError, Lookup, Waited};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

#[test]
fn a_panicking_leader_hands_over_to_exactly_one() {
    for waiters in [0, 1, 25] {
        let cache: TestCache = Cache::new(10);
        let (dying, gate) = Loader::gated(End::Panic);
        let heir = Loader::new(End::Value(5));
        quietly(|| {
            thread::scope(|scope| {
                let (leader, waiting) = flight(scope, &cache, 1, &dying, waiters, &heir);
                gate.open();
                assert!(leader.answer().panicked(), "the panic reaches its own caller");
                assert!(waiting.into_iter().all(|w| w.answer().value() == 5));
            });
        });
        assert_eq!((dying.calls(), heir.calls()), (1, waiters.min(1)));
        assert_eq!(cache.stats().handovers, waiters.min(1) as u64);
        nothing_in_flight(&cache, 1);
        assert_eq!(cache.get(&1), (waiters > 0).then_some(5));
    }
}

#[test]
fn every_leader_panics_until_one_does_not() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_handovers(u32::MAX).build().unwrap();
    let (dying, gate) = Loader::gated(End::Panic);
    quietly(|| {
        thread::scope(|scope| {
            let (leader, waiting) = flight(scope, &cache, 1, &dying, 9, &dying);
            gate.open();
            assert!(leader.answer().panicked());
            assert!(waiting.into_iter().all(|w| w.answer().panicked()));
        });
    });
    assert_eq!(dying.calls(), 10, "each was handed the lead in turn");
    nothing_in_flight(&cache, 1);
    assert_eq!(cache.get_with(&1, || 1), 1);
}

#[test]
fn waiters_are_answered_although_the_entry_is_gone_at_once() {
    let (builder, _) = timed();
    let zero: TestCache = builder.time_to_live(Duration::ZERO).build().unwrap();
    let (builder, _) = timed();
    let heavy: TestCache = builder.weigher(|_, _| 101).build().unwrap();
    for cache in [zero, heavy] {
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
        let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
        let entry = lease.fulfil(8).expect_err("handed over, not stored");
        assert_eq!((*entry, cache.len(), cache.weight()), (8, 0, 0));
        assert_eq!(cache.get(&1), None);
        assert!(matches!(waiter.wait(), Waited::Ready(e) if *e == 8));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_waiter_keeps_its_value_through_eviction() {
    let cache: TestCache = Cache::new(1);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    drop(lease.fulfil(8).unwrap());
    for key in 2..200 {
        cache.insert(key, 0);
    }
    assert_eq!(cache.get(&1), None, "evicted");
    assert!(matches!(waiter.wait(), Waited::Ready(e) if *e == 8));
}

#[test]
fn the_last_waiter_to_leave_ends_an_abandoned_flight() {
    for leaver_first in [true, false] {
        let cache: TestCache = Cache::new(10);
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
        let Lookup::Wait(a) = cache.lease(&1) else { panic!() };
        let Lookup::Wait(b) = cache.lease(&1) else { panic!() };
        if leaver_first {
            drop((a, lease, b));
        } else {
            drop((lease, a, b));
        }
        nothing_in_flight(&cache, 1);
        assert!(matches!(cache.lease(&1), Lookup::Lead(_)));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn purge_sweeps_up_flights_that_nobody_takes_on() {
    // A waiter that is never looked at again must not keep an abandoned flight in the table.
    let (cache, clock) = ten_seconds();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(cold) = cache.lease(&1) else { panic!() };
    drop(lease);
    cache.insert(2, 2);
    clock.advance(10 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&2) else { panic!() };
    let Lookup::Wait(refreshing) = cache.lease(&2) else { panic!() };
    drop(lease);
    assert!(cache.is_loading(&1) && cache.is_loading(&2));
    assert_eq!(cache.purge_expired(), 0, "flights are no entries");
    assert_eq!(cache.purge_expired(), 1, "the entry of the ended refresh is expired");
    assert!(!cache.is_loading(&1) && !cache.is_loading(&2));
    assert!(matches!(cold.wait(), Waited::Abandoned));
    assert!(matches!(refreshing.wait(), Waited::Abandoned));
}

#[test]
fn a_deadline_ends_a_wait_and_the_load_goes_on() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.wait_timeout(2 * SECOND).bypass(true).build().unwrap();
    let (loader, gate) = Loader::gated(End::Value(4));
    thread::scope(|scope| {
        let (leader, waiting) = flight(scope, &cache, 1, &loader, 3, &loader);
        let (own, own_gate) = Loader::gated(End::Value(77));
        own_gate.open();
        let alone = ask_infallibly(scope, &cache, 1, &own);
        waiting_for(&cache, 4);
        // The waiters read the clock after they were counted: move it until the last of them has had enough.
        until("the deadlines pass", || {
            clock.advance(SECOND);
            cache.stats().wait_timeouts == 4
        });
        for waiter in waiting {
            assert!(matches!(waiter.answer(), Answer::Error(LoadError::TimedOut)));
        }
        assert_eq!(alone.answer().value(), 77, "without an error channel it runs its own loader");
        gate.open();
        assert_eq!(leader.answer().value(), 4);
    });
    assert_eq!(cache.get(&1), Some(4), "what was loaded alone is not stored");
    assert_eq!((loader.calls(), cache.stats().bypassed), (1, 1));
}

#[test]
fn a_waiter_whose_time_is_over_keeps_its_place() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    let waiter = waiter.wait_timeout(Duration::ZERO).expect_err("nothing has happened");
    clock.advance(SECOND);
    lease.fulfil(3).unwrap();
    let Ok(Waited::Ready(entry)) = waiter.wait_timeout(Duration::ZERO) else { panic!("it is there now") };
    assert_eq!(*entry, 3);
    // By the system's clock, too.
    let cache: TestCache = Cache::new(10);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    let waiter = waiter.wait_timeout(Duration::from_nanos(1)).expect_err("nothing has happened");
    drop(lease);
    assert!(matches!(waiter.wait_timeout(Duration::MAX), Ok(Waited::Lead(_))));
}

struct Count(std::sync::atomic::AtomicUsize);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn a_task_can_wait_beside_threads() {
    let cache: TestCache = Cache::new(10);
    let wakes = Arc::new(Count(Default::default()));
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    let mut waiter = pin!(waiter);
    assert!(waiter.as_mut().poll(&mut cx).is_pending());
    thread::scope(|scope| {
        let beside = ask(scope, &cache, 1, &Loader::new(End::Value(0)));
        waiting_for(&cache, 2);
        lease.fulfil(6).unwrap();
        assert_eq!(beside.answer().value(), 6);
    });
    assert!(wakes.0.load(std::sync::atomic::Ordering::SeqCst) > 0);
    let Poll::Ready(Waited::Ready(entry)) = waiter.as_mut().poll(&mut cx) else { panic!() };
    assert_eq!(*entry, 6);
}

#[test]
fn a_task_that_is_woken_and_never_polled_holds_nobody_up() {
    let cache: TestCache = Cache::new(10);
    let mut cx = Context::from_waker(Waker::noop());
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    let mut forgotten = Box::pin(waiter);
    assert!(forgotten.as_mut().poll(&mut cx).is_pending());
    thread::scope(|scope| {
        let alive = ask(scope, &cache, 1, &Loader::new(End::Value(2)));
        waiting_for(&cache, 2);
        drop(lease); // Both are woken; only one ever looks.
        assert_eq!(alive.answer().value(), 2);
    });
    assert_eq!(cache.get(&1), Some(2));
}

#[test]
fn a_refresh_that_is_dropped_leaves_the_old_value_in_service() {
    let (cache, _clock) = due_for_early_refresh();
    let Lookup::Refresh(old, lease) = cache.lease(&1) else { panic!("beta is huge") };
    assert_eq!((*old, lease.stale()), (1, Some(&1)));
    drop(lease);
    assert_eq!(cache.get(&1), Some(1));
    assert!(!cache.is_loading(&1));
    assert!(matches!(cache.lease(&1), Lookup::Refresh(..)), "the next reader may try again");
}
