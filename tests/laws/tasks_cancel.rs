//! Laws 2 and 3 for tasks: futures that are dropped, wherever they are, and wakers.
//!
//! A future that loads can be dropped before its first poll, and at each of its loader's awaits. Nothing can come between
//! the end of its loader and the publication: both are one poll. (So no value is lost by a drop once it is there.)

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, ManualClock, Timer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;

const AWAITS: usize = 5;

#[test]
fn a_leader_dropped_at_any_await_hands_over_to_exactly_one() {
    for waiters in [0, 1, 2, 9] {
        for polls in 0..=AWAITS {
            for verb in 0..2 {
                let cache: TestCache = Cache::new(10);
                let (own, theirs) = (value(1), value(5));
                let mut leader = task_either(&cache, verb, &own, AWAITS);
                (0..polls).for_each(|_| leader.step());
                assert_eq!((own.calls(), cache.is_loading(&1)), (polls.min(1), polls > 0));
                // Unpolled, it has done nothing, and there is nothing to hand over: the others must not see it.
                let mut waiting = if polls > 0 { waiting(&cache, waiters, &theirs) } else { Vec::new() };
                assert_eq!(cache.stats().coalesced, waiting.len() as u64);
                assert!(!waiting.iter().any(Task::woken));
                drop(leader);
                assert!(waiting.iter().all(Task::woken), "all are told: the first to look leads");
                assert_eq!(cache.is_loading(&1), !waiting.is_empty());
                if waiting.is_empty() {
                    assert_eq!((cache.get(&1), cache.stats().handovers), (None, 0));
                    waiting.push(task(&cache, 1, &theirs, 1));
                }
                assert!(run(waiting).iter().all(|answer| answer.value() == 5));
                assert_eq!((own.calls(), theirs.calls()), (polls.min(1), 1), "{waiters} waiters, {polls} polls");
                let handed = u64::from(polls > 0 && waiters > 0);
                assert_eq!((cache.stats().handovers, cache.stats().load_failures), (handed, 0));
                assert_eq!(cache.get(&1), Some(5));
                nothing_in_flight(&cache, 1);
            }
        }
    }
}

#[test]
fn a_leader_that_is_polled_to_its_end_has_published() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), AWAITS);
    let waiting = waiting(&cache, 0, &value(5));
    (0..AWAITS).for_each(|_| leader.step());
    assert!(waiting.is_empty() && cache.get(&1).is_none());
    assert_eq!(leader.poll().unwrap().value(), 1);
    assert_eq!(cache.get(&1), Some(1), "in the poll in which its loader ended");
}

#[test]
fn every_leader_is_dropped_in_turn() {
    let cache: TestCache = Cache::new(10);
    let loader = value(5);
    let mut tasks = waiting(&cache, 10, &loader);
    // The first leads; whoever is polled first after a drop leads next.
    while tasks.len() > 1 {
        drop(tasks.remove(0));
        assert!(tasks.iter().all(Task::woken));
        tasks.iter_mut().for_each(Task::step);
        assert_eq!(tasks.iter().filter(|t| t.woken()).count(), 1, "the leader, by its own loader");
    }
    assert_eq!((loader.calls(), cache.stats().handovers), (10, 9));
    drop(tasks);
    // An heir is not counted among those who wait for it: nobody is left who could take the flight on.
    nothing_in_flight(&cache, 1);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn tasks_hand_over_to_threads_and_threads_to_tasks() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    thread::scope(|scope| {
        let heirs = value(2);
        let threads: Vec<_> = (0..4).map(|_| crate::common::ask(scope, &cache, 1, &heirs)).collect();
        waiting_for(&cache, 4);
        drop(leader);
        assert!(threads.into_iter().all(|t| t.answer().value() == 2));
        assert_eq!(heirs.calls(), 1);
    });
    cache.remove(&1);
    let (dying, gate) = Loader::gated(End::Panic);
    quietly(|| {
        thread::scope(|scope| {
            let (leader, _) = flight(scope, &cache, 1, &dying, 0, &dying);
            let heirs = value(3);
            let tasks = waiting(&cache, 4, &heirs);
            gate.open();
            assert!(leader.answer().panicked());
            assert!(run(tasks).iter().all(|answer| answer.value() == 3));
            assert_eq!(heirs.calls(), 1);
        });
    });
    nothing_in_flight(&cache, 1);
}

#[test]
fn a_waiter_that_is_dropped_leaves_at_once() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    drop(waiting(&cache, 3, &value(5)));
    assert!(cache.is_loading(&1), "the leader goes on");
    drop(leader);
    nothing_in_flight(&cache, 1);
    // One of three: the others still get the leader's value, and nobody else loads.
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let unused = value(5);
    let mut waiting = waiting(&cache, 3, &unused);
    drop(waiting.remove(1));
    assert_eq!(leader.finish().value(), 1);
    assert!(run(waiting).iter().all(|answer| answer.value() == 1));
    assert_eq!(unused.calls(), 0);
}

#[test]
fn a_waiter_that_was_woken_and_dropped_takes_nothing_along() {
    for dropped in 0..3 {
        let cache: TestCache = Cache::new(10);
        let heirs = value(5);
        let mut leader = task(&cache, 1, &value(1), 1);
        leader.step();
        let mut waiting = waiting(&cache, 3, &heirs);
        drop(leader);
        (0..dropped).for_each(|_| drop(waiting.pop()));
        assert!(run(waiting).iter().all(|answer| answer.value() == 5));
        assert_eq!(heirs.calls(), 1);
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn the_only_one_who_was_woken_is_dropped() {
    // With nobody left, its drop ends the flight: a newcomer starts one of its own.
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let waiting_one = waiting(&cache, 1, &value(2));
    drop(leader);
    assert!(cache.is_loading(&1), "it may still take it on");
    drop(waiting_one);
    nothing_in_flight(&cache, 1);
    assert_eq!(task(&cache, 1, &value(3), 1).finish().value(), 3);
    assert_eq!(cache.stats().handovers, 0);
    // A newcomer who comes by first takes it on, and the one who was woken parks again; then the newcomer is dropped.
    cache.remove(&1);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let mut waiting_one = waiting(&cache, 1, &value(2));
    drop(leader);
    let mut newcomer = task(&cache, 1, &value(3), 1);
    newcomer.step();
    waiting_one[0].step();
    assert!(!waiting_one[0].woken());
    drop(newcomer);
    assert_eq!(run(waiting_one)[0].value(), 2);
    assert_eq!(cache.stats().handovers, 2);
    nothing_in_flight(&cache, 1);
}

#[test]
fn those_who_are_never_polled_again_hold_nobody_up() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let heirs = value(5);
    let forgotten = waiting(&cache, 3, &heirs);
    let alive = waiting(&cache, 2, &heirs);
    drop(leader);
    assert!(run(alive).iter().all(|answer| answer.value() == 5));
    assert_eq!(task(&cache, 1, &heirs, 1).finish().value(), 5, "a hit");
    // They still get the value of their flight, even after the entry is gone.
    cache.invalidate(&1);
    nothing_in_flight(&cache, 1);
    assert!(run(forgotten).iter().all(|answer| answer.value() == 5));
    assert_eq!(heirs.calls(), 1);
}

#[test]
fn a_cancelled_refresh_leaves_the_old_value_in_service() {
    let (cache, clock) = due_for_early_refresh();
    let mut leader = task(&cache, 1, &value(2), 1);
    leader.step();
    assert_eq!((cache.is_loading(&1), cache.get(&1)), (true, Some(1)));
    drop(leader);
    assert_eq!((cache.is_loading(&1), cache.get(&1)), (false, Some(1)));
    // The next reader may try again; once the value is over, those who wait take that on.
    let mut leader = task(&cache, 1, &value(3), 1);
    leader.step();
    clock.advance(20 * SECOND);
    let waiting = waiting(&cache, 3, &value(4));
    drop(leader);
    assert!(run(waiting).iter().all(|answer| answer.value() == 4));
    assert_eq!((cache.get(&1), cache.stats().handovers, cache.len()), (Some(4), 1, 1));
    nothing_in_flight(&cache, 1);
}

#[test]
fn the_last_waker_is_woken() {
    let cache: TestCache = Cache::new(10);
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    let wakes: [Arc<Wakes>; 3] = Default::default();
    let mut migrant = task(&cache, 1, &value(2), 1);
    for wakes in &wakes {
        assert!(migrant.poll_by(&Waker::from(wakes.clone())).is_none());
    }
    leader.finish();
    assert!(wakes[2].count() > 0);
    assert_eq!(migrant.poll().unwrap().value(), 1);
}

/// A timer that counts its alarms.
#[derive(Clone)]
struct Counting(ManualClock, Arc<AtomicUsize>);

impl Timer for Counting {
    fn wake_at(&self, ns: u64, waker: Waker) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.wake_at(ns, waker);
    }
}

#[test]
fn spurious_polls_change_nothing_and_set_no_alarms() {
    let (builder, clock) = timed();
    let timer = Counting(clock.clone(), Arc::default());
    let alarms = || timer.1.load(Ordering::SeqCst);
    let cache: TestCache = builder.wait_timeout(2 * SECOND).timer(timer.clone()).build().unwrap();
    let mut leader = task(&cache, 1, &value(1), 1);
    leader.step();
    assert_eq!(alarms(), 0, "a leader has no deadline");
    let mut waiter = task(&cache, 1, &value(2), 1);
    (0..100).for_each(|_| waiter.step());
    assert_eq!((alarms(), waiter.wakes(), cache.stats().coalesced, cache.stats().loads), (1, 0, 1, 1));
    // Another waker takes the alarm over: timers keep alarms until their time.
    let wakes: Arc<Wakes> = Arc::default();
    (0..100).for_each(|_| assert!(waiter.poll_by(&Waker::from(wakes.clone())).is_none()));
    assert_eq!(alarms(), 1);
    clock.advance(2 * SECOND);
    assert_eq!((wakes.count(), waiter.wakes()), (1, 0));
    assert!(matches!(waiter.poll(), Some(Answer::Error(bellwether::LoadError::TimedOut))));
    assert_eq!((leader.finish().value(), alarms()), (1, 1));
}

/// Keys, values, and a schedule of polls, drops, removals and steps of the clock, by chance.
#[test]
fn any_schedule_drops_what_it_makes_and_answers_who_is_left() {
    let mut answered = 0;
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut random = seed;
        let mut random = move |below: u64| {
            random = u64::wrapping_mul(random, 6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let census = Census::default();
        let (_, clock) = timed();
        let cache: Cache<Member<u32>, Member<u64>> = Cache::builder()
            .max_capacity(2)
            .time_to_live(10 * SECOND)
            .xfetch(3.0)
            .wait_timeout(20 * SECOND)
            .clock(clock.clone())
            .timer(clock.clone())
            .seed(seed)
            .build()
            .unwrap();
        let keys: Vec<_> = (0..3).map(|k| census.member(k)).collect();
        let mut tasks = Vec::new();
        for _ in 0..60 {
            let some = |random: &mut dyn FnMut(u64) -> u64, len: usize| random(len.max(1) as u64) as usize;
            match random(12) {
                0..5 => {
                    let (key, census, awaits) = (&keys[random(3) as usize], census.clone(), random(4));
                    let (fails, fallible) = (random(4) == 0, random(2) == 0);
                    let cache = &cache;
                    tasks.push(Task::new(async move {
                        let load = || async {
                            let held = census.member(7_u64);
                            for _ in 0..awaits {
                                yield_now().await;
                            }
                            if fails { Err(census.member("failed")) } else { Ok(held) }
                        };
                        if fallible {
                            drop(cache.try_get_with_async(key, load).await);
                        } else {
                            let value = cache.get_with_async(key, || async { census.member(8_u64) }).await;
                            assert!([7, 8].contains(&value.what));
                        }
                    }));
                }
                5..9 if !tasks.is_empty() => {
                    let n = some(&mut random, tasks.len());
                    if tasks[n].poll().is_some() {
                        tasks.swap_remove(n);
                        answered += 1;
                    }
                }
                9 if !tasks.is_empty() => drop(tasks.swap_remove(some(&mut random, tasks.len()))),
                10 => drop(cache.remove(&keys[random(3) as usize])),
                11 => clock.advance(SECOND * random(4) as u32),
                _ => {}
            }
        }
        // By turns: all are run to their end, or none is.
        if seed % 2 == 0 {
            answered += run(tasks).len();
        } else {
            drop(tasks);
        }
        assert!(keys.iter().all(|key| !cache.is_loading(key)), "seed {seed}: a flight was left behind");
        assert!(cache.weight() <= 2);
        drop(cache);
        assert_eq!(census.alive(), keys.len() as isize, "seed {seed}");
    }
    assert!(answered > 0);
}
