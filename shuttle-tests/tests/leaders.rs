//! Leaders that fail, panic, give up and hang, and those who wait for them.
#![cfg(shuttle)]

use bellwether::{Lookup, Timer};
use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, roll, schedules};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Waker;

/// A herd on one cold key, whose loads end well or badly, and nothing is removed: whoever waits is answered.
#[test]
fn a_herd_whose_loads_fail() {
    fn joins(field: &Arc<Field>, _: u64) {
        some(field, 2, &[get_with, try_get_with, try_get_with, lease, lease]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 1, fails: true, ..Terms::default() });
        field.at_once(&[joins, joins, joins, joins]);
        field.end();
    });
}

/// The same while the key is inserted, removed, and everything invalidated.
#[test]
fn a_herd_and_writers() {
    fn joins(field: &Arc<Field>, _: u64) {
        some(field, 3, &[get_with, try_get_with, lease, task]);
    }
    fn writes(field: &Arc<Field>, _: u64) {
        some(field, 4, &[insert, remove, invalidate, invalidate_all, read, read]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 1, fails: true, ..Terms::default() });
        field.at_once(&[joins, joins, joins, writes]);
        field.end();
    });
}

/// A timer that never rings: who is late is found by those who come by.
struct Never;

impl Timer for Never {
    fn wake_at(&self, _: u64, _: Waker) {}
}

/// A leader holds its lease until the others are done, and ends it then, in vain; meanwhile the time goes on.
fn hangs(field: &Arc<Field>, key: u64, done: &AtomicUsize, others: usize) {
    let before = field.before(key);
    if let Lookup::Lead(lease) = field.cache.lease(&key) {
        let loading = field.load(key, before);
        let value = field.loaded(key, loading.version);
        while done.load(SeqCst) < others {
            field.advance(SECOND);
            thread::yield_now();
        }
        drop(loading);
        match roll(5) {
            0 => drop(lease),
            1 => lease.fail(),
            2 => drop(lease.renew()),
            3 => lease.fail_with(field.failed(key)),
            _ => match lease.fulfil(value) {
                Ok(value) | Err(value) => field.ledger.given(key, before, value.record(), "fulfil, late"),
            },
        }
    }
}

fn with_one_that_hangs(terms: Terms, deeds: &'static [Deed]) {
    let field = Field::new(terms);
    let done = Arc::new(AtomicUsize::new(0));
    let hung = {
        let (field, done) = (field.clone(), done.clone());
        thread::spawn(move || hangs(&field, 0, &done, 3))
    };
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (field, done) = (field.clone(), done.clone());
            thread::spawn(move || {
                some(&field, 3, deeds);
                done.fetch_add(1, SeqCst);
            })
        })
        .collect();
    hung.join().unwrap();
    others.into_iter().for_each(|thread| thread.join().unwrap());
    field.end();
}

/// A leader hangs until all others are done: one of those who wait takes over, and it changes nothing when it comes back.
#[test]
fn a_leader_that_hangs() {
    schedules(|| {
        let terms = Terms { keys: 1, lead: Some(2), ..Terms::default() };
        with_one_that_hangs(terms, &[get_with, try_get_with, lease, task, read, insert]);
    });
}

/// The same where those who take over fail and panic, too, and are removed.
#[test]
fn a_leader_that_hangs_and_others_that_fail() {
    schedules(|| {
        let terms = Terms { keys: 1, lead: Some(2), fails: true, ..Terms::default() };
        with_one_that_hangs(terms, &[get_with, try_get_with, try_task, lease, invalidate, half_a_second]);
    });
}

/// Loads that take longer than they may, and no timer rings: those who come by take over. All come back some time.
#[test]
fn slow_leaders_and_no_timer() {
    fn loads(field: &Arc<Field>, _: u64) {
        some(field, 4, &[get_with, try_get_with, lease, a_second, half_a_second]);
    }
    schedules(|| {
        let settings = |b: Building| b.timer(Never);
        let field = Field::new(Terms { keys: 1, lead: Some(1), fails: true, settings, ..Terms::default() });
        field.at_once(&[loads, loads, loads]);
        field.end();
    });
}

/// What is loaded for a flight that was removed is stored nowhere, so those who wait for it do not take it over when its time is up:
/// they look again, and whoever loads then does so in one flight with those who come after the removal.
#[test]
fn who_waits_for_what_was_removed() {
    /// Loads; nobody else may at the same time.
    fn alone(field: &Arc<Field>, at_work: &AtomicUsize) {
        field.cache.get_with(&0, || {
            assert_eq!(at_work.fetch_add(1, SeqCst), 0, "one flight: two load what is not there");
            thread::yield_now();
            at_work.fetch_sub(1, SeqCst);
            field.loaded(0, field.ledger.version(0))
        });
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 1, lead: Some(1), ..Terms::default() });
        let Lookup::Lead(lease) = field.cache.lease_owned(&0) else { panic!("the first one leads") };
        let at_work = Arc::new(AtomicUsize::new(0));
        let start = || {
            let (field, at_work) = (field.clone(), at_work.clone());
            thread::spawn(move || alone(&field, &at_work))
        };
        let mut others = vec![start(), start()];
        // Both wait for what is removed then, and whose time is over after that.
        while field.cache.stats().coalesced < 2 {
            thread::yield_now();
        }
        invalidate(&field, 0);
        field.advance(SECOND);
        others.extend([start(), start()]);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(field.cache.contains_key(&0), "what was loaded last was stored");
        assert!(lease.fulfil(field.loaded(0, 0)).is_err(), "it comes too late");
        drop(Arc::into_inner(field).map(|field| Arc::into_inner(field.cache)));
    });
}

bellwether_shuttle_tests::bugs! {
    a_herd_whose_loads_fail: "silent bell", "looks before it listens", "listens too late", "torn update";
    a_herd_and_writers: "weight left behind", "round skipped", "one is woken";
    a_leader_that_hangs: "any lease is taken over", "due for another lease", "publishing is due", "fenced without a share", "fenced error lost";
    a_leader_that_hangs_and_others_that_fail: "no fence", "taken over and counted";
    slow_leaders_and_no_timer: "no fence", "fenced share kept";
    who_waits_for_what_was_removed: "leads what was removed";
}
