//! Pins where `membarrier` is refused only after caches were built, and readers rely on it: they are told to fence, and what is
//! retired is freed again, by whichever thread.
#![cfg(all(feature = "std", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/refused.rs"]
mod refused;

use bellwether::Cache;
use common::until;
use refused::{Watched, forbid_membarrier};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

const MIB: u64 = 1 << 20;

#[test]
fn who_is_refused_later_has_readers_fence_and_frees_again() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::<u64, Watched<'static>>::new(16);
    let inserted = AtomicU64::new(0);
    let insert = || {
        let i = inserted.fetch_add(1, Relaxed);
        cache.insert(i % 64, Watched(i, &DROPS));
    };
    let read = |key| {
        if let Some(value) = cache.get_ref(&key) {
            assert_ne!(value.0, u64::MAX, "read after its drop");
        }
    };
    (0..1_000).for_each(|_| insert());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // One that has registered before, and reads all the time; this thread has, too, and sleeps.
        scope.spawn(|| {
            while !done.load(Relaxed) {
                (0..64).for_each(read);
            }
        });
        let refused = scope.spawn(|| {
            forbid_membarrier();
            // At first nothing can be concluded, and memory is bounded all the same.
            (0..150_000).for_each(|i| {
                insert();
                read(i % 64);
            });
            assert!(cache.stats().retired_bytes < 16 * MIB, "{:?}", cache.stats());
            assert!(cache.len() <= 16);
            until("what is retired is freed", || {
                (0..64).for_each(|_| insert());
                cache.stats().retired_bytes < MIB
            });
            until("new values are kept again", || {
                cache.insert(5, Watched(55, &DROPS));
                inserted.fetch_add(1, Relaxed);
                cache.get_ref(&5).is_some_and(|value| value.0 == 55)
            });
            (0..30_000).for_each(|i| {
                insert();
                read(i % 64);
            });
            // One that registers now.
            scope.spawn(|| (0..10_000).for_each(|i| read(i % 64)));
        });
        let refused = refused.join();
        done.store(true, Relaxed);
        refused.unwrap();
    });
    // This thread is not refused.
    (0..1_000).for_each(|_| insert());
    cache.purge_expired();
    assert!(cache.stats().retired_bytes < MIB, "{:?}", cache.stats());
    cache.validate().unwrap();
    drop(cache);
    assert_eq!(DROPS.load(Relaxed) as u64, inserted.load(Relaxed));
}
