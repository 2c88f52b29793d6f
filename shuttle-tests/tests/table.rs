//! The table while it grows, and while what is in it is replaced.
#![cfg(shuttle)]

use bellwether_shuttle_tests::{Field, Terms, deeds::*, roll, schedules};
use std::sync::Arc;

/// Keys below this are always there.
const STABLE: u64 = 2;

/// So many keys in a table that begins with two buckets.
fn crowd(keys: u64, colliding: u64) -> Arc<Field> {
    let field = Field::new(Terms { keys, capacity: 1_000, colliding, ..Terms::default() });
    (0..STABLE).for_each(|key| field.insert(key, None));
    field
}

/// Looks for what is always there.
fn finds(field: &Arc<Field>, _: u64) {
    for _ in 0..6 {
        let key = roll(STABLE as usize) as u64;
        assert!(field.cache.contains_key(&key), "key {key} is always there, and was not found");
        read(field, key);
    }
}

/// The table doubles three times while one inserts and another looks for what was there before, walks, and looks for what comes.
#[test]
fn growth_meets_readers() {
    fn grows(field: &Arc<Field>, n: u64) {
        (STABLE..field.terms.keys).filter(|key| key % 2 == n).for_each(|key| insert(field, key));
    }
    fn looks(field: &Arc<Field>, _: u64) {
        finds(field, 0);
        some(field, 4, &[read, read, walk]);
    }
    schedules(|| {
        let field = crowd(14, 1);
        field.at_once(&[grows, grows, looks]);
        assert_eq!(field.cache.len() as u64, field.terms.keys);
        assert!((0..field.terms.keys).all(|key| field.cache.contains_key(&key)), "a key was lost");
        field.end();
    });
}

/// Keys come and go, in one bucket and as one hash, around those that stay.
#[test]
fn neighbours_come_and_go() {
    fn churns(field: &Arc<Field>, _: u64) {
        for _ in 0..5 {
            let key = STABLE + roll((field.terms.keys - STABLE) as usize) as u64;
            [insert, insert, remove, invalidate][roll(4)](field, key);
        }
    }
    schedules(|| {
        let field = crowd(6, 6);
        field.at_once(&[churns, churns, finds]);
        field.end();
    });
}

/// A key that is overwritten, by insertions and by refreshes, is never absent.
#[test]
fn overwriting_meets_readers() {
    fn overwrites(field: &Arc<Field>, _: u64) {
        for _ in 0..4 {
            insert(field, roll(STABLE as usize) as u64);
        }
    }
    schedules(|| {
        let field = crowd(STABLE, 2);
        field.at_once(&[overwrites, overwrites, finds]);
        field.end();
    });
}

bellwether_shuttle_tests::bugs! {
    growth_meets_readers: "blind insert", "blind cell", "two initialisers", "torn growth";
    neighbours_come_and_go: "blind unlink", "marked twice", "no pin";
    overwriting_meets_readers: "find stops at a mark", "zero revived";
}
