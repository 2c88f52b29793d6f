//! Leases and who wants their loads; leases whatever value is there; leases that stand down.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{
    Cache, CacheEvent, Expiry, LoadEnding, LoadError, LoadKind, Loaded, Lookup, ManualClock, Outcome, Refresh,
    Task as Load, Waited,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

type Shared = Arc<TestCache>;

/// A future that never ends, and counts when it is dropped.
struct Endless(Arc<AtomicUsize>);

impl Future for Endless {
    type Output = Result<u64, Broken>;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::task::Poll::Pending
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A cache whose loads wait until the test takes them.
fn later() -> (Shared, ManualClock, Later) {
    let (builder, clock) = timed();
    let later = Later::default();
    (Arc::new(builder.spawner(later.spawner()).stale_while_refresh(60 * SECOND).build().unwrap()), clock, later)
}

fn taken(later: &Later) -> Task<'static, ()> {
    Task::new(later.0.lock().unwrap().pop().expect("a load was spawned") as Load)
}

fn wants(cache: &Shared, dropped: &Arc<AtomicUsize>) -> Task<'static, Result<u64, LoadError<Broken>>> {
    let (cache, dropped) = (cache.clone(), dropped.clone());
    let mut task = Task::new(async move {
        let request = cache.detached(&1).while_wanted();
        request.try_get_with_async(move || Endless(dropped)).await.map(|found| *found.0)
    });
    task.step();
    task
}

#[test]
fn a_load_is_dropped_when_its_last_waiter_leaves() {
    let (cache, _clock, later) = later();
    let dropped = Arc::new(AtomicUsize::new(0));
    let first = wants(&cache, &dropped);
    let mut load = taken(&later);
    load.step();
    // Tasks and a thread wait for it.
    let second = wants(&cache, &dropped);
    let thread = {
        let cache = cache.clone();
        thread::spawn(move || cache.entry(&1).try_get_with(|| Ok::<_, Broken>(7)).map(|found| *found.0))
    };
    waiting_for(&cache, 2);
    drop((first, second));
    assert!(!load.woken() || load.poll().is_none(), "a thread waits");
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    cache.invalidate(&1);
    assert!(load.poll().is_none(), "it is handed to the thread");
    drop(waiter);
    drop(load);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(thread.join().unwrap().unwrap(), 7, "the load was lost, and the thread has its own");
}

#[test]
fn a_task_is_woken_when_nobody_wants_its_load() {
    let (cache, _clock, later) = later();
    let dropped = Arc::new(AtomicUsize::new(0));
    for late in [false, true] {
        let callers: Vec<_> = (0..3).map(|_| wants(&cache, &dropped)).collect();
        let before = dropped.load(Ordering::SeqCst);
        let mut load = taken(&later);
        load.step();
        assert!(!load.woken());
        drop(callers);
        assert!(load.woken(), "the last one has left");
        let late = late.then(|| wants(&cache, &dropped));
        assert_eq!(dropped.load(Ordering::SeqCst), before);
        // One who comes before it is dropped keeps it.
        if let Some(late) = late {
            load.step();
            assert!(cache.is_loading(&1));
            drop(late);
        }
        assert!(load.poll().is_some(), "it is dropped");
        assert_eq!(dropped.load(Ordering::SeqCst), before + 1);
        nothing_in_flight(&cache, 1);
    }
    // What has not begun does not begin.
    let caller = wants(&cache, &dropped);
    let mut load = taken(&later);
    let before = dropped.load(Ordering::SeqCst);
    drop(caller);
    assert!(load.poll().is_some() && dropped.load(Ordering::SeqCst) == before);
    nothing_in_flight(&cache, 1);
    assert_eq!((cache.stats().load_failures, cache.stats().handovers), (0, 0));
}

#[test]
fn a_refresh_in_the_background_lives_without_waiters() {
    let (cache, _clock, later) = later();
    cache.insert(1, 1);
    cache.expire(&1);
    let mut task = Task::new({
        let cache = cache.clone();
        async move {
            let request = cache.detached(&1).while_wanted();
            request.try_get_with_async(|| async { Ok::<_, Broken>(2) }).await.map(|found| (*found.0, found.1)).unwrap()
        }
    });
    assert_eq!(task.poll(), Some((1, Outcome::Stale)));
    assert_eq!((later.run(), cache.get(&1)), (1, Some(2)));
}

#[test]
fn a_lease_is_wanted_until_its_value_would_not_be_stored() {
    let (cache, clock) = three_seconds(|b| b.xfetch(0.0));
    for old in [false, true] {
        let changes: [fn(&TestCache); 4] = [
            |cache| _ = cache.invalidate(&1),
            |cache| cache.insert(1, 5),
            |cache| cache.invalidate_all(),
            |cache| _ = cache.remove(&1),
        ];
        for change in changes {
            if old {
                cache.insert(1, 1);
            }
            let Lookup::Lead(lease) = cache.lease_anew(&1) else { panic!() };
            assert!(lease.is_wanted() && lease.waiters() == 0);
            let Lookup::Wait(waiter) = cache.lease_anew(&1) else { panic!() };
            assert!(lease.is_wanted() && lease.waiters() == 1);
            drop(waiter);
            assert!(lease.is_wanted(), "the holder wants it");
            change(&cache);
            assert!(!lease.is_wanted());
            drop(lease);
            cache.invalidate(&1);
        }
        let Lookup::Lead(lease) = cache.lease_anew(&1) else { panic!() };
        clock.advance(3 * SECOND);
        let Lookup::Lead(second) = cache.lease_anew(&1) else { panic!() };
        assert!(!lease.is_wanted() && second.is_wanted(), "it was taken over");
        drop((second, lease));
    }
}

#[test]
fn a_lease_is_given_whatever_value_is_there() {
    let cache: TestCache = Cache::builder().max_capacity(9).max_loads(1).record_stats().build().unwrap();
    let cache = Arc::new(cache);
    for value in [1, 2, 3] {
        let lease = match value {
            2 => cache.lease_anew_owned(&1),
            _ => cache.lease_anew(&1),
        };
        let Lookup::Lead(lease) = lease else { panic!() };
        assert_eq!(lease.stale().copied(), (value > 1).then_some(value - 1));
        assert_eq!(cache.get(&1), (value > 1).then_some(value - 1), "readers keep it");
        let Lookup::Wait(waiter) = cache.lease_anew(&1) else { panic!() };
        let Lookup::Wait(refused) = cache.lease_anew(&2) else { panic!() };
        assert!(matches!(refused.wait(), Waited::Overloaded));
        lease.fulfil(value).unwrap();
        assert!(matches!(waiter.wait(), Waited::Ready(entry) if *entry == value));
    }
    assert_eq!((cache.stats().hits, cache.stats().misses, cache.stats().loads), (2, 1, 3));
}

#[test]
fn a_lease_that_stands_down_leaves_the_value_alone_for_a_while() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(100 * SECOND).refresh(Refresh::at(0.5)).stale_if_error(100 * SECOND);
    let cache: TestCache = builder.error_cooldown(10 * SECOND).build().unwrap();
    cache.insert(1, 1);
    clock.advance(50 * SECOND);
    let Lookup::Refresh(_, lease) = cache.lease(&1) else { panic!() };
    lease.stand_down(20 * SECOND);
    assert!(matches!(cache.lease(&1), Lookup::Hit(_)));
    clock.advance(20 * SECOND - Duration::from_nanos(1000));
    assert!(matches!(cache.lease(&1), Lookup::Hit(_)), "it is somebody else's");
    clock.advance(Duration::from_nanos(1000));
    let Lookup::Refresh(_, lease) = cache.lease(&1) else { panic!() };
    // Never beyond its time to live.
    lease.stand_down(Duration::MAX);
    clock.advance(29 * SECOND);
    assert!(matches!(cache.lease(&1), Lookup::Hit(_)));
    clock.advance(SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    // A waiter looks again, and makes do with the old value.
    let loader = Loader::new(End::Value(9));
    thread::scope(|scope| {
        let waiting = [ask(scope, &cache, 1, &loader), ask(scope, &cache, 1, &loader)];
        let mut task = task(&cache, 1, &loader, 1);
        task.step();
        waiting_for(&cache, 3);
        lease.stand_down(5 * SECOND);
        assert!(waiting.into_iter().all(|caller| caller.answer().value() == 1));
        assert_eq!(task.finish().value(), 1);
    });
    clock.advance(4 * SECOND);
    assert_eq!((cache.try_get_with(&1, || loader.run()).unwrap(), loader.calls()), (1, 0));
    clock.advance(SECOND);
    assert_eq!(cache.try_get_with(&1, || loader.run()).unwrap(), 9);
    assert_eq!(cache.stats().load_failures, 0);
    // Without a value, one of those who wait loads.
    let Lookup::Lead(lease) = cache.lease(&2) else { panic!() };
    thread::scope(|scope| {
        let waiting = [ask(scope, &cache, 2, &loader), ask(scope, &cache, 2, &loader)];
        waiting_for(&cache, 5);
        lease.stand_down(SECOND);
        assert!(waiting.into_iter().all(|caller| caller.answer().value() == 9));
    });
    assert_eq!(loader.calls(), 2);
    cache.validate().unwrap();
}

#[test]
fn reads_of_another_tier_are_told_and_counted() {
    let told = Arc::new(Mutex::new(Vec::new()));
    struct Ends(Arc<Mutex<Vec<(LoadKind, LoadEnding, bool)>>>);
    impl bellwether::Observer for Ends {
        fn observe(&self, _: &str, event: &CacheEvent) {
            if let CacheEvent::LoadEnded { kind, ending, from_tier, .. } = event {
                self.0.lock().unwrap().push((*kind, *ending, *from_tier));
            }
        }
    }
    let cache: TestCache = Cache::builder().max_capacity(9).observer(Ends(told.clone())).build().unwrap();
    let lease = || match cache.lease_anew(&1) {
        Lookup::Lead(lease) => lease,
        _ => panic!(),
    };
    lease().fulfil(1).unwrap();
    let mut read = lease();
    read.from_tier();
    read.fulfil(2).unwrap();
    let mut confirmed = lease();
    confirmed.from_tier();
    confirmed.renew().unwrap();
    let mut failed = lease();
    failed.from_tier();
    failed.fail();
    lease().stand_down(SECOND);
    use LoadEnding::{Failed, Renewed, StoodDown, Stored};
    let ends: Vec<_> = told.lock().unwrap().iter().map(|told| (told.1, told.2)).collect();
    assert_eq!(ends, [(Stored, false), (Stored, true), (Renewed, true), (Failed, true), (StoodDown, false)]);
    assert!(told.lock().unwrap().iter().all(|told| told.0 == LoadKind::Compute));
    assert_eq!((cache.stats().tier_reads, cache.stats().loads), (2, 5));
}

/// A closure tells by the terms of its value: as a thread, as a task, anew and confirmed.
#[test]
fn a_loader_tells_that_it_has_read_another_tier() {
    let cache: TestCache = Cache::builder().max_capacity(9).build().unwrap();
    let read = Expiry::new().from_tier().cost(SECOND);
    let anew = |key: Key| cache.entry(&key).revalidate_with(|_| Ok::<_, Broken>(Loaded::With(1, read)));
    assert_eq!(anew(1).unwrap().1, Outcome::FromTier);
    assert_eq!(anew(1).unwrap().1, Outcome::Hit);
    let task = cache.entry(&2).revalidate_with_async(|_| async move { Ok::<_, Broken>(Loaded::With(2, read)) });
    assert_eq!(block_on(task).unwrap().1, Outcome::FromTier);
    let confirm = |_: Option<_>| Ok::<_, Broken>(Loaded::NotModifiedWith(read));
    assert_eq!(cache.entry(&1).force().revalidate_with(confirm).unwrap().1, Outcome::FromTier);
    assert_eq!(cache.entry(&3).get_with(|| 3).1, Outcome::Computed);
    assert_eq!((cache.stats().tier_reads, cache.stats().loads), (3, 4));
}
