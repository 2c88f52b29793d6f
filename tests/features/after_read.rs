//! A time to live that is given anew at each read (`ttl_after_read`).

use crate::common::tasks::{Later, Task};
use crate::common::*;
use bellwether::{Builder, Cache, Expiry, Load, Outcome, Refresh};
use std::time::Duration;

/// Odd keys live for ten seconds from their last read on; even ones are left alone.
fn odd(key: &Key, _: &u64, _: Duration) -> Option<Duration> {
    (key % 2 == 1).then_some(10 * SECOND)
}

fn cache(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, bellwether::ManualClock) {
    let (builder, clock) = timed();
    let plain = builder.max_capacity(9).time_to_live(6 * SECOND).refresh(Refresh::never()).ttl_after_read(odd);
    let cache: TestCache = set(plain).build().unwrap();
    (1..=2).for_each(|key| cache.insert(key, 1));
    (cache, clock)
}

type Set = fn(Builder<Key, u64>) -> Builder<Key, u64>;

/// A way to read: whether key 1 was there.
type Read = fn(&TestCache, Key) -> bool;

const READS: &[(&str, Read)] = &[
    ("get", |cache, key| cache.get(&key).is_some()),
    ("get_ref", |cache, key| cache.get_ref(&key).is_some()),
    ("get_entry", |cache, key| cache.get_entry(&key).is_some()),
    ("get_many", |cache, key| cache.get_many([&key])[0].is_some()),
    ("pinned", |cache, key| cache.pin().get(&key).is_some()),
    ("get_with", |cache, key| cache.get_with(&key, || 7) == 1),
    ("entry", |cache, key| cache.entry(&key).get_with(|| 7).1 == Outcome::Hit),
    ("a task", |cache, key| Task::new(cache.get_with_async(&key, || async { 7 })).finish() == 1),
];

#[test]
fn each_read_gives_it_anew() {
    let caches: [Set; 3] = [|b| b, |b| b.tags_with(|_, _, tags| tags.add("all")), |b| b.time_to_idle(60 * SECOND)];
    for (n, set) in caches.into_iter().enumerate() {
        for (name, read) in READS {
            println!("{name} in cache {n}");
            let (cache, clock) = cache(set);
            clock.advance(5 * SECOND);
            assert!(read(&cache, 1) && read(&cache, 2));
            clock.advance(9 * SECOND);
            assert!(cache.contains_key(&1) && !cache.contains_key(&2), "that one was left alone");
            assert!(read(&cache, 1));
            clock.advance(9 * SECOND);
            assert!(read(&cache, 1));
            clock.advance(10 * SECOND);
            assert!(!read(&cache, 1), "not read in time");
            cache.validate().unwrap();
        }
    }
}

#[test]
fn to_look_on_is_no_read() {
    let (cache, clock) = cache(|b| b);
    clock.advance(5 * SECOND);
    assert!(cache.peek(&1).is_some() && cache.contains_key(&1) && cache.iter().count() == 2);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn it_is_told_what_is_left_and_may_give_less() {
    let (builder, clock) = timed();
    let builder = builder.max_capacity(9).ttl_after_read(|key, _, left| match key {
        1 => (left == Duration::MAX).then_some(8 * SECOND),
        _ => Some(left / 2),
    });
    let cache: TestCache = builder.build().unwrap();
    cache.insert(1, 1);
    cache.insert_with_ttl(2, 1, 8 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(1)));
    clock.advance(4 * SECOND - Duration::from_micros(1));
    assert_eq!((cache.get(&1), cache.contains_key(&2)), (Some(1), true));
    clock.advance(Duration::from_micros(1));
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None), "left alone once it expires");
    clock.advance(4 * SECOND);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.purge_expired(), 2);
}

#[test]
fn what_is_expired_stays_so() {
    let (cache, clock) = cache(|b| b.stale_if_error(60 * SECOND));
    assert!(cache.expire(&1));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.try_get_with(&1, || Err::<u64, _>(Broken("down"))).unwrap(), 1, "served as stale");
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn its_mark_moves_with_it() {
    let (cache, clock) = cache(|b| b.refresh(Refresh::lead(1.0).not_after(0.5)));
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Some(1));
    clock.advance(3 * SECOND);
    assert_eq!(cache.entry(&1).get_with(|| 2).1, Outcome::Hit, "read at 2 s, to expire at 12 s: due at 6 s");
    let own = Expiry::new().ttl(10 * SECOND).refresh(Refresh::at(0.5));
    cache.insert_with(3, 1, own);
    clock.advance(4 * SECOND);
    assert_eq!(cache.entry(&3).get_with(|| 2).1, Outcome::Hit);
    clock.advance(SECOND);
    assert_eq!(cache.entry(&3).get_with(|| 2).1, Outcome::Refreshed, "its own mark stays");
}

struct Seven;

impl Load<Key, u64> for Seven {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        Ok(7)
    }
}

#[test]
fn in_a_cache_with_its_loader() {
    let (builder, clock) = timed();
    let later = Later::default();
    let builder = builder.max_capacity(9).refresh(Refresh::never()).spawner(later.spawner());
    let cache = builder.time_to_live(6 * SECOND).ttl_after_read(odd).loader(Seven).build().unwrap();
    cache.insert(1, 1);
    clock.advance(5 * SECOND);
    assert_eq!(cache.load(&1).unwrap(), 1);
    clock.advance(9 * SECOND);
    assert_eq!(cache.load_all([&1]).pop().unwrap().unwrap(), 1);
}

/// A panic of the function reaches the reader, and harms nobody else.
#[test]
fn a_panic_of_it() {
    let (builder, _clock) = timed();
    let cache: Cache<Key, u64> = builder.max_capacity(9).ttl_after_read(|_, _, _| panic!("told to")).build().unwrap();
    cache.insert(1, 1);
    let read = std::panic::AssertUnwindSafe(|| cache.get(&1));
    assert!(quietly(|| std::panic::catch_unwind(read)).is_err());
    assert!(cache.contains_key(&1) && cache.invalidate(&1));
    cache.validate().unwrap();
}

/// A value without an expiry, with terms of its own or an age, is asked about like any other.
#[test]
fn values_with_terms_of_their_own_are_asked_about() {
    for terms in [Expiry::new().stale_if_error(SECOND), Expiry::new().age(SECOND)] {
        let (builder, clock) = timed();
        let builder = builder.max_capacity(9).refresh(Refresh::never());
        let cache: TestCache = builder.ttl_after_read(|_, _, _| Some(5 * SECOND)).build().unwrap();
        cache.insert_with(1, 1, terms);
        assert_eq!(cache.get(&1), Some(1));
        clock.advance(5 * SECOND);
        assert_eq!(cache.get(&1), None, "{terms:?}");
    }
}

/// An `expire` between a read's look at the expiry and its new one counts.
#[test]
fn an_expire_in_the_middle_of_a_read_counts() {
    use std::sync::{Arc, Mutex, Weak};
    // Taken by the first question about tags.
    let own: Arc<Mutex<Option<Weak<TestCache>>>> = Arc::default();
    let (builder, _clock) = timed();
    let within = own.clone();
    let builder = builder.max_capacity(9).time_to_live(60 * SECOND).tags_with(move |_, _, tags| {
        tags.add("all");
        let taken = within.lock().unwrap().take();
        if let Some(cache) = taken.and_then(|cache| cache.upgrade()) {
            assert!(cache.expire(&1));
        }
    });
    let cache: Arc<TestCache> = Arc::new(builder.ttl_after_read(|_, _, _| Some(60 * SECOND)).build().unwrap());
    cache.insert(1, 1);
    // (Another tag was invalidated since, so that the tags are asked for.)
    cache.invalidate_tag("another");
    *own.lock().unwrap() = Some(Arc::downgrade(&cache));
    let _ = cache.get(&1);
    assert!(own.lock().unwrap().is_none(), "the tags were asked for");
    assert_eq!(cache.get(&1), None, "it stays expired");
}
