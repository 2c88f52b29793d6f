//! Everything at once, on few keys.
#![cfg(shuttle)]

use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, schedules};
use std::sync::Arc;

/// Readers, writers and loaders of two keys.
#[test]
fn everything_on_two_keys() {
    fn any(field: &Arc<Field>, _: u64) {
        let looks: &[Deed] = &[read, keep, hold, walk];
        let writes: &[Deed] = &[insert, remove, invalidate, remove_if, invalidate_all, retain];
        let loads: &[Deed] = &[get_with, try_get_with, lease, compute, task];
        some(field, 5, &[looks, writes, loads, loads].concat());
    }
    schedules(|| {
        let field = Field::new(Terms::default());
        field.at_once(&[any, any, any]);
        field.end();
    });
}

/// The same where loads fail and panic, keys collide, there is not room for all, and time goes by.
#[test]
fn everything_goes_wrong_on_four_keys() {
    fn any(field: &Arc<Field>, _: u64) {
        let looks: &[Deed] = &[read, keep];
        let writes: &[Deed] = &[insert, insert_for, remove, invalidate, expire, resize, purge, half_a_second];
        let loads: &[Deed] = &[get_with, try_get_with, lease, compute, task, try_task];
        some(field, 5, &[looks, writes, loads, loads].concat());
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND);
        let terms = Terms {
            keys: 4,
            capacity: 5,
            heaviest: 3,
            colliding: 2,
            fails: true,
            resized: true,
            expires: true,
            settings,
            ..Terms::default()
        };
        let field = Field::new(terms);
        field.at_once(&[any, any, any]);
        field.end();
    });
}

bellwether_shuttle_tests::bugs! {
    everything_on_two_keys: "refresh never ends", "torn bag", "weight left behind", "walk stays on its node";
    everything_goes_wrong_on_four_keys: "last leaver leaves it", "blind push", "hand evicts a refresh", "one share of two";
}
