//! Small scenes in which threads meet at memory that is being freed, for Miri (`./verify miri`), which sees whether a pointer
//! that is used is one to what lies there now. They run natively, too.

use bellwether::{Cache, Clock, Entry, Lookup, ManualClock, Timer, Waited};
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

/// So many natively, and so many under Miri.
const fn rounds(native: u64, miri: u64) -> u64 {
    if cfg!(miri) { miri } else { native }
}

#[test]
fn two_handles_of_a_removed_value_are_dropped_at_once() {
    for _ in 0..rounds(200, 3) {
        let cache: Cache<u64, u64> = Cache::new(8);
        cache.insert(1, 1);
        let (a, b) = (cache.get_entry(&1).unwrap(), cache.get_entry(&1).unwrap());
        cache.invalidate(&1);
        thread::scope(|scope| {
            scope.spawn(move || drop(a));
            scope.spawn(move || drop(b));
        });
        cache.purge_expired();
    }
}

/// Two threads, each with a handle of the same value, which they drop as close together as can be.
fn handles_meet<'c>(rounds: u64, handle: impl Fn() -> Entry<'c, u64, u64>) {
    let (hand, turn) = (Mutex::new(None), AtomicUsize::new(0));
    let meet = |round: u64, part: usize| {
        turn.fetch_add(1, SeqCst);
        while turn.load(SeqCst) < 2 * round as usize + part {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                let theirs = loop {
                    match hand.lock().unwrap().take() {
                        Some(handle) => break handle,
                        None => thread::yield_now(),
                    }
                };
                meet(round, 2);
                drop(theirs);
            }
        });
        for round in 0..rounds {
            let mine = handle();
            *hand.lock().unwrap() = Some(mine.clone());
            meet(round, 2);
            drop(mine);
        }
    });
}

#[test]
fn two_handles_of_a_value_that_was_loaded_for_one_caller_are_dropped_at_once() {
    let cache: Cache<u64, u64> = Cache::new(8);
    // In the middle of the key's load nobody waits for that, and what is loaded is the caller's alone.
    cache.get_with(&1, || {
        handles_meet(rounds(500, 15), || cache.entry(&1).get_with(|| 7).0);
        8
    });
    assert_eq!(cache.get(&1), Some(8));
}

#[test]
fn two_handles_of_a_value_that_was_handed_over_are_dropped_at_once() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(8).build().unwrap();
    handles_meet(rounds(500, 8), || cache.entry(&1).ttl(Duration::ZERO).get_with(|| 7).0);
}

/// Two handles of what a fenced leader has, which shows the key of another node.
#[test]
fn two_handles_of_a_fenced_value_are_dropped_at_once() {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(8).clock(clock.clone()).timer(clock.clone());
    let cache: Cache<u64, u64> = builder.lead_timeout(Duration::from_secs(1)).build().unwrap();
    handles_meet(rounds(200, 4), || {
        cache.invalidate(&1);
        let Lookup::Lead(late) = cache.lease(&1) else { panic!() };
        let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
        clock.advance(Duration::from_secs(1));
        let Waited::Lead(next) = crate::common::tasks::block_on(waiter) else { panic!() };
        let entry = late.fulfil(7).expect_err("it was taken over");
        drop(next.fulfil(8));
        assert_eq!(*entry, 7);
        entry
    });
}

/// Alarms are set while others take and free them: an allocation comes back at an address that somebody still has.
#[test]
fn alarms_are_set_while_others_go_off() {
    let (clock, left) = (ManualClock::new(), AtomicUsize::new(2));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..rounds(2000, 40)).for_each(|_| clock.wake_at(clock.now() + 1, Waker::noop().clone()));
                left.fetch_sub(1, SeqCst);
            });
        }
        while left.load(SeqCst) > 0 {
            clock.advance(Duration::from_nanos(1));
            (0..8).for_each(|_| thread::yield_now());
        }
    });
}

/// Removed values are retired and freed by three threads at once.
#[test]
fn bags_are_pushed_while_others_are_freed() {
    let cache: Cache<u64, u64> = Cache::new(2);
    thread::scope(|scope| {
        for thread in 0..3 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..rounds(2000, 6) {
                    cache.insert(i * 3 + thread, i);
                    match i % 4 {
                        0 => drop(cache.purge_expired()),
                        1 => drop(cache.invalidate(&(i * 3 + (thread + 1) % 3))),
                        _ => drop(cache.get_ref(&(i * 3))),
                    }
                }
            });
        }
    });
    cache.validate().unwrap();
}

/// Free nodes go round in their bags: threads take them from magazines of their own, for values that own memory and for
/// values that own none.
#[test]
fn free_nodes_go_round_in_their_bags() {
    fn go<V: Clone + Send + Sync>(value: fn(u64) -> V, number: fn(&V) -> u64) {
        // (Small enough that its bags are full as they are sealed, where bags are small; large enough elsewhere.)
        let cache: Cache<u64, V> = Cache::new(rounds(2000, 16));
        thread::scope(|scope| {
            for thread in 0..2 {
                let cache = &cache;
                scope.spawn(move || {
                    for i in 0..rounds(20_000, 16) {
                        let key = 2 * i + thread;
                        cache.insert(key, value(key));
                        assert!(cache.get_ref(&(key / 2)).is_none_or(|found| number(&found) == key / 2));
                        if i % 16 == 0 {
                            cache.remove(&(key / 2));
                        }
                    }
                });
            }
        });
        cache.validate().unwrap();
    }
    go(|key| key, |&value| value);
    go(Box::new, |value| **value);
}

/// Tasks fall asleep at a bell and leave it while it rings.
#[test]
fn tasks_come_and_go_while_the_bell_rings() {
    let cache: Cache<u64, u64> = Cache::new(8);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..rounds(500, 6) {
                    let mut waiter = pin!(cache.try_get_with_async(&1, || async { Ok::<_, ()>(7) }));
                    let polled = waiter.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    if polled.is_pending() && round % 2 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..rounds(500, 6) {
            cache.invalidate(&1);
            if let Lookup::Lead(lease) = cache.lease(&1) {
                thread::yield_now();
                drop(lease.fulfil(8));
            }
        }
    });
}

/// Threads read, replace and remove few keys, in tables, rings and bags that are as small as can be.
#[test]
fn everything_at_once_in_small() {
    let cache: Cache<u64, Box<u64>> = Cache::builder().max_capacity(6).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..rounds(3000, 8) {
                    let key = (i * 7 + thread * 3) % 11;
                    match (i + thread) % 6 {
                        0 => cache.insert(key, Box::new(key)),
                        1 => assert_eq!(*cache.get_with(&key, || Box::new(key)), key),
                        2 => drop(cache.remove(&key)),
                        3 => assert!(cache.get_ref(&key).is_none_or(|value| **value == key)),
                        4 => drop(cache.get_entry(&key)),
                        _ => assert!(cache.get(&key).is_none_or(|value| *value == key)),
                    }
                }
            });
        }
    });
    cache.validate().unwrap();
    drop(cache);
}
