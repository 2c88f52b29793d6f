//! Values whose drop runs in the middle of somebody else's lookup, and there asks for the very key, or panics. A test
//! binary of its own: it needs memory to be held up, and let go at a known moment.
#[path = "../common/mod.rs"]
mod common;

use bellwether::Cache;
use common::quietly;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

static CACHE: OnceLock<Cache<u32, Unruly>> = OnceLock::new();

#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    Nothing,
    Ask,
    Panic,
}

thread_local! { static ACT: Cell<Act> = const { Cell::new(Act::Nothing) }; }

#[derive(Clone)]
struct Unruly(u32);

impl Drop for Unruly {
    fn drop(&mut self) {
        match ACT.replace(Act::Nothing) {
            Act::Nothing => {}
            Act::Ask => assert_eq!(CACHE.get().unwrap().get_with(&1000, || Unruly(5)).0, 5),
            Act::Panic => panic!("a value's drop panics, as it was told to"),
        }
    }
}

/// Retires more than the cache keeps waiting, under a reader that lets go at last: the next lookup frees it.
fn pile_up(cache: &Cache<u32, Unruly>) {
    cache.insert(0, Unruly(0));
    let stalled = cache.get_ref(&0);
    let soft_bound = 9 << 20;
    let mut key = 0;
    while cache.stats().retired_bytes < soft_bound {
        // (A look takes longer than a load.)
        for _ in 0..64 {
            key = key % 50 + 1;
            // Loads, because inserts are not kept, and retire nothing, past the soft bound.
            cache.get_with(&key, || Unruly(key));
            cache.invalidate(&key);
        }
    }
    drop(stalled);
}

#[test]
fn a_drop_in_the_middle_of_a_lookup() {
    let cache = CACHE.get_or_init(|| Cache::new(100));
    pile_up(cache);
    ACT.set(Act::Ask);
    assert_eq!(
        cache.get_with(&1000, || Unruly(6)).0,
        6,
        "the drop asked for the key that is being led, and was answered"
    );
    assert_eq!(ACT.get(), Act::Nothing, "and it did ask");

    cache.invalidate(&1000);
    pile_up(cache);
    ACT.set(Act::Panic);
    quietly(|| assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with(&1000, || Unruly(7)))).is_err()));
    assert_eq!(ACT.get(), Act::Nothing, "the drop panicked");
    assert!(!cache.is_loading(&1000), "the lead was not lost with it");
    assert_eq!(cache.get_with(&1000, || Unruly(8)).0, 8);
}
