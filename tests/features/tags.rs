//! Groups: entries with tags, invalidated together in one step.

use crate::common::*;
use bellwether::{Builder, Cache, Loaded, Lookup, ManualClock, Outcome, Tags, Waited};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

/// Values are their own tags, by their decimal digits: 120 has 1, 2 and 0. Odd keys have none.
fn builder() -> Builder<u64, u64> {
    Cache::builder().max_capacity(1000).tags_with(|key: &u64, value: &u64, tags: &mut Tags<'_>| {
        if key % 2 == 0 {
            value.to_string().bytes().for_each(|digit| tags.add(&digit));
        }
    })
}

fn timed_builder() -> (Builder<u64, u64>, ManualClock) {
    let clock = ManualClock::new();
    (builder().time_to_live(10 * SECOND).xfetch(0.0).clock(clock.clone()).timer(clock.clone()), clock)
}

#[test]
fn a_tag_takes_all_its_entries_and_no_others() {
    let cache = builder().build().unwrap();
    cache.insert(2, 12);
    cache.insert(4, 23);
    cache.insert(5, 23);
    cache.invalidate_tag(&b'2');
    assert_eq!((cache.get(&2), cache.get(&4), cache.get(&5)), (None, None, Some(23)));
    assert!(cache.peek(&2).is_none() && !cache.contains_key(&4) && cache.remove(&4).is_none());
    assert_eq!(cache.iter().count(), 1);
    assert_eq!(cache.purge_expired(), 1);
    assert_eq!(cache.len(), 1);
    // What comes afterwards is valid; with the clock where it was.
    cache.insert(2, 12);
    assert_eq!((cache.get(&2), cache.get_with(&4, || 23)), (Some(12), 23));
    // Two tags may share a cell, by chance: not all of ten with one.
    let survives = |tag: &u8| {
        cache.insert(6, 0);
        cache.invalidate_tag(&(tag, "some other tag"));
        cache.get(&6) == Some(0)
    };
    assert!((0..10).any(|tag| survives(&tag)));
    cache.validate().unwrap();
}

#[test]
fn without_tags_nothing_happens() {
    let cache: Cache<u64, u64> = Cache::new(10);
    cache.insert(1, 1);
    cache.invalidate_tag("anything");
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn tags_and_a_time_to_idle_go_together() {
    let survives = |_| {
        let (builder, clock) = timed();
        let tags = |key: &u32, _: &u64, tags: &mut Tags<'_>| tags.add(&(key % 2));
        let cache: TestCache = builder.tags_with(tags).time_to_idle(10 * SECOND).build().unwrap();
        (1..=3).for_each(|key| cache.insert(key, 1));
        for _ in 0..3 {
            clock.advance(9 * SECOND);
            assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(1)), "each read moves the deadline on");
        }
        assert_eq!(cache.get(&3), None, "unread for longer");
        cache.invalidate_tag(&1_u32);
        assert_eq!(cache.get(&1), None);
        cache.get(&2) == Some(1)
    };
    // Two tags may share a cell, by chance: not in each of ten caches.
    assert!((0..10).any(survives));
}

/// A load that began before the invalidation: those who waited get it, those who come afterwards do not.
#[test]
fn loads_in_flight_are_fenced() {
    let cache = builder().build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&2) else { panic!("it leads") };
    let Lookup::Wait(before) = cache.lease(&2) else { panic!("it waits") };
    cache.invalidate_tag(&b'7');
    let Lookup::Wait(after) = cache.lease(&2) else { panic!("its tags are not known yet") };
    drop(lease.fulfil(7));
    assert!(matches!(before.wait(), Waited::Ready(entry) if *entry == 7));
    assert!(matches!(after.wait(), Waited::Abandoned), "look again");
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.get_with(&2, || 71), 71);
    assert_eq!(cache.get(&2), Some(71));
}

/// The same by read-through: the late one loads anew.
#[test]
fn late_callers_load_anew() {
    let cache = builder().build().unwrap();
    let (begun, gate) = (AtomicU64::new(0), Gate::default());
    thread::scope(|scope| {
        let early = scope.spawn(|| {
            cache.get_with(&2, || {
                begun.fetch_add(1, SeqCst);
                gate.pass();
                70
            })
        });
        until("it loads", || begun.load(SeqCst) == 1);
        cache.invalidate_tag(&b'7');
        let late = scope.spawn(|| cache.get_with(&2, || 71));
        until("it waits", || cache.stats().coalesced == 1);
        gate.open();
        assert_eq!((early.join().unwrap(), late.join().unwrap()), (70, 71));
    });
    assert_eq!(cache.get(&2), Some(71));
}

#[test]
fn times_go_on_as_without_tags() {
    let (builder, clock) = timed_builder();
    let cache = builder.stale_while_refresh(10 * SECOND).build().unwrap();
    cache.insert(2, 12);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get(&2), Some(12));
    clock.advance(SECOND);
    assert_eq!(cache.get(&2), None);
    // Stale, and served while it is refreshed; but not after an invalidation.
    let Lookup::Lead(lease) = cache.lease(&2) else { panic!("it leads") };
    assert_eq!(cache.entry(&2).get_with(|| 0).1, Outcome::Stale);
    cache.invalidate_tag(&b'1');
    assert!(matches!(cache.lease(&2), Lookup::Wait(_)));
    assert_eq!(lease.stale(), Some(&12), "for a conditional request");
    drop(lease.fulfil(13));
    assert_eq!(cache.get(&2), None, "the load began before");
    // An entry that is told to be over is over; and what is confirmed afterwards is valid.
    cache.insert(2, 12);
    assert!(cache.expire(&2) && cache.get(&2).is_none() && !cache.expire(&2));
    let confirmed = cache.entry(&2).revalidate_with(|_| Ok::<_, Infallible>(Loaded::NotModified));
    assert_eq!((*confirmed.unwrap().0, cache.get(&2)), (12, Some(12)));
    cache.invalidate_tag(&b'1');
    assert_eq!(cache.get(&2), None);
}

#[test]
fn failures_cool_down_as_without_tags() {
    let (builder, clock) = timed_builder();
    let cache = builder.stale_if_error(100 * SECOND).error_cooldown(4 * SECOND).build().unwrap();
    let calls = AtomicU64::new(0);
    let ask = || {
        let fail = || {
            calls.fetch_add(1, SeqCst);
            Err(Broken("down"))
        };
        cache.try_get_with(&2, fail).ok()
    };
    cache.insert(2, 12);
    clock.advance(11 * SECOND);
    assert_eq!((ask(), ask(), calls.load(SeqCst)), (Some(12), Some(12), 1));
    clock.advance(4 * SECOND - SECOND / 100);
    assert_eq!((ask(), calls.load(SeqCst)), (Some(12), 1));
    clock.advance(SECOND / 10);
    assert_eq!((ask(), calls.load(SeqCst)), (Some(12), 2));
    cache.invalidate_tag(&b'2');
    assert_eq!((ask(), calls.load(SeqCst)), (None, 3), "no stale value after an invalidation");
}

/// A writer changes what is loaded and then invalidates; no reader that begins afterwards sees what was before.
#[test]
fn no_stale_hit_under_threads() {
    let cache = builder().build().unwrap();
    let source = AtomicU64::new(0);
    // The tag is the same for all values: their last digit.
    let load = || source.load(SeqCst) * 10 + 7;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while source.load(SeqCst) < 500 {
                    let known = INVALIDATED.load(SeqCst);
                    let seen = cache.get_with(&2, load);
                    assert!(seen / 10 >= known, "{seen} was loaded before invalidation {known}");
                }
            });
        }
        scope.spawn(|| {
            for version in 1..=500 {
                source.store(version, SeqCst);
                cache.invalidate_tag(&b'7');
                INVALIDATED.store(version, SeqCst);
            }
        });
    });
    assert_eq!(cache.get_with(&2, load), 5007);
    cache.validate().unwrap();
    static INVALIDATED: AtomicU64 = AtomicU64::new(0);
}
