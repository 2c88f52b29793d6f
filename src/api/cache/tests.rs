//! The table grows with the cache. It does not count its nodes, so these ask whole caches.

use super::Cache;
use crate::api::handle::lookup::Lookup;

const NODES: u64 = 10_000;

/// The buckets that so many nodes need at least.
const NEEDED: usize = NODES as usize / 5 * 4;

fn caches() -> impl Iterator<Item = Cache<u64, u64>> {
    let capacities = [u64::MAX, 4 * NODES];
    capacities.into_iter().map(|capacity| Cache::builder().max_capacity(capacity).shards(4).build().unwrap())
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn buckets_follow_the_entries() {
    for cache in caches() {
        (0..NODES).for_each(|key| cache.insert(key, key));
        assert!(cache.core.buckets() >= NEEDED, "{} buckets", cache.core.buckets());
        // Churn at this size does not double them again and again.
        for key in NODES..20 * NODES {
            assert!(cache.invalidate(&(key - NODES)) || cache.capacity() < u64::MAX);
            cache.insert(key, key);
        }
        assert!(cache.core.buckets() <= 4 * NEEDED, "{} buckets", cache.core.buckets());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn buckets_follow_the_flights() {
    for cache in caches() {
        let leases: Vec<_> = (0..NODES).map(|key| cache.lease(&key)).collect();
        assert!(leases.iter().all(|lease| matches!(lease, Lookup::Lead(_))));
        assert!(cache.core.buckets() >= NEEDED, "{} buckets", cache.core.buckets());
    }
}
