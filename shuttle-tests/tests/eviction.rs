//! The hand, at a capacity that is always exceeded.
#![cfg(shuttle)]

use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, schedules};
use std::sync::Arc;

/// More keys than there is room for, that are inserted, replaced by heavier and lighter ones, removed and used.
#[test]
fn the_hand_meets_writers() {
    fn churns(field: &Arc<Field>, _: u64) {
        some(field, 6, &[insert, insert, insert, remove, invalidate, read, keep]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 6, capacity: 6, heaviest: 4, ..Terms::default() });
        field.at_once(&[churns, churns, churns]);
        field.end();
    });
}

/// The same as the capacity changes, and with entries that are used often enough to move to the main ring.
#[test]
fn the_hand_meets_a_smaller_capacity() {
    fn churns(field: &Arc<Field>, _: u64) {
        some(field, 5, &[insert, insert, remove, read, read, resize]);
    }
    schedules(|| {
        let field = Field::new(Terms { keys: 5, capacity: 8, heaviest: 3, resized: true, ..Terms::default() });
        for key in 0..field.terms.keys {
            field.insert(key, None);
            (0..3).for_each(|_| drop(field.cache.get(&key)));
        }
        field.at_once(&[churns, churns, churns]);
        field.end();
    });
}

/// Entries expire and are refreshed, with and without an old value that may be served, as others take their room.
#[test]
fn the_hand_meets_a_refresh() {
    fn churns(field: &Arc<Field>, _: u64) {
        some(field, 5, &[insert, get_with, get_with, lease, read, expire, half_a_second, remove]);
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND).stale_while_refresh(SECOND);
        let field = Field::new(Terms { keys: 4, capacity: 3, expires: true, settings, ..Terms::default() });
        (0..3).for_each(|key| field.insert(key, None));
        field.advance(SECOND);
        field.at_once(&[churns, churns, churns]);
        field.end();
    });
}

bellwether_shuttle_tests::bugs! {
    the_hand_meets_writers: "weight not undone", "old weight twice", "slot not emptied", "torn advance";
    the_hand_meets_a_smaller_capacity: "number behind the seat", "main not settled", "torn pop";
    the_hand_meets_a_refresh: "hand evicts a refresh", "second refresh", "seat not checked";
}
