//! A trace through bellwether itself.

use crate::{
    Result,
    trace::{Trace, mix},
};
use bellwether::{Cache, Stats};
use indicatif::ProgressBar;
use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Requests that a thread replays in one go. The fewer, the nearer the order of the trace; the next block is one
/// addition to a shared counter, so this many hide its cost.
const BLOCK: usize = 64;
/// Requests between two movements of the progress bar.
pub(crate) const STRIDE: u64 = 1 << 16;

/// What came of a replay.
pub(crate) struct Outcome {
    pub(crate) hits: u64,
    pub(crate) stats: Stats,
    pub(crate) time: Duration,
}

/// What the threads share.
struct Shared<'a> {
    cache: Cache<u64, u64>,
    requests: &'a [u32],
    /// Where the next block begins.
    next: AtomicUsize,
    /// Calls of the loader: requests that did not hit. One that waits for the load of another thread hits.
    loads: AtomicU64,
    /// Values that belong to another key. There must be none.
    wrong: AtomicU64,
    bar: &'a ProgressBar,
}

/// Replays the whole trace through a new cache of this size.
pub(crate) fn run(trace: &Trace, capacity: u64, threads: usize, bar: &ProgressBar) -> Result<Outcome> {
    let shared = Shared {
        cache: Cache::builder().max_capacity(capacity).build()?,
        requests: &trace.requests,
        next: AtomicUsize::new(0),
        loads: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        bar,
    };
    let time = if threads == 1 { alone(&shared) } else { together(&shared, threads) };
    let loads = shared.loads.into_inner();
    let stats = shared.cache.stats();
    check(&stats, loads, shared.wrong.into_inner(), shared.cache.weight(), capacity)?;
    Ok(Outcome { hits: trace.requests.len() as u64 - loads, stats, time })
}

fn alone(shared: &Shared<'_>) -> Duration {
    let begin = Instant::now();
    work(shared);
    begin.elapsed()
}

fn together(shared: &Shared<'_>, threads: usize) -> Duration {
    // So that no thread has done half of the work before the last one runs.
    let ready = Barrier::new(threads + 1);
    let mut begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                ready.wait();
                work(shared);
            });
        }
        ready.wait();
        begin = Instant::now();
    });
    begin.elapsed()
}

/// Replays blocks until there are no more.
fn work(shared: &Shared<'_>) {
    let (mut loads, mut wrong, mut done) = (0, 0, 0);
    loop {
        let begin = shared.next.fetch_add(BLOCK, Ordering::Relaxed);
        let Some(rest) = shared.requests.get(begin..).filter(|rest| !rest.is_empty()) else { break };
        let block = &rest[..rest.len().min(BLOCK)];
        for &request in block {
            let key = mix(request);
            let load = || {
                loads += 1;
                !key
            };
            wrong += u64::from(shared.cache.get_with(&key, load) != !key);
        }
        done += block.len() as u64;
        if done >= STRIDE {
            shared.bar.inc(done);
            done = 0;
        }
    }
    shared.bar.inc(done);
    shared.loads.fetch_add(loads, Ordering::Relaxed);
    shared.wrong.fetch_add(wrong, Ordering::Relaxed);
}

/// What must hold after any replay.
fn check(stats: &Stats, loads: u64, wrong: u64, weight: u64, capacity: u64) -> Result {
    if wrong > 0 {
        return Err(format!("the cache gave {wrong} values of other keys").into());
    }
    let counted = stats.loads + stats.bypassed;
    if counted != loads {
        return Err(format!("the loaders ran {loads} times, the cache counts {counted}").into());
    }
    if weight > capacity {
        return Err(format!("the cache holds {weight} entries, its capacity is {capacity}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(requests: impl Iterator<Item = u32>, capacity: u64, threads: usize) -> Outcome {
        let trace = Trace::renumber("t".into(), requests).expect("a request");
        run(&trace, capacity, threads, &ProgressBar::hidden()).expect("a good replay")
    }

    #[test]
    fn room_for_all_loads_each_once() {
        for threads in [1, 3] {
            let outcome = replay((0..10_000).map(|request| request % 100), 100, threads);
            assert_eq!(
                (outcome.hits, outcome.stats.loads, outcome.stats.evictions),
                (9_900, 100, 0),
                "{threads} threads"
            );
        }
    }

    #[test]
    fn every_block_is_replayed_once() {
        // All keys differ, and the last block is not full.
        for threads in [1, 4] {
            let outcome = replay(0..1_001, 10, threads);
            assert_eq!((outcome.hits, outcome.stats.loads), (0, 1_001), "{threads} threads");
            assert!(outcome.stats.evictions >= 991, "{threads} threads");
        }
    }
}
