//! What an observer is told, and in which order.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{Builder, Cache, CacheEvent, Lease, Lookup, ManualClock, Observer, Op, Waited};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Everything, in words.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

fn words(event: &CacheEvent) -> String {
    match event {
        CacheEvent::LoadStarted { kind, .. } => format!("load {kind:?}"),
        CacheEvent::LoadEnded { kind, ending, took, .. } => format!("{kind:?} {ending:?} {}s", took.as_secs()),
        CacheEvent::WaitEnded { ending, took, .. } => format!("wait {ending:?} {}s", took.as_secs()),
        CacheEvent::Removed { cause, .. } => format!("removed {cause:?}"),
        other => format!("{other:?}"),
    }
}

impl Observer for Log {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        assert_eq!(cache, "observed");
        self.0.lock().unwrap().push(words(event));
    }
}

impl Log {
    /// What was told since the last time.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A cache with a TTL of ten seconds and without early refresh, unless `with` has it otherwise.
fn observed(with: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock, Log) {
    let log = Log::default();
    let (builder, clock) = timed();
    let builder = builder.name("observed").time_to_live(10 * SECOND).xfetch(0.0).observer(log.clone());
    (with(builder).build().unwrap(), clock, log)
}

fn lead<'c>(cache: &'c TestCache, key: Key) -> Lease<'c, Key, u64> {
    match cache.lease(&key) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn loads_are_told_and_hits_are_not() {
    let (cache, clock, log) = observed(|b| b.record_stats());
    let load = || (clock.advance(3 * SECOND), 1).1;
    assert_eq!(cache.get_with(&1, load), 1);
    assert_eq!(log.taken(), ["load Missing", "Missing Stored 3s"]);
    assert_eq!((cache.get_with(&1, load), cache.get(&1), cache.get(&2)), (1, Some(1), None));
    assert!(cache.peek(&1).is_some() && cache.get_entry(&1).is_some() && cache.get_ref(&2).is_none());
    assert_eq!((log.taken(), cache.stats().hits), (vec![], 3));
    clock.advance(10 * SECOND);
    assert_eq!(cache.get_with(&1, load), 1);
    assert_eq!(log.taken(), ["load Expired", "removed Expired", "Expired Stored 3s"]);
    drop(cache);
    assert_eq!(log.taken(), [""; 0], "not what goes with the cache");
}

#[test]
fn each_way_for_a_load_to_end() {
    let (cache, clock, log) = observed(|b| b);
    let ends = |end: &dyn Fn(Lease<'_, Key, u64>)| {
        let lease = lead(&cache, 1);
        clock.advance(2 * SECOND);
        end(lease);
        cache.remove(&1);
        log.taken()
    };
    assert_eq!(ends(&|l| drop(l.fulfil(1))), ["load Missing", "Missing Stored 2s", "removed Explicit"]);
    assert_eq!(ends(&|l| drop(l.fulfil_with_ttl(1, Duration::ZERO))), ["load Missing", "Missing NotStored 2s"]);
    assert_eq!(ends(&|l| (cache.invalidate_all(), drop(l.fulfil(1))).1), ["load Missing", "Missing NotStored 2s"]);
    assert_eq!(ends(&|l| l.fail()), ["load Missing", "Missing Failed 2s"]);
    assert_eq!(ends(&|l| l.fail_with("no")), ["load Missing", "Missing Failed 2s"]);
    assert_eq!(ends(&|l| drop(l)), ["load Missing", "Missing GivenUp 2s"]);
    assert_eq!(ends(&|l| drop(l.renew())), ["load Missing", "Missing GivenUp 2s"]);
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    assert_eq!(ends(&|l| drop(l.renew())), ["load Expired", "Expired Renewed 2s", "removed Explicit"]);
    let panics = || cache.get_with(&1, || panic!("the loader panics, as it was told to"));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(panics))).is_err());
    assert_eq!(log.taken(), ["load Missing", "Missing Panicked 0s"]);
    assert!(cache.try_get_with(&1, || Err::<u64, _>(Broken("no"))).is_err());
    assert_eq!(log.taken(), ["load Missing", "Missing Failed 0s"]);
    cache.compute(&1, |_| (clock.advance(2 * SECOND), Op::Put(1)).1);
    cache.compute(&1, |_| Op::Put(2));
    assert_eq!(log.taken()[..3], ["load Compute", "Compute Stored 2s", "load Compute"]);
    cache.compute(&1, |_| Op::Nop);
    assert_eq!(log.taken(), ["load Compute", "Compute GivenUp 0s"]);
}

#[test]
fn early_refreshes_are_told() {
    let (cache, clock, log) = observed(|b| b.xfetch(1e9));
    let load = |value| (clock.advance(SECOND), value).1;
    cache.get_with(&1, || load(1));
    log.taken();
    assert_eq!(cache.try_get_with(&1, || (load(0), Err(Broken("no"))).1).unwrap(), 1);
    assert_eq!(log.taken(), ["load Early", "Early Failed 1s", "StaleServed"]);
    clock.advance(SECOND);
    assert_eq!(cache.get_with(&1, || load(2)), 2);
    assert_eq!(log.taken(), ["load Early", "removed Replaced", "Early Stored 1s"]);
}

#[test]
fn waits_are_told_and_how_they_end() {
    let (cache, clock, log) = observed(|b| b);
    let waits = |end: &dyn Fn(Lease<'_, Key, u64>)| {
        let lease = lead(&cache, 1);
        let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("nobody else leads") };
        clock.advance(SECOND);
        end(lease);
        clock.advance(SECOND);
        log.taken();
        let waited = waiter.wait();
        let told = log.taken();
        drop(waited);
        cache.remove(&1);
        told
    };
    assert_eq!(waits(&|l| drop(l.fulfil(1))), ["wait Ready 2s"]);
    assert_eq!(waits(&|l| l.fail_with("no")), ["wait Failed 2s"]);
    assert_eq!(waits(&|l| l.fail()), ["wait Failed 2s"]);
    assert_eq!(waits(&|l| (cache.remove(&1), drop(l)).1), ["wait Abandoned 2s"]);
    assert_eq!(waits(&|l| drop(l)), ["wait TookOver 2s", "load TakenOver"], "a hand-over to one who waits");
    assert_eq!(log.taken()[0], "TakenOver GivenUp 0s");
    // A hand-over to one who comes by: there is nobody to claim it but the forgotten waiter.
    let lease = lead(&cache, 1);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("nobody else leads") };
    drop(lease);
    log.taken();
    assert_eq!(cache.get_with(&1, || 5), 5);
    assert_eq!(log.taken(), ["load TakenOver", "TakenOver Stored 0s"]);
    drop(waiter);
    assert_eq!(log.taken(), ["wait Left 0s"], "its place is given up, though there was a value");
}

#[test]
fn deadlines_are_told() {
    let (cache, clock, log) = observed(|b| b.wait_timeout(5 * SECOND).bypass(true));
    let lease = lead(&cache, 1);
    log.taken();
    let mut waiting = Task::new(cache.get_with_async(&1, || async { 7 }));
    waiting.step();
    assert_eq!(log.taken(), ["WaitStarted"]);
    clock.advance(5 * SECOND);
    assert_eq!(waiting.poll(), Some(7));
    assert_eq!(log.taken(), ["WaitTimedOut", "wait Left 5s", "Bypassed"]);
    // So is a task that is cancelled; a handle's own deadline is not, as it may go on waiting.
    let mut waiting = Task::new(cache.get_with_async(&1, || async { 7 }));
    waiting.step();
    drop(waiting);
    assert_eq!(log.taken(), ["WaitStarted", "wait Left 0s"]);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("nobody else leads") };
    let Err(waiter) = waiter.wait_timeout(Duration::ZERO) else { panic!("the load goes on") };
    drop(lease);
    log.taken();
    assert!(matches!(waiter.wait(), Waited::Lead(_)));
    assert_eq!(log.taken()[0], "wait TookOver 0s");
}

#[test]
fn removals_are_told_with_their_cause() {
    let (cache, clock, log) = observed(|b| b.max_capacity(3));
    cache.insert(1, 1);
    assert_eq!(log.taken(), [""; 0]);
    cache.insert(1, 2);
    assert_eq!(log.taken(), ["removed Replaced"]);
    assert_eq!((cache.remove(&1), cache.remove(&1)), (Some(2), None));
    assert_eq!(log.taken(), ["removed Explicit"]);
    (11..=14).for_each(|key| cache.insert(key, 0));
    assert_eq!(log.taken(), ["removed Size"]);
    clock.advance(10 * SECOND);
    assert_eq!(cache.purge_expired(), 3);
    assert_eq!(log.taken(), ["removed Expired"; 3]);
    // On a pin, once that is gone, and in order.
    let pinned = cache.pin();
    pinned.insert(1, 1);
    pinned.insert(1, 2);
    pinned.invalidate(&1);
    assert_eq!(log.taken(), [""; 0]);
    drop(pinned);
    assert_eq!(log.taken(), ["removed Replaced", "removed Explicit"]);
    // What never was stored is not removed.
    cache.insert_with_ttl(1, 1, Duration::ZERO);
    assert_eq!(log.taken(), ["Rejected { cause: ZeroTimeToLive }"]);
    let lease = lead(&cache, 1);
    cache.invalidate(&1);
    drop(lease);
    assert_eq!(log.taken(), ["load Missing", "Missing GivenUp 0s"]);
}

#[test]
fn the_listener_is_told_beside_the_observer() {
    let removed = Arc::new(AtomicUsize::new(0));
    let theirs = removed.clone();
    let (cache, _, log) =
        observed(|b| b.max_capacity(5).eviction_listener(move |_, _, _| assert!(theirs.fetch_add(1, SeqCst) < 20)));
    (0..20).for_each(|key| cache.insert(key, 0));
    cache.invalidate_all();
    assert_eq!((removed.load(SeqCst), log.taken().len()), (20, 20));
}

#[test]
fn staleness_and_refusals_are_told() {
    let (cache, clock, log) = observed(|b| b.stale_while_refresh(5 * SECOND).max_loads(1).bypass(true));
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let lease = lead(&cache, 1);
    assert_eq!(log.taken(), ["load Expired"]);
    assert_eq!(cache.get_with(&1, || 7), 1);
    assert_eq!(log.taken(), ["StaleServed"]);
    assert_eq!(cache.get_with(&2, || 7), 7);
    assert_eq!(log.taken(), ["Refused", "Bypassed"]);
    assert!(cache.try_get_with(&2, || Ok::<_, Broken>(7)).is_err());
    assert!(matches!(cache.lease(&2), Lookup::Wait(_)));
    assert_eq!(log.taken(), ["Refused", "Refused"]);
    drop(lease);
    // Who would wait for itself does not.
    cache.get_with(&3, || cache.get_with(&3, || 3));
    assert_eq!(
        log.taken()[1..],
        ["load Missing", "WaitStarted", "wait Left 0s", "Bypassed", "Missing Stored 0s"].map(String::from)
    );
}

#[test]
fn two_observers_as_one() {
    let (first, second) = (Log::default(), Arc::new(Log::default()));
    let builder = Cache::builder().max_capacity(1).name("observed");
    let cache: TestCache = builder.observer((first.clone(), second.clone())).build().unwrap();
    cache.insert(1, 1);
    cache.remove(&1);
    assert_eq!((first.taken(), second.taken()), (vec!["removed Explicit".into()], vec!["removed Explicit".into()]));
}
