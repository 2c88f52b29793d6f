//! The settings read back, and room made in advance.

use crate::common::*;
use bellwether::{Builder, Cache, Policy, Refresh};
use std::time::Duration;

#[test]
fn settings_are_read_back_as_they_were_given() {
    let (builder, _) = timed();
    let cache: TestCache = builder
        .max_capacity(10_000)
        .initial_capacity(300)
        .shards(2)
        .time_to_live(60 * SECOND)
        .ttl_jitter(0.25)
        .refresh(Refresh::lead(1.5))
        .error_cooldown(3 * SECOND)
        .negative_ttl(4 * SECOND)
        .stale_while_refresh(5 * SECOND)
        .stale_if_error(6 * SECOND)
        .wait_timeout(7 * SECOND)
        .soft_timeout(8 * SECOND)
        .hard_timeout(9 * SECOND)
        .lead_timeout(10 * SECOND)
        .max_waiters(11)
        .max_loads(12)
        .max_handovers(13)
        .bypass(true)
        .record_stats()
        .build()
        .unwrap();
    let policy = cache.policy();
    let seconds = |n: u32| Some(n * SECOND);
    assert_eq!((policy.max_capacity, policy.initial_capacity, policy.shards), (10_000, 300, 2));
    assert_eq!((policy.time_to_live, policy.time_to_idle, policy.ttl_jitter), (seconds(60), None, 0.25));
    assert_eq!((policy.refresh, policy.error_cooldown), (Refresh::lead(1.5), 3 * SECOND));
    let windows = [policy.negative_ttl, policy.stale_while_refresh, policy.stale_if_error];
    assert_eq!(windows, [4 * SECOND, 5 * SECOND, 6 * SECOND]);
    let timeouts = [policy.wait_timeout, policy.soft_timeout, policy.hard_timeout, policy.lead_timeout];
    assert_eq!(timeouts, [7, 8, 9, 10].map(seconds));
    assert_eq!((policy.max_waiters, policy.max_loads, policy.max_handovers), (Some(11), Some(12), 13));
    assert_eq!((policy.bypass, policy.record_stats, policy.huge_pages, policy.seed), (true, true, false, Some(7)));
    cache.set_capacity(99);
    let mut lowered: Policy = policy;
    lowered.max_capacity = 99;
    assert_eq!(cache.policy(), lowered);
}

#[test]
fn defaults_are_read_back_as_none() {
    let cache: Cache<u32, u32> = Cache::new(10);
    let policy = cache.policy();
    assert_eq!((policy.max_capacity, policy.time_to_live, policy.time_to_idle), (10, None, None));
    let timeouts = [policy.wait_timeout, policy.soft_timeout, policy.hard_timeout, policy.lead_timeout];
    assert_eq!((timeouts, policy.max_waiters, policy.max_loads), ([None; 4], None, None));
    assert_eq!((policy.refresh, policy.error_cooldown, policy.seed), (Refresh::default(), SECOND, None));
    let idle: Builder<u32, u32> = Cache::builder().max_capacity(1).time_to_idle(SECOND).time_to_live(Duration::MAX);
    let policy = idle.build().unwrap().policy();
    assert_eq!((policy.time_to_live, policy.time_to_idle), (None, Some(SECOND)), "never is never");
}

#[test]
fn room_can_be_made_while_others_are_at_work() {
    let cache: Cache<u32, u32> = Cache::new(100_000);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|key| cache.insert(key, key)));
        scope.spawn(|| (0..200).for_each(|n| cache.reserve(n * 100)));
        scope.spawn(|| (0..20_000).for_each(|key| assert!(cache.get(&key).is_none_or(|value| value == key))));
    });
    assert!((0..20_000).all(|key| cache.get(&key) == Some(key)));
    assert_eq!(cache.iter().count(), 20_000);
    // More than there can be is a hint like any other.
    cache.reserve(usize::MAX);
    assert!((0..20_000).all(|key| cache.get(&key) == Some(key)));
    cache.validate().unwrap();
}
