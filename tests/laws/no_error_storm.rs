//! Law 5, no error storm; and what callers are told.

use crate::common::*;
use bellwether::{Cache, LoadError, Lookup, Op, Waited};
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
    let inner = || cache.get_with(&1, || panic_message(|| drop(cache.compute(&1, |_| Op::Put(0)))).len() as u64);
    assert!(inner() > 0);
    cache.compute(&2, |_| Op::Put(panic_message(|| drop(cache.compute(&2, |_| Op::Nop))).len() as u64));
    assert!(cache.get(&2).unwrap() > 0);
}

fn panic_message(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).expect("with a message")
}

/// What is said of an error and of its sources, one after the other.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect()
}

#[test]
fn a_cause_is_said_once_in_a_chain() {
    let error = LoadError::Load(Arc::new(Broken("no route")));
    assert_eq!(chain(&error), ["the load failed", "no route"]);
    assert!(error.source().unwrap().is::<Broken>());
    assert_eq!(error.load_error(), Some(&Broken("no route")));
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
        assert_eq!(other.load_error(), None);
    }
}

#[test]
fn a_text_has_no_source_and_is_said_by_the_error_itself() {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    assert_eq!(text(&LoadError::Load(Arc::new("no route"))), "the load failed: no route");
    assert_eq!(text(&LoadError::Load(Arc::new("no route".to_owned()))), "the load failed: no route");
    // Of another type without a text, nor a source: what failed, at least.
    assert_eq!(text(&LoadError::Load(Arc::new(7_u8))), "the load failed");
}

/// What those see who wait for a load that fails with this error, with a loader of their own whose
/// errors are others.
fn as_foreign<T: Send + Sync + 'static>(error: T) -> LoadError<Broken> {
    let cache: TestCache = Cache::new(10);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.try_get_with(&1, || Err(Broken("not called"))));
        waiting_for(&cache, 1);
        lease.fail_with(error);
        waiter.join().unwrap().unwrap_err()
    })
}

#[test]
fn an_error_of_another_type_shows_its_text_or_is_the_source() {
    let other = "the load failed with an error of another type";
    let with_text = [
        as_foreign("no route"),
        as_foreign("no route".to_owned()),
        as_foreign(std::borrow::Cow::Borrowed("no route")),
        as_foreign(Box::<str>::from("no route")),
        as_foreign(Arc::<str>::from("no route")),
    ];
    for error in with_text {
        assert!(matches!(error, LoadError::Foreign(_)));
        assert_eq!(chain(&error), [format!("{other}: no route")]);
        assert_eq!(format!("{error:?}"), "Foreign(\"no route\")");
    }
    let with_source = [
        as_foreign(std::io::Error::other("no route")),
        as_foreign(Box::<dyn Error + Send + Sync>::from("no route")),
        as_foreign(Arc::<dyn Error + Send + Sync>::from(Box::<dyn Error + Send + Sync>::from("no route"))),
    ];
    for error in with_source {
        assert_eq!(chain(&error), [other, "no route"]);
        assert!(format!("{error:?}").contains("no route"), "{error:?}");
    }
    let number = as_foreign("x".parse::<u8>().unwrap_err());
    assert!(number.source().unwrap().is::<std::num::ParseIntError>());
    assert_eq!(chain(&as_foreign(std::fmt::Error)).len(), 2);
    let unknown = as_foreign(7_u8);
    assert_eq!((chain(&unknown), format!("{unknown:?}")), (vec![other.to_owned()], "Foreign(..)".to_owned()));
}

type Boxed = Box<dyn Error + Send + Sync>;

/// Each loader's error, by `?`, into each error that services return.
mod into {
    use super::*;

    pub(crate) fn typed_to_boxed(cache: &TestCache) -> Result<u64, Boxed> {
        Ok(cache.try_get_with(&1, || Err(Broken("no route")))?)
    }
    pub(crate) fn typed_to_anyhow(cache: &TestCache) -> anyhow::Result<u64> {
        Ok(cache.try_get_with(&1, || Err(Broken("no route")))?)
    }
    pub(crate) fn boxed_to_boxed(cache: &TestCache) -> Result<u64, Boxed> {
        Ok(cache.try_get_with(&1, || Err(Boxed::from(Broken("no route")))).map_err(LoadError::into_dyn)?)
    }
    pub(crate) fn boxed_to_anyhow(cache: &TestCache) -> anyhow::Result<u64> {
        Ok(cache.try_get_with(&1, || Err(Boxed::from(Broken("no route")))).map_err(LoadError::into_dyn)?)
    }
    pub(crate) fn anyhow_to_boxed(cache: &TestCache) -> Result<u64, Boxed> {
        Ok(cache.try_get_with(&1, || anyhow::bail!(Broken("no route"))).map_err(LoadError::into_dyn)?)
    }
    pub(crate) fn anyhow_to_anyhow(cache: &TestCache) -> anyhow::Result<u64> {
        Ok(cache.try_get_with(&1, || anyhow::bail!(Broken("no route"))).map_err(LoadError::into_dyn)?)
    }
}

#[test]
fn errors_of_all_loaders_go_into_those_of_services() {
    let cache: TestCache = Cache::new(10);
    for call in [into::typed_to_boxed, into::boxed_to_boxed, into::anyhow_to_boxed] {
        let error = call(&cache).unwrap_err();
        assert_eq!(chain(&*error), ["the load failed", "no route"]);
        assert!(error.source().unwrap().is::<Broken>(), "the loader's own error can be told");
    }
    for call in [into::typed_to_anyhow, into::boxed_to_anyhow, into::anyhow_to_anyhow] {
        let error = call(&cache).unwrap_err();
        assert_eq!(format!("{error:#}"), "the load failed: no route");
        assert!(error.root_cause().is::<Broken>());
    }
    // What it was can still be told.
    let error = into::anyhow_to_anyhow(&cache).unwrap_err();
    let whole = error.downcast_ref::<bellwether::DynLoadError<anyhow::Error>>().unwrap();
    assert!(whole.get().load_error().is_some_and(|own| own.is::<Broken>()));
    assert!(matches!(whole.clone().into_inner(), LoadError::Load(_)));
    let timed_out = LoadError::<anyhow::Error>::TimedOut.into_dyn();
    assert_eq!((chain(&timed_out).len(), format!("{timed_out:?}")), (1, "TimedOut".to_owned()));
}
