//! `lead_timeout`: late arrivals, `compute`, bounds on loads, removals, and everything at once.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Clock, LoadError, Lookup, Op, Outcome, Waited};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn try_load(cache: &TestCache, value: u64) -> Result<u64, LoadError<Broken>> {
    cache.try_get_with(&1, || Ok(value))
}

#[test]
fn who_comes_late_takes_over_at_once() {
    let (cache, clock) = three_seconds(|b| b);
    let hung = lead(&cache);
    clock.advance(3 * SECOND);
    assert_eq!(try_load(&cache, 5).unwrap(), 5, "on this very thread: it does not wait");
    assert!(hung.fulfil(4).is_err());
    assert_eq!((cache.get(&1), cache.stats().takeovers), (Some(5), 1));
    // Nor does a task, nor one that would not wait at all.
    cache.invalidate(&1);
    let _hung = lead(&cache);
    clock.advance(3 * SECOND);
    let mut task = Task::new(cache.entry(&1).wait_timeout(Duration::ZERO).try_get_with_async(|| async { broken() }));
    assert!(matches!(task.poll(), Some(Err(LoadError::Load(_)))), "it leads, and its load fails");
    assert_eq!((try_load(&cache, 6).unwrap(), cache.stats().takeovers), (6, 2));
}

fn broken() -> Result<u64, Broken> {
    Err(Broken("no"))
}

#[test]
fn the_next_leader_has_a_time_of_its_own() {
    let (cache, clock) = three_seconds(|b| b);
    let _first = lead(&cache);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    clock.advance(10 * SECOND);
    let Waited::Lead(second) = waiter.wait() else { panic!() };
    // The flight is thirteen seconds old, and its lease three.
    clock.advance(3 * SECOND - Duration::from_nanos(1));
    let mut task = task(&cache, 1, &value(6), 0);
    task.step();
    assert_eq!(*second.fulfil(5).unwrap(), 5);
    assert_eq!((task.finish().value(), cache.stats().takeovers), (5, 1));
}

#[test]
fn those_who_wait_for_less_than_a_leader_is_given_replace_it_in_the_end() {
    // Nobody waits for as long as three seconds: it is who comes when they are over.
    let (cache, clock) = three_seconds(|b| b.wait_timeout(SECOND));
    let mut hung = vec![lead(&cache)];
    for round in 1..4 {
        for _ in 0..2 {
            let mut task = task(&cache, 1, &value(6), 0);
            task.step();
            clock.advance(SECOND);
            assert!(matches!(task.finish(), Answer::Error(LoadError::TimedOut)), "in round {round}");
        }
        clock.advance(SECOND);
        // It hangs in its turn.
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!("the leader of round {round} is there for good") };
        hung.push(lease);
    }
    // The same of one that was handed the flight.
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    drop(hung.pop());
    let Waited::Lead(_handed) = waiter.wait() else { panic!() };
    clock.advance(2 * SECOND);
    let mut early = task(&cache, 1, &value(6), 0);
    early.step();
    clock.advance(SECOND - Duration::from_nanos(1));
    early.step();
    clock.advance(Duration::from_nanos(1));
    assert_eq!((early.finish().value(), try_load(&cache, 7).unwrap()), (6, 6));
    assert_eq!(cache.stats().takeovers, 4);
}

#[test]
fn compute_takes_over() {
    let (cache, clock) = three_seconds(|b| b);
    let hung = lead(&cache);
    clock.advance(3 * SECOND);
    cache.compute(&1, |old| Op::Put(old.map_or(5, |_| 6)));
    assert_eq!((cache.get(&1), cache.stats().takeovers), (Some(5), 1));
    assert!(hung.fulfil(4).is_err());
    assert_eq!(cache.get(&1), Some(5));
}

#[test]
fn a_compute_that_hangs_is_taken_over_and_decides_nothing_late() {
    for op in [Op::Put(4), Op::Remove, Op::Nop] {
        let (cache, clock) = three_seconds(|b| b);
        cache.insert(1, 1);
        let (first, second) = (Loader::gated(End::Value(0)), Loader::gated(End::Value(0)));
        thread::scope(|scope| {
            let hung = scope.spawn(|| {
                cache.compute(&1, |_| {
                    first.0.run().unwrap();
                    op
                })
            });
            first.0.begun(1);
            clock.advance(3 * SECOND);
            let taker = scope.spawn(|| {
                cache.compute(&1, |old| {
                    second.0.run().unwrap();
                    Op::Put(old.unwrap() + 10)
                })
            });
            second.0.begun(1);
            first.1.open();
            hung.join().unwrap();
            let meanwhile = (cache.get(&1), cache.is_loading(&1));
            second.1.open();
            taker.join().unwrap();
            assert_eq!(meanwhile, (Some(1), true), "{op:?}");
        });
        assert_eq!((cache.get(&1), cache.stats().takeovers), (Some(11), 1), "{op:?}");
        cache.validate().unwrap();
    }
}

#[test]
fn a_lease_that_was_taken_over_counts_no_more() {
    let (cache, clock) = three_seconds(|b| b.max_loads(2));
    let hung = lead(&cache);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    clock.advance(3 * SECOND);
    let Waited::Lead(lease) = waiter.wait() else { panic!() };
    let stats = cache.stats();
    assert_eq!((stats.loading, stats.fenced), (1, 1), "the one that hangs, and the one in force");
    let other = |key| cache.try_get_with(&key, || Ok::<_, Broken>(2));
    assert_eq!(other(2).unwrap(), 2, "the place of the one that hangs is free");
    assert!(hung.fulfil(4).is_err());
    let stats = cache.stats();
    assert_eq!((stats.loading, stats.fenced), (1, 0));
    // A load that is taken over is never refused, however many are out.
    let _third = match cache.lease(&3) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    };
    clock.advance(3 * SECOND);
    assert_eq!(try_load(&cache, 6).unwrap(), 6);
    drop(lease);
    assert_eq!(cache.try_get_with(&4, || Ok::<_, Broken>(4)).unwrap(), 4);
    drop(_third);
    // None is counted that has ended: two may load.
    let leases = [5, 6].map(|key| cache.lease(&key));
    assert!(leases.iter().all(|lookup| matches!(lookup, Lookup::Lead(_))));
}

#[test]
fn a_hung_flight_that_was_removed_ends_and_those_who_wait_look_again() {
    let removals: [fn(&TestCache); 3] = [|c| assert!(!c.invalidate(&1)), |c| c.insert(1, 9), |c| c.invalidate_all()];
    for (n, remove) in removals.into_iter().enumerate() {
        let (cache, clock) = three_seconds(|b| b);
        let hung = lead(&cache);
        let loader = value(5);
        let mut waiters = waiting(&cache, 3, &loader);
        // It has patience, and is woken by those who have not.
        let request = cache.entry(&1).lead_timeout(Duration::MAX);
        let mut patient = Task::new(request.try_get_with_async(|| async { Ok::<_, Broken>(6) }));
        patient.step();
        remove(&cache);
        clock.advance(2 * SECOND);
        let fresh = (n != 1).then(|| lead(&cache));
        clock.advance(SECOND);
        if let Some(fresh) = fresh {
            // They wait for that one now.
            waiters.iter_mut().for_each(Task::step);
            patient.step();
            assert_eq!(*fresh.fulfil(7).unwrap(), 7);
        }
        let newer = if n == 1 { 9 } else { 7 };
        assert!(run(waiters).iter().all(|answer| answer.value() == newer), "case {n}");
        assert_eq!(*patient.finish().unwrap().0, newer);
        assert_eq!((loader.calls(), cache.stats().takeovers), (0, 0), "nobody loads what would not be stored");
        assert_eq!(*hung.fulfil(4).unwrap_err(), 4);
        assert_eq!(cache.get(&1), Some(newer));
        cache.validate().unwrap();
    }
}

#[test]
fn a_hung_early_refresh_holds_nobody_up() {
    let (cache, clock) = three_seconds(|b| b.time_to_live(10 * SECOND).xfetch(1e9));
    cache.get_with(&1, || (clock.advance(SECOND), 1).1);
    let Lookup::Refresh(_, hung) = cache.lease(&1) else { panic!("the dice are loaded") };
    clock.advance(3 * SECOND - Duration::from_nanos(1));
    assert_eq!(try_load(&cache, 2).unwrap(), 1, "it is good, and its leader has a moment left");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(try_load(&cache, 2).unwrap(), 2, "the first caller who meets a leader that hangs replaces it");
    assert_eq!((cache.get(&1), cache.stats().takeovers), (Some(2), 1));
    assert_eq!(*hung.fulfil(4).unwrap_err(), 4);
    assert_eq!((cache.get(&1), cache.len()), (Some(2), 1));
    cache.validate().unwrap();
}

#[test]
fn what_becomes_of_a_load_that_was_taken_over_is_all_the_waiters() {
    for end in [End::Fail("no"), End::Panic] {
        let (cache, clock) = three_seconds(|b| b);
        let _hung = lead(&cache);
        let loader = Loader::new(end);
        let waiters: Vec<_> = (0..3).map(|_| task(&cache, 1, &loader, 1)).collect();
        let mut waiters = waiters;
        waiters.iter_mut().for_each(Task::step);
        clock.advance(3 * SECOND);
        let answers = quietly(|| run(waiters));
        if let End::Panic = end {
            assert!(answers.iter().all(Answer::panicked));
            assert_eq!((loader.calls(), cache.stats().handovers), (3, 2));
        } else {
            assert!(answers.iter().all(|answer| answer.load_error().0 == "no"));
            assert_eq!(loader.calls(), 1);
        }
        nothing_in_flight(&cache, 1);
        assert_eq!(try_load(&cache, 6).unwrap(), 6);
    }
}

#[test]
fn a_lead_timeout_of_ones_own() {
    let (cache, clock) = timed();
    let cache: TestCache = cache.build().unwrap();
    let _hung = lead(&cache);
    let mut patient = task(&cache, 1, &value(5), 1);
    patient.step();
    let request = cache.entry(&1).lead_timeout(2 * SECOND);
    let mut hasty = Task::new(request.try_get_with_async(|| async { Ok::<_, Broken>(6) }));
    hasty.step();
    clock.advance(2 * SECOND);
    assert!(hasty.woken() && !patient.woken());
    let (entry, outcome) = hasty.finish().unwrap();
    assert_eq!((*entry, outcome, patient.finish().value()), (6, Outcome::Computed, 6));
    // Zero: whoever comes, leads.
    cache.invalidate(&1);
    let _hung = lead(&cache);
    let taken = cache.entry(&1).lead_timeout(Duration::ZERO).get_with(|| 7);
    assert_eq!((*taken.0, cache.get(&1)), (7, Some(7)));
}

/// Under the system's clock, which such a cache reads coarsely as a load begins.
#[test]
fn a_lead_timeout_of_ones_own_by_the_systems_clock() {
    for (key, timeout) in [(1, Duration::ZERO), (2, Duration::from_millis(20))] {
        let cache: TestCache = TestCache::new(10);
        thread::scope(|scope| {
            let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
            let cache = &cache;
            let load = move || {
                begin.send(()).unwrap();
                gone.recv().unwrap();
                4
            };
            let late = scope.spawn(move || cache.get_with(&key, load));
            begun.recv().unwrap();
            let (entry, outcome) = cache.entry(&key).lead_timeout(timeout).get_with(|| 5);
            assert_eq!((*entry, outcome), (5, Outcome::Computed));
            go.send(()).unwrap();
            assert_eq!(late.join().unwrap(), 4, "for its own caller");
        });
        assert_eq!((cache.get(&key), cache.stats().takeovers), (Some(5), 1));
    }
}

/// Threads whose loads hang now and then, under a clock that runs: loads of one key are stored in the order in which they began.
#[test]
fn no_late_value_is_stored_under_threads() {
    const KEYS: Key = 3;
    let (cache, clock) = three_seconds(|b| b.time_to_live(2 * SECOND).xfetch(0.0));
    let (ticket, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let lost = Mutex::new(None);
    thread::scope(|scope| {
        let (cache, clock, ticket, done) = (&cache, &clock, &ticket, &done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                clock.advance(SECOND / 4);
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut last = [0; KEYS as usize];
            while !done.load(Ordering::SeqCst) {
                for key in 0..KEYS {
                    let (last, now) = (&mut last[key as usize], cache.get(&key).unwrap_or(0));
                    if now != 0 && now < *last {
                        *lost.lock().unwrap() = Some((key, *last, now));
                    }
                    *last = now.max(*last);
                }
            }
        });
        let workers: Vec<_> = (0..6_u32)
            .map(|worker| {
                scope.spawn(move || {
                    for step in 0_u32.. {
                        if step >= 400 && (cache.stats().takeovers >= 20 || done.load(Ordering::SeqCst)) {
                            break;
                        }
                        let key = (step * 7 + worker) % KEYS;
                        cache.get_with(&key, || {
                            let mine = ticket.fetch_add(1, Ordering::SeqCst) + 1;
                            let hangs = if mine % 5 == 0 { 8_000_000_000 } else { 0 };
                            let end = clock.now() + hangs;
                            until("the clock runs", || clock.now() >= end);
                            mine
                        });
                    }
                })
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::SeqCst);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    assert_eq!(lost.into_inner().unwrap(), None, "an older load came after a newer one (key, newer, older)");
    assert!((0..KEYS).all(|key| !cache.is_loading(&key)));
    cache.validate().unwrap();
}

/// Where all are served an old value nobody waits; a leader that hangs is replaced all the same.
#[test]
fn a_hung_refresh_is_taken_over_though_nobody_need_wait() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).stale_while_refresh(1000 * SECOND).xfetch(0.0);
    let cache = builder.timer(clock.clone()).lead_timeout(5 * SECOND).build().unwrap();
    cache.insert(Key::from(1_u8), 1);
    clock.advance(11 * SECOND);
    let Lookup::Lead(hung) = cache.lease(&1) else { panic!("it leads") };
    let ask = || cache.entry(&1).get_with(|| 2);
    clock.advance(4 * SECOND);
    assert_eq!(ask().1, Outcome::Stale);
    clock.advance(SECOND);
    assert_eq!((ask().1, ask().1, cache.get(&1)), (Outcome::Computed, Outcome::Hit, Some(2)));
    assert!(hung.fulfil(3).is_err());
    assert_eq!((cache.get(&1), cache.stats().takeovers), (Some(2), 1));
}

/// The flight of a removed key is ended by its waiter as the leader hangs: the leader's place is free at once, and its
/// late end takes no other's.
#[test]
fn a_removed_flight_that_is_ended_for_its_leader_gives_its_place_back() {
    let (cache, clock) = three_seconds(|b| b.max_loads(1));
    let hung = lead(&cache);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it waits") };
    cache.invalidate(&1);
    let mut waiter = Task::new(waiter);
    waiter.step();
    clock.advance(3 * SECOND);
    assert!(matches!(waiter.finish_when_woken(), Waited::Abandoned));
    assert_eq!((cache.stats().loading, cache.stats().fenced), (0, 1));
    assert_eq!(cache.try_get_with(&2, || Ok::<_, Broken>(2)).unwrap(), 2, "there is a place, while that one hangs");
    drop(hung);
    assert_eq!((cache.stats().loading, cache.stats().fenced), (0, 0));
    let Lookup::Lead(other) = cache.lease(&3) else { panic!("there is a place") };
    assert!(matches!(cache.try_get_with(&4, || Ok::<_, Broken>(4)), Err(LoadError::Overloaded)), "and one only");
    drop(other);
}
