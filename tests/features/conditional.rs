//! Values that do not please a caller are replaced by one load, however many callers refuse them.

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
    fn get(self, cache: &TestCache, load: impl FnOnce() -> u64, replace_if: impl FnOnce(&u64) -> bool) -> u64 {
        let never = |value| Ok::<_, Infallible>(value);
        match self {
            Self::Thread => cache.get_with_if(&1, load, replace_if),
            Self::ThreadThatMayFail => cache.try_get_with_if(&1, || never(load()), replace_if).unwrap(),
            Self::Task => block_on(cache.get_with_if_async(&1, async || (yield_now().await, load()).1, replace_if)),
            Self::TaskThatMayFail => {
                let load = async || never((yield_now().await, load()).1);
                block_on(cache.try_get_with_if_async(&1, load, replace_if)).unwrap()
            }
        }
    }
}

#[test]
fn what_pleases_stays_and_what_does_not_is_replaced() {
    for face in FACES {
        let (cache, clock) = ten_seconds();
        assert_eq!(face.get(&cache, || 1, |_| unreachable!()), 1, "{face:?}: there is none");
        assert_eq!(face.get(&cache, || unreachable!(), |value| *value != 1), 1, "{face:?}");
        assert_eq!(face.get(&cache, || 2, |value| *value == 1), 2, "{face:?}");
        assert_eq!(face.get(&cache, || 3, |_| true), 3, "{face:?}: the new one is not asked about");
        assert_eq!(cache.get(&1), Some(3));
        clock.advance(10 * SECOND);
        assert_eq!(face.get(&cache, || 4, |_| unreachable!()), 4, "{face:?}: it has expired");
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}

#[test]
fn all_that_refuse_one_value_share_one_load() {
    for (leading, waiting) in FACES.into_iter().flat_map(|leading| FACES.map(|waiting| (leading, waiting))) {
        let cache: TestCache = Cache::new(10);
        cache.insert(1, 1);
        thread::scope(|scope| {
            let (cache, (loader, gate)) = (&cache, Loader::gated(End::Value(2)));
            let load = loader.clone();
            let leader = scope.spawn(move || leading.get(cache, || load.run().unwrap(), |value| *value == 1));
            loader.begun(1);
            assert_eq!(cache.get(&1), Some(1), "others keep it");
            assert_eq!(cache.get_with_if(&1, || unreachable!(), |value| *value != 1), 1);
            let waiters: Vec<_> =
                (0..3).map(|_| scope.spawn(move || waiting.get(cache, || unreachable!(), |_| true))).collect();
            waiting_for(cache, 3);
            gate.open();
            assert_eq!(leader.join().unwrap(), 2);
            waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), 2, "{leading:?} {waiting:?}"));
        });
        assert_eq!(cache.get(&1), Some(2));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_value_that_comes_between_is_taken_as_it_is() {
    let cache: TestCache = Cache::new(10);
    cache.insert(1, 1);
    let replaced = cache.get_with_if(
        &1,
        || unreachable!(),
        |_| {
            cache.insert(1, 5);
            true
        },
    );
    assert_eq!(replaced, 5);
    let removed = cache.get_with_if(&1, || 6, |_| cache.invalidate(&1));
    assert_eq!(removed, 6);
}

#[test]
fn a_load_that_fails_leaves_the_refused_value() {
    let cache: TestCache = Cache::new(10);
    cache.insert(1, 1);
    let failed = cache.try_get_with_if(&1, || Err(Broken("no")), |_| true);
    assert!(matches!(failed, Err(LoadError::Load(_))));
    let failed = block_on(cache.try_get_with_if_async(&1, async || Err(Broken("no")), |_| true));
    assert!(matches!(failed, Err(LoadError::Load(_))));
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn a_task_that_is_dropped_hands_the_load_over() {
    let cache: TestCache = Cache::new(10);
    cache.insert(1, 1);
    let refuse = |value: u64| cache.get_with_if_async(&1, async move || (yield_now().await, value).1, |_| true);
    let mut leader = Task::new(refuse(2));
    leader.step();
    let mut waiters: Vec<_> = (3..6).map(|value| Task::new(refuse(value))).collect();
    waiters.iter_mut().for_each(Task::step);
    drop(leader);
    assert_eq!(tasks::run(waiters), [3, 3, 3]);
    nothing_in_flight(&cache, 1);
}
