//! Requests: settings of one call, and the outcome that it is told.

use crate::common::*;
use bellwether::{Cache, Entry, LoadError, Lookup, Outcome};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What a future comes to that never has to wait.
fn at_once<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn told<'c>((entry, outcome): (Entry<'c, Key, u64>, Outcome)) -> (u64, Outcome) {
    (*entry, outcome)
}

fn broken() -> Result<u64, Broken> {
    Err(Broken("no"))
}

#[test]
fn computed_and_hit() {
    let cache: TestCache = Cache::new(10);
    assert_eq!(told(cache.entry(&1).get_with(|| 1)), (1, Outcome::Computed));
    assert_eq!(told(cache.entry(&1).get_with(|| 2)), (1, Outcome::Hit));
    assert_eq!(told(cache.entry(&2).try_get_with(|| Ok::<_, Broken>(2)).unwrap()), (2, Outcome::Computed));
    assert_eq!(told(cache.entry(&2).try_get_with(broken).unwrap()), (2, Outcome::Hit));
    assert_eq!(told(at_once(cache.entry(&3).get_with_async(|| async { 3 }))), (3, Outcome::Computed));
    assert_eq!(told(at_once(cache.entry(&3).try_get_with_async(|| async { broken() })).unwrap()), (3, Outcome::Hit));
    assert!(matches!(cache.entry(&4).try_get_with(broken), Err(LoadError::Load(e)) if e.0 == "no"));
    assert!(matches!(at_once(cache.entry(&4).try_get_with_async(|| async { broken() })), Err(LoadError::Load(_))));
    assert_eq!((cache.len(), cache.stats().loads), (3, 5));
}

#[test]
fn coalesced() {
    let cache: TestCache = Cache::new(10);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    thread::scope(|scope| {
        let thread = scope.spawn(|| told(cache.entry(&1).get_with(|| 2)));
        let mut task = pin!(cache.entry(&1).get_with_async(|| async { 3 }));
        assert!(poll(task.as_mut()).is_pending());
        until("both wait", || cache.stats().coalesced == 2);
        assert_eq!(*lease.fulfil(1).unwrap(), 1);
        assert_eq!(thread.join().unwrap(), (1, Outcome::Coalesced));
        let Poll::Ready(task) = poll(task) else { panic!("it was answered") };
        assert_eq!(told(task), (1, Outcome::Coalesced));
    });
}

#[test]
fn refreshed_and_stale() {
    let (cache, clock) = due_for_early_refresh();
    clock.advance(SECOND);
    let loaded = cache.entry(&1).get_with(|| (clock.advance(SECOND), 2).1);
    assert_eq!(told(loaded), (2, Outcome::Refreshed));
    clock.advance(SECOND);
    assert_eq!(told(cache.entry(&1).try_get_with(broken).unwrap()), (2, Outcome::Stale), "its refresh failed");
    assert_eq!(cache.stats().stale_serves, 1);

    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_while_refresh(5 * SECOND);
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    assert_eq!(told(cache.entry(&1).get_with(|| 2)), (1, Outcome::Stale));
    assert_eq!(told(at_once(cache.entry(&1).get_with_async(|| async { 2 }))), (1, Outcome::Stale));
    drop(lease);
    assert_eq!(told(cache.entry(&1).get_with(|| 3)), (3, Outcome::Computed), "the old one was over");
}

#[test]
fn a_time_to_live_of_its_own() {
    let (cache, clock) = ten_seconds();
    let (entry, _) = cache.entry(&1).ttl(SECOND).get_with(|| 1);
    assert_eq!(Entry::expires_in(&entry), Some(SECOND));
    let (entry, _) = cache.entry(&2).ttl(Duration::MAX).try_get_with(|| Ok::<_, Broken>(2)).unwrap();
    assert_eq!(Entry::expires_in(&entry), None);
    let (entry, _) = at_once(cache.entry(&3).ttl(Duration::ZERO).get_with_async(|| async { 3 }));
    assert_eq!((*entry, cache.get(&3)), (3, None), "handed over, not stored");
    let (entry, _) = at_once(cache.entry(&4).try_get_with_async(|| async { Ok::<_, Broken>(4) })).unwrap();
    assert_eq!(Entry::expires_in(&entry), Some(10 * SECOND));
    clock.advance(10 * SECOND);
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [None, Some(2), None, None]);
}

#[test]
fn a_wait_of_its_own() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.wait_timeout(100 * SECOND).bypass(true).build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    thread::scope(|scope| {
        let thread = scope.spawn(|| cache.entry(&1).wait_timeout(SECOND).try_get_with(broken).map(told));
        let mut task = pin!(cache.entry(&1).wait_timeout(2 * SECOND).try_get_with_async(|| async { broken() }));
        assert!(poll(task.as_mut()).is_pending());
        until("both wait", || cache.stats().coalesced == 2);
        until("the first has given up", || {
            clock.advance(SECOND / 100);
            cache.stats().wait_timeouts == 1
        });
        assert!(matches!(thread.join().unwrap(), Err(LoadError::TimedOut)));
        clock.advance(2 * SECOND);
        assert!(matches!(poll(task), Poll::Ready(Err(LoadError::TimedOut))));
    });
    // A caller without an error channel runs its own loader where it may, and what it loads is in no cache.
    let (entry, outcome) = cache.entry(&1).wait_timeout(Duration::ZERO).get_with(|| 7);
    assert_eq!((*entry, *Entry::key(&entry), Entry::weight(&entry), outcome), (7, 1, 0, Outcome::Computed));
    assert_eq!((cache.get(&1), cache.len(), cache.stats().bypassed), (None, 0, 1));
    assert_eq!(*lease.fulfil(2).unwrap(), 2);
    assert_eq!((cache.get(&1), *entry), (Some(2), 7));
}

#[test]
fn what_is_not_stored_is_dropped_with_its_entry() {
    let census = Census::default();
    let cache: Cache<Member<u32>, Member<u32>> =
        Cache::builder().max_capacity(10).max_loads(1).bypass(true).build().unwrap();
    // No more may load than this one.
    let Lookup::Lead(only) = cache.lease(&census.member(0)) else { panic!() };
    let (entry, outcome) = cache.entry(&census.member(1)).get_with(|| census.member(2));
    assert_eq!((entry.what, outcome), (2, Outcome::Computed));
    let copy = entry.clone();
    drop(entry);
    assert_eq!((copy.what, cache.len()), (2, 0));
    drop((copy, only));
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// A waker that counts how often it is there.
fn counted() -> (Waker, std::sync::Weak<impl std::task::Wake + Send + Sync>) {
    struct Idle;
    impl std::task::Wake for Idle {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    let idle = std::sync::Arc::new(Idle);
    let weak = std::sync::Arc::downgrade(&idle);
    (Waker::from(idle), weak)
}

#[test]
fn a_wait_that_is_over_keeps_no_task() {
    let (builder, _clock) = timed();
    let cache: TestCache = builder.wait_timeout(100 * SECOND).build().unwrap();
    let (waker, there) = counted();
    for round in 0..10 {
        let Lookup::Lead(lease) = cache.lease(&round) else { panic!() };
        let mut task = pin!(cache.entry(&round).get_with_async(|| async { 3 }));
        let mut poll = || task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(!poll() && there.strong_count() > 1);
        assert_eq!(*lease.fulfil(1).unwrap(), 1);
        assert!(poll());
    }
    assert_eq!(there.strong_count(), 1, "timers hold no task that waits no more");
}

#[test]
fn under_a_custom_clock_without_a_timer_tasks_wait_by_the_systems_clock() {
    struct Thread(thread::Thread);
    impl std::task::Wake for Thread {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let cache: TestCache = Cache::builder().max_capacity(10).clock(bellwether::ManualClock::new()).build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
    let request = cache.entry(&1).wait_timeout(Duration::from_millis(20));
    let mut task = pin!(request.try_get_with_async(|| async { broken() }));
    let waker = Waker::from(std::sync::Arc::new(Thread(thread::current())));
    let mut polls = 0;
    let error = loop {
        polls += 1;
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => break done.map(told).unwrap_err(),
            Poll::Pending => thread::park(),
        }
    };
    assert!(matches!(error, LoadError::TimedOut) && polls < 20, "{error:?} after {polls} polls");
    drop(lease);
}
