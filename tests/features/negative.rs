//! Negative caching: a failure is kept in the place of a value for a while.

use crate::common::*;
use bellwether::{Cache, LoadError, Lookup, ManualClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

struct Source {
    cache: Cache<u64, u64>,
    clock: ManualClock,
    calls: AtomicUsize,
    up: std::sync::atomic::AtomicBool,
}

impl Source {
    fn new(set: impl FnOnce(bellwether::Builder<u64, u64>) -> bellwether::Builder<u64, u64>) -> Self {
        let clock = ManualClock::new();
        let builder = Cache::builder().max_capacity(100).time_to_live(10 * SECOND).negative_ttl(3 * SECOND);
        let cache = set(builder.clock(clock.clone()).xfetch(0.0)).build().unwrap();
        Self { cache, clock, calls: AtomicUsize::new(0), up: false.into() }
    }

    fn ask(&self, key: u64) -> Result<u64, LoadError<Broken>> {
        self.cache.try_get_with(&key, || {
            self.calls.fetch_add(1, SeqCst);
            if self.up.load(SeqCst) { Ok(key) } else { Err(Broken("down")) }
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

#[test]
fn a_failure_is_answered_without_a_call_until_its_time_is_over() {
    let source = Source::new(|b| b);
    let error = |key| match source.ask(key) {
        Err(LoadError::Load(error)) => error,
        other => panic!("{other:?}"),
    };
    let first = error(1);
    source.clock.advance(3 * SECOND - SECOND / 1000);
    assert!(Arc::ptr_eq(&first, &error(1)), "the very same");
    assert_eq!((source.calls(), source.cache.len(), source.cache.get(&1)), (1, 1, None));
    assert!(!source.cache.is_loading(&1) && !source.cache.contains_key(&1) && source.cache.iter().count() == 0);
    source.cache.validate().unwrap();
    source.clock.advance(SECOND / 1000);
    error(1);
    assert_eq!(source.calls(), 2);
    source.clock.advance(3 * SECOND);
    source.cache.purge_expired();
    assert_eq!((source.cache.len(), source.cache.weight()), (0, 0));
    source.up.store(true, SeqCst);
    assert_eq!(source.ask(1).unwrap(), 1);
}

#[test]
fn in_the_place_of_an_old_value_but_not_of_one_that_may_be_served() {
    let source = Source::new(|b| b.stale_if_error(5 * SECOND));
    source.up.store(true, SeqCst);
    assert_eq!(source.ask(1).unwrap(), 1);
    source.up.store(false, SeqCst);
    source.clock.advance(11 * SECOND);
    assert_eq!((source.ask(1).unwrap(), source.calls()), (1, 2), "stale if error");
    source.clock.advance(10 * SECOND);
    assert!(source.ask(1).is_err() && source.ask(1).is_err());
    assert_eq!((source.calls(), source.cache.len(), source.cache.weight()), (3, 1, 1));
    source.cache.validate().unwrap();
}

#[test]
fn whoever_cannot_be_told_passes_over_it() {
    let source = Source::new(|b| b);
    assert!(source.ask(1).is_err());
    assert_eq!(source.cache.get_with(&1, || 7), 7);
    assert!(source.ask(2).is_err());
    let Lookup::Lead(lease) = source.cache.lease(&2) else { panic!("it leads") };
    // Somebody who gives up without an error leaves none.
    lease.fail();
    assert_eq!(source.cache.len(), 1);
    assert!(source.ask(2).is_err() && source.ask(2).is_err());
    assert_eq!(source.calls(), 3);
    // Writes win.
    source.cache.insert(2, 5);
    assert_eq!((source.ask(2).unwrap(), source.cache.len()), (5, 2));
    assert!(source.ask(3).is_err());
    assert_eq!((source.cache.remove(&3), source.cache.len()), (None, 2));
    source.cache.compute(&3, |old| {
        assert_eq!(old, None);
        bellwether::Op::Put(6)
    });
    assert_eq!(source.ask(3).unwrap(), 6);
    source.cache.validate().unwrap();
}

/// Failures that are kept are evicted like values, and those who wait for a load that is removed meanwhile get its error.
#[test]
fn they_are_bounded_and_fenced() {
    let source = Source::new(|b| b);
    for key in 0..10_000 {
        assert!(source.ask(key).is_err());
        assert!(source.cache.weight() <= 100);
    }
    source.cache.validate().unwrap();
    source.cache.invalidate_all();
    assert_eq!((source.cache.len(), source.cache.weight()), (0, 0));
    let Lookup::Lead(lease) = source.cache.lease(&1) else { panic!("it leads") };
    let Lookup::Wait(waiter) = source.cache.lease(&1) else { panic!("it waits") };
    source.cache.invalidate(&1);
    lease.fail_with(Broken("down"));
    assert!(matches!(waiter.wait(), bellwether::Waited::Failed(_)));
    assert_eq!((source.cache.len(), source.cache.weight()), (0, 0));
    source.cache.validate().unwrap();
}

#[test]
fn under_threads_all_adds_up() {
    let source = Source::new(|b| b);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let source = &source;
            scope.spawn(move || {
                let mut rng = fastrand_lite(thread);
                for _ in 0..20_000 {
                    let (key, what) = (rng() % 150, rng() % 16);
                    match what {
                        0 => source.cache.insert(key, key),
                        1 => drop(source.cache.remove(&key)),
                        2 => drop(source.cache.get_with(&key, || key)),
                        3 => source.clock.advance(SECOND / 100),
                        4 => drop(source.cache.expire(&key)),
                        5 => source.up.store(rng() % 2 == 0, SeqCst),
                        _ => drop(source.ask(key)),
                    }
                }
            });
        }
    });
    source.cache.validate().unwrap();
    assert!(source.cache.weight() <= 100);
    assert!((0..150).all(|key| !source.cache.is_loading(&key)));
}

fn fastrand_lite(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
