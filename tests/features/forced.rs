//! Callers that demand a new value: `force`, `max_age`, and refreshes that can be waited for.

use crate::callers::*;
use crate::common::tasks::{block_on, slowly};
use crate::common::*;
use bellwether::{Builder, Cache, LoadError, Loaded, LoadingCache, Lookup, Outcome, Waited};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// What a caller demands.
#[derive(Clone, Copy, Debug)]
enum Want {
    Any,
    New,
    /// A new value, or an old one if its load fails.
    NewOrOld,
    Within(Duration),
}

macro_rules! set {
    ($request:expr, $want:expr) => {
        match $want {
            Want::Any => $request,
            Want::New => $request.force(),
            Want::NewOrOld => $request.max_stale(Duration::from_secs(3600)).force(),
            Want::Within(age) => $request.max_age(age),
        }
    };
}

/// Asks for key 1.
fn ask(cache: &Shared, face: Face, want: Want, loader: &Loader) -> Told {
    let loader = loader.clone();
    match face {
        Face::Thread => told(set!(cache.entry(&1), want).try_get_with(|| loader.run())),
        Face::Task => told(block_on(set!(cache.entry(&1), want).try_get_with_async(|| slowly(loader, 1)))),
        Face::DetachedThread => told(set!(cache.detached(&1), want).try_get_with(move || loader.run())),
        Face::DetachedTask => {
            told(block_on(set!(cache.detached(&1), want).try_get_with_async(move || slowly(loader, 1))))
        }
    }
}

/// Has a thread of its own ask.
fn begin(cache: &Shared, face: Face, want: Want, loader: &Loader) -> Receiver<Told> {
    let loader = loader.clone();
    in_a_thread(cache, move |cache| ask(cache, face, want, &loader))
}

/// A cache with the value 1 at key 1, which is good for ten seconds.
fn with_value(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (Shared, bellwether::ManualClock) {
    let (builder, clock) = timed();
    let cache: Shared = Arc::new(set(builder.time_to_live(10 * SECOND).xfetch(0.0)).build().unwrap());
    cache.insert(1, 1);
    (cache, clock)
}

#[test]
fn a_forced_load_takes_the_place_of_a_good_value_which_readers_keep_meanwhile() {
    for face in FACES {
        let (cache, _clock) = with_value(|b| b);
        let unused = Loader::new(End::Value(9));
        let (loader, gate) = Loader::gated(End::Value(2));
        let forced = begin(&cache, face, Want::New, &loader);
        loader.begun(1);
        for reader in FACES {
            assert_eq!(ask(&cache, reader, Want::Any, &unused).unwrap(), (1, Outcome::Hit), "{face:?}");
        }
        assert_eq!(cache.get(&1), Some(1));
        gate.open();
        assert_eq!(answer(&forced).unwrap(), (2, Outcome::Computed), "{face:?}");
        assert_eq!((cache.get(&1), unused.calls()), (Some(2), 0));
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.early_refreshes, stats.coalesced), (1, 0, 0));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn a_forced_caller_gets_the_error_and_the_value_stays() {
    for face in FACES {
        for set in [|b: Builder<Key, u64>| b, |b: Builder<Key, u64>| b.negative_ttl(SECOND).stale_if_error(SECOND)] {
            let (cache, clock) = with_value(set);
            let fails = Loader::new(End::Fail("no"));
            let failed = ask(&cache, face, Want::New, &fails);
            assert_eq!(failed.unwrap_err().load_error(), Some(&Broken("no")), "{face:?}");
            assert_eq!(ask(&cache, face, Want::Any, &fails).unwrap(), (1, Outcome::Hit));
            assert_eq!(ask(&cache, face, Want::NewOrOld, &fails).unwrap(), (1, Outcome::Stale));
            assert_eq!((fails.calls(), cache.stats().load_failures), (2, 2));
            // Past its time to live, too: others get it in place of the error.
            clock.advance(10 * SECOND);
            assert!(ask(&cache, face, Want::New, &fails).is_err());
            assert!(!cache.is_loading(&1));
        }
    }
}

#[test]
fn a_load_that_began_before_is_no_answer_to_a_forced_caller() {
    for (n, face) in FACES.into_iter().enumerate() {
        for old in [false, true] {
            let (cache, clock) = with_value(|b| b);
            if !old {
                cache.invalidate(&1);
            }
            clock.advance(10 * SECOND);
            let (first, gate) = Loader::gated(End::Value(2));
            let leader = begin(&cache, Face::Thread, Want::Any, &first);
            first.begun(1);
            let (second, second_gate) = Loader::gated(End::Value(3));
            // All faces force, and share one load.
            let forced: Vec<_> = (0..4).map(|more| begin(&cache, FACES[(n + more) % 4], Want::New, &second)).collect();
            let joined = begin(&cache, face, Want::Any, &Loader::new(End::Value(9)));
            waiting_for(&cache, 5);
            assert_eq!(second.calls(), 0, "the key is being loaded");
            gate.open();
            assert_eq!(answer(&leader).unwrap(), (2, Outcome::Computed));
            assert_eq!(answer(&joined).unwrap(), (2, Outcome::Coalesced), "it takes the load that it found");
            second.begun(1);
            assert_eq!(cache.get(&1), Some(2));
            second_gate.open();
            let mut outcomes: Vec<_> = forced.iter().map(|told| answer(told).unwrap()).collect();
            outcomes.sort_by_key(|told| told.1 != Outcome::Computed);
            assert_eq!(outcomes[0], (3, Outcome::Computed));
            assert!(outcomes[1..].iter().all(|told| *told == (3, Outcome::Coalesced)), "{outcomes:?}");
            assert_eq!((second.calls(), cache.stats().loads, cache.get(&1)), (1, 2, Some(3)));
            nothing_in_flight(&cache, 1);
        }
    }
}

#[test]
fn the_failure_of_a_load_that_began_before_is_no_answer_either() {
    for face in FACES {
        let (cache, _clock) = with_value(|b| b.negative_ttl(SECOND));
        cache.invalidate(&1);
        let (first, gate) = Loader::gated(End::Fail("old"));
        let leader = begin(&cache, Face::Thread, Want::Any, &first);
        first.begun(1);
        let forced = begin(&cache, face, Want::New, &Loader::new(End::Value(3)));
        waiting_for(&cache, 1);
        gate.open();
        assert!(answer(&leader).is_err());
        assert_eq!(answer(&forced).unwrap(), (3, Outcome::Computed), "{face:?}");
        // Nor is one that is kept.
        cache.invalidate(&1);
        assert!(ask(&cache, face, Want::Any, &Loader::new(End::Fail("kept"))).is_err());
        assert!(ask(&cache, face, Want::Any, &Loader::new(End::Value(9))).is_err());
        assert_eq!(ask(&cache, face, Want::New, &Loader::new(End::Value(4))).unwrap(), (4, Outcome::Computed));
    }
}

#[test]
fn a_forced_load_begins_during_the_cooldown_and_not_beyond_max_loads() {
    for face in FACES {
        let (cache, clock) = with_value(|b| b.stale_if_error(60 * SECOND).error_cooldown(60 * SECOND).max_loads(1));
        clock.advance(10 * SECOND);
        assert_eq!(ask(&cache, face, Want::Any, &Loader::new(End::Fail("no"))).unwrap(), (1, Outcome::Stale));
        let unused = Loader::new(End::Value(9));
        assert_eq!(ask(&cache, face, Want::Any, &unused).unwrap(), (1, Outcome::Stale), "the cooldown");
        let Lookup::Lead(other) = cache.lease(&2) else { panic!() };
        assert!(matches!(ask(&cache, face, Want::New, &unused), Err(LoadError::Overloaded)));
        assert_eq!(ask(&cache, face, Want::NewOrOld, &unused).unwrap(), (1, Outcome::Stale));
        drop(other);
        assert_eq!(unused.calls(), 0);
        assert_eq!(ask(&cache, face, Want::New, &Loader::new(End::Value(2))).unwrap(), (2, Outcome::Computed));
    }
}

#[test]
fn a_forced_caller_past_its_deadline_gets_no_old_value() {
    for face in FACES {
        let (cache, clock) = with_value(|b| b.wait_timeout(SECOND).stale_if_error(Duration::MAX));
        let (loader, gate) = Loader::gated(End::Value(2));
        let leader = begin(&cache, Face::Thread, Want::New, &loader);
        loader.begun(1);
        let unused = Loader::new(End::Value(9));
        let [forced, makes_do] = [Want::New, Want::NewOrOld].map(|want| begin(&cache, face, want, &unused));
        waiting_for(&cache, 2);
        // Their deadlines count from a moment after they were counted.
        let past_its_deadline = |told: &Receiver<Told>| loop {
            clock.advance(SECOND);
            if let Ok(told) = told.recv_timeout(Duration::from_millis(1)) {
                break told;
            }
        };
        assert!(matches!(past_its_deadline(&forced), Err(LoadError::TimedOut)), "{face:?}");
        assert_eq!(past_its_deadline(&makes_do).unwrap(), (1, Outcome::Stale), "{face:?}");
        gate.open();
        assert_eq!(answer(&leader).unwrap(), (2, Outcome::Computed));
    }
}

#[test]
fn a_forced_caller_that_takes_over_loads() {
    for face in [Face::Thread, Face::Task] {
        let (cache, _clock) = with_value(|b| b);
        cache.invalidate(&1);
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
        let forced = begin(&cache, face, Want::New, &Loader::new(End::Value(2)));
        waiting_for(&cache, 1);
        drop(lease);
        assert_eq!(answer(&forced).unwrap(), (2, Outcome::Computed));
    }
}

#[test]
fn max_age_bounds_the_age_of_what_one_caller_takes() {
    for face in FACES {
        let (cache, clock) = with_value(|b| b.time_to_live(60 * SECOND));
        let two = Loader::new(End::Value(2));
        clock.advance(5 * SECOND);
        assert_eq!(ask(&cache, face, Want::Within(5 * SECOND), &two).unwrap(), (1, Outcome::Hit), "{face:?}");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(ask(&cache, face, Want::Any, &two).unwrap(), (1, Outcome::Hit));
        assert_eq!(ask(&cache, face, Want::Within(5 * SECOND), &two).unwrap(), (2, Outcome::Computed), "{face:?}");
        assert_eq!(ask(&cache, face, Want::Within(Duration::ZERO), &two).unwrap(), (2, Outcome::Hit));
        clock.advance(SECOND);
        let fails = Loader::new(End::Fail("no"));
        assert!(ask(&cache, face, Want::Within(Duration::ZERO), &fails).is_err());
        assert_eq!(cache.get(&1), Some(2));
        assert_eq!((two.calls(), cache.stats().loads, cache.stats().early_refreshes), (1, 2, 0));
        nothing_in_flight(&cache, 1);
    }
}

#[test]
fn max_age_joins_the_load_that_is_in_flight() {
    for face in FACES {
        let (cache, clock) = with_value(|b| b.time_to_live(60 * SECOND));
        clock.advance(6 * SECOND);
        let (loader, gate) = Loader::gated(End::Value(2));
        let leader = begin(&cache, Face::Thread, Want::Within(5 * SECOND), &loader);
        loader.begun(1);
        let unused = Loader::new(End::Value(9));
        assert_eq!(ask(&cache, face, Want::Within(6 * SECOND), &unused).unwrap(), (1, Outcome::Hit));
        let joins = begin(&cache, face, Want::Within(5 * SECOND), &unused);
        waiting_for(&cache, 1);
        gate.open();
        assert_eq!(answer(&joins).unwrap(), (2, Outcome::Coalesced), "{face:?}");
        assert_eq!(answer(&leader).unwrap(), (2, Outcome::Computed));
        assert_eq!(unused.calls(), 0);
    }
}

#[test]
fn a_confirmed_value_is_as_good_as_one_loaded_then() {
    let (cache, clock) = with_value(|b| b.time_to_live(60 * SECOND));
    clock.advance(6 * SECOND);
    let request = || cache.entry(&1).max_age(5 * SECOND);
    let confirm = |task: bool| {
        let not_modified = || Ok::<_, Broken>(Loaded::NotModified);
        told(match task {
            true => block_on(request().revalidate_with_async(|_| async move { not_modified() })),
            false => request().revalidate_with(|_| not_modified()),
        })
    };
    for task in [false, true] {
        assert_eq!(confirm(task).unwrap(), (1, Outcome::Computed));
        clock.advance(5 * SECOND);
        assert_eq!(confirm(task).unwrap(), (1, Outcome::Hit));
        clock.advance(SECOND);
    }
    // What takes the node's place later has an age of its own.
    cache.insert(1, 2);
    clock.advance(6 * SECOND);
    assert_eq!(request().get_with(|| 3).1, Outcome::Computed);
}

#[test]
fn those_who_cannot_be_told_of_an_error_load_until_there_is_a_new_value() {
    let (cache, _clock) = with_value(|b| b);
    let cache = &cache;
    thread::scope(|scope| {
        let (loader, gate) = Loader::gated(End::Fail("no"));
        let leader = begin(cache, Face::Thread, Want::New, &loader);
        loader.begun(1);
        let thread = scope.spawn(|| told(Ok(cache.entry(&1).force().get_with(|| 2))).unwrap());
        let task = scope.spawn(|| told(Ok(block_on(cache.entry(&1).force().get_with_async(|| async { 2 })))).unwrap());
        waiting_for(cache, 2);
        gate.open();
        assert!(answer(&leader).is_err());
        assert!([thread, task].map(|caller| caller.join().unwrap().0) == [2, 2]);
        assert_eq!(cache.get(&1), Some(2));
    });
}

#[test]
fn a_refresh_on_request_can_be_waited_for_or_not() {
    let calls = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = |calls: &Arc<std::sync::atomic::AtomicU64>| {
        let calls = calls.clone();
        move || calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1
    };
    let next = count(&calls);
    let blocking: LoadingCache<Key, u64, _> =
        timed().0.max_loads(1).loader(move |_: &Key| Ok::<_, Broken>(next())).build().unwrap();
    assert!(matches!(blocking.begin_refresh(&1).wait(), Waited::Ready(entry) if *entry == 1));
    assert!(matches!(block_on(blocking.begin_refresh(&1)), Waited::Ready(entry) if *entry == 2));
    drop(blocking.begin_refresh(&1));
    until("it is stored all the same", || blocking.get(&1) == Some(3));
    until("its lease has ended", || blocking.stats().loading == 0);
    // A load in flight is joined.
    let Lookup::Lead(lease) = blocking.lease(&2) else { panic!() };
    let joined = blocking.begin_refresh(&2);
    assert!(matches!(blocking.begin_refresh(&1).wait(), Waited::Overloaded));
    drop(lease.fulfil(7));
    assert!(matches!(joined.wait(), Waited::Ready(entry) if *entry == 7));
    let next = count(&calls);
    let load = move |_: &Key| {
        let value = next();
        async move { Ok::<_, Broken>(value) }
    };
    let tasks: LoadingCache<Key, u64, _> = Cache::builder().max_capacity(9).loader(load).build().unwrap();
    assert!(matches!(tasks.begin_refresh_async(&1).wait(), Waited::Ready(entry) if *entry == 4));
    assert!(matches!(block_on(tasks.begin_refresh_async(&1)), Waited::Ready(entry) if *entry == 5));
    assert_eq!(tasks.get(&1), Some(5));
}

/// Counts its calls, and gives that number.
#[derive(Default)]
struct Next(std::sync::atomic::AtomicU64);

impl bellwether::Load<Key, u64> for Next {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        Ok(1 + self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
    }
}

#[test]
fn requests_of_a_loading_cache_force_and_bound_the_age() {
    let (builder, clock) = timed();
    let cache = builder.max_capacity(9).loader(Next::default()).build().unwrap();
    let told = |found: Result<(bellwether::Entry<'static, Key, u64>, Outcome), _>| {
        let (entry, outcome) = found.map_err(|_: LoadError<Broken>| ()).unwrap();
        (*entry, outcome)
    };
    assert_eq!(told(cache.request(&1).force().load()), (1, Outcome::Computed), "there was nothing");
    assert_eq!(told(cache.request(&1).force().load()), (2, Outcome::Computed));
    clock.advance(5 * SECOND);
    assert_eq!(told(cache.request(&1).max_age(5 * SECOND).load()), (2, Outcome::Hit));
    assert_eq!(told(cache.request(&1).max_age(4 * SECOND).load()), (3, Outcome::Computed));
    assert_eq!((told(cache.request(&1).load()), cache.get(&1)), ((3, Outcome::Hit), Some(3)));
}

/// The same, awaited.
struct NextAsync(Next);

impl bellwether::LoadAsync<Key, u64> for NextAsync {
    type Error = Broken;
    async fn load(&self, key: &Key) -> Result<u64, Broken> {
        bellwether::Load::load(&self.0, key)
    }
}

#[test]
fn awaited_requests_of_a_loading_cache_do_so_too() {
    let (builder, clock) = timed();
    let later = crate::common::tasks::Later::default();
    let builder = builder.max_capacity(9).spawner(later.spawner());
    let cache = builder.loader(NextAsync(Next::default())).build().unwrap();
    cache.insert(1, 100);
    let ask = |request: bellwether::LoadingRequest<'_, '_, Key, u64, _, _, Key>| {
        let mut task = crate::common::tasks::Task::new(request.load_async());
        let found = task.poll().unwrap_or_else(|| (later.run(), task.finish_when_woken()).1);
        let (entry, outcome) = found.map_err(|_: LoadError<Broken>| ()).unwrap();
        (*entry, outcome)
    };
    assert_eq!(ask(cache.request(&1)), (100, Outcome::Hit));
    assert_eq!(ask(cache.request(&1).force()).0, 1);
    clock.advance(5 * SECOND);
    assert_eq!(ask(cache.request(&1).max_age(5 * SECOND)), (1, Outcome::Hit));
    assert_eq!(ask(cache.request(&1).max_age(4 * SECOND)).0, 2);
}
