//! Groups that are invalidated while they are loaded.
#![cfg(shuttle)]

use bellwether_shuttle_tests::field::{Building, Field, SECOND, Terms};
use bellwether_shuttle_tests::{deeds::*, schedules};
use std::sync::Arc;

/// Loads, insertions and refreshes of four keys in two groups, which are invalidated: nothing from before is found after it.
#[test]
fn tags_meet_loads() {
    fn loads(field: &Arc<Field>, _: u64) {
        some(field, 4, &[get_with, try_get_with, lease, task, read, insert]);
    }
    fn invalidates(field: &Arc<Field>, _: u64) {
        some(field, 4, &[invalidate_tag, invalidate_tag, read, get_with]);
    }
    schedules(|| {
        let settings = |b: Building| b.time_to_live(SECOND).stale_while_refresh(SECOND);
        let field = Field::new(Terms { keys: 4, tagged: true, expires: true, settings, ..Terms::default() });
        field.insert(0, None);
        field.advance(SECOND / 2);
        field.at_once(&[loads, loads, invalidates, invalidates]);
        field.end();
    });
}

bellwether_shuttle_tests::bugs! {
    tags_meet_loads: "tag not stored", "outdated for a waiter", "renewed for a waiter";
}
