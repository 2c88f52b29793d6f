//! The table in the documentation of `Stats`, row by row, over all faces.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{Load, LoadAsync, LoadError, LoadingCache, Lookup, ManualClock, Op, Outcome, Stats, Tags};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What its next load comes to.
#[derive(Clone)]
struct Source(Arc<Mutex<(End, Option<Gate>)>>);

impl Source {
    fn run(&self) -> Result<u64, Broken> {
        let (end, gate) = self.0.lock().unwrap().clone();
        gate.iter().for_each(Gate::pass);
        match end {
            End::Value(value) => Ok(value),
            End::Fail(why) => Err(Broken(why)),
            End::Panic => panic!("the loader panics, as it was told to"),
        }
    }
}

impl Load<Key, u64> for Source {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        self.run()
    }
}

impl LoadAsync<Key, u64> for Source {
    type Error = Broken;
    async fn load(&self, _: &Key) -> Result<u64, Broken> {
        self.run()
    }
}

type Subject = LoadingCache<Key, u64, Source>;
type Got = Result<(u64, Option<Outcome>), LoadError<Broken>>;

/// A way to read through, of key 1.
#[derive(Clone, Copy)]
struct Face {
    name: &'static str,
    ask: fn(&Subject, &Source) -> Got,
    /// Whether it tells errors.
    fallible: bool,
    /// Whether its loads run elsewhere.
    detached: bool,
}

fn never<T>(value: T) -> Result<T, LoadError<Broken>> {
    Ok(value)
}

fn certainly(source: &Source) -> u64 {
    source.run().unwrap_or_else(|error| panic!("{error}, as it was told to"))
}

const FACES: [Face; 14] = [
    Face {
        name: "get_with",
        ask: |c, s| never((c.get_with(&1, || certainly(s)), None)),
        fallible: false,
        detached: false,
    },
    Face {
        name: "try_get_with",
        ask: |c, s| c.try_get_with(&1, || s.run()).map(|value| (value, None)),
        fallible: true,
        detached: false,
    },
    Face {
        name: "get_with_async",
        ask: |c, s| never((Task::new(c.get_with_async(&1, || async { certainly(s) })).finish_when_woken(), None)),
        fallible: false,
        detached: false,
    },
    Face {
        name: "try_get_with_async",
        ask: |c, s| {
            Task::new(c.try_get_with_async(&1, || async { s.run() })).finish_when_woken().map(|value| (value, None))
        },
        fallible: true,
        detached: false,
    },
    Face {
        name: "entry.get_with",
        ask: |c, s| never(c.entry(&1).get_with(|| certainly(s))).map(|(entry, outcome)| (*entry, Some(outcome))),
        fallible: false,
        detached: false,
    },
    Face {
        name: "entry.try_get_with",
        ask: |c, s| c.entry(&1).try_get_with(|| s.run()).map(|(entry, outcome)| (*entry, Some(outcome))),
        fallible: true,
        detached: false,
    },
    Face {
        name: "entry.try_get_with_async",
        ask: |c, s| {
            let found = Task::new(c.entry(&1).try_get_with_async(|| async { s.run() })).finish_when_woken();
            found.map(|(entry, outcome)| (*entry, Some(outcome)))
        },
        fallible: true,
        detached: false,
    },
    Face {
        name: "entry.revalidate_with",
        ask: |c, s| {
            let found = c.entry(&1).revalidate_with(|_| s.run().map(bellwether::Loaded::New));
            found.map(|(entry, outcome)| (*entry, Some(outcome)))
        },
        fallible: true,
        detached: false,
    },
    Face {
        name: "detached.try_get_with",
        ask: |c, s| {
            let s = s.clone();
            let found = c.cache().detached(&1).try_get_with(move || s.run());
            found.map(|(entry, outcome)| (*entry, Some(outcome)))
        },
        fallible: true,
        detached: true,
    },
    Face {
        name: "detached.try_get_with_async",
        ask: |c, s| {
            let s = s.clone();
            let found = c.cache().detached(&1).try_get_with_async(move || async move { s.run() });
            Task::new(found).finish_when_woken().map(|(entry, outcome)| (*entry, Some(outcome)))
        },
        fallible: true,
        detached: true,
    },
    Face { name: "load", ask: |c, _| c.load(&1).map(|value| (value, None)), fallible: true, detached: false },
    Face {
        name: "load_async",
        ask: |c, _| Task::new(c.load_async(&1)).finish_when_woken().map(|value| (value, None)),
        fallible: true,
        detached: true,
    },
    Face {
        name: "load_all",
        ask: |c, _| c.load_all(&[1]).pop().unwrap().map(|value| (value, None)),
        fallible: true,
        detached: false,
    },
    Face {
        name: "load_all_async",
        ask: |c, _| {
            let all = Task::new(c.load_all_async(&[1])).finish_when_woken();
            all.into_iter().next().unwrap().map(|value| (value, None))
        },
        fallible: true,
        detached: true,
    },
];

/// What a row adds to the counters.
fn added(before: Stats, after: Stats) -> String {
    let counts = |s: Stats| {
        [
            ("hits", s.hits),
            ("misses", s.misses),
            ("loads", s.loads),
            ("load_failures", s.load_failures),
            ("coalesced", s.coalesced),
            ("early_refreshes", s.early_refreshes),
            ("stale_serves", s.stale_serves),
            ("wait_timeouts", s.wait_timeouts),
            ("bypassed", s.bypassed),
        ]
    };
    let pairs = counts(before).into_iter().zip(counts(after));
    let some = pairs.filter(|(b, a)| a.1 != b.1).map(|(b, a)| format!("{} {}", b.0, a.1 - b.1));
    some.collect::<Vec<_>>().join(", ")
}

/// A cache whose values live for ten seconds, stale ones for twenty; the source, and the clock.
fn subject(
    with: impl FnOnce(bellwether::Builder<Key, u64>) -> bellwether::Builder<Key, u64>,
) -> (Subject, Source, ManualClock) {
    let source = Source(Arc::new(Mutex::new((End::Value(1), None))));
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).error_cooldown(Duration::ZERO).record_stats();
    (with(builder).loader(source.clone()).build().unwrap(), source, clock)
}

/// Asks by one face; what it got, and what that added once all loads have ended.
fn row(face: Face, (cache, source, _): &(Subject, Source, ManualClock), end: End) -> (Got, String) {
    source.0.lock().unwrap().0 = end;
    let before = cache.stats();
    let got = quietly(|| catch_unwind(AssertUnwindSafe(|| (face.ask)(cache, source))));
    until("its load ends", || !cache.is_loading(&1));
    (got.unwrap_or(Err(LoadError::Abandoned)), added(before, cache.stats()))
}

#[test]
fn a_hit_and_a_value_that_is_computed() {
    for face in FACES {
        let all = subject(|b| b);
        let (got, counted) = row(face, &all, End::Value(1));
        assert!(matches!(got, Ok((1, None | Some(Outcome::Computed)))), "{}: {got:?}", face.name);
        assert_eq!(counted, "misses 1, loads 1", "{}", face.name);
        let (got, counted) = row(face, &all, End::Value(2));
        assert!(matches!(got, Ok((1, None | Some(Outcome::Hit)))), "{}: {got:?}", face.name);
        assert_eq!(counted, "hits 1", "{}", face.name);
    }
}

#[test]
fn an_early_refresh_by_the_caller_and_in_the_background() {
    for face in FACES {
        let all = subject(|b| b.xfetch(1e9));
        let lease = all.0.lease(&1);
        all.2.advance(SECOND);
        let Lookup::Lead(lease) = lease else { panic!("there is nobody else") };
        drop(lease.fulfil(1));
        let background = face.detached || face.name.starts_with("load");
        let (got, counted) = row(face, &all, End::Value(2));
        let (outcome, value, as_what) =
            if background { (Outcome::Hit, 1, "hits") } else { (Outcome::Refreshed, 2, "misses") };
        assert!(matches!(got, Ok((v, o)) if v == value && o.is_none_or(|o| o == outcome)), "{}: {got:?}", face.name);
        assert_eq!(counted, format!("{as_what} 1, loads 1, early_refreshes 1"), "{}", face.name);
    }
}

#[test]
fn a_stale_value_whoever_refreshes_it() {
    for face in FACES {
        let all = subject(|b| b.stale_while_refresh(20 * SECOND).stale_if_error(20 * SECOND));
        all.0.insert(1, 1);
        all.2.advance(11 * SECOND);
        // Another does.
        let lease = all.0.lease(&1);
        assert!(matches!(lease, Lookup::Lead(_)));
        all.1.0.lock().unwrap().0 = End::Value(3);
        let before = all.0.stats();
        let got = (face.ask)(&all.0, &all.1);
        assert!(matches!(got, Ok((1, None | Some(Outcome::Stale)))), "{}: {got:?}", face.name);
        assert_eq!(added(before, all.0.stats()), "hits 1, stale_serves 1", "{}", face.name);
        drop(lease);
        // It does so itself, and fails.
        let (got, counted) = row(face, &all, End::Fail("no"));
        if face.fallible {
            assert!(matches!(got, Ok((1, None | Some(Outcome::Stale)))), "{}: {got:?}", face.name);
            assert_eq!(counted, "hits 1, loads 1, load_failures 1, stale_serves 1", "{}", face.name);
        }
        // It does so itself, and succeeds.
        let (got, counted) = row(face, &all, End::Value(2));
        if face.detached || face.name.starts_with("load") {
            assert!(matches!(got, Ok((1, None | Some(Outcome::Stale)))), "{}: {got:?}", face.name);
            assert_eq!(counted, "hits 1, loads 1, stale_serves 1", "{}", face.name);
        } else {
            assert!(matches!(got, Ok((2, None | Some(Outcome::Computed)))), "{}: {got:?}", face.name);
            assert_eq!(counted, "misses 1, loads 1", "{}", face.name);
        }
    }
}

#[test]
fn errors_and_panics_of_its_own_load() {
    for face in FACES {
        let all = subject(|b| b);
        for end in [End::Fail("no"), End::Panic] {
            let (got, counted) = row(face, &all, end);
            assert!(got.is_err(), "{}: {got:?}", face.name);
            // A load that is lost in the background is handed to its caller, who has no other.
            let loads = 1 + u64::from(face.detached && matches!(end, End::Panic));
            assert_eq!(counted, format!("misses 1, loads {loads}, load_failures 1"), "{}: {end:?}", face.name);
        }
    }
}

#[test]
fn the_value_and_the_error_of_anothers_load() {
    for face in FACES {
        for fails in [false, true] {
            let all = subject(|b| b);
            let Lookup::Lead(lease) = all.0.lease(&1) else { panic!("there is nobody else") };
            let before = all.0.stats();
            let got = thread::scope(|scope| {
                let asks = scope.spawn(|| (face.ask)(&all.0, &all.1));
                until("it waits", || all.0.stats().coalesced == 1);
                if fails && face.fallible {
                    lease.fail_with(Broken("no"))
                } else {
                    drop(lease.fulfil(5))
                }
                asks.join().unwrap()
            });
            assert_eq!(got.is_err(), fails && face.fallible, "{}: {got:?}", face.name);
            assert!(got.is_err() || matches!(got, Ok((5, None | Some(Outcome::Coalesced)))), "{}: {got:?}", face.name);
            let failed = if got.is_err() { "misses 1, load_failures 1, coalesced 1" } else { "misses 1, coalesced 1" };
            assert_eq!(added(before, all.0.stats()), failed, "{}", face.name);
        }
    }
}

#[test]
fn a_failure_that_is_kept() {
    for face in FACES.into_iter().filter(|face| face.fallible) {
        let all = subject(|b| b.negative_ttl(5 * SECOND));
        let _ = row(face, &all, End::Fail("no"));
        let (got, counted) = row(face, &all, End::Value(1));
        assert!(matches!(got, Err(LoadError::Load(_))), "{}: {got:?}", face.name);
        assert_eq!(counted, "misses 1", "{}", face.name);
    }
}

#[test]
fn a_wait_that_times_out() {
    for face in FACES {
        let all = subject(|b| b.wait_timeout(SECOND).bypass(true).stale_if_error(Duration::from_secs(1 << 32)));
        for stale in [false, true] {
            if stale {
                all.0.insert(1, 1);
                all.2.advance(11 * SECOND);
            }
            let lease = all.0.lease(&1);
            let before = all.0.stats();
            let got = thread::scope(|scope| {
                let asks = scope.spawn(|| (face.ask)(&all.0, &all.1));
                until("it waits", || all.0.stats().coalesced == before.coalesced + 1);
                // Its wait begins a moment after it was counted.
                until("it times out", || (all.2.advance(SECOND), asks.is_finished()).1);
                asks.join().unwrap()
            });
            let counted = added(before, all.0.stats());
            drop(lease);
            match (stale, face.fallible) {
                (true, _) => {
                    assert!(matches!(got, Ok((1, None | Some(Outcome::Stale)))), "{}: {got:?}", face.name);
                    assert_eq!(counted, "hits 1, coalesced 1, stale_serves 1, wait_timeouts 1", "{}", face.name);
                }
                (false, true) => {
                    assert!(matches!(got, Err(LoadError::TimedOut)), "{}: {got:?}", face.name);
                    assert_eq!(counted, "misses 1, coalesced 1, wait_timeouts 1", "{}", face.name);
                }
                (false, false) => {
                    assert!(matches!(got, Ok((1, None | Some(Outcome::Computed)))), "{}: {got:?}", face.name);
                    assert_eq!(counted, "misses 1, coalesced 1, wait_timeouts 1, bypassed 1", "{}", face.name);
                }
            }
        }
    }
}

#[test]
fn a_deadline_of_its_own_load_in_the_background() {
    for face in FACES.into_iter().filter(|face| face.detached) {
        let all = subject(|b| b.hard_timeout(SECOND));
        let gate = Gate::default();
        all.1.0.lock().unwrap().1 = Some(gate.clone());
        let before = all.0.stats();
        let got = thread::scope(|scope| {
            let asks = scope.spawn(|| (face.ask)(&all.0, &all.1));
            until("it times out", || {
                all.2.advance(SECOND / 4);
                asks.is_finished()
            });
            asks.join().unwrap()
        });
        assert!(matches!(got, Err(LoadError::TimedOut)), "{}: {got:?}", face.name);
        assert_eq!(added(before, all.0.stats()), "misses 1, loads 1, wait_timeouts 1", "{}", face.name);
        gate.open();
        until("it ends", || !all.0.is_loading(&1));
    }
}

#[test]
fn refusals_and_reentrance() {
    for face in FACES {
        let all = subject(|b| b.max_loads(1).bypass(true));
        let lease = all.0.lease(&2);
        let (got, counted) = row(face, &all, End::Value(1));
        let expected = if face.fallible { "misses 1" } else { "misses 1, bypassed 1" };
        assert!(got.is_err() == face.fallible, "{}: {got:?}", face.name);
        assert_eq!(counted, expected, "{}", face.name);
        drop(lease);
    }
    for face in FACES {
        let all = subject(|b| b);
        let got = all.0.get_with(&1, || {
            let before = all.0.stats();
            let got = (face.ask)(&all.0, &all.1);
            let counted = added(before, all.0.stats());
            let expected = if face.fallible { "misses 1, coalesced 1" } else { "misses 1, coalesced 1, bypassed 1" };
            assert_eq!(counted, expected, "{}", face.name);
            assert!(matches!(got, Err(LoadError::Reentrant) | Ok((1, _))), "{}: {got:?}", face.name);
            7
        });
        assert_eq!(got, 7);
    }
}

#[test]
fn a_task_that_is_cancelled_is_a_miss() {
    let (cache, _, _) = subject(|b| b);
    let lease = cache.lease(&1);
    let before = cache.stats();
    let mut waits = Task::new(cache.get_with_async(&1, || async { 1 }));
    waits.step();
    drop(waits);
    assert_eq!(added(before, cache.stats()), "misses 1, coalesced 1");
    drop(lease);
    let before = cache.stats();
    let mut loads = Task::new(cache.get_with_async(&1, std::future::pending));
    loads.step();
    drop(loads);
    assert_eq!(added(before, cache.stats()), "misses 1, loads 1");
}

#[test]
fn plain_reads_and_what_is_no_lookup() {
    let (cache, _, _) = subject(|b| b);
    let by = |what: &str, op: &dyn Fn(), cold: &str, warm: &str| {
        cache.invalidate_all();
        for (expected, insert) in [(cold, false), (warm, true)] {
            if insert {
                cache.insert(1, 1);
            }
            let before = cache.stats();
            op();
            until("it ends", || !cache.is_loading(&1));
            assert_eq!(added(before, cache.stats()), expected, "{what}");
        }
    };
    by("get", &|| assert!(cache.get(&1) != Some(2)), "misses 1", "hits 1");
    by("get_ref", &|| drop(cache.get_ref(&1)), "misses 1", "hits 1");
    by("get_entry", &|| drop(cache.get_entry(&1)), "misses 1", "hits 1");
    by("get_many", &|| drop(cache.get_many(&[1, 1, 1])), "misses 3", "hits 3");
    by("pin", &|| assert!(cache.pin().get(&1) != Some(2)), "misses 1", "hits 1");
    by("peek", &|| drop(cache.peek(&1)), "", "");
    by("contains_key", &|| assert!(cache.contains_key(&1) || cache.is_empty()), "", "");
    by("iter", &|| assert!(cache.iter().count() < 2), "", "");
    by("compute", &|| drop(cache.compute(&1, |_| Op::Put(1))), "loads 1", "loads 1");
    by("refresh", &|| assert!(cache.refresh(&1)), "loads 1", "loads 1");
    by("remove", &|| assert!(cache.remove(&1) != Some(2)), "", "");
}

#[test]
fn each_answer_of_lease() {
    let all = subject(|b| b.xfetch(1e9).stale_while_refresh(20 * SECOND));
    let (cache, clock) = (&all.0, &all.2);
    let lookup = |expected: &str| {
        let before = cache.stats();
        let lookup = cache.lease(&1);
        assert_eq!(added(before, cache.stats()), expected);
        lookup
    };
    let Lookup::Lead(lease) = lookup("misses 1, loads 1") else { panic!("it leads") };
    assert!(matches!(lookup("misses 1, coalesced 1"), Lookup::Wait(_)));
    clock.advance(SECOND);
    drop(lease.fulfil(1));
    let Lookup::Refresh(_, lease) = lookup("hits 1, loads 1, early_refreshes 1") else { panic!("it refreshes") };
    assert!(matches!(lookup("hits 1"), Lookup::Hit(_)));
    clock.advance(11 * SECOND);
    assert!(matches!(lookup("hits 1, stale_serves 1"), Lookup::Hit(_)));
    drop(lease);
}

#[test]
fn a_key_that_comes_again_in_one_bulk_load() {
    for background in [false, true] {
        let (cache, _, _) = subject(|b| if background { b.hard_timeout(600 * SECOND) } else { b });
        assert!(cache.load_all(&[7, 7, 7]).into_iter().all(|one| matches!(one, Ok(1))));
        assert_eq!(added(Stats::default(), cache.stats()), "misses 3, loads 1, coalesced 2", "{background}");
        assert!(cache.load_all(&[7, 7, 7]).into_iter().all(|one| matches!(one, Ok(1))));
        assert_eq!(cache.stats().hits, 3);
    }
    let (cache, _, _) = subject(|b| b);
    let all = Task::new(cache.load_all_async(&[7, 7, 7])).finish_when_woken();
    assert!(all.into_iter().all(|one| matches!(one, Ok(1))));
    assert_eq!(added(Stats::default(), cache.stats()), "misses 3, loads 1, coalesced 2");
}

/// By each way in which it is removed; and once.
#[test]
fn what_a_tag_has_ended_is_counted_when_it_is_removed() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (theirs, asked) = (told.clone(), calls.clone());
    let (builder, clock) = timed();
    let cache: TestCache = builder
        .max_capacity(100)
        .shards(1)
        .time_to_live(10 * SECOND)
        .eviction_listener(move |key, _, cause| theirs.lock().unwrap().push((*key, cause)))
        .tags_with(move |_, value: &u64, tags: &mut Tags<'_>| {
            asked.fetch_add(1, SeqCst);
            tags.add(value);
        })
        .build()
        .unwrap();
    use bellwether::RemovalCause::{Expired, Explicit, Replaced};
    let way = |remove: &dyn Fn(), expected: (u64, u64), cause| {
        cache.insert(1, 7);
        cache.invalidate_tag(&7_u64);
        let before = cache.stats();
        assert_eq!((before.invalidations, cache.get(&1)), (before.invalidations, None));
        remove();
        let after = cache.stats();
        let counted = (after.invalidations - before.invalidations, after.expirations - before.expirations);
        assert_eq!((counted, told.lock().unwrap().pop()), (expected, Some((1, cause))));
        assert!(told.lock().unwrap().is_empty());
        cache.remove(&1);
        told.lock().unwrap().clear();
    };
    way(&|| assert_eq!(cache.get_with(&1, || 8), 8), (1, 0), Replaced);
    way(&|| cache.insert(1, 8), (1, 0), Replaced);
    way(&|| assert_eq!(cache.purge_expired(), 1), (1, 0), Explicit);
    way(&|| assert_eq!(cache.remove(&1), None), (1, 0), Explicit);
    way(&|| cache.invalidate_all(), (1, 0), Explicit);
    way(&|| cache.set_capacity(0), (1, 0), Explicit);
    cache.set_capacity(100);
    // Over by itself as well: then it was that.
    let expires = || {
        clock.advance(11 * SECOND);
        assert_eq!(cache.purge_expired(), 1);
    };
    way(&expires, (0, 1), Expired);
    // Where no tag was invalidated since it was loaded, none is asked about as it goes.
    cache.insert(1, 7);
    calls.store(0, SeqCst);
    cache.set_capacity(0);
    assert_eq!((calls.load(SeqCst), cache.stats().evictions), (0, 1));
}

/// The counters order nothing that a caller sees, but each lookup counts once, whoever is at it.
#[test]
fn lookups_count_once_under_threads() {
    let (cache, _, _) = subject(|b| b.max_capacity(20));
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (cache, calls) = (&cache, &calls);
            scope.spawn(move || {
                for step in 0..2_000_u32 {
                    let key = step.wrapping_mul(0x9E37_79B9).rotate_left(thread * 3) % 30;
                    calls.fetch_add(1, SeqCst);
                    match step % 5 {
                        0 => assert!(cache.get(&key).is_none_or(|value| value == 1)),
                        1 => drop(cache.lease(&key)),
                        2 => drop(cache.try_get_with(&key, || Err::<u64, _>(Broken("no")))),
                        3 => drop(cache.load_all(&[key])),
                        _ => drop(cache.entry(&key).try_get_with(|| Ok::<_, Infallible>(1))),
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.hits + stats.misses, calls.load(SeqCst) as u64, "{stats:?}");
}
