//! Reading through as a task: the laws of `one_flight`, `no_error_storm` and `no_stale_sets`, with tasks, and with tasks and threads
//! mixed.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, LoadError};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

#[test]
fn nothing_happens_before_the_first_poll() {
    let cache: TestCache = Cache::new(10);
    let loader = value(1);
    let made = || {
        // The closure, too, is only called by a poll.
        let called = loader.calls.clone();
        let load = move || {
            called.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { 1 }
        };
        cache.get_with_async(&1, load)
    };
    let (before, tasks) = (cache.stats(), [task(&cache, 1, &loader, 0), task_infallibly(&cache, 1, &loader, 0)]);
    drop(made());
    assert_eq!((loader.calls(), cache.is_loading(&1), cache.stats()), (0, false, before));
    drop(tasks);
    assert_eq!((block_on(made()), loader.calls(), cache.stats().loads), (1, 1, 1));
}

#[test]
fn a_herd_of_tasks_computes_once() {
    for tasks in [10, 100, 1000] {
        let cache: TestCache = Cache::new(100);
        let loader = value(7);
        let herd = waiting(&cache, tasks, &loader);
        assert!(run(herd).iter().all(|answer| answer.value() == 7));
        let stats = cache.stats();
        assert_eq!((loader.calls(), stats.loads, stats.coalesced, stats.bypassed), (1, 1, tasks as u64 - 1, 0));
        assert_eq!(cache.get(&1), Some(7));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn tasks_and_threads_share_one_flight() {
    for task_leads in [false, true] {
        let cache: TestCache = Cache::new(10);
        let (loader, gate) = Loader::gated(End::Value(7));
        thread::scope(|scope| {
            let cache = &cache;
            let as_task = |n| {
                let loader = loader.clone();
                scope.spawn(move || block_on(async { task_either(cache, n, &loader, 1).finish() }))
            };
            let as_thread = || ask(scope, cache, 1, &loader);
            let mut tasks = Vec::new();
            let mut threads = Vec::new();
            if task_leads {
                tasks.push(as_task(0))
            } else {
                threads.push(as_thread())
            }
            loader.begun(1);
            // These are true tasks: they sleep until they are woken from the leader's thread.
            let sleeping = |n| {
                let loader = loader.clone();
                let own = async move || slowly(loader, 1).await.unwrap();
                scope.spawn(move || match n % 2 {
                    0 => block_on(cache.get_with_async(&1, own)),
                    _ => block_on(cache.try_get_with_async(&1, async || Ok::<_, Broken>(own().await))).unwrap(),
                })
            };
            let sleepers: Vec<_> = (0..20).map(sleeping).collect();
            threads.extend((0..20).map(|_| as_thread()));
            waiting_for(cache, 40);
            gate.open();
            assert!(sleepers.into_iter().all(|s| s.join().unwrap() == 7));
            assert!(tasks.into_iter().all(|t| t.join().unwrap().value() == 7));
            assert!(threads.into_iter().all(|t| t.answer().value() == 7));
        });
        assert_eq!((loader.calls(), cache.stats().loads, cache.stats().coalesced), (1, 1, 40));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_herd_computes_once_where_nothing_is_kept() {
    let (zero, _) = timed();
    for cache in [zero.time_to_live(Duration::ZERO).build().unwrap(), Cache::new(0)] {
        let loader = value(9);
        let herd = waiting(&cache, 100, &loader);
        assert!(run(herd).iter().all(|answer| answer.value() == 9));
        assert_eq!((loader.calls(), cache.len(), cache.weight()), (1, 0, 0));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_failing_load_is_one_call_shared_by_tasks_and_threads() {
    let cache: TestCache = Cache::new(10);
    let failing = Loader::new(End::Fail("no route"));
    let mut leader = task(&cache, 1, &failing, 1);
    leader.step();
    let mut tasks: Vec<_> = (0..20).map(|_| task(&cache, 1, &failing, 1)).collect();
    tasks.iter_mut().for_each(Task::step);
    let mut other = Task::new(cache.try_get_with_async(&1, async || Err::<u64, String>("unused".into())));
    other.step();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| ask(scope, &cache, 1, &failing)).collect();
        waiting_for(&cache, 41);
        let first = leader.finish();
        let same = |answer: &Answer| std::ptr::eq(answer.load_error(), first.load_error());
        assert!(run(tasks).iter().all(same), "the very same error");
        assert!(threads.into_iter().all(|t| same(&t.answer())));
        let Err(LoadError::Foreign(any)) = other.finish() else { panic!("of another type") };
        assert_eq!(any.downcast_ref(), Some(&Broken("no route")));
    });
    assert_eq!((failing.calls(), cache.stats().load_failures), (1, 1));
    nothing_in_flight(&cache, 1);
    assert_eq!(task(&cache, 1, &value(3), 1).finish().value(), 3, "nothing was stored");
}

#[test]
fn the_failure_of_another_is_a_hand_over_to_those_who_cannot_be_told() {
    let cache: TestCache = Cache::new(10);
    let heirs = value(6);
    let mut leader = task(&cache, 1, &Loader::new(End::Fail("no")), 1);
    leader.step();
    let mut waiting: Vec<_> = (0..10).map(|_| task_infallibly(&cache, 1, &heirs, 2)).collect();
    waiting.iter_mut().for_each(Task::step);
    assert_eq!(leader.finish().load_error(), &Broken("no"));
    assert!(run(waiting).iter().all(|answer| answer.value() == 6));
    assert_eq!(heirs.calls(), 1);
}

#[test]
fn a_panic_reaches_its_own_caller_and_one_other_takes_over() {
    // In the loader's future, before its first await and after; and in the closure that makes it, which is run while the
    // others already wait.
    quietly(|| {
        for awaits in [0, 1, 3] {
            let cache: TestCache = Cache::new(10);
            let mut first = task(&cache, 1, &value(0), 9);
            first.step();
            let mut dying = task(&cache, 1, &Loader::new(End::Panic), awaits);
            dying.step();
            let heirs = value(5);
            let waiting = waiting(&cache, 9, &heirs);
            drop(first);
            assert!(dying.finish().panicked(), "it took over, and panicked");
            assert!(run(waiting).iter().all(|answer| answer.value() == 5));
            assert_eq!((heirs.calls(), cache.stats().handovers, cache.stats().load_failures), (1, 2, 1));
            nothing_in_flight(&cache, 1);
        }
        let cache: TestCache = Cache::new(10);
        let mut first = task(&cache, 1, &value(0), 9);
        first.step();
        fn never() -> std::future::Ready<u64> {
            panic!("as it was told to")
        }
        let mut dying = Task::new(cache.get_with_async(&1, never));
        dying.step();
        let heirs = value(5);
        let waiting = waiting(&cache, 9, &heirs);
        drop(first);
        assert!(catch_unwind(AssertUnwindSafe(|| dying.poll())).is_err());
        assert!(run(waiting).iter().all(|answer| answer.value() == 5));
        assert_eq!((heirs.calls(), cache.stats().handovers), (1, 2));
        nothing_in_flight(&cache, 1);
        // The thread is not taken for loading any more.
        cache.remove(&1);
        assert_eq!(cache.try_get_with(&1, || Ok::<_, Broken>(4)).unwrap(), 4);
    });
}

#[test]
fn a_failing_refresh_gives_the_old_value_and_cools_down() {
    let (cache, clock) = due_for_early_refresh();
    let failing = Loader::new(End::Fail("down"));
    let get = || task(&cache, 1, &failing, 1).finish();
    assert_eq!(get().value(), 1, "the old value is still good");
    assert_eq!((failing.calls(), cache.stats().load_failures, cache.stats().stale_serves), (1, 1, 1));
    assert_eq!(get().value(), 1);
    assert_eq!(failing.calls(), 1, "no dice are rolled during the cooldown");
    clock.advance(10 * SECOND);
    assert_eq!(get().load_error(), &Broken("down"), "expired: there is nothing to give");
    assert!(!cache.is_loading(&1));
}

#[test]
fn an_early_refresh_is_one_load_and_the_others_keep_the_value() {
    let (cache, clock) = due_for_early_refresh();
    let loader = value(2);
    let mut leader = task(&cache, 1, &loader, 1);
    leader.step();
    assert_eq!(task(&cache, 1, &loader, 0).poll().unwrap().value(), 1, "without waiting");
    clock.advance(20 * SECOND);
    let late = waiting(&cache, 9, &loader);
    assert_eq!(leader.finish().value(), 2);
    assert!(run(late).iter().all(|answer| answer.value() == 2));
    assert_eq!((loader.calls(), cache.len()), (1, 1));
}

#[test]
fn re_entry_is_answered_at_once() {
    let cache: TestCache = Cache::new(10);
    let strict = || cache.try_get_with_async(&1, async || Ok::<_, Broken>(5));
    let outer = Task::new(cache.get_with_async(&1, async || {
        assert!(matches!(strict().await, Err(LoadError::Reentrant)));
        yield_now().await;
        // In a later poll, too; and as a thread.
        assert!(matches!(strict().await, Err(LoadError::Reentrant)));
        assert!(matches!(cache.try_get_with(&1, || Ok::<_, Broken>(5)), Err(LoadError::Reentrant)));
        let alone = cache.get_with_async(&1, async || (yield_now().await, 20).1).await;
        assert_eq!((alone, cache.get(&1), cache.stats().bypassed), (20, None, 1), "and it is not stored");
        // Another key in between changes nothing.
        cache.get_with_async(&2, async || cache.get_with_async(&1, async || alone).await + 1).await + 100
    }));
    assert_eq!(outer.finish(), 121);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(121), Some(21)));
    assert_eq!((cache.stats().bypassed, cache.stats().loads), (2, 2));
    nothing_in_flight(&cache, 1);
}

#[test]
fn between_its_polls_a_leader_is_not_on_the_thread() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let waiter = waiting(&cache, 1, &value(2));
    assert_eq!(cache.stats().coalesced, 1, "it waits; it is not told that it asks for its own key");
    leader.finish();
    assert_eq!(run(waiter)[0].value(), 1);
    // A task that waits for one key, polled by the leader of another.
    let mut first = task(&cache, 2, &value(3), 2);
    first.step();
    let inner = cache.get_with_async(&2, async || unreachable!());
    let mut outer = Task::new(cache.get_with_async(&3, async || inner.await + 1));
    outer.step();
    assert!(cache.is_loading(&3) && !outer.woken());
    assert_eq!((first.finish().value(), outer.finish()), (3, 4));
}

type Change = (&'static str, fn(&TestCache), Option<u64>);

const CHANGES: &[Change] = &[
    ("invalidate", |c| _ = c.invalidate(&1), None),
    ("remove", |c| _ = c.remove(&1), None),
    ("invalidate_all", |c| c.invalidate_all(), None),
    ("retain none", |c| c.retain(|_, _| false), None),
    ("insert", |c| c.insert(1, 50), Some(50)),
];

#[test]
fn changes_during_a_load_win() {
    for &(name, change, stored) in CHANGES {
        for expired in [false, true] {
            let (cache, clock) = ten_seconds();
            if expired {
                cache.insert(1, 1);
                clock.advance(10 * SECOND);
            }
            let (old, new) = (value(2), value(3));
            let mut leader = task(&cache, 1, &old, 1);
            leader.step();
            let early = waiting(&cache, 3, &old);
            change(&cache);
            let mut late: Vec<_> = (0..3).map(|n| task_either(&cache, n, &new, 1)).collect();
            late[0].poll();
            assert_eq!(new.calls(), usize::from(stored.is_none()), "{name}: a flight of their own");
            let late: Vec<_> = late.into_iter().skip(usize::from(stored.is_some())).collect();
            assert_eq!(leader.finish().value(), 2, "{name}: the leader has its value");
            assert!(run(early).iter().all(|e| e.value() == 2), "{name}: so have those who waited");
            assert_eq!(cache.get(&1), stored, "{name}: and it is not stored");
            assert!(run(late).iter().all(|l| l.value() == stored.unwrap_or(3)), "{name}");
            assert_eq!((cache.get(&1), cache.len()), (Some(stored.unwrap_or(3)), 1), "{name}");
            assert_eq!((old.calls(), new.calls()), (1, usize::from(stored.is_none())), "{name}");
            nothing_in_flight(&cache, 1);
        }
    }
}

#[test]
fn a_change_and_then_a_cancelled_leader() {
    for &(name, change, stored) in CHANGES {
        let cache: TestCache = Cache::new(10);
        let heirs = value(3);
        let mut leader = task(&cache, 1, &value(2), 1);
        leader.step();
        let waiting = waiting(&cache, 4, &heirs);
        change(&cache);
        drop(leader);
        // Nothing of the old flight is worth taking on: they look again.
        assert!(run(waiting).iter().all(|w| w.value() == stored.unwrap_or(3)), "{name}");
        assert_eq!(heirs.calls(), usize::from(stored.is_none()), "{name}");
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn values_are_dropped_as_often_as_they_are_made() {
    let census = Census::default();
    let cache: Cache<Key, Member<u64>> = Cache::new(2);
    let call = |key: Key, awaits: usize| {
        let (census, cache) = (census.clone(), &cache);
        let load = move || async move {
            let held = census.member(u64::from(key));
            for _ in 0..awaits {
                yield_now().await;
            }
            held
        };
        Task::new(async move { cache.get_with_async(&key, load).await.what })
    };
    for key in 0..20 {
        let mut tasks: Vec<_> = (0..6).map(|n| call(key, n + 1)).collect();
        tasks.iter_mut().for_each(Task::step);
        drop(tasks.remove(0));
        drop(tasks.pop());
        assert!(run(tasks).into_iter().all(|v| v == u64::from(key)));
    }
    // One who loads, with a value in its hands, and one who waits, never finished.
    let mut left = [call(77, 1), call(77, 1)];
    left.iter_mut().for_each(Task::step);
    let mut stuck = Task::new(cache.get_with_async(&78, pending));
    stuck.step();
    drop((left, stuck));
    assert!(!cache.is_loading(&77) && !cache.is_loading(&78));
    drop(cache);
    assert_eq!(census.alive(), 0);
}
