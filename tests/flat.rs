//! Law 7: with nobody holding a pin, hardly anything waits to be freed. A test binary of its own, because a pin that another
//! test holds would hold up these caches, too.
mod common;

use bellwether::Cache;
use common::*;

#[test]
fn overwriting_one_key_keeps_memory_flat() {
    let cache: TestCache = Cache::new(100);
    let mut most = 0;
    for value in 0..1_000_000 {
        cache.insert(1, value);
        most = most.max(cache.stats().retired_bytes);
    }
    assert!(most < 1 << 20, "{most} bytes were retired at once, with nobody looking");
    assert_eq!((cache.len(), cache.weight(), cache.get(&1)), (1, 1, Some(999_999)));
}

#[test]
fn heavy_values_are_not_kept_waiting_by_the_bagful() {
    let cache: TestCache = Cache::builder().max_capacity(1_000_000).weigher(|_, _| 100_000).build().unwrap();
    for value in 0..10_000 {
        cache.insert(value as u32 % 20, value);
        assert!(cache.stats().retired_weight <= 2_200_000, "{:?}", cache.stats());
    }
    until("ten are kept", || {
        (0..20).for_each(|key| cache.insert(key, 0));
        cache.weight() == 1_000_000
    });
}
