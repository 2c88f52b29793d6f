//! Law 7: with nobody holding a pin, hardly anything waits to be freed. A test binary of its own, because a pin that another
//! test holds would hold up these caches, too.
#[path = "../common/mod.rs"]
mod common;

use bellwether::Cache;
use common::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One test at a time: they would hold up each other, too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn overwriting_one_key_keeps_memory_flat() {
    let _alone = alone();
    let cache: TestCache = Cache::new(100);
    let most = most_retired(&cache, 1_000_000);
    assert!(most < 1 << 20, "{most} bytes were retired at once, with nobody looking");
    assert_eq!((cache.len(), cache.weight(), cache.get(&1)), (1, 1, Some(999_999)));
}

#[test]
fn heavy_values_are_not_kept_waiting_by_the_bagful() {
    let _alone = alone();
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

/// A sweep over many entries holds no pin throughout: what it removes is freed as it goes on.
#[test]
fn a_purge_is_incremental() {
    let _alone = alone();
    const ENTRIES: u32 = 40_000;
    static CACHE: OnceLock<TestCache> = OnceLock::new();
    static MOST: AtomicU64 = AtomicU64::new(0);
    let (builder, clock) = timed();
    let listener = |_: &u32, _: &u64, _| {
        MOST.fetch_max(CACHE.get().unwrap().stats().retired_bytes, SeqCst);
    };
    let builder = builder.max_capacity(u64::MAX).time_to_live(SECOND).eviction_listener(listener);
    let cache = CACHE.get_or_init(|| builder.build().unwrap());
    (0..ENTRIES).for_each(|key| cache.insert(key, 0));
    (0..100).for_each(|key| cache.insert_with_ttl(key, 0, 10 * SECOND));
    clock.advance(SECOND);
    assert_eq!((cache.purge_expired(), cache.len()), (ENTRIES as usize - 100, 100));
    let all = u64::from(ENTRIES) * 64;
    assert!(MOST.load(SeqCst) < all / 4, "{} of {all} retired at once", MOST.load(SeqCst));
    cache.validate().unwrap();
    // So are the other sweeps.
    MOST.store(0, SeqCst);
    (0..ENTRIES).for_each(|key| cache.insert(key, 0));
    cache.retain(|key, _| key % 16 == 0);
    assert_eq!(cache.len(), ENTRIES as usize / 16);
    assert!(MOST.load(SeqCst) < all / 4, "{} of {all} retired at once", MOST.load(SeqCst));
    cache.invalidate_all();
    assert_eq!(cache.len(), 0);
}

/// However many are freed sooner or later, no insertion does it for more than a few.
#[test]
fn no_insertion_drops_many() {
    let _alone = alone();
    thread_local!(static DROPS: Cell<usize> = const { Cell::new(0) });
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
        }
    }
    let (capacity, inserts) = (40_000, 200_000);
    let cache = Cache::new(capacity as u64);
    let mut most = 0;
    for key in 0..inserts {
        let before = DROPS.get();
        cache.insert(key, Counted);
        most = most.max(DROPS.get() - before);
    }
    let dropped = DROPS.get();
    // What is retired and not yet freed is little.
    assert!(dropped > inserts - capacity - capacity / 4, "{dropped}");
    // Two bags of 64. (One at a time would not do: some are retired meanwhile.)
    assert!((2..=128).contains(&most), "{most} at once");
    drop(cache);
    assert_eq!(DROPS.get(), inserts);
}
