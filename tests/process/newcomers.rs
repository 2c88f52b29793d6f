//! What was just stored is there, whatever it weighs, while anything else can go.
//!
//! One test, so that no other thread's pin holds up what is retired here: past a bound of that,
//! values are not kept.
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Cache, Lookup};
use common::Spread;

type Weighed = Cache<u64, u32, Spread>;

fn weighed(capacity: u64, shards: usize) -> Weighed {
    let builder = Cache::<u64, u32>::builder().max_capacity(capacity).weigher(|_, &weight| weight);
    builder.initial_capacity(4096 * shards).shards(shards).hasher(Spread::default()).build().unwrap()
}

/// Stores 3,000 values of weights up to `heaviest`, new ones and in the place of others, while some
/// are read.
fn all_there(capacity: u64, heaviest: u32, shards: usize, store: impl Fn(&Weighed, u64, u32)) {
    let cache = weighed(capacity, shards);
    let mut random = fastrand::Rng::with_seed(7);
    for step in 0..3_000 {
        cache.get(&random.u64(..60));
        let (key, weight) = (random.u64(..60), random.u32(1..=heaviest));
        store(&cache, key, weight);
        let found = cache.peek(&key).map(|value| *value);
        assert_eq!(found, Some(weight), "step {step}: {key} of weight {weight}, {capacity}, {shards} shards");
        assert!(cache.weight() <= capacity);
    }
    cache.validate().unwrap();
}

/// Capacities, and the heaviest weight.
const SIZES: [(u64, u32); 5] = [(10, 5), (1_000, 100), (1_000, 500), (1_000, 1_000), (60, 1)];

fn what_insert_stores() {
    for (capacity, heaviest) in SIZES {
        for shards in [1, 4] {
            all_there(capacity, heaviest, shards, |cache, key, weight| cache.insert(key, weight));
            all_there(capacity, heaviest, shards, |cache, key, weight| cache.pin().insert(key, weight));
        }
    }
}

fn what_a_load_stores() {
    for (capacity, heaviest) in SIZES {
        for shards in [1, 4] {
            all_there(capacity, heaviest, shards, |cache, key, weight| {
                cache.invalidate(&key);
                assert_eq!(cache.get_with(&key, || weight), weight);
            });
            all_there(capacity, heaviest, shards, |cache, key, weight| {
                cache.expire(&key);
                match cache.lease(&key) {
                    Lookup::Lead(lease) | Lookup::Refresh(_, lease) => drop(lease.fulfil(weight).unwrap()),
                    other => panic!("{other:?}"),
                }
            });
        }
    }
}

fn a_value_that_grows_in_its_place() {
    let cache = weighed(10, 1);
    for (key, weight) in [(1, 5), (2, 2), (3, 4)] {
        cache.insert(key, 1);
        cache.insert(key, weight);
        assert_eq!(cache.get(&key), Some(weight));
    }
    assert!(cache.weight() <= 10);
}

/// The first newcomer for which there is no room finds the others in shards that are too many for them: they are taken to
/// those that stay, behind it.
fn a_newcomer_stays_as_others_come_from_other_shards() {
    for (first, shards) in (0..50).flat_map(|round| [2, 4, 16].map(|shards| (round * 1_000, shards))) {
        let cache = weighed(100, shards);
        (first..first + 20).for_each(|key| cache.insert(key, 5));
        cache.insert(first + 30, 100);
        assert_eq!((cache.get(&(first + 30)), cache.weight()), (Some(100), 100), "{first}, {shards} shards");
        cache.validate().unwrap();
    }
}

/// What is being refreshed cannot go. Then the newcomer does, so that the weight is within the
/// capacity.
fn a_newcomer_goes_where_no_other_may() {
    let cache = weighed(10, 1);
    cache.insert(1, 8);
    cache.expire(&1);
    let (Lookup::Lead(lease) | Lookup::Refresh(_, lease)) = cache.lease(&1) else { panic!("it is over") };
    cache.insert(2, 2);
    assert_eq!((cache.get(&2), cache.weight()), (Some(2), 10), "there is room");
    cache.insert(3, 3);
    assert_eq!((cache.get(&2), cache.get(&3), cache.weight()), (None, None, 8));
    drop(lease.fulfil(9));
    assert_eq!((cache.get(&1), cache.weight()), (Some(9), 9));
    cache.insert(3, 3);
    assert_eq!((cache.get(&1), cache.get(&3), cache.weight()), (None, Some(3), 3));
}

/// However many store at once, the weight is within the capacity when all have returned.
fn heavy_newcomers_from_many_threads() {
    for shards in [1, 4] {
        let cache = weighed(1_000, shards);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                let mut random = fastrand::Rng::with_seed(thread);
                scope.spawn(move || {
                    for _ in 0..3_000 {
                        cache.insert(random.u64(..60), random.u32(1..=1_000));
                    }
                });
            }
        });
        cache.validate().unwrap();
        assert!(cache.weight() <= 1_000);
    }
}

#[test]
fn what_was_just_stored_is_there_while_others_can_go() {
    what_insert_stores();
    what_a_load_stores();
    a_value_that_grows_in_its_place();
    a_newcomer_stays_as_others_come_from_other_shards();
    a_newcomer_goes_where_no_other_may();
    heavy_newcomers_from_many_threads();
}
