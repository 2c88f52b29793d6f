//! What the eviction policy is for: hit ratios, against LRU and the optimum on the same requests, in the same run.
#[path = "../common/mod.rs"]
mod common;

#[path = "../../demos/replay/belady.rs"]
mod belady;
#[path = "../../demos/replay/list.rs"]
mod list;
#[path = "../../demos/replay/simple.rs"]
#[allow(dead_code, reason = "the other simulations of the example")]
mod simple;
#[path = "../../demos/replay/simulation.rs"]
mod simulation;
#[path = "../../demos/replay/trace.rs"]
#[allow(dead_code, reason = "made for files")]
mod trace;

use bellwether::Cache;
use common::Spread;
use simulation::Policy;
use trace::{Trace, mix};

const CAPACITY: u64 = 1_000;

/// Hits of the cache, of LRU and of the optimum.
struct Hits {
    cache: f64,
    lru: f64,
    optimum: f64,
}

fn cache_hits(requests: &[u32], cache: &Cache<u64, u64, Spread>) -> f64 {
    let mut loads = 0;
    for &request in requests {
        let key = mix(request);
        assert_eq!(cache.get_with(&key, || (loads += 1, !key).1), !key);
    }
    (requests.len() - loads) as f64
}

fn race(name: &str, requests: impl Iterator<Item = u32>) -> Hits {
    let trace = Trace::renumber(name.into(), requests).unwrap();
    let cache = Cache::<u64, u64>::builder().max_capacity(CAPACITY).hasher(Spread::default()).build().unwrap();
    let mut lru = simple::Lru::new(CAPACITY, trace.unique());
    let hits = Hits {
        cache: cache_hits(&trace.requests, &cache),
        lru: trace.requests.iter().filter(|&&key| lru.request(key)).count() as f64,
        optimum: belady::Future::of(&trace).hits(&trace, CAPACITY, || ()) as f64,
    };
    println!(
        "{name}: {:.3} of the optimum, LRU {:.3}; {} requests",
        hits.cache / hits.optimum,
        hits.lru / hits.optimum,
        trace.requests.len()
    );
    hits
}

/// Keys whose popularity falls with their rank: Zipf's law with exponent 1, nearly.
fn zipf(keys: u32) -> impl FnMut() -> u32 {
    let mut random = fastrand::Rng::with_seed(1);
    move || (f64::from(keys).powf(random.f64()) - 1.0) as u32
}

#[test]
fn scans_do_not_push_out_what_is_popular() {
    let mut popular = zipf(10_000);
    // A scan of 3,000 keys that nobody asks for again, after every 7,000 requests.
    let requests = (0..200_000).map(|at| if at % 10_000 < 7_000 { popular() } else { 200_000 + at });
    let hits = race("scan", requests);
    assert!(hits.cache > 1.1 * hits.lru && hits.cache > 0.9 * hits.optimum);
}

#[test]
fn a_loop_larger_than_the_cache_keeps_a_part_of_it() {
    let hits = race("loop", (0..200_000).map(|at| at % 3_000));
    assert!(hits.lru == 0.0 && hits.cache > 0.8 * hits.optimum);
}

#[test]
fn keys_that_are_seen_once_do_not_push_out_others() {
    let mut popular = zipf(10_000);
    let requests = (0..200_000).map(|at| if at % 2 == 0 { popular() } else { 200_000 + at });
    let hits = race("one-hit wonders", requests);
    assert!(hits.cache > 1.1 * hits.lru && hits.cache > 0.85 * hits.optimum);
}

#[test]
fn a_working_set_that_moves_is_followed() {
    let mut popular = zipf(4_000);
    // Another thousand keys becomes popular every 20,000 requests, and they replace as many.
    let hits = race("shifting", (0..200_000).map(|at| (popular() + at / 20_000 * 1_000) % 40_000));
    assert!(hits.cache > 0.95 * hits.lru && hits.cache > 0.8 * hits.optimum);
}

#[test]
fn recency_alone_is_served_nearly_as_well_as_by_lru() {
    let mut random = fastrand::Rng::with_seed(1);
    // A window of 1,200 keys that moves on by one with every fifth request: what is old is never asked for again.
    let hits = race("window", (0..200_000).map(|at| at / 5 + random.u32(..1_200)));
    assert!(hits.cache > 0.85 * hits.lru);
}

#[test]
fn a_small_cache_hits_the_same_however_many_shards_it_may_have() {
    let mut popular = zipf(2_000);
    let requests: Vec<u32> = (0..100_000).map(|_| popular()).collect();
    let hits = [1, 8, 64].map(|shards| {
        let builder = Cache::<u64, u64>::builder().max_capacity(100).shards(shards);
        cache_hits(&requests, &builder.hasher(Spread::default()).build().unwrap())
    });
    assert!(hits[0] > 30_000.0 && hits.iter().all(|&h| h == hits[0]), "{hits:?}");
}

/// However full of other keys the cache was, and however they were used: as many keys as it holds, asked for again and
/// again, all hit in the end.
#[test]
fn reinserting_the_same_keys_always_recovers() {
    for capacity in [1, 2, 10, 100, 1_000] {
        let cache = Cache::<u64, u64>::builder().max_capacity(capacity).hasher(Spread::default()).build().unwrap();
        let keys = |from: u64| (from..from + capacity).map(mixed);
        (0..5).for_each(|_| keys(0).for_each(|key| assert_eq!(cache.get_with(&key, || !key), !key)));
        let loads = || {
            let mut loads = 0;
            keys(5_000).for_each(|key| assert_eq!(cache.get_with(&key, || (loads += 1, !key).1), !key));
            loads
        };
        let rounds = (1..500).find(|_| loads() == 0).expect("they never all hit");
        println!("{capacity} entries: all hit after {rounds} rounds");
        // By plain insertion too.
        let missing = || keys(0).filter(|key| !cache.contains_key(key)).count();
        let rounds = (1..500).find(|_| {
            keys(0).for_each(|key| cache.insert(key, !key));
            missing() == 0
        });
        println!("{capacity} entries: all there after {} insertions of each", rounds.expect("they never all fit"));
    }
}

fn mixed(key: u64) -> u64 {
    mix(key as u32)
}
