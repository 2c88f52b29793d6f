//! What once went wrong with loads that end without a value, and with refreshes.

use crate::common::tasks::block_on;
use crate::common::*;
use bellwether::{Cache, Lookup, Outcome, Task, Waited};
use std::convert::Infallible;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

/// The loader of the one who leads panics, as it was told to.
fn dies() -> Result<u64, Broken> {
    Loader::new(End::Panic).run()
}

/// A detached caller whose load was lost was told that it was abandoned, where an old value was to be served.
#[test]
fn a_lost_load_is_made_up_for_by_an_old_value() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(10 * SECOND);
    let spawner = |task: Task| drop(thread::spawn(|| block_on(task)));
    let cache: Arc<TestCache> = Arc::new(builder.spawner(spawner).build().unwrap());
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    quietly(|| {
        let found = cache.detached(&1).try_get_with(dies).unwrap();
        assert_eq!((*found.0, found.1), (1, Outcome::Stale));
        // (Past the cooldown.)
        clock.advance(2 * SECOND);
        let found = block_on(cache.detached(&1).try_get_with_async(|| async { dies() })).unwrap();
        assert_eq!((*found.0, found.1), (1, Outcome::Stale));
    });
    assert_eq!(cache.stats().stale_serves, 2);
    assert!(!cache.is_loading(&1));
}

/// A failure was kept in the place of a value that only this caller, by its own `max_stale`, was to be served.
#[test]
fn no_failure_is_kept_where_a_caller_takes_the_old_value() {
    for detached in [false, true] {
        let (builder, clock) = timed();
        let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).negative_ttl(60 * SECOND);
        let cache: Arc<TestCache> = Arc::new(builder.build().unwrap());
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        let fail = || Err::<u64, _>(Broken("down"));
        for _ in 0..2 {
            let found = match detached {
                true => cache.detached(&1).max_stale(100 * SECOND).try_get_with(fail).map(|f| (*f.0, f.1)),
                false => cache.entry(&1).max_stale(100 * SECOND).try_get_with(fail).map(|f| (*f.0, f.1)),
            };
            assert!(matches!(found, Ok((1, Outcome::Stale))), "{found:?}");
        }
    }
}

/// `expire` left a failure that was kept where it was.
#[test]
fn a_failure_that_is_kept_is_over_when_it_is_told_to_be() {
    let (builder, _) = timed();
    let cache: TestCache = builder.negative_ttl(60 * SECOND).build().unwrap();
    assert!(cache.try_get_with(&1, || Err(Broken("down"))).is_err());
    assert!(cache.try_get_with(&1, || Ok::<_, Broken>(1)).is_err(), "it is kept");
    assert!(!cache.expire(&1), "it is no value");
    assert!(matches!(cache.try_get_with(&1, || Ok::<_, Broken>(1)), Ok(1)));
    cache.validate().unwrap();
}

/// An error whose drop panics.
struct Unruly;

impl Drop for Unruly {
    fn drop(&mut self) {
        panic!("an error's drop panics, as it was told to");
    }
}

/// The error of one that was taken over was dropped before its shares of the flight were given back: a leak.
#[test]
fn an_error_that_panics_as_it_is_dropped() {
    let census = Census::default();
    let clock = timed().1;
    let builder = Cache::<Key, Member<u64>>::builder().max_capacity(10).lead_timeout(SECOND);
    let cache = builder.clock(clock.clone()).timer(clock.clone()).build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it waits") };
    clock.advance(2 * SECOND);
    let Waited::Lead(second) = waiter.wait() else { panic!("it takes over") };
    quietly(|| assert!(catch_unwind(AssertUnwindSafe(|| lease.fail_with(Unruly))).is_err()));
    drop(second.fulfil(census.member(1)));
    cache.invalidate_all();
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// A failure that was removed just before it was there to be kept lost its weight while its slot still counted it.
/// (A race, which most runs of these rounds have, not each.)
#[test]
fn weights_add_up_when_a_failure_is_removed_as_it_comes() {
    let (cache, over) = (negative(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = 0;
            while !over.load(SeqCst) {
                cache.invalidate(&1);
                pause = (pause + 7) % 1024;
                (0..pause).for_each(|_| spin_loop());
            }
        });
        for _ in 0..20_000 {
            cache.insert(1, 1);
            cache.expire(&1);
            if let Lookup::Lead(lease) = cache.lease(&1) {
                lease.fail_with(Broken("down"));
            }
        }
        over.store(true, SeqCst);
    });
    cache.invalidate(&1);
    cache.validate().unwrap();
}

fn negative() -> TestCache {
    let (builder, _) = timed();
    builder.time_to_live(10 * SECOND).negative_ttl(10 * SECOND).xfetch(0.0).build().unwrap()
}

/// A renewal asked the weigher anew, and made nothing of what it said.
#[test]
fn a_renewal_weighs_nothing() {
    let (weighed, (builder, clock)) = (Arc::new(AtomicUsize::new(0)), timed());
    let calls = weighed.clone();
    let builder = builder.weigher(move |_, _| (calls.fetch_add(1, SeqCst), 1).1);
    let cache: TestCache = builder.time_to_live(10 * SECOND).xfetch(0.0).build().unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    assert!(lease.renew().is_some());
    assert_eq!((weighed.load(SeqCst), cache.get(&1)), (1, Some(1)));
}

/// Refreshes began however many loads there were.
#[test]
fn refreshes_keep_to_max_loads() {
    let (loader, gate) = Loader::gated(End::Value(7));
    let (builder, inner) = (timed().0, loader.clone());
    let cache = builder.max_loads(2).loader(move |_: &Key| inner.run()).build().unwrap();
    cache.insert(1, 1);
    assert_eq!([1, 2, 3, 4].map(|key| cache.refresh(&key)), [true, true, false, false]);
    gate.open();
    // (Their places are free a moment after their flights have ended.)
    until("they end", || !cache.is_loading(&1) && !cache.is_loading(&2) && cache.stats().loading == 0);
    assert_eq!((loader.calls(), cache.get(&1), cache.get(&3)), (2, Some(7), None));
    assert!(cache.refresh(&3));
    until("it ends", || !cache.is_loading(&3));
}

/// A refresh that was asked for was counted as an early one, if one was due.
#[test]
fn a_refresh_is_not_an_early_one() {
    let (builder, clock) = timed();
    let slow = move |_: &Key| Ok::<_, Infallible>((clock.advance(SECOND), 1).1);
    let cache = builder.time_to_live(10 * SECOND).xfetch(1e9).loader(slow).build().unwrap();
    assert!(matches!(cache.load(&1), Ok(1)));
    assert!(cache.refresh(&1));
    until("it ends", || !cache.is_loading(&1));
    assert_eq!((cache.stats().loads, cache.stats().early_refreshes), (2, 0));
}
