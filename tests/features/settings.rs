//! Settings that would have no effect are refused, with what to do instead; those that have some
//! are not.

use crate::common::*;
use bellwether::{BuildError, Builder, Cache, CacheEvent, ManualClock, Observer, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Set = fn(Builder<Key, u64>) -> Builder<Key, u64>;

/// Why it is refused, if it is.
fn refusal(set: Set) -> Option<BuildError> {
    let error = set(Cache::builder().max_capacity(10)).build().err();
    assert!(error.as_ref().is_none_or(|error| !error.to_string().is_empty()));
    error
}

fn are_refused(why: BuildError, instead: &str, sets: &[Set]) {
    for set in sets {
        assert_eq!(refusal(*set), Some(why.clone()));
    }
    assert!(why.to_string().contains(instead), "{why}");
}

fn are_accepted(sets: &[Set]) {
    for set in sets {
        assert_eq!(refusal(*set), None);
    }
}

#[test]
fn old_values_cannot_be_served_with_a_time_to_idle() {
    let refused: [Set; 3] = [
        |b| b.time_to_idle(SECOND).stale_while_refresh(SECOND),
        |b| b.time_to_idle(SECOND).stale_if_error(SECOND),
        |b| b.time_to_live(SECOND).time_to_idle(SECOND).stale_if_error(SECOND),
    ];
    are_refused(BuildError::StaleWithIdle, "time_to_live", &refused);
    are_accepted(&[
        |b| b.time_to_idle(SECOND),
        |b| b.time_to_idle(SECOND).stale_if_error(Duration::ZERO).stale_while_refresh(Duration::ZERO),
    ]);
}

#[test]
fn a_soft_timeout_needs_old_values_and_comes_before_the_hard_one() {
    are_refused(
        BuildError::SoftTimeoutWithoutStale,
        "stale_if_error",
        &[
            |b| b.soft_timeout(SECOND),
            |b| b.soft_timeout(SECOND).hard_timeout(2 * SECOND).stale_if_error(Duration::ZERO),
        ],
    );
    are_refused(
        BuildError::SoftAboveHard,
        "hard_timeout",
        &[
            |b| b.soft_timeout(2 * SECOND).hard_timeout(SECOND).stale_if_error(SECOND),
            |b| b.soft_timeout(SECOND).hard_timeout(Duration::ZERO).stale_while_refresh(SECOND),
        ],
    );
    are_accepted(&[
        |b| b.soft_timeout(SECOND).stale_if_error(SECOND),
        |b| b.soft_timeout(SECOND).hard_timeout(SECOND).stale_while_refresh(SECOND),
        // For ever is as good as none.
        |b| b.soft_timeout(Duration::MAX),
        |b| b.soft_timeout(Duration::MAX).hard_timeout(SECOND),
    ]);
}

#[test]
fn somebody_must_be_able_to_load_and_to_take_over() {
    are_refused(BuildError::ZeroMaxLoads, "leave it out", &[|b| b.max_loads(0)]);
    are_refused(
        BuildError::LeadTimeoutWithoutWaiters,
        "max_waiters of 1",
        &[|b| b.max_waiters(0).lead_timeout(SECOND)],
    );
    are_accepted(&[
        |b| b.max_loads(1),
        |b| b.max_waiters(0),
        |b| b.max_waiters(1).lead_timeout(SECOND),
        |b| b.max_waiters(0).lead_timeout(Duration::MAX),
    ]);
}

#[test]
fn a_refusal_for_want_of_a_timer_names_one() {
    let why = refusal(|b| b.clock(ManualClock::new()).lead_timeout(SECOND));
    assert_eq!(why, Some(BuildError::MissingTimer));
    assert!(BuildError::MissingTimer.to_string().contains(".timer(clock)"));
}

/// A value's time may end without a time to live of the cache: then it may be served, too, so that
/// is not refused.
#[test]
fn old_values_are_served_in_a_cache_without_a_time_to_live() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.stale_if_error(10 * SECOND).xfetch(0.0).build().unwrap();
    let failing = || Err(Broken("down"));
    cache.insert(1, 1);
    cache.expire(&1);
    cache.insert_with_ttl(2, 2, SECOND);
    let (_, outcome) = cache.entry(&3).ttl(SECOND).get_with(|| 3);
    assert_eq!(outcome, Outcome::Computed);
    clock.advance(SECOND);
    for key in 1..=3 {
        assert_eq!((cache.get(&key), cache.try_get_with(&key, failing).unwrap()), (None, u64::from(key)));
    }
}

/// Notes its name for each load that begins.
struct Noting(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Observer for Noting {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if let CacheEvent::LoadStarted { .. } = event {
            self.1.lock().unwrap().push(self.0);
        }
    }
}

#[test]
fn a_second_observer_is_added_to_the_first() {
    struct Counting(AtomicU64);
    impl Observer for Counting {
        fn observe(&self, _: &str, _: &CacheEvent) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (told, counting) = (Arc::default(), Arc::new(Counting(AtomicU64::new(0))));
    let noting = |name| Noting(name, Arc::clone(&told));
    let builder = Cache::builder().max_capacity(10).observer(noting("first"));
    let builder = builder.observer(Box::new(noting("second")) as Box<dyn Observer>).observer(counting.clone());
    let cache: TestCache = builder.observer(noting("last")).build().unwrap();
    assert_eq!(cache.get_with(&1, || 1), 1);
    assert_eq!(*told.lock().unwrap(), ["first", "second", "last"]);
    assert_eq!(counting.0.load(Ordering::SeqCst), 2, "began and ended");
}
