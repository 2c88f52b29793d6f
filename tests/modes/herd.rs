//! Law 1: at any moment at most one load of a key is stored by the cache.

use crate::common::*;
use crate::driver::{Crew, all_get};
use crate::load::Load;
use bellwether::Cache;
use std::sync::Arc;
use std::time::Duration;

pub fn a_cold_herd_computes_once(crew: &Crew) {
    for callers in [10, 100, 1000] {
        let cache: Arc<TestCache> = Arc::new(Cache::new(100));
        let (load, gate) = Load::gated(End::Value(7));
        // All at once: whoever comes first leads.
        let herd: Vec<_> = (0..callers).map(|_| crew.ask(&cache, 1, &load)).collect();
        waiting_for(&cache, callers - 1);
        gate.open();
        assert!(all_get(herd, 7));
        let stats = cache.stats();
        assert_eq!((load.calls(), stats.loads, stats.coalesced, stats.bypassed), (1, 1, callers - 1, 0));
        assert_eq!((cache.get(&1), cache.len()), (Some(7), 1));
        nothing_in_flight(&cache, 1);
    }
}

pub fn callers_who_come_as_the_load_ends_cause_no_other(crew: &Crew) {
    let cache: Arc<TestCache> = Arc::new(Cache::new(100));
    for key in 0..50 {
        let load = Load::new(End::Value(key.into()));
        let herd: Vec<_> = (0..8).map(|_| crew.ask(&cache, key, &load)).collect();
        assert!(all_get(herd, key.into()));
        assert_eq!((load.calls(), cache.get(&key)), (1, Some(key.into())));
        nothing_in_flight(&cache, key);
    }
}

pub fn a_herd_computes_once_where_nothing_is_kept(crew: &Crew) {
    let (zero, _) = timed();
    let zero = zero.time_to_live(Duration::ZERO).build().unwrap();
    for (cache, keeps) in [(zero, false), (Cache::new(0), false), (Cache::new(1), true), (Cache::new(2), true)] {
        let cache: Arc<TestCache> = Arc::new(cache);
        let flights = [1, 2, 3].map(|key| (key, Load::gated(End::Value(key.into()))));
        let herds = flights.each_ref().map(|(key, (load, _))| crew.flight(&cache, *key, load, 30, load));
        flights.iter().for_each(|(_, (_, gate))| gate.open());
        for ((key, (load, _)), (leader, waiting)) in flights.into_iter().zip(herds) {
            assert!(all_get([leader], key.into()) && all_get(waiting, key.into()));
            assert_eq!((load.calls(), cache.is_loading(&key)), (1, false));
        }
        assert!(cache.weight() <= cache.capacity());
        cache.validate().unwrap();
        if !keeps {
            // A caller who comes afterwards loads anew.
            let load = Load::new(End::Value(9));
            assert!(all_get([crew.ask(&cache, 1, &load)], 9));
            assert_eq!((load.calls(), cache.len()), (1, 0));
        }
        nothing_in_flight(&cache, 1);
    }
}

pub fn keys_that_all_collide_have_a_flight_each(crew: &Crew) {
    let cache = Cache::builder().max_capacity(1000).hasher(Constant).build().unwrap();
    let cache: Arc<TestCache<Constant>> = Arc::new(cache);
    let flights: Vec<_> = (0..100).map(|key| (key, Load::gated(End::Value(u64::from(key) * 3)))).collect();
    let herds: Vec<Vec<_>> =
        flights.iter().map(|(key, (load, _))| (0..3).map(|_| crew.ask(&cache, *key, load)).collect()).collect();
    waiting_for(&cache, 200);
    // The flights end in another order than they began in, while their neighbours go on.
    for ((key, (load, gate)), herd) in flights.into_iter().zip(herds).rev() {
        gate.open();
        assert!(all_get(herd, u64::from(key) * 3), "the value of another key");
        assert_eq!(load.calls(), 1);
        if key % 2 == 0 {
            assert_eq!(cache.remove(&key), Some(u64::from(key) * 3));
        }
    }
    assert_eq!(cache.len(), 50);
    for key in 0..100 {
        assert_eq!(cache.get(&key), (key % 2 == 1).then_some(u64::from(key) * 3));
        assert!(!cache.is_loading(&key));
    }
    cache.validate().unwrap();
}
