//! Observers that panic, or use the cache, or are told by many threads: nothing is lost, and all is told.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{Cache, CacheEvent, Lookup, ManualClock, Observer, Op, Waited};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;

thread_local! { static FUSE: Cell<usize> = const { Cell::new(usize::MAX) }; }

/// Panics at one of the events of its thread.
struct Bomb;

impl Observer for Bomb {
    fn observe(&self, _: &str, _: &CacheEvent) {
        let left = FUSE.get();
        FUSE.set(left.wrapping_sub(1));
        assert!(left != 0, "an observer panics, as it was told to");
    }
}

/// A bit of everything that is told, in steps each of which may panic; how many of them did.
fn everything(cache: &Cache<Key, Member<u64>>, clock: &ManualClock, census: &Census) -> usize {
    let value = |n| (clock.advance(SECOND), census.member(n)).1;
    let led = |key| match cache.lease(&key) {
        Lookup::Lead(lease) => Some(lease),
        _ => None,
    };
    let waiting = |key| match cache.lease(&key) {
        Lookup::Wait(waiter) => Some(waiter),
        _ => None,
    };
    let fail = |key| drop(cache.try_get_with(&key, || Err::<Member<u64>, _>(Broken("no"))));
    let steps: [&dyn Fn(); 12] = [
        &|| drop(cache.get_with(&1, || value(1))),
        &|| fail(1),
        &|| (2..8).for_each(|key| cache.insert(key, value(0))),
        &|| fail(9),
        &|| (clock.advance(10 * SECOND), cache.purge_expired()).0,
        &|| {
            let (lease, waiter) = (led(1), waiting(1));
            drop(lease);
            if let Some(Waited::Lead(lease)) = waiter.map(|w| w.wait()) {
                drop(lease.fulfil(value(2)));
            }
        },
        &|| (clock.advance(10 * SECOND), drop(led(1).map(|lease| lease.renew()))).1,
        &|| {
            clock.advance(10 * SECOND);
            let (_lease, mut served) = (led(1), Task::new(cache.get_with_async(&1, || async { value(3) })));
            drop(served.poll());
        },
        &|| drop(cache.compute(&1, |_| Op::Put(value(4)))),
        &|| drop(cache.get_with(&20, || cache.get_with(&20, || value(5)))),
        &|| {
            let (_lease, mut waiting) = (led(30), Task::new(cache.get_with_async(&30, || async { value(6) })));
            // Two may load at a time.
            let (_other, refused) = (led(31), cache.lease(&32));
            drop(refused);
            if waiting.poll().is_none() {
                clock.advance(100 * SECOND);
                assert!(waiting.poll().is_some(), "in time");
            }
        },
        &|| cache.invalidate_all(),
    ];
    steps.iter().filter(|step| catch_unwind(AssertUnwindSafe(step)).is_err()).count()
}

#[test]
fn a_panicking_observer_loses_nothing() {
    let mut at = 0;
    loop {
        let census = Census::default();
        let clock = ManualClock::new();
        let builder = Cache::builder().max_capacity(4).time_to_live(10 * SECOND).xfetch(1e9).max_loads(2);
        let builder = builder.clock(clock.clone()).timer(clock.clone()).wait_timeout(5 * SECOND).bypass(true).seed(7);
        let cache: Cache<Key, Member<u64>> =
            builder.stale_while_refresh(2 * SECOND).observer(Bomb).eviction_listener(|_, _, _| ()).build().unwrap();
        FUSE.set(at);
        let panicked = quietly(|| everything(&cache, &clock, &census));
        let told = at.wrapping_sub(FUSE.replace(usize::MAX));
        // Loads, waits and places among the loads: none is left behind, and all is usable.
        assert!((0..40).all(|key| !cache.is_loading(&key)), "at event {at}");
        cache.validate().unwrap();
        let bypassed = cache.stats().bypassed;
        let leases: Vec<_> = [101, 102].iter().map(|key| cache.lease(key)).collect();
        assert!(leases.iter().all(|lookup| matches!(lookup, Lookup::Lead(_))), "at event {at}");
        drop(leases);
        (0..10).for_each(|key| assert_eq!(cache.get_with(&key, || census.member(8)).what, 8, "at event {at}"));
        assert_eq!((cache.len(), cache.stats().bypassed), (4, bypassed), "at event {at}");
        drop(cache);
        assert_eq!(census.alive(), 0, "at event {at}");
        if panicked == 0 {
            assert!(told > 35, "only {told} events were tried");
            return;
        }
        at += 1;
    }
}

#[test]
fn an_observer_may_use_the_cache() {
    static CACHE: OnceLock<TestCache> = OnceLock::new();
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    /// Asks for the keys that are used, by each verb, within the first event and those that come of that.
    struct Asks;
    impl Observer for Asks {
        fn observe(&self, _: &str, _: &CacheEvent) {
            thread_local! { static DEPTH: Cell<u32> = const { Cell::new(0) }; }
            TOLD.fetch_add(1, SeqCst);
            let cache = CACHE.get().unwrap();
            let depth = DEPTH.replace(DEPTH.get() + 1);
            if depth < 2 {
                for key in [1, 2] {
                    cache.get_with(&key, || 5);
                    let _ = cache.try_get_with(&key, || Err::<u64, _>(Broken("no")));
                    cache.insert(key + 10, 5);
                    cache.remove(&(key + 10));
                }
                cache.purge_expired();
            }
            DEPTH.set(depth);
        }
    }
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).max_capacity(3).wait_timeout(SECOND).observer(Asks);
    let cache = CACHE.get_or_init(|| builder.build().unwrap());
    assert_eq!(
        cache.get_with(&1, || (clock.advance(SECOND), 1).1),
        1,
        "as it is loading the key, it does not wait for itself"
    );
    assert!(cache.try_get_with(&3, || Err::<u64, _>(Broken("no"))).is_err());
    (20..30).for_each(|key| cache.insert(key, 1));
    clock.advance(10 * SECOND);
    // Not one of those that the observer asks for: the cache does not know whose a lease is that is held by hand.
    let (lease, waiter) = (cache.lease(&4), cache.lease(&4));
    drop(lease);
    if let Lookup::Wait(waiter) = waiter {
        drop(waiter.wait());
    }
    cache.invalidate_all();
    assert!([1, 2, 3, 4].iter().all(|key| !cache.is_loading(key)));
    cache.validate().unwrap();
    assert!(TOLD.load(SeqCst) > 100, "{TOLD:?} events");
}

/// A load that is handed on to the background is the caller's own still, if its key was removed before the caller waits for it.
#[test]
fn an_observer_may_remove_the_key_whose_load_it_is_told_of() {
    static CACHE: OnceLock<Arc<Cache<Key, u64>>> = OnceLock::new();
    static LOADS: AtomicU64 = AtomicU64::new(0);
    struct Removes(AtomicUsize);
    impl Observer for Removes {
        fn observe(&self, _: &str, event: &CacheEvent) {
            if matches!(event, CacheEvent::LoadStarted { .. }) && self.0.fetch_add(1, SeqCst) == 0 {
                CACHE.get().unwrap().invalidate(&1);
            }
        }
    }
    // The deadline is what ends the test if it fails.
    let builder = Cache::builder().max_capacity(3).wait_timeout(60 * SECOND).observer(Removes(AtomicUsize::new(0)));
    let cache = CACHE.get_or_init(|| Arc::new(builder.build().unwrap()));
    let (found, _) = cache.detached(&1).get_with(|| 5 + LOADS.fetch_add(1, SeqCst));
    assert_eq!((*found, LOADS.load(SeqCst)), (5, 1), "its own load, and no other");
    assert!(!cache.contains_key(&1), "it was removed");
}

/// Whoever begins a load or takes one on is told so with the lease in its hands: the cache must know, or it would wait for itself.
#[test]
fn an_observer_may_ask_for_the_key_whose_load_it_is_told_of() {
    static CACHE: OnceLock<TestCache> = OnceLock::new();
    struct Asks;
    impl Observer for Asks {
        fn observe(&self, _: &str, event: &CacheEvent) {
            if let CacheEvent::LoadStarted { .. } = event {
                assert_eq!(CACHE.get().unwrap().get_with(&1, || 5), 5, "its own, not stored");
            }
        }
    }
    // The deadline is what ends the test if it fails.
    let builder = Cache::builder().max_capacity(3).wait_timeout(5 * SECOND).observer(Asks);
    let cache = CACHE.get_or_init(|| builder.build().unwrap());
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("there is nobody else") };
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it is being loaded") };
    drop(lease);
    let Waited::Lead(lease) = waiter.wait() else { panic!("it takes over") };
    assert_eq!(*lease.fulfil(1).unwrap(), 1);
    assert_eq!((cache.stats().bypassed, cache.stats().wait_timeouts), (2, 0));
}

#[test]
fn what_is_told_balances_under_threads() {
    #[derive(Default)]
    struct Sums([AtomicU64; 6]);
    impl Observer for Sums {
        fn observe(&self, _: &str, event: &CacheEvent) {
            let which = match event {
                CacheEvent::LoadStarted { .. } => 0,
                CacheEvent::LoadEnded { .. } => 1,
                CacheEvent::WaitStarted => 2,
                CacheEvent::WaitEnded { .. } => 3,
                CacheEvent::Removed { .. } => 4,
                _ => 5,
            };
            self.0[which].fetch_add(1, SeqCst);
        }
    }
    let sums = Arc::new(Sums::default());
    let listened = Arc::new(AtomicU64::new(0));
    let theirs = listened.clone();
    let cache: TestCache = Cache::builder()
        .max_capacity(20)
        .observer(sums.clone())
        .eviction_listener(move |_, _, _| assert!(theirs.fetch_add(1, SeqCst) < u64::MAX))
        .build()
        .unwrap();
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let cache = &cache;
            scope.spawn(move || {
                for step in 0..4_000_u32 {
                    let key = step.wrapping_mul(0x9E37_79B9).rotate_left(thread * 3) % 30;
                    match step % 6 {
                        0 => cache.insert(key, 0),
                        1 => drop(cache.remove(&key)),
                        2 => drop(cache.lease(&key)),
                        3 => drop(cache.try_get_with(&key, || Err::<u64, _>(Broken("no")))),
                        _ => drop(cache.get_with(&key, || (thread::yield_now(), 1).1)),
                    }
                }
            });
        }
    });
    let (told, stats) = (sums.0.each_ref().map(|sum| sum.load(SeqCst)), cache.stats());
    assert_eq!([told[0], told[1]], [stats.loads; 2], "loads, and their ends");
    assert_eq!([told[2], told[3]], [stats.coalesced; 2], "waits, and their ends");
    assert_eq!(told[4], listened.load(SeqCst), "removals");
    assert!(told[0] > 1000, "{told:?}");
}
