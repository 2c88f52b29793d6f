//! Loaders that may find that there is no value: one load tells all callers that wait.

use crate::common::tasks::{self, Task, block_on, yield_now};
use crate::common::*;
use bellwether::{Cache, LoadError};
use std::convert::Infallible;
use std::thread;

#[derive(Clone, Copy, Debug)]
enum Face {
    Thread,
    ThreadThatMayFail,
    Task,
    TaskThatMayFail,
}

const FACES: [Face; 4] = [Face::Thread, Face::ThreadThatMayFail, Face::Task, Face::TaskThatMayFail];

impl Face {
    fn get(self, cache: &TestCache, key: Key, load: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let never = |found| Ok::<_, Infallible>(found);
        match self {
            Self::Thread => cache.get_with_optional(&key, load),
            Self::ThreadThatMayFail => cache.try_get_with_optional(&key, || never(load())).unwrap(),
            Self::Task => block_on(cache.get_with_optional_async(&key, async || (yield_now().await, load()).1)),
            Self::TaskThatMayFail => {
                let load = async || never((yield_now().await, load()).1);
                block_on(cache.try_get_with_optional_async(&key, load)).unwrap()
            }
        }
    }
}

#[test]
fn nothing_is_stored_for_none() {
    for face in FACES {
        let (cache, clock) = ten_seconds();
        assert_eq!(face.get(&cache, 1, || None), None, "{face:?}");
        assert_eq!((cache.len(), cache.is_loading(&1), cache.stats().load_failures), (0, false, 0));
        assert_eq!(face.get(&cache, 1, || Some(1)), Some(1), "{face:?}");
        assert_eq!(face.get(&cache, 1, || unreachable!()), Some(1), "{face:?}");
        clock.advance(10 * SECOND);
        assert_eq!(face.get(&cache, 1, || None), None, "{face:?}: the old value has expired");
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        cache.validate().unwrap();
    }
}

#[test]
fn all_that_wait_are_told_by_one_load() {
    for (leading, waiting) in FACES.into_iter().flat_map(|leading| FACES.map(|waiting| (leading, waiting))) {
        for found in [None, Some(5)] {
            let cache: TestCache = Cache::new(10);
            thread::scope(|scope| {
                let (cache, (loader, gate)) = (&cache, Loader::gated(End::Value(0)));
                let load = loader.clone();
                let leader = scope.spawn(move || leading.get(cache, 1, || load.run().ok().and(found)));
                loader.begun(1);
                let waiters: Vec<_> =
                    (0..3).map(|_| scope.spawn(move || waiting.get(cache, 1, || unreachable!()))).collect();
                waiting_for(cache, 3);
                gate.open();
                assert_eq!(leader.join().unwrap(), found, "{leading:?} {waiting:?}");
                waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), found, "{waiting:?}"));
                assert_eq!(loader.calls(), 1);
            });
            nothing_in_flight(&cache, 1);
        }
    }
}

#[test]
fn tasks_on_one_thread_are_told_by_one_load() {
    let cache: TestCache = Cache::new(10);
    let mut leader = Task::new(cache.get_with_optional_async(&1, async || (yield_now().await, None).1));
    leader.step();
    let mut waiters: Vec<_> =
        (0..5).map(|_| Task::new(cache.get_with_optional_async(&1, async || unreachable!()))).collect();
    waiters.iter_mut().for_each(Task::step);
    waiters.push(leader);
    assert!(tasks::run(waiters).iter().all(Option::is_none));
}

#[test]
fn other_verbs_that_wait_load_for_themselves_or_are_told() {
    let cache: TestCache = Cache::new(10);
    let mut leader = Task::new(cache.get_with_optional_async(&1, async || (yield_now().await, None).1));
    leader.step();
    let mut certain = Task::new(cache.get_with_async(&1, async || 7));
    certain.step();
    assert_eq!(leader.finish(), None);
    assert_eq!(certain.finish(), 7);
    cache.invalidate(&1);
    let mut leader = Task::new(cache.get_with_optional_async(&1, async || (yield_now().await, None).1));
    leader.step();
    let mut fallible = Task::new(cache.try_get_with_async(&1, async || Ok::<_, Broken>(7)));
    fallible.step();
    assert_eq!(leader.finish(), None);
    assert!(matches!(fallible.finish(), Err(LoadError::NotFound)));
}

#[test]
fn a_failure_is_no_answer_to_a_caller_that_cannot_report_it() {
    for kept in [false, true] {
        let (builder, _) = timed();
        let cache: TestCache = if kept { builder.negative_ttl(SECOND) } else { builder }.build().unwrap();
        assert!(cache.try_get_with(&1, || Err::<u64, _>(Broken("no"))).is_err());
        let told = cache.try_get_with_optional(&1, || Ok::<_, Broken>(None));
        assert_eq!(told.is_err(), kept, "a kept error is one");
        cache.invalidate(&1);
        assert!(cache.try_get_with(&1, || Err::<u64, _>(Broken("no"))).is_err());
        assert_eq!(cache.get_with_optional(&1, || Some(3)), Some(3));
    }
}

#[test]
fn none_is_remembered_for_the_negative_ttl() {
    for face in FACES {
        let (builder, clock) = timed();
        let cache: TestCache = builder.negative_ttl(5 * SECOND).build().unwrap();
        assert_eq!(face.get(&cache, 1, || None), None);
        for again in FACES {
            assert_eq!(again.get(&cache, 1, || unreachable!()), None, "{face:?} {again:?}");
        }
        assert_eq!(cache.get(&1), None);
        clock.advance(5 * SECOND);
        assert_eq!(face.get(&cache, 1, || Some(2)), Some(2));
        cache.validate().unwrap();
    }
}

#[test]
fn a_cache_with_a_loader_has_these_verbs_too() {
    let builder = Cache::builder().max_capacity(10);
    let cache = builder.loader(|key: &Key| Ok::<u64, Infallible>(u64::from(*key))).build().unwrap();
    assert_eq!(cache.get_with_optional(&5, || None), None);
    assert_eq!(cache.load(&5).unwrap(), 5);
    assert_eq!(block_on(cache.get_with_optional_async(&5, async || None)), Some(5));
}
