//! User code that panics: each operation with each hook, at its first call, its second, and so on until the operation ends
//! without coming to that. Whatever it was, nothing is lost, nothing is left in flight, and the cache is usable.
mod operations;
mod world;

use crate::common::{Census, quietly};
use bellwether::{Cache, Tags};
use operations::{BULK, BY_HAND, ON_CACHE, ON_PIN, Operation, READ_THROUGH, UNDER_ONE_PIN};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use world::{Hook, Setting, World, arm, disarm};

/// Runs an operation with a hook that panics at one of its calls; whether it came to that.
fn goes_off(setting: Setting, (name, operation): Operation, hook: Hook, at: u32) -> bool {
    let what = format!("{setting:?}, {name}: {hook:?} at call {at}");
    let world = World::new(setting);
    arm(hook, at);
    let panicked = quietly(|| catch_unwind(AssertUnwindSafe(|| operation(&world)))).is_err();
    quietly(|| world.run_jobs());
    let left = disarm();
    assert!(left.is_none() || !panicked, "{what}: it panics, and no user code has");
    world.check(&what);
    let World { cache, clock, census, jobs } = world;
    // What is dropped with the cache is user code, too.
    if let Some(left) = left {
        arm(hook, left);
    }
    let _ = quietly(|| catch_unwind(AssertUnwindSafe(|| drop(cache))));
    let left = disarm();
    drop((clock, jobs));
    assert_eq!(census.alive(), 0, "{what}: keys, values, errors, captures and wakers that are lost");
    left.is_none()
}

fn panics_everywhere(settings: &[Setting], operations: &[Operation]) {
    let only = std::env::var("BELLWETHER_PANICS").unwrap_or_default();
    let (mut went_off, mut wrong) = (0, Vec::new());
    for &setting in settings {
        for &operation in operations {
            for hook in Hook::ALL {
                if !format!("{setting:?}, {}: {hook:?}", operation.0).contains(&only) {
                    continue;
                }
                for at in 0.. {
                    // All that is wrong is told, not just the first.
                    match catch_unwind(AssertUnwindSafe(|| goes_off(setting, operation, hook, at))) {
                        Ok(true) => went_off += 1,
                        Ok(false) => break,
                        Err(_) => {
                            disarm();
                            wrong.push(format!("{setting:?}, {}: {hook:?} at call {at}", operation.0));
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(went_off > 100 || !only.is_empty(), "only {went_off} panics were tried");
}

const ALL: [Setting; 7] =
    [Setting::Plain, Setting::Timed, Setting::Stale, Setting::Early, Setting::Tagged, Setting::Idle, Setting::Bounded];

#[test]
fn reads_and_writes_lose_nothing() {
    panics_everywhere(&ALL, &ON_CACHE);
}

#[test]
fn reads_and_writes_under_a_pin_lose_nothing() {
    panics_everywhere(&ALL, &ON_PIN);
    panics_everywhere(&ALL, &UNDER_ONE_PIN);
}

#[test]
fn read_through_loses_nothing() {
    panics_everywhere(&ALL, &READ_THROUGH);
}

#[test]
fn loads_of_many_lose_nothing() {
    panics_everywhere(&ALL, &BULK);
}

#[test]
fn leases_and_waiters_lose_nothing() {
    panics_everywhere(&ALL, &BY_HAND);
}

/// What is not kept is on its way back to `insert` as the listener is told what it has replaced.
#[test]
fn a_value_that_is_not_kept_is_dropped_if_the_listener_panics() {
    let census = Arc::new(());
    let builder = Cache::builder().max_capacity(8);
    let cache: Cache<Arc<()>, Arc<()>> =
        builder.eviction_listener(|_, _, _| panic!("as it was told to")).build().unwrap();
    cache.insert(census.clone(), census.clone());
    let insert = || cache.insert_with_ttl(census.clone(), census.clone(), Duration::ZERO);
    quietly(|| assert!(catch_unwind(AssertUnwindSafe(insert)).is_err()));
    drop(cache);
    assert_eq!(Arc::strong_count(&census), 1);
}

/// `retain` comes by entries that the hand has closed just now, and asks for their tags to tell why they went.
#[test]
fn a_removal_is_seen_through_if_tags_with_panics() {
    thread_local! { static ARMED: Cell<bool> = const { Cell::new(false) }; }
    let census = Census::default();
    let tags = |_: &_, _: &_, tags: &mut Tags<'_>| {
        tags.add("t");
        assert!(!ARMED.get(), "tags_with panics, as it was told to");
    };
    let cache: Cache<u32, crate::common::Member<u32>> =
        Cache::builder().max_capacity(2).tags_with(tags).build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (0..60_000_u32).for_each(|n| cache.insert(n % 4, census.member(n))));
        scope.spawn(|| {
            ARMED.set(true);
            for _ in 0..60_000 {
                let _ = quietly(|| catch_unwind(AssertUnwindSafe(|| cache.retain(|_, _| false))));
            }
        });
    });
    cache.validate().unwrap();
    assert!(cache.weight() <= 2 && cache.weight() == cache.len() as u64);
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// A value is on its way to its caller as another one is dropped.
#[test]
fn a_value_on_its_way_is_dropped_if_the_drop_of_another_panics() {
    struct Bomb(#[allow(dead_code)] Arc<()>, bool);
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            Self(self.0.clone(), false)
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.1 || thread::panicking(), "a drop panics, as it was told to");
        }
    }
    let census = Arc::new(());
    let cache: Cache<u32, Bomb> = Cache::builder().max_capacity(8).time_to_live(Duration::ZERO).build().unwrap();
    let load = |n: u32| drop(cache.get_with(&n, || Bomb(census.clone(), n % 7 == 0)));
    let panicked = |n: &u32| quietly(|| catch_unwind(AssertUnwindSafe(|| load(*n)))).is_err();
    assert!((0..10_000).filter(panicked).count() > 0, "drops panic in the middle of a lookup");
    let _ = quietly(|| catch_unwind(AssertUnwindSafe(|| drop(cache))));
    assert_eq!(Arc::strong_count(&census), 1);
}
