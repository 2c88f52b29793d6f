//! Law 5, no error storm; and what callers are told.
mod common;

use bellwether::{Cache, LoadError, Lookup, Op, Waited};
use common::*;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

#[test]
fn a_failing_load_is_one_call_shared_by_all() {
    let cache: TestCache = Cache::new(10);
    let (loader, gate) = Loader::gated(End::Fail("no route"));
    thread::scope(|scope| {
        let (leader, waiting) = flight(scope, &cache, 1, &loader, 49, &loader);
        gate.open();
        let first = leader.answer();
        for waiter in waiting {
            let answer = waiter.answer();
            assert!(std::ptr::eq(answer.load_error(), first.load_error()), "the very same error");
        }
        assert_eq!(first.load_error(), &Broken("no route"));
    });
    assert_eq!((loader.calls(), cache.stats().load_failures), (1, 1));
    nothing_in_flight(&cache, 1);
    // Nothing was stored: the next caller loads.
    assert_eq!(cache.get_with(&1, || 3), 3);
}

#[test]
fn a_failed_leader_is_a_hand_over_to_those_who_cannot_be_told() {
    let cache: TestCache = Cache::new(10);
    let (failing, gate) = Loader::gated(End::Fail("no"));
    let heir = Loader::new(End::Value(6));
    thread::scope(|scope| {
        let (leader, _) = flight(scope, &cache, 1, &failing, 0, &failing);
        let waiting: Vec<_> = (0..10).map(|_| ask_infallibly(scope, &cache, 1, &heir)).collect();
        waiting_for(&cache, 10);
        gate.open();
        assert_eq!(leader.answer().load_error(), &Broken("no"));
        assert!(waiting.into_iter().all(|w| w.answer().value() == 6));
    });
    assert_eq!(heir.calls(), 1);
}

#[test]
fn errors_of_other_types_and_abandoned_flights() {
    let cache: TestCache = Cache::new(10);
    for (error, foreign) in [(Some("text"), true), (None, false)] {
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
        let Lookup::Wait(by_hand) = cache.lease(&1) else { panic!() };
        thread::scope(|scope| {
            let waiter = ask(scope, &cache, 1, &Loader::new(End::Value(0)));
            until("it waits", || cache.stats().coalesced % 2 == 0);
            match error {
                Some(error) => lease.fail_with(error),
                None => lease.fail(),
            }
            match waiter.answer() {
                Answer::Error(LoadError::Foreign(any)) => assert_eq!(any.downcast_ref::<&str>(), Some(&"text")),
                Answer::Error(LoadError::Abandoned) => assert!(!foreign),
                other => panic!("{other:?}"),
            }
        });
        match by_hand.wait() {
            Waited::Failed(any) => assert!(foreign && any.is::<&str>()),
            Waited::Abandoned => assert!(!foreign),
            other => panic!("{other:?}"),
        }
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_failing_refresh_returns_the_old_value_and_cools_down() {
    let (cache, clock) = due_for_early_refresh();
    let failing = Loader::new(End::Fail("down"));
    let get = || cache.try_get_with(&1, || failing.run());
    assert_eq!(get().unwrap(), 1, "the old value is still good");
    assert_eq!((failing.calls(), cache.stats().load_failures, cache.stats().stale_serves), (1, 1, 1));
    assert_eq!(get().unwrap(), 1);
    assert_eq!(failing.calls(), 1, "no dice are rolled during the cooldown of a second");
    clock.advance(SECOND);
    assert_eq!(get().unwrap(), 1);
    assert_eq!(failing.calls(), 2);
    clock.advance(10 * SECOND);
    assert!(matches!(get(), Err(LoadError::Load(e)) if e.0 == "down"), "expired: there is nothing to return");
    assert!(!cache.is_loading(&1));
}

#[test]
fn a_panicking_refresh_reaches_its_own_caller_and_cools_down() {
    let (cache, _clock) = due_for_early_refresh();
    let dying = Loader::new(End::Panic);
    quietly(|| {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with(&1, || dying.run().unwrap()))).is_err());
    });
    assert_eq!(cache.get_with(&1, || unreachable!("cooling down")), 1);
    assert!(!cache.is_loading(&1));
}

#[test]
fn re_entry_is_answered_at_once() {
    let cache: TestCache = Cache::new(10);
    let outer = cache.get_with(&1, || {
        // The same key, on the same stack: waiting would never end.
        assert!(matches!(cache.try_get_with(&1, || Ok::<_, Broken>(5)), Err(LoadError::Reentrant)));
        // Another key in between changes nothing.
        cache.get_with(&2, || cache.get_with(&1, || 20) + 1) + 100
    });
    assert_eq!(outer, 121);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(121), Some(21)));
    assert_eq!(cache.stats().bypassed, 1);
    // So is user code that the cache runs for the load: the weigher, and what decides on a time to live.
    static CACHE: std::sync::OnceLock<Cache<u32, u64>> = std::sync::OnceLock::new();
    let asking = CACHE.get_or_init(|| {
        let ask = |key: &u32| CACHE.get().unwrap().get_with(key, || 7);
        Cache::builder()
            .max_capacity(10)
            .weigher(move |key, _| ask(key) as u32)
            .ttl_with(move |key, _| Some(SECOND * ask(key) as u32))
            .build()
            .unwrap()
    });
    assert_eq!((asking.get_with(&1, || 5), asking.weight(), asking.stats().bypassed), (5, 7, 2));
    // After a panic the thread is not taken for loading any more.
    quietly(|| {
        let dying = Loader::new(End::Panic);
        assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with(&3, || dying.run().unwrap()))).is_err());
    });
    assert_eq!(cache.get_with(&3, || 3), 3);
    // A refresh may look at the value that it replaces.
    let (cache, _clock) = due_for_early_refresh();
    assert_eq!(cache.get_with(&1, || cache.get_with(&1, || unreachable!()) + 1), 2);
}

#[test]
fn compute_within_a_load_of_its_key_panics_rather_than_hangs() {
    let cache: TestCache = Cache::new(10);
    let inner = || cache.get_with(&1, || panic_message(|| cache.compute(&1, |_| Op::Put(0))).len() as u64);
    assert!(inner() > 0);
    cache.compute(&2, |_| Op::Put(panic_message(|| cache.compute(&2, |_| Op::Nop)).len() as u64));
    assert!(cache.get(&2).unwrap() > 0);
}

fn panic_message(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).expect("with a message")
}

#[test]
fn errors_have_sources_and_words() {
    let error = LoadError::Load(Arc::new(Broken("no route")));
    assert_eq!(error.to_string(), "the load failed: no route");
    assert_eq!(error.source().unwrap().to_string(), "no route");
    let others = [
        LoadError::Foreign(Arc::new(1_u8)),
        LoadError::Abandoned,
        LoadError::TimedOut,
        LoadError::Reentrant,
        LoadError::Overloaded,
    ];
    for other in others {
        let same: LoadError<Broken> = other.clone();
        assert!(other.source().is_none() && !same.to_string().is_empty() && !format!("{same:?}").is_empty());
    }
}
