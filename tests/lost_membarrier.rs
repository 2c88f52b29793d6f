//! Pins where `membarrier` is refused only after caches were built: readers rely on it, so nothing may be freed any more by
//! whoever is refused, and memory is bounded all the same.
#![cfg(all(feature = "std", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "common/refused.rs"]
mod refused;

use bellwether::Cache;
use refused::{Watched, forbid_membarrier};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

const MIB: u64 = 1 << 20;

#[test]
fn who_is_refused_later_frees_nothing_and_breaks_nothing() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::<u64, Watched<'static>>::new(16);
    let insert = |i: u64| {
        cache.insert(i % 64, Watched(i, &DROPS));
        if let Some(value) = cache.get_ref(&(i % 64)) {
            assert_ne!(value.0, u64::MAX, "read after its drop");
        }
    };
    (0..1_000).for_each(insert);
    let inserted = 1_000 + 400_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            forbid_membarrier();
            (1_000..inserted).for_each(insert);
            let stats = cache.stats();
            assert!(stats.retired_bytes > 8 * MIB, "nobody frees: {stats:?}");
            assert!(stats.retired_bytes < 16 * MIB, "what cannot be freed is not kept: {stats:?}");
            assert!(cache.len() <= 16);
        });
    });
    // This thread is not refused.
    (inserted..inserted + 1_000).for_each(insert);
    cache.purge_expired();
    assert!(cache.stats().retired_bytes < MIB, "{:?}", cache.stats());
    cache.insert(5, Watched(55, &DROPS));
    assert_eq!(cache.get_ref(&5).map(|value| value.0), Some(55), "new values are kept again");
    cache.validate().unwrap();
    drop(cache);
    assert_eq!(DROPS.load(Relaxed) as u64, inserted + 1_001);
}
