//! Hit ratios after the number of entries has changed: within 20 capacities of requests a cache
//! does as well as one that was built as it is now.
//!
//! One test, so that no other thread's pin holds up what is retired here: past a bound of that,
//! values are not kept.
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Builder, Cache};
use common::Spread;

type Sized = Cache<u64, u32, Spread>;

/// Requests before a change, and those that are counted after it.
const BEFORE: usize = 40_000;
const MEASURED: usize = 40_000;
/// What a cache may be behind a new one.
const BEHIND: f64 = 0.005;

/// A sequence of requests.
trait Requests: Iterator<Item = u64> {}
impl<I: Iterator<Item = u64>> Requests for I {}

/// Zipf's law with this exponent, over so many keys.
fn zipf(exponent: f64, keys: u32) -> impl Requests {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(move || {
        let at = random.f64() * sum;
        cumulated.partition_point(|&c| c < at) as u64
    })
}

/// The same, and in between scans of keys that are asked for once.
fn scanned() -> impl Requests {
    let mut popular = zipf(0.9, 10_000);
    (0_u64..).map(move |at| if at % 1_000 < 700 { popular.next().unwrap() } else { 1_000_000 + at })
}

/// A set of popular keys that moves.
fn shifting() -> impl Requests {
    let mut popular = zipf(1.0, 4_000);
    (0_u64..).map(move |at| popular.next().unwrap() + at / 20_000 * 500)
}

/// One of the above by its name.
fn requests(name: &str) -> Box<dyn Requests> {
    match name {
        "zipf" => Box::new(zipf(0.9, 10_000)),
        "scans" => Box::new(scanned()),
        _ => Box::new(shifting()),
    }
}

fn builder(capacity: u64, shards: usize) -> Builder<u64, u32> {
    Cache::<u64, u32>::builder().max_capacity(capacity).shards(shards)
}

fn build(builder: Builder<u64, u32>) -> Sized {
    builder.hasher(Spread::default()).build().unwrap()
}

/// A value of another weight is replaced, as if its source had changed.
fn hits(cache: &Sized, requests: impl Requests, weight: u32) -> usize {
    let mut loads = 0;
    let mut ask = |key| {
        if cache.get_with(&key, || (loads += 1, weight).1) != weight {
            cache.insert(key, weight);
        }
    };
    let asked = requests.map(&mut ask).count();
    asked - loads
}

/// Both caches are asked the same: 20 capacities of requests, and then those that are counted.
fn race(what: &str, [changed, new]: [&Sized; 2], mut requests: impl Requests, entries: usize, weight: u32) {
    let settling: Vec<u64> = requests.by_ref().take(20 * entries).collect();
    let measured: Vec<u64> = requests.take(MEASURED).collect();
    let [changed, new] = [changed, new].map(|cache| {
        hits(cache, settling.iter().copied(), weight);
        cache.validate().unwrap();
        hits(cache, measured.iter().copied(), weight) as f64 / MEASURED as f64
    });
    println!("{what}: {changed:.4}, new {new:.4}");
    assert!(changed > new - BEHIND, "{what}: {changed:.4}, and a new one {new:.4}");
}

fn a_cache_whose_capacity_changes_hits_as_a_new_one() {
    for name in ["zipf", "scans", "shifting"] {
        let changes = [(2_000, 1_000), (10_000, 1_000), (10_000, 100), (1_000, 2_000), (100, 3_000)];
        for (before, after) in changes {
            let (cache, new) = (build(builder(before, 1)), build(builder(after, 1)));
            let mut requests = requests(name);
            hits(&cache, requests.by_ref().take(BEFORE), 1);
            cache.set_capacity(after);
            race(&format!("{name}, {before} to {after}"), [&cache, &new], requests, after as usize, 1);
        }
    }
}

fn down_and_up_again_and_again() {
    let (cache, new) = (build(builder(3_000, 1)), build(builder(3_000, 1)));
    let mut requests = requests("zipf");
    for _ in 0..5 {
        for capacity in [3_000, 200, 3_000, 1_000] {
            cache.set_capacity(capacity);
            hits(&cache, requests.by_ref().take(20_000), 1);
        }
    }
    cache.set_capacity(3_000);
    race("again", [&cache, &new], requests, 3_000, 1);
}

const WEIGHTS: [(u32, u32); 3] = [(1, 10), (10, 1), (100, 10)];

fn weighed() -> Sized {
    build(builder(10_000, 1).weigher(|_, &weight| weight))
}

fn a_cache_whose_values_grow_heavier_or_lighter_hits_as_a_new_one() {
    for name in ["zipf", "scans", "shifting"] {
        for (before, after) in WEIGHTS {
            let (cache, new) = (weighed(), weighed());
            let mut requests = requests(name);
            hits(&cache, requests.by_ref().take(BEFORE), before);
            let entries = 10_000 / after as usize;
            race(&format!("{name}, weights of {before}, then {after}"), [&cache, &new], requests, entries, after);
        }
    }
}

/// Other keys become popular, all at once, and their values have another weight. (New ones would
/// not have to forget: so they are compared with those whose earlier values had that weight too.)
fn a_cache_whose_new_keys_are_heavier_or_lighter_hits_as_if_all_had_been() {
    for (before, after) in WEIGHTS {
        let caches = [before, after].map(|weight| (weighed(), weight));
        let mut requests = requests("zipf");
        let others: Vec<u64> = requests.by_ref().take(BEFORE).map(|key| key + 9_000_000).collect();
        caches.iter().for_each(|(cache, weight)| _ = hits(cache, others.iter().copied(), *weight));
        let entries = 10_000 / after as usize;
        let [(changed, _), (same, _)] = &caches;
        race(&format!("zipf, others of {before}, then {after}"), [changed, same], requests, entries, after);
    }
}

/// As many shards as the builder is asked for, in a cache that is large when it is built.
fn a_cache_of_many_shards_that_becomes_small_hits_as_a_new_one() {
    for (before, after, filled) in [(150_000, 100, 0), (150_000, 1_000, 60_000), (40_000, 3_000, 60_000)] {
        let (cache, new) = (build(builder(before, 64)), build(builder(after, 64)));
        let mut requests = requests("zipf");
        (1_000_000..1_000_000 + filled).for_each(|key| cache.insert(key, 1));
        hits(&cache, requests.by_ref().take(BEFORE), 1);
        cache.validate().unwrap();
        cache.set_capacity(after);
        race(&format!("64 shards, {before} to {after}"), [&cache, &new], requests, after as usize, 1);
        // And up again.
        cache.set_capacity(before);
        (2_000_000..2_000_000 + before + 50_000).for_each(|key| cache.insert(key, 1));
        cache.validate().unwrap();
        assert_eq!(cache.weight(), before);
    }
}

fn a_cache_of_many_shards_whose_values_grow_heavier_hits_as_a_new_one() {
    let weighed = |expected| {
        let builder = builder(100_000, 64).weigher(|_, &weight| weight).initial_capacity(expected);
        build(builder)
    };
    let (cache, new) = (weighed(100_000), weighed(0));
    let mut requests = requests("zipf");
    (1_000_000..1_100_000).for_each(|key| cache.insert(key, 1));
    hits(&cache, requests.by_ref().take(BEFORE), 1);
    race("64 shards, weights of 1, then 100", [&cache, &new], requests, 1_000, 100);
}

/// Threads store and remove while the number of shards goes up and down.
fn no_entry_is_lost_between_shards() {
    let cache = build(builder(40_000, 8));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let cache = &cache;
            let mut random = fastrand::Rng::with_seed(thread);
            scope.spawn(move || {
                for step in 0..60_000 {
                    let key = random.u64(..60_000);
                    match random.u32(..8) {
                        0 => _ = cache.remove(&key),
                        1 => _ = cache.get_with(&key, || 1),
                        _ => cache.insert(key, 1),
                    }
                    if thread == 0 && step % 6_000 == 0 {
                        cache.set_capacity([40_000, 100, 3_000, 20_000, 1_000][step / 6_000 % 5]);
                    }
                }
            });
        }
    });
    cache.validate().unwrap();
    assert!(cache.weight() <= cache.capacity());
    for capacity in [500, 50, 0] {
        cache.set_capacity(capacity);
        assert_eq!(cache.len() as u64, capacity.min(cache.weight()));
        cache.validate().unwrap();
    }
    assert!(cache.is_empty(), "the hand finds every entry");
}

#[test]
fn within_twenty_capacities_of_a_change_hits_are_as_many_as_those_of_a_new_cache() {
    a_cache_whose_capacity_changes_hits_as_a_new_one();
    down_and_up_again_and_again();
    a_cache_whose_values_grow_heavier_or_lighter_hits_as_a_new_one();
    a_cache_whose_new_keys_are_heavier_or_lighter_hits_as_if_all_had_been();
    a_cache_of_many_shards_that_becomes_small_hits_as_a_new_one();
    a_cache_of_many_shards_whose_values_grow_heavier_hits_as_a_new_one();
    no_entry_is_lost_between_shards();
}
