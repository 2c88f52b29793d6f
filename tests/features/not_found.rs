//! "There is no such value": an answer, which is kept, and is no failure.

use crate::common::tasks::*;
use crate::common::*;
use crate::faces::{Face, each_face};
use bellwether::{CacheEvent, LoadEnding, LoadError, Loaded, Lookup, Observer, Op, Outcome, RemovalCause, Waited};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const NONE: Result<u64, &str> = Err("not found");

fn calls(face: &Face) -> usize {
    face.script.calls().len()
}

#[test]
fn it_is_answered_without_a_load_until_its_time_is_over() {
    each_face(
        |b| b.time_to_live(10 * SECOND).negative_ttl(3 * SECOND).xfetch(0.0),
        |face| {
            let (cache, name) = (&face.cache, face.name);
            assert_eq!(face.comes_to(Loaded::NotFound), (NONE, Some(None)), "{name}");
            face.clock.advance(3 * SECOND - Duration::from_nanos(1));
            assert_eq!(face.comes_to(Loaded::New(1)), (NONE, None), "{name}: it is known");
            assert_eq!((cache.get(&1), cache.len(), cache.weight()), (None, 1, 1), "{name}");
            assert!(!cache.contains_key(&1) && !cache.is_loading(&1) && cache.iter().count() == 0);
            cache.validate().unwrap();
            face.clock.advance(Duration::from_nanos(1));
            assert_eq!(face.comes_to(Loaded::New(1)), (Ok(1), Some(None)), "{name}");
            // In the place of a value, whose time is over.
            face.clock.advance(10 * SECOND);
            assert_eq!(face.comes_to(Loaded::NotFoundFor(5 * SECOND)), (NONE, Some(Some(1))), "{name}");
            face.clock.advance(5 * SECOND - Duration::from_nanos(1));
            assert_eq!(face.comes_to(Loaded::New(2)), (NONE, None), "{name}: for its own time");
            face.clock.advance(Duration::from_nanos(1));
            assert_eq!(face.comes_to(Loaded::NotFoundFor(Duration::MAX)), (NONE, Some(None)), "{name}");
            face.clock.advance(1000 * SECOND);
            assert_eq!(face.comes_to(Loaded::New(2)), (NONE, None), "{name}: for ever");
            // Writes win, and so do removals.
            assert_eq!(cache.remove(&1), None);
            assert_eq!((face.comes_to(Loaded::New(3)), cache.len()), ((Ok(3), Some(None)), 1), "{name}");
            cache.expire(&1);
            assert_eq!(face.comes_to(Loaded::NotFound).0, NONE);
            cache.insert(1, 4);
            assert_eq!((face.comes_to(Loaded::New(5)), cache.len()), ((Ok(4), None), 1), "{name}");
            assert_eq!(cache.stats().load_failures, 0, "{name}");
            cache.validate().unwrap();
        },
    );
}

#[test]
fn without_a_time_it_is_told_and_not_kept() {
    each_face(
        |b| b.time_to_live(10 * SECOND).xfetch(0.0),
        |face| {
            let (cache, name) = (&face.cache, face.name);
            for loaded in [Loaded::NotFound, Loaded::NotFoundFor(Duration::ZERO)] {
                assert_eq!(face.comes_to(loaded), (NONE, Some(None)), "{name}");
                assert_eq!(face.comes_to(Loaded::New(1)), (Ok(1), Some(None)), "{name}: it is not kept");
                face.clock.advance(10 * SECOND);
                assert_eq!(face.comes_to(loaded), (NONE, Some(Some(1))), "{name}");
                assert_eq!((cache.len(), cache.weight(), cache.get(&1)), (0, 0, None), "{name}: the old one goes");
                nothing_in_flight(cache, 1);
            }
            cache.validate().unwrap();
        },
    );
}

/// Neither a value that is still good nor one that may stand in for an error is served instead.
#[test]
fn no_old_value_stands_in_for_it() {
    for kept in [Duration::ZERO, 3 * SECOND] {
        each_face(
            |b| b.time_to_live(10 * SECOND).stale_if_error(100 * SECOND).negative_ttl(kept).xfetch(0.0),
            |face| {
                assert_eq!(face.comes_to(Loaded::New(1)).0, Ok(1));
                face.clock.advance(10 * SECOND);
                assert_eq!(face.comes_to(Loaded::NotFound), (NONE, Some(Some(1))), "{}", face.name);
                assert_eq!((face.cache.get(&1), face.cache.stats().stale_serves), (None, 0), "{}", face.name);
                assert_eq!(face.cache.len(), usize::from(!kept.is_zero()));
            },
        );
        let (cache, clock) = due_for_early_refresh();
        clock.advance(9 * SECOND - Duration::from_nanos(1));
        let early = cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(Loaded::NotFoundFor(kept)));
        assert!(matches!(early, Err(LoadError::NotFound)));
        assert_eq!((cache.get(&1), cache.len()), (None, usize::from(!kept.is_zero())));
        cache.validate().unwrap();
    }
}

/// A leader and those who wait, threads and tasks mixed.
#[test]
fn all_who_wait_are_told() {
    for kept in [Duration::ZERO, 3 * SECOND] {
        for old in [false, true] {
            each_face(
                |b| b.time_to_live(10 * SECOND).negative_ttl(kept).xfetch(0.0),
                |face| {
                    if old {
                        face.cache.insert(1, 1);
                        face.clock.advance(10 * SECOND);
                    }
                    let (gate, before) = (face.script.gate(), face.cache.stats().coalesced);
                    face.script.says(Ok(Loaded::NotFound));
                    let (other, own) = (value(7), value(8));
                    thread::scope(|scope| {
                        let leader = scope.spawn(|| face.ask(1));
                        until("it loads", || calls(face) == 1);
                        let waiter = scope.spawn(|| face.ask(1));
                        let mut task = task(&face.cache, 1, &other, 1);
                        let mut infallible = task_infallibly(&face.cache, 1, &own, 1);
                        task.step();
                        infallible.step();
                        waiting_for(&face.cache, before + 3);
                        gate.open();
                        let not_found = |told| matches!(told, Err(LoadError::NotFound));
                        assert!(not_found(leader.join().unwrap()), "{}", face.name);
                        assert!(not_found(waiter.join().unwrap()), "{}", face.name);
                        assert!(matches!(task.finish_when_woken(), Answer::Error(LoadError::NotFound)));
                        // Who cannot be told has a loader that always has a value.
                        assert_eq!(infallible.finish_when_woken().value(), 8);
                    });
                    assert_eq!((calls(face), other.calls(), own.calls()), (1, 0, 1), "{}", face.name);
                    assert_eq!(face.cache.get(&1), Some(8));
                    face.cache.validate().unwrap();
                },
            );
        }
    }
}

#[test]
fn a_lease_in_hand_may_say_so() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.negative_ttl(3 * SECOND).build().unwrap();
    let lease = lead(&cache);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it waits") };
    lease.not_found();
    assert!(matches!(waiter.wait(), Waited::NotFound));
    let loader = value(5);
    assert!(matches!(cache.try_get_with(&1, || loader.run()), Err(LoadError::NotFound)));
    // Whoever decides for itself passes over it.
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("it leads") };
    lease.not_found_for(5 * SECOND);
    clock.advance(5 * SECOND - Duration::from_nanos(1));
    assert!(matches!(cache.try_get_with(&1, || loader.run()), Err(LoadError::NotFound)));
    cache.compute(&1, |old| {
        assert_eq!(old, None);
        Op::Put(6)
    });
    assert_eq!((cache.try_get_with(&1, || loader.run()).unwrap(), loader.calls()), (6, 0));
    // A lease that was taken over changes nothing.
    let (cache, clock) = three_seconds(|b| b.negative_ttl(3 * SECOND));
    let first = lead(&cache);
    clock.advance(3 * SECOND);
    assert_eq!(cache.get_with(&1, || 7), 7);
    first.not_found();
    assert_eq!((cache.get(&1), cache.stats().fenced), (Some(7), 0));
    cache.validate().unwrap();
}

/// A flight that is removed is for its callers alone: what it came to is not kept.
#[test]
fn it_is_fenced_by_removals_and_writes() {
    for insert in [false, true] {
        let (builder, _clock) = timed();
        let cache: TestCache = builder.negative_ttl(3 * SECOND).build().unwrap();
        let found = cache.entry(&1).revalidate_with(|_| {
            if insert {
                cache.insert(1, 1);
            } else {
                cache.invalidate(&1);
            }
            Ok::<_, Broken>(Loaded::NotFound)
        });
        assert!(matches!(found, Err(LoadError::NotFound)));
        assert_eq!((cache.get(&1), cache.len()), (insert.then_some(1), usize::from(insert)));
        cache.validate().unwrap();
    }
}

#[derive(Default)]
struct Endings(Mutex<Vec<LoadEnding>>);

impl Observer for Endings {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if let CacheEvent::LoadEnded { ending, .. } = event {
            self.0.lock().unwrap().push(*ending);
        }
    }
}

/// What it does to the statistics, the listener, the observer, and the cooldown.
#[test]
fn it_is_no_failure() {
    let (builder, clock) = timed();
    let (endings, removed) = (Arc::new(Endings::default()), Arc::new(Mutex::new(Vec::new())));
    let told = removed.clone();
    let cache: TestCache = builder
        .time_to_live(10 * SECOND)
        .xfetch(0.0)
        .error_cooldown(100 * SECOND)
        .observer(endings.clone())
        .eviction_listener(move |_, value, cause| told.lock().unwrap().push((*value, cause)))
        .on_load_error(|key, failure, _| panic!("{key}: {failure}"))
        .build()
        .unwrap();
    let ask = |loaded| cache.entry(&1).revalidate_with(|_| Ok::<_, Broken>(loaded)).map(|found| (*found.0, found.1));
    assert!(matches!(ask(Loaded::NotFound), Err(LoadError::NotFound)));
    assert_eq!(ask(Loaded::New(1)).unwrap(), (1, Outcome::Computed));
    clock.advance(10 * SECOND);
    assert!(matches!(ask(Loaded::NotFound), Err(LoadError::NotFound)));
    assert_eq!(ask(Loaded::New(2)).unwrap(), (2, Outcome::Computed));
    cache.expire(&1);
    assert!(matches!(ask(Loaded::NotFoundFor(SECOND)), Err(LoadError::NotFound)));
    use LoadEnding::{NotFound, Stored};
    assert_eq!(*endings.0.lock().unwrap(), [NotFound, Stored, NotFound, Stored, NotFound]);
    assert_eq!(*removed.lock().unwrap(), [(1, RemovalCause::Expired), (2, RemovalCause::Expired)]);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.expirations, stats.loading), (5, 0, 2, 0));
    assert_eq!(LoadError::<Broken>::NotFound.to_string(), "there is no such value");
}

/// How long errors are kept, by what they are.
#[test]
fn failures_are_kept_by_kind() {
    let keep = |key: &Key, error: &Broken| match (key, error.0) {
        (9, _) => panic!("negative_ttl_with panics, as it was told to"),
        (_, "absent") => Some(5 * SECOND),
        (_, "forever") => Some(Duration::MAX),
        (_, "zero") => Some(Duration::ZERO),
        _ => None,
    };
    each_face(
        move |b| b.negative_ttl(SECOND).negative_ttl_with(|_, _: &Broken| None).negative_ttl_with(keep),
        |face| {
            let name = face.name;
            let fails = |key, why| {
                face.script.says(Err(why));
                let before = calls(face);
                assert!(matches!(face.ask(key), Err(LoadError::Load(error)) if error.0 == why), "{name}");
                calls(face) - before
            };
            assert_eq!((fails(1, "absent"), fails(1, "absent")), (1, 0), "{name}");
            face.clock.advance(5 * SECOND - Duration::from_nanos(1));
            assert_eq!(fails(1, "absent"), 0, "{name}");
            face.clock.advance(Duration::from_nanos(1));
            assert_eq!(
                (fails(1, "down"), fails(1, "down"), fails(1, "zero"), fails(1, "zero")),
                (1, 1, 1, 1),
                "{name}"
            );
            assert_eq!(fails(1, "forever"), 1, "{name}");
            face.clock.advance(1000 * SECOND);
            assert_eq!(fails(1, "forever"), 0, "{name}");
            // Errors of other types have the plain time.
            let other = |end| face.cache.try_get_with(&2, || end);
            assert!(matches!(other(Err("down")), Err(LoadError::Load(_))));
            assert!(matches!(other(Ok(1)), Err(LoadError::Load(_))));
            face.clock.advance(SECOND);
            assert_eq!(other(Ok(1)).unwrap(), 1);
            face.cache.validate().unwrap();
        },
    );
}

#[test]
fn a_function_for_errors_that_panics_gives_the_flight_up() {
    let (builder, _clock) = timed();
    let panics = |_: &Key, _: &Broken| panic!("negative_ttl_with panics, as it was told to");
    let cache: TestCache = builder.negative_ttl_with(panics).build().unwrap();
    let ask = || cache.try_get_with(&1, || Err(Broken("down")));
    quietly(|| assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask)).is_err()));
    nothing_in_flight(&cache, 1);
    assert_eq!((cache.get_with(&1, || 5), cache.len()), (5, 1));
    // Where an old value stands in, nothing is kept, and nobody asks.
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).stale_if_error(10 * SECOND).negative_ttl_with(panics);
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    assert_eq!(cache.try_get_with(&1, || Err(Broken("down"))).unwrap(), 1);
}
