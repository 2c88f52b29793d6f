//! Law 7 in corners: whatever else is being refreshed, given up or moved, what may go does go.

use crate::common::*;
use bellwether::{Cache, Lease, Lookup, ManualClock};

type Weighed = Cache<u32, u32, Spread>;

fn weighed(capacity: u64) -> (Weighed, ManualClock) {
    let clock = ManualClock::new();
    let builder = Cache::<u32, u32>::builder().max_capacity(capacity).weigher(|_, &weight| weight);
    (builder.hasher(Spread::default()).clock(clock.clone()).timer(clock.clone()).build().unwrap(), clock)
}

fn lead(cache: &Weighed, key: u32) -> Lease<'_, u32, u32> {
    match cache.lease(&key) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn within_capacity(cache: &Weighed) {
    assert!(cache.weight() <= cache.capacity(), "{} of {}", cache.weight(), cache.capacity());
    cache.validate().unwrap();
}

/// Main holds an entry that is being refreshed, and small one that is worth main: it goes there, behind the hand.
#[test]
fn an_entry_that_moves_to_a_ring_that_was_given_up() {
    let (cache, clock) = weighed(100);
    cache.insert_with_ttl(1, 50, SECOND);
    (0..3).for_each(|_| assert_eq!(cache.get(&1), Some(50)));
    (100..160).for_each(|key| cache.insert(key, 1));
    cache.retain(|key, _| *key == 1);
    cache.insert(2, 1);
    (0..3).for_each(|_| assert_eq!(cache.get(&2), Some(1)));
    clock.advance(SECOND);
    let lease = lead(&cache, 1);
    cache.set_capacity(50);
    within_capacity(&cache);
    drop(lease);
}

/// One entry with all its uses among hundreds that are being refreshed.
#[test]
fn a_used_entry_among_many_that_are_being_refreshed() {
    let (cache, clock) = weighed(1_000);
    for key in 1..4_000 {
        if key == 1_500 {
            cache.insert(0, 1);
        }
        cache.insert_with_ttl(key, 1, SECOND);
        (0..3).for_each(|_| drop((cache.get_entry(&key), cache.get_entry(&0))));
    }
    assert!(cache.contains_key(&0));
    clock.advance(SECOND);
    let leases: Vec<_> = (1..4_000).map(|key| lead(&cache, key)).filter(|lease| lease.stale().is_some()).collect();
    (0..3).for_each(|_| assert_eq!(cache.get(&0), Some(1)));
    assert_eq!((cache.len(), leases.len()), (1_000, 999));
    cache.set_capacity(999);
    within_capacity(&cache);
    assert!(!cache.contains_key(&0), "no other may go");
    drop(leases);
}

/// Refreshes that were given up, while somebody waits, keep their entries until a purge ends them.
#[test]
fn a_purge_that_ends_refreshes_makes_room() {
    let (cache, clock) = weighed(100);
    (1..=2).for_each(|key| cache.insert_with_ttl(key, 1, SECOND));
    clock.advance(SECOND);
    let leases = [1, 2].map(|key| lead(&cache, key));
    let waiters = [1, 2].map(|key| cache.lease(&key));
    assert!(waiters.iter().all(|lookup| matches!(lookup, Lookup::Wait(_))));
    cache.set_capacity(1);
    assert_eq!(cache.weight(), 2, "neither may go");
    drop(leases);
    cache.purge_expired();
    assert!(!cache.is_loading(&1) && !cache.is_loading(&2));
    within_capacity(&cache);
    drop(waiters);
}

/// Entries that moved to main and were removed leave holes; nothing takes from main while small has enough.
#[test]
fn holes_in_main_are_closed() {
    let (cache, _) = weighed(100);
    for round in 0..60_000_u32 {
        cache.insert(2 * round, 1);
        (0..2).for_each(|_| assert!(cache.get(&(2 * round)).is_some()));
        (0..3).for_each(|cold| cache.insert(1_000_000 + 8 * round + 2 * cold + 1, 1));
        if round >= 30 {
            cache.remove(&(2 * (round - 30)));
        }
        if round % 1_000 == 0 {
            let slots = cache.slots();
            assert!(slots <= 4 * (100 + 4 * 128), "{slots} slots for {} entries", cache.len());
        }
    }
    within_capacity(&cache);
}
