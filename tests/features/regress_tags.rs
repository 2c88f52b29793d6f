//! What once went wrong with tags: values from before an invalidation, and `tags_with` in the middle of something.

use crate::common::tasks::block_on;
use crate::common::*;
use bellwether::{Cache, CacheEvent, Lease, Lookup, Observer, Outcome, Spawn, Tags, Task, Waited};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

const TAG: &u8 = &1;

/// The publication fell between a caller's look at the flight and its joining it: what it was given was outdated.
#[test]
fn a_load_from_before_the_invalidation_ends_as_it_is_joined() {
    let publish: Arc<Mutex<Option<Lease<'static, Key, u64>>>> = Arc::default();
    let (builder, clock) = timed();
    let held = publish.clone();
    let builder = builder.tags_with(move |_, _, tags: &mut Tags<'_>| {
        let lease = held.lock().unwrap().take();
        drop(lease.map(|lease| lease.fulfil(2)));
        tags.add(TAG);
    });
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_while_refresh(10 * SECOND);
    let cache: Arc<TestCache> = Arc::new(builder.build().unwrap());
    cache.insert(1, 1);
    let _lives_on = cache.get_entry(&1);
    clock.advance(11 * SECOND);
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("it leads") };
    cache.invalidate_tag(TAG);
    *publish.lock().unwrap() = Some(lease);
    // It sees the load in flight; whether the old value may be served, it asks the tags, which end the load.
    assert_eq!(cache.get_with(&1, || 3), 3);
    assert!(publish.lock().unwrap().is_none());
    assert!(!cache.is_loading(&1));
}

/// A waiter that came after the invalidation was given the old value, by a load from before it that confirmed that. (Found by the
/// randomised schedules of `shuttle-tests`.)
#[test]
fn a_renewal_from_before_the_invalidation_is_not_for_who_came_after_it() {
    let (builder, clock) = timed();
    let builder = builder.tags_with(|_, _, tags: &mut Tags<'_>| tags.add(TAG));
    let cache = builder.time_to_live(10 * SECOND).xfetch(0.0).build().unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    let Lookup::Wait(early) = cache.lease(&1) else { panic!("it waits") };
    cache.invalidate_tag(TAG);
    let Lookup::Wait(late) = cache.lease(&1) else { panic!("it waits") };
    assert!(lease.renew().is_some_and(|entry| *entry == 1), "for who called before");
    assert!(matches!(early.wait(), Waited::Ready(entry) if *entry == 1), "for who waited before");
    assert!(matches!(late.wait(), Waited::Abandoned), "who came after it looks again");
    assert_eq!(cache.get_with(&1, || 2), 2);
}

/// Invalidates the tag as a load begins, and is told how many did.
#[derive(Clone, Default)]
struct Invalidates(Arc<(Mutex<Weak<TestCache>>, AtomicUsize)>);

impl Observer for Invalidates {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if matches!(event, CacheEvent::LoadStarted { .. }) {
            self.0.1.fetch_add(1, SeqCst);
            self.0.0.lock().unwrap().upgrade().unwrap().invalidate_tag(TAG);
        }
    }
}

/// Runs tasks in threads of their own.
fn threads() -> impl Spawn + 'static {
    |task: Task| drop(thread::spawn(|| block_on(task)))
}

/// A detached caller whose tag went before it began to wait took its own load's value for outdated: it was told that the load was
/// abandoned, and `get_with` panicked.
#[test]
fn a_detached_load_is_good_for_its_own_caller() {
    let observer = Invalidates::default();
    let builder = Cache::builder().max_capacity(10).tags_with(|_, _, tags: &mut Tags<'_>| tags.add(TAG));
    let cache: Arc<TestCache> = Arc::new(builder.observer(observer.clone()).spawner(threads()).build().unwrap());
    *observer.0.0.lock().unwrap() = Arc::downgrade(&cache);
    let found = cache.detached(&1).try_get_with(|| Ok::<_, Infallible>(7)).map(|(entry, outcome)| (*entry, outcome));
    assert!(matches!(found, Ok((7, Outcome::Computed))), "{found:?}");
    let (entry, outcome) = cache.detached(&2).get_with(|| 8);
    assert_eq!((*entry, outcome), (8, Outcome::Computed));
    let (entry, outcome) = block_on(cache.detached(&3).get_with_async(|| async { 9 }));
    assert_eq!((*entry, outcome), (9, Outcome::Computed));
    assert_eq!(observer.0.1.load(SeqCst), 3);
    // But for nobody else.
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (None, None, None));
}

/// Says its tag, or panics.
fn armed() -> (Arc<AtomicBool>, impl Fn(&mut Tags<'_>) + Send + Sync + 'static) {
    let armed = Arc::new(AtomicBool::new(false));
    let watched = armed.clone();
    let say = move |tags: &mut Tags<'_>| {
        assert!(!watched.load(SeqCst), "tags_with panics, as it was told to");
        tags.add(TAG);
    };
    (armed, say)
}

/// Whether there is an old value to serve was asked with the lease taken apart already: the flight was left without a leader.
#[test]
fn tags_that_panic_as_a_load_fails() {
    let (armed, say) = armed();
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(5 * SECOND).negative_ttl(SECOND);
    let cache: TestCache = builder.max_loads(1).tags_with(move |_, _, tags: &mut Tags<'_>| say(tags)).build().unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    let panicked = quietly(|| {
        armed.store(true, SeqCst);
        let panicked = catch_unwind(AssertUnwindSafe(|| lease.fail_with(Broken("down")))).is_err();
        armed.store(false, SeqCst);
        panicked
    });
    assert!(panicked);
    assert!(!cache.is_loading(&1));
    assert!(matches!(cache.try_get_with(&2, || Ok::<_, Broken>(2)), Ok(2)), "its place among the loads is free");
    clock.advance(2 * SECOND);
    assert_eq!(cache.get_with(&1, || 3), 3);
}

/// A waiter that asks whether the value was outdated as it came lost its shares of the flight by that panic: a leak.
#[test]
fn tags_that_panic_as_a_waiter_is_answered() {
    let (census, (armed, say)) = (Census::default(), armed());
    let builder = Cache::<Key, Member<u64>>::builder().max_capacity(10);
    let cache = builder.tags_with(move |_, _, tags: &mut Tags<'_>| say(tags)).build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    cache.invalidate_tag(&2);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it waits") };
    drop(lease.fulfil(census.member(1)));
    let panicked = quietly(|| {
        armed.store(true, SeqCst);
        let panicked = catch_unwind(AssertUnwindSafe(|| drop(waiter.wait()))).is_err();
        armed.store(false, SeqCst);
        panicked
    });
    assert!(panicked);
    cache.invalidate_all();
    drop(cache);
    assert_eq!(census.alive(), 0);
}
