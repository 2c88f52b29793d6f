//! Single flight and no cache: calls that overlap share one run, and nothing is kept after it.
//! `cargo run --example singleflight`.

use bellwether::Cache;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

fn main() {
    // A capacity of zero keeps nothing.
    let flights: Cache<&str, u32> = Cache::new(0);
    let runs = AtomicU32::new(0);
    let job = || {
        // The first run goes on until the seven others wait for it.
        while flights.stats().coalesced < 7 {
            thread::yield_now();
        }
        runs.fetch_add(1, Relaxed) + 1
    };
    let results: Vec<u32> = thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| flights.get_with(&"report", job))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    println!("8 callers at once: results {results:?}");
    assert_eq!(results, [1; 8]);

    // The flight is over, so the next caller runs the job again.
    assert_eq!(flights.get_with(&"report", job), 2);
    assert_eq!((flights.len(), runs.load(Relaxed)), (0, 2));
    println!("later: run {}", runs.load(Relaxed));
}
