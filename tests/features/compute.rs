//! Decisions under a key's lease: what they tell, and that threads and tasks take their turns alike.

use crate::common::tasks::{self, Task, block_on, value, waiting, yield_now};
use crate::common::*;
use bellwether::{Builder, Cache, Change, Entry, Expiry, Op};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How a decision is made.
#[derive(Clone, Copy, Debug)]
enum Face {
    Thread,
    ThreadThatMayFail,
    Task,
    TaskThatMayFail,
}

const FACES: [Face; 4] = [Face::Thread, Face::ThreadThatMayFail, Face::Task, Face::TaskThatMayFail];

impl Face {
    fn compute<'c>(
        self,
        cache: &'c TestCache,
        key: &'c Key,
        f: impl FnOnce(Option<&u64>) -> Op<u64>,
    ) -> Change<'c, Key, u64> {
        let never = |op| Ok::<_, Infallible>(op);
        match self {
            Self::Thread => cache.compute(key, f),
            Self::ThreadThatMayFail => cache.try_compute(key, |old| never(f(old))).unwrap(),
            Self::Task => block_on(cache.compute_async(key, |old| slow(f, old))),
            Self::TaskThatMayFail => {
                block_on(cache.try_compute_async(key, async |old| never(slow(f, old).await))).unwrap()
            }
        }
    }
}

/// Awaits before and after the decision.
async fn slow(f: impl FnOnce(Option<&u64>) -> Op<u64>, old: Option<Entry<'_, Key, u64>>) -> Op<u64> {
    yield_now().await;
    let op = f(old.as_deref());
    yield_now().await;
    op
}

fn told(change: &Change<'_, Key, u64>) -> (Option<u64>, Option<u64>, bool) {
    (change.old.as_deref().copied(), change.new.as_deref().copied(), change.applied)
}

#[test]
fn the_result_says_what_was_there_and_what_is_there_now() {
    for face in FACES {
        let (cache, clock) = ten_seconds();
        let compute = |op, seen| told(&face.compute(&cache, &1, |old| (assert_eq!(old.copied(), seen), op).1));
        assert_eq!(compute(Op::Nop, None), (None, None, true), "{face:?}");
        assert_eq!(compute(Op::Remove, None), (None, None, true), "{face:?}");
        assert_eq!(cache.len(), 0);
        assert_eq!(compute(Op::Put(1), None), (None, Some(1), true), "{face:?}");
        assert_eq!(compute(Op::Put(2), Some(1)), (Some(1), Some(2), true), "{face:?}");
        assert_eq!(compute(Op::Nop, Some(2)), (Some(2), Some(2), true), "{face:?}");
        assert_eq!(compute(Op::Remove, Some(2)), (Some(2), None, true), "{face:?}");
        assert_eq!(compute(Op::Put(3), None), (None, Some(3), true), "{face:?}");
        clock.advance(10 * SECOND);
        assert_eq!(compute(Op::Remove, None), (None, None, true), "{face:?}: it had expired");
        assert_eq!(cache.len(), 0);
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}

#[test]
fn the_result_says_if_a_later_write_won() {
    for face in FACES {
        for old in [None, Some(1)] {
            let (cache, _) = ten_seconds();
            let fresh = || {
                cache.invalidate(&1);
                old.into_iter().for_each(|old| cache.insert(1, old));
            };
            let beside = |op, change: fn(&TestCache)| {
                fresh();
                told(&face.compute(&cache, &1, |_| (change(&cache), op).1))
            };
            assert_eq!(beside(Op::Put(2), |cache| cache.insert(1, 5)), (old, Some(2), false), "{face:?}");
            assert_eq!(cache.get(&1), Some(5), "{face:?}");
            assert_eq!(beside(Op::Put(2), |cache| _ = cache.invalidate(&1)), (old, Some(2), false), "{face:?}");
            assert_eq!(cache.get(&1), None, "{face:?}");
            // (There is nothing to remove for one that saw no value.)
            assert_eq!(beside(Op::Remove, |cache| cache.insert(1, 5)), (old, None, old.is_none()), "{face:?}");
            assert_eq!(cache.get(&1), Some(5), "{face:?}");
            nothing_in_flight(&cache, 1);
            cache.validate().unwrap();
        }
    }
}

#[test]
fn the_result_says_if_another_caller_took_the_lease_over() {
    for face in FACES {
        for op in [Op::Put(2), Op::Remove] {
            let (cache, clock) = three_seconds(|builder| builder);
            cache.insert(1, 1);
            let change = face.compute(&cache, &1, |_| {
                clock.advance(3 * SECOND);
                assert!(thread::scope(|scope| scope.spawn(|| cache.upsert(&1, |_| 7).applied).join().unwrap()));
                op
            });
            assert!(!change.applied, "{face:?} {op:?}");
            assert_eq!(change.old.as_deref(), Some(&1));
            assert_eq!(cache.get(&1), Some(7), "{face:?} {op:?}");
        }
    }
}

#[test]
fn the_result_says_if_a_value_is_not_kept() {
    for face in FACES {
        let (builder, _) = timed();
        let cache: TestCache = builder.weigher(|_, v: &u64| u32::try_from(*v).unwrap()).build().unwrap();
        cache.insert(1, 10);
        assert_eq!(told(&face.compute(&cache, &1, |_| Op::Put(101))), (Some(10), Some(101), false), "{face:?}");
        assert_eq!((cache.get(&1), cache.weight(), cache.stats().rejected), (None, 0, 1), "{face:?}");
    }
}

#[test]
fn a_value_may_be_stored_on_terms_of_its_own() {
    for face in FACES {
        let (cache, clock) = ten_seconds();
        let change = face.compute(&cache, &1, |_| Op::PutWith(1, Expiry::new().exact_ttl(3 * SECOND)));
        assert_eq!(told(&change), (None, Some(1), true), "{face:?}");
        cache.swap_with(2, 2, Expiry::new().exact_ttl(4 * SECOND));
        clock.advance(3 * SECOND);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)), "{face:?}");
        clock.advance(SECOND);
        assert_eq!(cache.get(&2), None);
    }
}

#[test]
fn results_outlive_their_entries() {
    let census = Census::default();
    {
        let cache: Cache<u8, Member<u8>> = Cache::new(10);
        let one = cache.upsert(&1, |_| census.member(1));
        let two = cache.upsert(&1, |old| census.member(old.unwrap().what + 1));
        let gone = block_on(cache.compute_async(&1, async |_| Op::Remove));
        assert_eq!(census.alive(), 2);
        drop(one);
        assert_eq!([&two.old, &two.new, &gone.old].map(|entry| entry.as_ref().unwrap().what), [1, 2, 2]);
        drop(two);
        assert_eq!(gone.old.as_ref().unwrap().what, 2);
    }
    assert_eq!(census.alive(), 0);
}

#[test]
fn an_error_is_its_callers_alone_and_changes_nothing() {
    for old in [None, Some(1)] {
        let (builder, _) = timed();
        let cache: TestCache = builder.negative_ttl(SECOND).time_to_live(10 * SECOND).xfetch(0.0).build().unwrap();
        old.into_iter().for_each(|old| cache.insert(1, old));
        assert_eq!(cache.try_compute(&1, |_| Err(Broken("no"))).unwrap_err(), Broken("no"));
        let failing = cache.try_compute_async(&1, async |_| (yield_now().await, Err(Broken("no"))).1);
        assert_eq!(block_on(failing).unwrap_err(), Broken("no"));
        assert_eq!((cache.get(&1), cache.stats().load_failures), (old, 0));
        nothing_in_flight(&cache, 1);
        // No failure is kept: a read-through loads, or finds the old value.
        assert_eq!(cache.try_get_with(&1, || Ok::<_, Broken>(9)).unwrap(), old.unwrap_or(9));
    }
}

#[test]
fn threads_and_tasks_take_turns() {
    let cache: Arc<TestCache> = Arc::new(Cache::new(10));
    let (each, sum) = (50, Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = FACES
        .into_iter()
        .cycle()
        .take(8)
        .map(|face| {
            let (cache, sum) = (cache.clone(), sum.clone());
            thread::spawn(move || {
                for _ in 0..each {
                    let change = face.compute(&cache, &1, |old| Op::Put(old.map_or(1, |n| n + 1)));
                    assert!(change.applied);
                    let (old, new) = (change.old.map_or(0, |n| *n), *change.new.unwrap());
                    assert_eq!(new, old + 1);
                    sum.fetch_add(new, Ordering::Relaxed);
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let all = 8 * each;
    // Each number was given once.
    assert_eq!((cache.get(&1), sum.load(Ordering::Relaxed)), (Some(all), all * (all + 1) / 2));
    cache.validate().unwrap();
}

#[test]
fn a_decision_waits_for_a_load_and_a_load_for_a_decision() {
    let cache: TestCache = Cache::new(10);
    thread::scope(|scope| {
        let (loader, gate) = Loader::gated(End::Value(5));
        let leader = ask(scope, &cache, 1, &loader);
        loader.begun(1);
        let mut task = Task::new(cache.upsert_async(&1, async |old| *old.unwrap() + 1));
        task.step();
        gate.open();
        assert_eq!(leader.answer().value(), 5);
        assert_eq!(told(&task.finish_when_woken()), (Some(5), Some(6), true));
    });
    // Tasks wait for a task that decides, and get what it stores.
    cache.invalidate(&1);
    let mut deciding = Task::new(cache.upsert_async(&1, async |_| (yield_now().await, 7).1));
    deciding.step();
    let waiting = waiting(&cache, 4, &value(0));
    assert_eq!(told(&deciding.finish()), (None, Some(7), true));
    assert!(tasks::run(waiting).into_iter().all(|answer| answer.value() == 7));
}

#[test]
fn a_task_that_is_dropped_gives_its_lease_up() {
    for old in [None, Some(1)] {
        let cache: TestCache = Cache::new(10);
        old.into_iter().for_each(|old| cache.insert(1, old));
        // While its future runs: another decision goes on.
        let mut deciding =
            Task::new(cache.compute_async(&1, async |_| (std::future::pending::<()>().await, Op::Remove).1));
        deciding.step();
        let mut other = Task::new(cache.upsert_async(&1, async |old| old.map_or(10, |n| *n + 10)));
        other.step();
        assert!(cache.is_loading(&1));
        // While it waits: it leaves, and nobody notices.
        let mut leaver = Task::new(cache.upsert_async(&1, async |_| 0));
        leaver.step();
        drop(leaver);
        assert_eq!(cache.get(&1), old, "readers keep the old value");
        drop(deciding);
        assert_eq!(told(&other.finish()), (old, Some(old.unwrap_or(0) + 10), true));
        // Before it is polled: nothing has happened.
        drop(cache.upsert_async(&1, async |_| unreachable!()));
        assert_eq!(cache.get(&1), Some(old.unwrap_or(0) + 10));
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}

#[test]
fn a_panic_changes_nothing() {
    for face in FACES {
        let (cache, _) = ten_seconds();
        cache.insert(1, 1);
        let panics = || face.compute(&cache, &1, |_| panic!("the decision panics, as it was told to"));
        assert!(quietly(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics))).is_err());
        assert_eq!(told(&face.compute(&cache, &1, |_| Op::Put(2))), (Some(1), Some(2), true), "{face:?}");
    }
}

#[test]
fn a_decision_within_one_of_the_same_key_panics() {
    for (outer, inner) in FACES.into_iter().flat_map(|outer| FACES.map(|inner| (outer, inner))) {
        let (cache, _) = ten_seconds();
        let change = outer.compute(&cache, &1, |_| {
            let nested = || drop(inner.compute(&cache, &1, |_| Op::Nop));
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(nested)).unwrap_err();
            assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "compute from within a load of the same key");
            // Another key is no harm.
            assert!(inner.compute(&cache, &2, |_| Op::Put(2)).applied);
            Op::Put(1)
        });
        assert_eq!(told(&change), (None, Some(1), true), "{outer:?} {inner:?}");
    }
}

#[test]
fn a_cache_with_a_loader_decides_as_any_other() {
    let builder: Builder<Key, u64> = Cache::builder().max_capacity(10);
    let cache = builder.loader(|key: &Key| Ok::<u64, Infallible>(u64::from(*key))).build().unwrap();
    assert_eq!(cache.load(&5).unwrap(), 5);
    assert_eq!(told(&cache.upsert(&5, |old| old.unwrap() + 1)), (Some(5), Some(6), true));
    assert_eq!(told(&block_on(cache.upsert_async(&5, async |old| *old.unwrap() + 1))), (Some(6), Some(7), true));
    assert_eq!(cache.load(&5).unwrap(), 7);
}
