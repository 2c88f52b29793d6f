//! Expiry, stale values, failures that are kept, and those who tidy up.
#![cfg(shuttle)]

use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, schedules};
use shuttle::thread;
use std::sync::Arc;

/// Entries expire, are served while one refreshes them or after that has failed, renewed, expired by hand and replaced.
#[test]
fn stale_while_refresh() {
    fn any(field: &Arc<Field>, _: u64) {
        some(
            field,
            4,
            &[get_with, try_get_with, lease, lease, try_task, read, half_a_second, expire, insert, invalidate],
        );
    }
    schedules(|| {
        let settings = |b: Building| {
            b.time_to_live(SECOND).stale_while_refresh(SECOND).stale_if_error(SECOND).error_cooldown(SECOND / 2)
        };
        let field = Field::new(Terms { keys: 2, fails: true, expires: true, settings, ..Terms::default() });
        (0..2).for_each(|key| field.insert(key, None));
        field.advance(SECOND);
        field.at_once(&[any, any, any]);
        field.end();
    });
}

/// Nobody may have an old value: all wait for the refresh of what has expired, and are answered.
#[test]
fn refreshes_that_all_wait_for() {
    fn any(field: &Arc<Field>, _: u64) {
        some(field, 3, &[get_with, try_get_with, lease, task, a_second, remove]);
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND).xfetch(0.0);
        let field = Field::new(Terms { keys: 1, fails: true, expires: true, settings, ..Terms::default() });
        field.insert(0, None);
        field.advance(SECOND);
        field.at_once(&[any, any, any, any]);
        field.end();
    });
}

/// Failures are kept for a while, take the place of what has expired, are replaced, removed, evicted and passed over.
#[test]
fn failures_are_kept() {
    fn any(field: &Arc<Field>, _: u64) {
        some(
            field,
            4,
            &[try_get_with, try_get_with, try_task, get_with, lease, insert, remove, half_a_second, purge, resize],
        );
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND);
        let terms = Terms {
            keys: 3,
            capacity: 2,
            fails: true,
            keeps_failures: true,
            resized: true,
            expires: true,
            settings,
            ..Terms::default()
        };
        let field = Field::new(terms);
        (0..2).for_each(|key| field.insert(key, None));
        field.advance(SECOND);
        field.at_once(&[any, any, any]);
        field.end();
    });
}

/// Purges, each of whose slices is two nodes, meet insertions, removals and flights that were given up.
#[test]
fn purges_meet_writers() {
    fn purges(field: &Arc<Field>, _: u64) {
        some(field, 3, &[purge, purge, retain, invalidate_all, half_a_second]);
    }
    fn writes(field: &Arc<Field>, _: u64) {
        some(field, 6, &[insert_for, insert, remove, expire, lease, get_with, read]);
    }
    schedules(|| {
        let terms = Terms { keys: 6, heaviest: 2, colliding: 2, fails: true, expires: true, ..Terms::default() };
        let field = Field::new(terms);
        (0..6).for_each(|key| field.insert(key, Some(SECOND)));
        field.advance(SECOND / 2);
        field.at_once(&[purges, writes, writes]);
        field.end();
    });
}

/// A janitor comes by whenever its time has come, and is sent away in the middle of it.
#[test]
fn a_janitor_and_writers() {
    fn writes(field: &Arc<Field>, _: u64) {
        some(field, 5, &[insert_for, insert, remove, half_a_second, get_with]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 4, heaviest: 2, expires: true, ..Terms::default() });
        let janitor = field.cache.start_janitor(SECOND).expect("it has a timer");
        field.at_once(&[writes, writes]);
        (0..4).for_each(|key| field.insert(key, Some(SECOND)));
        // It purges by itself what nobody touches any more.
        while field.cache.weight() > 0 {
            field.advance(SECOND);
            thread::yield_now();
            // What never expires is taken away here.
            (0..4).for_each(|key| expire(&field, key));
        }
        drop(janitor);
        field.end();
    });
}

/// Who waits for too long, and whoever comes when others wait or load already, is told so, or loads for itself alone; and whoever asks
/// for a key from within its load does that, too.
#[test]
fn deadlines_and_bounds() {
    fn any(field: &Arc<Field>, _: u64) {
        some(field, 3, &[get_with, try_get_with, try_task, task, lease, within, insert, half_a_second]);
    }
    schedules(|| {
        let settings = |b: Building| b.wait_timeout(SECOND).max_waiters(2).max_loads(2);
        let field = Field::new(Terms { keys: 3, refuses: true, settings, ..Terms::default() });
        let others: Vec<_> = (0..4)
            .map(|n| {
                let field = field.clone();
                thread::spawn(move || any(&field, n))
            })
            .collect();
        // Time goes by while anybody waits.
        while Arc::strong_count(&field) > 1 {
            field.advance(SECOND / 2);
            thread::yield_now();
        }
        others.into_iter().for_each(|thread| thread.join().unwrap());
        field.end();
    });
}

bellwether_shuttle_tests::bugs! {
    stale_while_refresh: "second refresh", "successor not ready", "lost swap stays";
    refreshes_that_all_wait_for: "refresh never ends", "last leaver leaves it";
    failures_are_kept: "failure's weight left", "failed before the swap", "no room after a refresh";
    purges_meet_writers: "walk stays on its node", "weight left behind";
    a_janitor_and_writers: "no grace", "weight not undone";
    deadlines_and_bounds: "one is woken";
}
