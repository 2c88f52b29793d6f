//! Pins where the kernel refuses `membarrier`: this process forbids itself the call before it first pins.
#![cfg(all(feature = "std", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../common/refused.rs"]
mod refused;

use bellwether::Cache;
use refused::{Watched, forbid_membarrier};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

#[test]
fn readers_fence_where_membarrier_is_refused() {
    forbid_membarrier();
    const ROUNDS: u64 = if cfg!(debug_assertions) { 50_000 } else { 500_000 };
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::<u64, Watched<'static>>::new(16);
    thread::scope(|scope| {
        for seed in 0..2 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    cache.insert((i + seed) % 64, Watched(i, &DROPS));
                }
            });
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    if let Some(value) = cache.get_ref(&(i % 64)) {
                        assert_ne!(value.0, u64::MAX, "read after its drop");
                    }
                }
            });
        }
    });
    let before_the_cache = DROPS.load(Relaxed) as u64;
    assert!(before_the_cache > ROUNDS, "what is retired is freed: {before_the_cache} of {}", 2 * ROUNDS);
    drop(cache);
    assert_eq!(DROPS.load(Relaxed) as u64, 2 * ROUNDS);
}
