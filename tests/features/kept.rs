//! Entries that are in use and must not be evicted.

use crate::common::tasks::block_on;
use crate::common::*;
use bellwether::{Builder, Cache, Outcome, RemovalCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

type Value = Arc<u64>;

fn in_use(builder: Builder<Key, Value>) -> Builder<Key, Value> {
    builder.keep_while(|_, value| Arc::strong_count(value) > 1)
}

#[test]
fn what_is_in_use_stays_and_what_is_not_goes() {
    for capacity in [2, 10, 100] {
        let cache: Cache<Key, Value> = in_use(Cache::builder().max_capacity(capacity)).build().unwrap();
        let held: Vec<Value> =
            (0..capacity / 2).map(|n| cache.get_with(&u32::try_from(n).unwrap(), || Arc::new(n))).collect();
        for key in 1000..3000 {
            cache.insert(key, Arc::new(1));
            assert!(cache.contains_key(&key), "a newcomer takes the place of one that is not in use");
        }
        for value in &held {
            assert!(Arc::ptr_eq(value, &cache.peek(&u32::try_from(**value).unwrap()).unwrap()));
        }
        assert_eq!(cache.len(), usize::try_from(capacity).unwrap());
        // Once they are not in use they go like any other.
        drop(held);
        cache.set_capacity(0);
        assert!(cache.is_empty());
        cache.validate().unwrap();
    }
}

#[test]
fn where_all_is_in_use_the_newcomer_goes_even_if_it_is_in_use_itself() {
    let removed = Arc::new(Mutex::new(Vec::new()));
    let told = removed.clone();
    let listener = move |key: &Key, _: &Value, cause| told.lock().unwrap().push((*key, cause));
    let cache = in_use(Cache::builder().max_capacity(3)).eviction_listener(listener).build().unwrap();
    let held: Vec<Value> = (0..3).map(|n| cache.get_with(&n, || Arc::new(n.into()))).collect();
    let change = cache.swap(10, Arc::new(10));
    assert!(!change.applied && change.new.is_some());
    cache.insert(11, Arc::new(11));
    // Loads, by threads and tasks: their callers have the value.
    let (value, outcome) = cache.entry(&12).get_with(|| Arc::new(12));
    assert_eq!((**value, outcome), (12, Outcome::Computed));
    assert_eq!(*block_on(cache.get_with_async(&13, async || Arc::new(13))), 13);
    // One that is in use from the beginning.
    let mine = Arc::new(14);
    cache.insert(14, mine.clone());
    assert!((0..3).all(|key| cache.contains_key(&key)));
    assert_eq!((cache.len(), cache.weight()), (3, 3));
    assert_eq!(*removed.lock().unwrap(), (10..15).map(|key| (key, RemovalCause::Size)).collect::<Vec<_>>());
    // It can be replaced, removed, and lowered beneath; then the next insertion makes room.
    assert!(cache.swap(0, Arc::new(7)).applied);
    cache.set_capacity(1);
    assert_eq!(cache.weight(), 2, "two are in use, and the third has gone");
    drop(held);
    cache.insert(20, Arc::new(20));
    assert_eq!((cache.weight(), cache.contains_key(&20)), (1, true));
    cache.validate().unwrap();
}

#[test]
fn what_is_in_use_expires_all_the_same() {
    let clock = bellwether::ManualClock::new();
    let cache =
        in_use(Cache::builder().max_capacity(3)).time_to_live(10 * SECOND).clock(clock.clone()).build().unwrap();
    let _held: Vec<Value> = (0..3).map(|n| cache.get_with(&n, || Arc::new(n.into()))).collect();
    clock.advance(10 * SECOND);
    cache.insert(10, Arc::new(10));
    assert!(cache.contains_key(&10));
    cache.purge_expired();
    assert_eq!(cache.len(), 1);
}

#[test]
fn each_is_asked_about_a_bounded_number_of_times() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let keep = move |_: &Key, _: &u64| count.fetch_add(1, Ordering::Relaxed) < usize::MAX;
    let cache: TestCache = Cache::builder().max_capacity(100).shards(1).keep_while(keep).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, 1));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    cache.insert(1000, 1);
    assert!(!cache.contains_key(&1000) && cache.len() == 100);
    assert!(asked.load(Ordering::Relaxed) < 2000, "{asked:?}");
}

#[test]
fn a_panic_of_the_function_lets_the_entry_go_and_reaches_the_caller() {
    let cache: TestCache = Cache::builder()
        .max_capacity(10)
        .keep_while(|_, _| panic!("the function panics, as it was told to"))
        .build()
        .unwrap();
    (0..10).for_each(|key| cache.insert(key, 1));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(|| cache.insert(10, 1)))).is_err());
    assert_eq!((cache.len(), cache.weight(), cache.contains_key(&10)), (10, 10, true));
    cache.validate().unwrap();
}

#[test]
fn threads_that_use_and_insert_keep_the_bound() {
    let cache: Cache<Key, Value> = in_use(Cache::builder().max_capacity(64).shards(4)).build().unwrap();
    thread::scope(|scope| {
        for n in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                for round in 0..2000_u32 {
                    let key = (round * 7 + n * 13) % 200;
                    held.push_back(cache.get_with(&key, || Arc::new(key.into())));
                    if held.len() > 8 {
                        held.pop_front();
                    }
                    held.iter().for_each(|value| assert!(**value < 200));
                }
            });
        }
    });
    assert!(cache.weight() <= 64);
    cache.validate().unwrap();
}
