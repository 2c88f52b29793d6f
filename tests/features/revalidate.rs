//! `revalidate_with`: loads that are given the old value, and may say that it is still right.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Builder, Cache, Entry, Equivalent, LoadError, Loaded, Lookup, ManualClock, Op, Outcome, ToKey};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

type Told = Result<(u64, Outcome), LoadError<Broken>>;
type Found<'c> = (Entry<'c, Key, u64>, Outcome);

fn told(found: Result<Found<'_>, LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, outcome))
}

/// A cache of ten seconds, whose key 1 holds the value 1 and is over now.
fn over_now(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let cache: TestCache = set(builder.time_to_live(10 * SECOND).xfetch(0.0)).build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    (cache, clock)
}

/// Revalidates key 1, as a thread or as a task; the old value that its loader was given.
fn revalidate(cache: &TestCache, task: bool, ttl: Option<Duration>, loaded: Loaded<u64>) -> (Told, Option<u64>) {
    let old = Cell::new(None);
    let request = || ttl.map_or(cache.entry(&1), |ttl| cache.entry(&1).ttl(ttl));
    let note = |given: Option<Entry<'_, Key, u64>>| {
        old.set(given.map(|entry| *entry));
        Ok(loaded)
    };
    let found = if task {
        Task::new(request().revalidate_with_async(|old| {
            let loaded = note(old);
            async {
                yield_now().await;
                loaded
            }
        }))
        .finish()
    } else {
        request().revalidate_with(note)
    };
    (told(found), old.get())
}

#[test]
fn what_a_load_may_come_to() {
    for task in [false, true] {
        let lives = |cache: &TestCache| cache.get_entry(&1).map(|entry| (*entry, Entry::expires_in(&entry)));
        let ten = Some(10 * SECOND);
        let (cache, clock) = over_now(|b| b);
        let computed = |value| Ok::<_, ()>((value, Outcome::Computed));
        let ask = |ttl, loaded| {
            let (told, old) = revalidate(&cache, task, ttl, loaded);
            (told.map_err(drop), old)
        };
        assert_eq!(ask(None, Loaded::NotModified), (computed(1), Some(1)));
        assert_eq!(lives(&cache), Some((1, ten)), "its time begins anew");
        assert_eq!(ask(None, Loaded::New(9)), (Ok((1, Outcome::Hit)), None), "nothing is loaded that is good");
        clock.advance(10 * SECOND);
        assert_eq!(ask(Some(3 * SECOND), Loaded::NotModified), (computed(1), Some(1)));
        assert_eq!(lives(&cache), Some((1, Some(3 * SECOND))), "the call's own");
        clock.advance(3 * SECOND);
        assert_eq!(ask(None, Loaded::New(2)), (computed(2), Some(1)));
        assert_eq!(lives(&cache), Some((2, ten)));
        clock.advance(10 * SECOND);
        assert_eq!(ask(Some(SECOND), Loaded::New(3)), (computed(3), Some(2)));
        assert_eq!(lives(&cache), Some((3, Some(SECOND))));
        clock.advance(SECOND);
        // What the loader says is later than what the caller said.
        assert_eq!(ask(Some(SECOND), Loaded::NewFor(4, 5 * SECOND)), (computed(4), Some(3)));
        assert_eq!(lives(&cache), Some((4, Some(5 * SECOND))));
        clock.advance(5 * SECOND);
        assert_eq!(ask(None, Loaded::NewFor(5, Duration::MAX)), (computed(5), Some(4)));
        assert_eq!(lives(&cache), Some((5, None)));
        assert!(cache.expire(&1));
        assert_eq!(ask(None, Loaded::Unstored(6)), (computed(6), Some(5)));
        assert_eq!((cache.get(&1), cache.len()), (None, 0), "the old one goes all the same");
        assert_eq!(ask(None, Loaded::NewFor(7, Duration::ZERO)), (computed(7), None));
        assert_eq!((cache.get(&1), cache.len()), (None, 0));
        assert_eq!(cache.stats().loads, 8);
        cache.validate().unwrap();
    }
}

#[test]
fn not_modified_where_there_is_nothing_is_an_error() {
    for task in [false, true] {
        let cache: TestCache = Cache::new(10);
        let (found, old) = revalidate(&cache, task, None, Loaded::NotModified);
        assert!(matches!(found, Err(LoadError::NotModified)), "{found:?}");
        assert_eq!((old, cache.len()), (None, 0));
        nothing_in_flight(&cache, 1);
        // Those who wait take over.
        let request = cache.entry(&1).revalidate_with_async(|_| async {
            yield_now().await;
            Ok::<_, Broken>(Loaded::NotModified)
        });
        let mut leader = Task::new(request);
        leader.step();
        let waiters = waiting(&cache, 3, &value(5));
        assert!(matches!(told(leader.finish()), Err(LoadError::NotModified)));
        assert!(run(waiters).iter().all(|answer| answer.value() == 5));
    }
}

#[test]
fn those_who_wait_get_what_is_confirmed() {
    let (cache, clock) = over_now(|b| b);
    let (loader, ttls) = (value(9), [None, Some(SECOND)]);
    for ttl in ttls {
        let request = ttl.map_or(cache.entry(&1), |ttl| cache.entry(&1).ttl(ttl));
        let mut leader = Task::new(request.revalidate_with_async(|old| async move {
            assert_eq!(old.map(|entry| *entry), Some(1));
            yield_now().await;
            Ok::<_, Broken>(Loaded::NotModified)
        }));
        leader.step();
        let waiters = waiting(&cache, 4, &loader);
        assert_eq!(told(leader.finish()).unwrap(), (1, Outcome::Computed));
        assert!(run(waiters).iter().all(|answer| answer.value() == 1));
        clock.advance(ttl.unwrap_or(10 * SECOND));
    }
    assert_eq!((loader.calls(), cache.stats().loads), (0, 2));
}

#[test]
fn those_who_wait_get_what_is_confirmed_for_no_time() {
    let (cache, _clock) = over_now(|b| b);
    let loader = value(9);
    let mut leader = Task::new(cache.entry(&1).ttl(Duration::ZERO).revalidate_with_async(|_| async {
        yield_now().await;
        Ok::<_, Broken>(Loaded::NotModified)
    }));
    leader.step();
    let waiters = waiting(&cache, 4, &loader);
    assert_eq!(told(leader.finish()).unwrap(), (1, Outcome::Computed));
    assert!(run(waiters).iter().all(|answer| answer.value() == 1), "a time to live of zero is handed over");
    assert_eq!((loader.calls(), cache.get(&1), cache.len()), (0, None, 0), "and not stored");
    cache.validate().unwrap();
}

#[test]
fn what_is_confirmed_after_its_removal_is_for_its_callers_only() {
    let (cache, _clock) = over_now(|b| b);
    let found = cache.entry(&1).revalidate_with(|old| {
        assert_eq!(old.map(|entry| *entry), Some(1));
        cache.remove(&1);
        Ok::<_, Broken>(Loaded::NotModified)
    });
    assert_eq!(told(found).unwrap(), (1, Outcome::Computed), "it is the caller's answer");
    assert_eq!((cache.get(&1), cache.len()), (None, 0), "and no more");
    nothing_in_flight(&cache, 1);
}

#[test]
fn a_failing_revalidation_is_a_failing_refresh() {
    let (cache, clock) = over_now(|b| b.stale_if_error(10 * SECOND));
    let fails = |old: Option<Entry<'_, Key, u64>>| {
        assert!(old.is_some());
        Err::<Loaded<u64>, _>(Broken("no"))
    };
    assert_eq!(told(cache.entry(&1).revalidate_with(fails)).unwrap(), (1, Outcome::Stale));
    let never = |_: Option<Entry<'_, Key, u64>>| -> Result<Loaded<u64>, Broken> { unreachable!("it cools down") };
    assert_eq!(told(cache.entry(&1).revalidate_with(never)).unwrap(), (1, Outcome::Stale));
    // Confirmed, it is as good as new: nothing of the cooldown is left.
    let confirmed = |_: Option<Entry<'_, Key, u64>>| Ok::<_, Broken>(Loaded::NotModified);
    let strict = cache.entry(&1).max_stale(Duration::ZERO);
    assert_eq!(told(strict.revalidate_with(confirmed)).unwrap(), (1, Outcome::Computed));
    assert_eq!(cache.get(&1), Some(1));
    let loader = value(2);
    clock.advance(10 * SECOND);
    assert_eq!((cache.get_with(&1, || loader.run().unwrap()), loader.calls()), (2, 1));
}

#[test]
fn an_early_refresh_may_confirm() {
    let (cache, clock) = due_for_early_refresh();
    clock.advance(9 * SECOND - NANO);
    let (found, old) = revalidate(&cache, false, Some(20 * SECOND), Loaded::NotModified);
    assert_eq!((found.unwrap(), old), ((1, Outcome::Refreshed), Some(1)));
    assert_eq!(cache.get_entry(&1).and_then(|entry| Entry::expires_in(&entry)), Some(20 * SECOND));
}

#[test]
fn with_a_time_to_idle_the_old_value_is_given_as_well() {
    for task in [false, true] {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_idle(10 * SECOND).build().unwrap();
        cache.insert(1, 1);
        clock.advance(10 * SECOND);
        let (found, old) = revalidate(&cache, task, None, Loaded::NotModified);
        assert_eq!((found.unwrap(), old, cache.get(&1)), ((1, Outcome::Computed), Some(1), Some(1)));
        clock.advance(10 * SECOND - NANO);
        assert_eq!(cache.get(&1), Some(1));
    }
}

#[test]
fn what_is_confirmed_is_not_dropped_and_not_doubled() {
    type Counted = Cache<Key, Member<u32>>;
    let census = Census::default();
    let (clock, most) = (ManualClock::new(), 10);
    let builder = Cache::builder().max_capacity(most).clock(clock.clone()).time_to_live(SECOND).xfetch(0.0);
    let cache: Counted = builder.build().unwrap();
    cache.insert(1, census.member(1));
    let mut kept = Vec::new();
    for _ in 0..5 {
        clock.advance(SECOND);
        let confirm = |_: Option<Entry<'_, Key, Member<u32>>>| Ok::<_, Broken>(Loaded::NotModified);
        kept.push(cache.entry(&1).revalidate_with(confirm).unwrap());
    }
    assert_eq!((census.alive(), cache.len()), (1, 1));
    cache.validate().unwrap();
    drop(kept);
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// Asks for key 1, and does something else between looking and leading.
struct Late<F>(Cell<Option<F>>);

impl<F: FnOnce()> ToKey<Key> for Late<F> {
    fn to_key(&self) -> Key {
        self.0.take().into_iter().for_each(|f| f());
        1
    }
}
impl<F> Equivalent<Key> for Late<F> {
    fn equivalent(&self, key: &Key) -> bool {
        *key == 1
    }
}
impl<F> Hash for Late<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        1_u32.hash(state);
    }
}

#[test]
fn who_looked_before_a_refresh_failed_does_not_load_after_it() {
    let (cache, _clock) = over_now(|b| b.stale_if_error(10 * SECOND));
    let loader = Loader::new(End::Fail("no"));
    let ask = || cache.try_get_with(&1, || loader.run()).unwrap();
    let late = Late(Cell::new(Some(|| assert_eq!(ask(), 1))));
    assert_eq!(told(cache.entry(&late).try_get_with(|| loader.run())).unwrap(), (1, Outcome::Stale));
    assert_eq!((loader.calls(), cache.stats().loads), (1, 1), "the cooldown has begun");
    nothing_left(&cache);
}

#[test]
fn who_looked_before_a_value_was_confirmed_does_not_load_after_it() {
    let (cache, _clock) = over_now(|b| b);
    let confirm = || {
        let confirmed = cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(Loaded::NotModified));
        assert_eq!(told(confirmed).unwrap(), (1, Outcome::Computed));
    };
    let loader = value(2);
    let late = Late(Cell::new(Some(confirm)));
    assert_eq!(told(cache.entry(&late).try_get_with(|| loader.run())).unwrap(), (1, Outcome::Hit));
    assert_eq!((loader.calls(), cache.get(&1)), (0, Some(1)));
    nothing_left(&cache);
    // `compute` asks for no more than its turn.
    let (cache, _clock) = over_now(|b| b);
    let late =
        Late(Cell::new(Some(|| drop(cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(Loaded::NotModified))))));
    cache.compute(&late, |old| Op::Put(old.unwrap() + 1));
    assert_eq!(cache.get(&1), Some(2));
}

fn nothing_left(cache: &TestCache) {
    assert!(!cache.is_loading(&1));
    assert!(!matches!(cache.lease(&1), Lookup::Wait(_)));
    cache.validate().unwrap();
}
