//! Law 7 with a reader that does not let go. A test binary of its own: a pin holds up every cache of its process.
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Cache, Lookup, Waited};
use common::*;
use std::thread;

/// What may be retired at once: the soft bound, and what was stored as it was reached.
const BOUND: u64 = (8 << 20) + (64 << 10);

#[test]
fn a_stalled_reader_is_survived() {
    let cache: TestCache = Cache::new(100);
    cache.insert(1, 7);
    let stalled = cache.get_ref(&1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let most = most_retired(&cache, 1_000_000);
            assert!(most <= BOUND, "{most} bytes retired");
            assert_eq!(cache.get(&1), None, "past the soft bound new values are not kept, and the old one is gone");
            // Loads are handed to their callers; past the hard bound even without a flight.
            for key in 0..1_000_000 {
                assert_eq!(cache.get_with(&(key % 50), || 3), 3);
            }
            // What a request gets then was never in the cache, and leaves nothing behind.
            let retired = cache.stats().retired_bytes;
            for _ in 0..100_000 {
                assert_eq!(*cache.entry(&99).get_with(|| 5).0, 5);
            }
            assert!(cache.stats().retired_bytes <= retired + 4096, "{retired}, then {:?}", cache.stats());
            // By hand one is told so; what is there is served all the same.
            let Lookup::Wait(waiter) = cache.lease(&77) else { panic!("a flight too much") };
            assert!(matches!(waiter.wait(), Waited::Overloaded));
            let stats = cache.stats();
            assert!(stats.bypassed > 0 && stats.retired_bytes <= 4 * BOUND, "{stats:?}");
        });
    });
    assert_eq!(*stalled, 7, "what is borrowed stays as it was");
    drop(stalled);
    // All is well again, after the few operations that it takes to move the epoch on (more, while the thread that has just
    // ended is descheduled as it takes its leave of the collector). Callers who only read through get it there, too.
    until("loads are flights again", || {
        let bypassed = cache.stats().bypassed;
        assert_eq!(cache.get_with(&0, || 4), 4);
        cache.stats().bypassed == bypassed
    });
    until("values are kept again", || {
        assert_eq!(cache.get_with(&1, || 4), 4);
        cache.get(&1) == Some(4)
    });
    until("hardly anything is retired", || {
        (0..1000).for_each(|value| cache.insert(1, value));
        cache.stats().retired_bytes < 1 << 20
    });
}
