//! What bellwether's own operations take: `cargo bench -p bellwether-benches`, with a filter behind `--` if need be. For a look at
//! what a change does; beside other caches it is `speed` that measures, and instructions are counted by `callgrind.sh`.

use bellwether::{Builder, Cache, Lookup};
use divan::{Bencher, black_box};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const KEYS: u64 = 1000;
const THREADS: [usize; 2] = [1, 2];

type Numbers = Cache<u64, u64>;

fn main() {
    // Not as few as fit into a few ticks of the clock: one call a sample would show the clock, and each sample's first miss.
    divan::Divan::from_args().sample_size(1000).main();
}

fn unbounded() -> Builder<u64, u64> {
    Cache::builder().max_capacity(u64::MAX)
}

/// A cache with keys, loaded and warm.
fn warm(builder: Builder<u64, u64>) -> Numbers {
    let cache = builder.build().expect("valid settings");
    (0..5 * KEYS).for_each(|i| assert_eq!(cache.get_with(&(i % KEYS), || 1), 1));
    cache
}

/// Each call with another number.
fn run(bencher: Bencher<'_, '_>, operation: impl Fn(u64) -> Option<u64> + Sync) {
    std::thread_local! {
        // Of its own for each thread: a shared one would be what is measured.
        static NEXT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    bencher.bench(|| {
        let number = NEXT.get();
        NEXT.set(number + 1);
        operation(black_box(number))
    });
}

#[divan::bench(threads = THREADS)]
fn hit_get(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    run(bencher, |number| cache.get(&(number % KEYS)));
}

#[divan::bench(threads = THREADS)]
fn hit_get_with(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    run(bencher, |number| Some(cache.get_with(&(number % KEYS), || unreachable!("a hit"))));
}

#[divan::bench(threads = THREADS)]
fn hit_get_entry(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    run(bencher, |number| cache.get_entry(&(number % KEYS)).map(|entry| *entry));
}

#[divan::bench(threads = THREADS)]
fn hit_with_ttl(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded().time_to_live(Duration::from_secs(3600)));
    run(bencher, |number| cache.get(&(number % KEYS)));
}

/// A pin on its own thread, held.
#[divan::bench]
fn hit_pinned(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    let (pinned, mut number) = (cache.pin(), 0);
    bencher.bench_local(|| {
        number += 1;
        pinned.get_ref(black_box(&(number % KEYS))).map(|value| *value)
    });
}

#[divan::bench(threads = THREADS)]
fn miss(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    run(bencher, |number| cache.get(&(KEYS + number)));
}

#[divan::bench(threads = THREADS)]
fn insert_over(bencher: Bencher<'_, '_>) {
    let cache = warm(unbounded());
    run(bencher, |number| {
        cache.insert(number % KEYS, 2);
        None
    });
}

/// Keys that no other thread has, and no earlier call: each evicts, or is evicted.
#[divan::bench(threads = THREADS)]
fn insert_full(bencher: Bencher<'_, '_>) {
    let (cache, next) = (warm(Cache::builder().max_capacity(KEYS)), AtomicU64::new(KEYS));
    run(bencher, |_| {
        cache.insert(next.fetch_add(1, Relaxed), 2);
        None
    });
}

#[divan::bench(threads = THREADS)]
fn load_full(bencher: Bencher<'_, '_>) {
    let (cache, next) = (warm(Cache::builder().max_capacity(KEYS)), AtomicU64::new(KEYS));
    run(bencher, |_| Some(cache.get_with(&next.fetch_add(1, Relaxed), || 2)));
}

/// A load that is begun and given up: what a flight costs by itself.
#[divan::bench(threads = THREADS)]
fn lead_and_give_up(bencher: Bencher<'_, '_>) {
    let (cache, next) = (warm(unbounded()), AtomicU64::new(KEYS));
    run(bencher, |_| {
        assert!(matches!(cache.lease(&next.fetch_add(1, Relaxed)), Lookup::Lead(_)));
        None
    });
}
