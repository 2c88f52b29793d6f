//! Listeners, and user code that panics wherever it is called: the cache stays usable.

use crate::common::*;
use bellwether::{Cache, RemovalCause};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

type Log = Arc<Mutex<Vec<(Key, u64, RemovalCause)>>>;

fn logged(capacity: u64) -> (TestCache, bellwether::ManualClock, Log) {
    let log = Log::default();
    let (builder, clock) = timed();
    let theirs = log.clone();
    let listener = move |&k: &Key, &v: &u64, cause| theirs.lock().unwrap().push((k, v, cause));
    let cache = builder
        .max_capacity(capacity)
        .time_to_live(10 * SECOND)
        .xfetch(0.0)
        .eviction_listener(listener)
        .build()
        .unwrap();
    (cache, clock, log)
}

fn taken(log: &Log) -> Vec<(Key, u64, RemovalCause)> {
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn the_listener_is_told_once_and_why() {
    use RemovalCause::*;
    let (cache, clock, log) = logged(3);
    cache.insert(1, 1);
    cache.insert(1, 2);
    assert_eq!(taken(&log), [(1, 1, Replaced)]);
    cache.remove(&1);
    cache.remove(&1);
    assert_eq!(taken(&log), [(1, 2, Explicit)]);
    (11..=14).for_each(|k| cache.insert(k, 0));
    assert_eq!(taken(&log), [(11, 0, Size)]);
    clock.advance(10 * SECOND);
    assert_eq!(cache.purge_expired(), 3);
    let mut gone = taken(&log);
    gone.sort_by_key(|g| g.0);
    assert_eq!(gone, [(12, 0, Expired), (13, 0, Expired), (14, 0, Expired)]);
    // What was not kept never was stored; what was only handed over as it was to be is not told.
    cache.insert_with_ttl(5, 0, Duration::ZERO);
    drop(cache.lease(&6));
    drop(cache.entry(&6).ttl(Duration::ZERO).get_with(|| 0));
    assert_eq!(taken(&log), [(5, 0, Rejected)]);
    // A refresh replaces; a refresh of a removed entry does not.
    cache.insert(7, 1);
    clock.advance(10 * SECOND);
    cache.get_with(&7, || 2);
    assert_eq!(taken(&log), [(7, 1, Expired)], "its time was over when it was replaced");
    clock.advance(10 * SECOND);
    cache.get_with(&7, || (cache.remove(&7), 3).1);
    assert_eq!(taken(&log), [(7, 2, Expired)]);
    drop(cache);
    assert_eq!(taken(&log), [], "not when the cache is dropped");
}

#[test]
fn the_listener_may_use_the_cache() {
    static CACHE: OnceLock<Cache<Key, u64>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        let second_chance = |&key: &Key, &value: &u64, cause| {
            let cache = CACHE.get().unwrap();
            assert_eq!(cache.get(&key).is_some(), cause == RemovalCause::Replaced, "unreachable by now");
            if cause == RemovalCause::Explicit && value < 5 {
                cache.insert(key, value + 1);
                cache.remove(&key);
            } else if cause == RemovalCause::Explicit {
                cache.get_with(&(key + 1000), || value);
            }
        };
        Cache::builder().max_capacity(20).eviction_listener(second_chance).build().unwrap()
    });
    (0..50).for_each(|key| cache.insert(key, 0));
    cache.pin().remove(&49);
    assert!(cache.weight() <= 20);
    assert_eq!(cache.get(&1049), Some(5), "it called itself five times");
}

#[test]
fn listeners_balance_with_what_was_stored_under_threads() {
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
    let sum = Arc::new(AtomicI64::new(0));
    let theirs = sum.clone();
    let cache: TestCache = Cache::builder()
        .max_capacity(50)
        .eviction_listener(move |_, &v, _| assert!(theirs.fetch_sub(v as i64, SeqCst) != i64::MIN))
        .build()
        .unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, sum) = (&cache, &sum);
            scope.spawn(move || {
                for step in 0..20_000_u32 {
                    let key = step.wrapping_mul(0x9E37_79B9).rotate_left(thread * 3) % 90;
                    let value = u64::from(step) + 1;
                    if step % 3 == 0 {
                        // `insert` of a value that fits always stores, if only for an instant.
                        sum.fetch_add(value as i64, SeqCst);
                        cache.insert(key, value);
                    } else if step % 3 == 1 {
                        cache.invalidate(&key);
                    } else if let bellwether::Lookup::Lead(lease) = cache.lease(&key) {
                        if lease.fulfil(value).is_ok() {
                            sum.fetch_add(value as i64, SeqCst);
                        }
                    }
                }
            });
        }
    });
    let stored: i64 = cache.iter().map(|r| *r as i64).sum();
    assert_eq!(sum.load(SeqCst), stored, "stored minus removed is what is there");
}

thread_local! { static BOMB: Cell<&'static str> = const { Cell::new("") }; }

/// Runs `f` with a bomb in the user code called `place`; it must go off.
fn goes_off<R>(place: &'static str, f: impl FnOnce() -> R) {
    BOMB.set(place);
    let result = quietly(|| catch_unwind(AssertUnwindSafe(f)));
    assert!(result.is_err(), "{place} was not called");
    assert_eq!(BOMB.replace(""), "", "{place} went off");
}

fn bomb(place: &'static str) {
    if BOMB.get() == place {
        BOMB.set("");
        panic!("{place} panics, as it was told to");
    }
}

/// A key and a value whose every trait can go off.
#[derive(Debug)]
struct Touchy(u32, #[allow(dead_code)] Box<u32>);

fn touchy(n: u32) -> Touchy {
    Touchy(n, Box::new(n))
}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        bomb("clone");
        touchy(self.0)
    }
}
impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        bomb("hash");
        self.0.hash(state);
    }
}
impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        bomb("eq");
        self.0 == other.0
    }
}
impl Eq for Touchy {}
impl Drop for Touchy {
    fn drop(&mut self) {
        bomb("drop");
    }
}

#[test]
fn panics_in_user_code_leave_the_cache_usable() {
    let cache: Cache<Touchy, Touchy> = Cache::builder()
        .max_capacity(10)
        .weigher(|_, _| (bomb("weigher"), 1).1)
        .ttl_with(|_, _| (bomb("ttl_with"), None).1)
        .eviction_listener(|_, _, _| bomb("listener"))
        .build()
        .unwrap();
    let usable = |place: &str| {
        cache.invalidate_all();
        assert_eq!((cache.len(), cache.weight()), (0, 0), "{place}");
        // Pins of this binary's other tests may hold up memory, and while too much of it waits nothing is kept.
        until("a value is kept", || {
            cache.insert(touchy(29), touchy(30));
            cache.get(&touchy(29)).is_some()
        });
        for n in 0..30 {
            assert_eq!(cache.get_with(&touchy(n), || touchy(n + 1)).0, n + 1, "{place}");
        }
        assert_eq!((cache.len(), cache.iter().count(), cache.weight()), (10, 10, 10), "{place}");
        assert!((0..30).all(|n| !cache.is_loading(&touchy(n))), "{place}");
    };
    usable("before");
    for place in ["hash", "eq"] {
        goes_off(place, || cache.get(&touchy(29)));
        goes_off(place, || cache.insert(touchy(29), touchy(0)));
        goes_off(place, || cache.remove(&touchy(29)));
        goes_off(place, || cache.get_with(&touchy(29), || touchy(0)));
        usable(place);
    }
    goes_off("clone", || cache.get(&touchy(29)));
    goes_off("clone", || cache.remove(&touchy(29)));
    goes_off("clone", || cache.get_with(&touchy(77), || touchy(0)));
    usable("clone");
    for place in ["weigher", "ttl_with"] {
        goes_off(place, || cache.insert(touchy(29), touchy(0)));
        assert_eq!(cache.get(&touchy(29)).unwrap().0, 30, "nothing was changed");
        goes_off(place, || cache.get_with(&touchy(99), || touchy(0)));
        usable(place);
    }
    goes_off("listener", || cache.insert(touchy(29), touchy(0)));
    assert_eq!(cache.get(&touchy(29)).unwrap().0, 0, "the operation is complete");
    goes_off("listener", || cache.invalidate_all());
    assert_eq!(cache.len(), 0);
    usable("listener");
    // What is dropped when is up to the epoch, which pins of this binary's other tests hold up for as long as their
    // threads are descheduled: so there is no count of inserts after which a drop must have run.
    goes_off("drop", || (0..1_000_000).for_each(|n| cache.insert(touchy(100), touchy(n))));
    usable("drop");
    goes_off("drop", || drop(cache));
}

#[test]
fn a_panic_in_one_drop_does_not_skip_the_others() {
    struct Bomb(Member<bool>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0.what, "a value's drop panics, as it was told to");
        }
    }
    let census = Census::default();
    let cache: Cache<u32, Bomb> = Cache::new(1000);
    (0..1000).for_each(|n| cache.insert(n, Bomb(census.member(n % 100 == 0))));
    quietly(|| assert!(catch_unwind(AssertUnwindSafe(|| drop(cache))).is_err()));
    assert_eq!(census.alive(), 0);
}

#[test]
fn panics_in_retain_and_remove_if() {
    let cache: TestCache = Cache::new(10);
    (0..10).for_each(|n| cache.insert(n, 0));
    quietly(|| {
        let told = || panic!("a closure panics, as it was told to");
        assert!(catch_unwind(AssertUnwindSafe(|| cache.retain(|&k, _| k != 5 || told()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| cache.remove_if(&3, |_, _| told()))).is_err());
    });
    assert_eq!((cache.len(), cache.iter().count()), (10, 10));
    assert_eq!((cache.remove_if(&3, |_, &v| v == 1), cache.remove_if(&3, |_, &v| v == 0)), (None, Some(0)));
    cache.retain(|&k, _| k % 2 == 0);
    assert_eq!(cache.len(), 5);
}

/// Found by fuzzing (`fuzz/corpus/leases/a-listener-panics-at-a-removal`).
#[test]
fn what_is_removed_is_not_lost_if_the_listener_panics() {
    let census = Arc::new(());
    type Subject = Cache<u32, Arc<()>>;
    let cache: Subject =
        Cache::builder().max_capacity(10).eviction_listener(|_, _, _| panic!("as it was told to")).build().unwrap();
    let removals: [fn(&Subject); 2] = [|cache| _ = cache.remove(&1), |cache| _ = cache.remove_if(&1, |_, _| true)];
    for remove in removals {
        cache.insert(1, census.clone());
        quietly(|| assert!(catch_unwind(AssertUnwindSafe(|| remove(&cache))).is_err()));
        assert!(cache.get(&1).is_none());
    }
    drop(cache);
    assert_eq!(Arc::strong_count(&census), 1, "the clones that were to be returned are dropped");
}

/// A sweep goes over all entries in slices, and listeners and drops run at the end of each.
#[test]
fn a_panic_in_a_listener_or_a_drop_does_not_stop_a_sweep() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    static WENT_OFF: AtomicBool = AtomicBool::new(false);
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            WENT_OFF.fetch_or(self.0, SeqCst);
            assert!(!self.0, "a value's drop panics, as it was told to");
        }
    }
    type Sweep = fn(&Cache<u32, Bomb>);
    // With whether loads in flight go, too.
    let sweeps: [(Sweep, bool); 3] = [
        (|c| c.invalidate_all(), true),
        (|c| c.retain(|_, _| false), true),
        (|c| assert!(c.purge_expired() > 0), false),
    ];
    for ((sweep, fences), listener_panics) in sweeps.into_iter().flat_map(|s| [(s, true), (s, false)]) {
        let clock = bellwether::ManualClock::new();
        let told = std::sync::atomic::AtomicUsize::new(0);
        let listener = move |_: &u32, _: &Bomb, _| {
            let first = told.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            assert!(!(first && listener_panics), "a listener panics, as it was told to");
        };
        let builder = Cache::builder().max_capacity(u64::MAX).time_to_live(SECOND).clock(clock.clone());
        let cache: Cache<u32, Bomb> = builder.eviction_listener(listener).build().unwrap();
        (0..10_000).for_each(|key| cache.insert(key, Bomb(key == 77 && !listener_panics)));
        let lease = |key| match cache.lease(&key) {
            bellwether::Lookup::Lead(lease) => lease,
            _ => panic!("nobody else leads"),
        };
        let leases: Vec<_> = (20_000..20_100).map(lease).collect();
        clock.advance(SECOND);
        let ended = quietly(|| catch_unwind(AssertUnwindSafe(|| sweep(&cache))));
        assert!(ended.is_err() || !listener_panics, "the panic goes on to the caller");
        // When a value is dropped depends on who else is pinned: not in what follows, please.
        until("the value is dropped", || {
            let _ = quietly(|| catch_unwind(AssertUnwindSafe(|| cache.purge_expired())));
            listener_panics || WENT_OFF.swap(false, SeqCst)
        });
        assert_eq!(cache.len(), 0);
        let stored = leases.into_iter().filter_map(|lease| lease.fulfil(Bomb(false)).ok()).count();
        assert_eq!(stored, if fences { 0 } else { 100 }, "loads that began before the call");
        let _ = quietly(|| catch_unwind(AssertUnwindSafe(|| drop(cache))));
    }
}
