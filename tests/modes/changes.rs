//! Law 4: what changes a key during its load wins for good.

use crate::common::*;
use crate::driver::{Crew, all_get};
use crate::load::Load;
use std::sync::Arc;
use std::time::Duration;

pub fn invalidate_in_mid_flight(crew: &Crew) {
    in_mid_flight(crew, |cache| _ = cache.invalidate(&1), None);
}

pub fn invalidate_all_in_mid_flight(crew: &Crew) {
    in_mid_flight(crew, |cache| cache.invalidate_all(), None);
}

pub fn remove_in_mid_flight(crew: &Crew) {
    in_mid_flight(crew, |cache| assert_eq!(cache.remove(&1), None, "there is no value that is good"), None);
}

pub fn retain_in_mid_flight(crew: &Crew) {
    in_mid_flight(crew, |cache| cache.retain(|_, _| true), None);
}

pub fn insert_in_mid_flight(crew: &Crew) {
    // (One that took as long to make as those that are loaded would be due for an early refresh at once, where these are.)
    in_mid_flight(crew, |cache| cache.insert_with_cost(1, 50, Duration::ZERO), Some(50));
}

/// Whichever of the two is first, the change has the last word.
pub fn changes_as_the_load_ends(crew: &Crew) {
    let changes: [fn(&TestCache, Key); 4] = [
        |cache, key| _ = cache.invalidate(&key),
        |cache, _| cache.invalidate_all(),
        |cache, key| _ = cache.remove(&key),
        |cache, key| cache.insert(key, 50),
    ];
    let (cache, clock) = ten_seconds();
    let cache = Arc::new(cache);
    for (round, change) in (0..25).flat_map(|round| changes.map(|change| (round, change))) {
        // By turns a key that is new, and one whose old value is over.
        let key = round % 2;
        clock.advance(10 * SECOND);
        let (load, gate) = Load::gated(End::Value(2));
        let (leader, waiting) = crew.flight(&cache, key, &load, 2, &load);
        gate.open();
        // Now a little before, now a little after the end of the load.
        (0..round).for_each(|_| std::thread::yield_now());
        change(&cache, key);
        assert!(all_get([leader], 2) && all_get(waiting, 2));
        assert!(cache.get(&key).is_none_or(|value| value == 50), "what was loaded from before is stored");
        assert_eq!((load.calls(), cache.is_loading(&key)), (1, false));
        cache.validate().unwrap();
    }
}

/// A change during a first load, during the reload of an expired entry, and during an early refresh that was overtaken by
/// expiry. `stored`: what is there right after it.
fn in_mid_flight(crew: &Crew, change: fn(&TestCache), stored: Option<u64>) {
    let first = ten_seconds();
    let expired = ten_seconds();
    expired.0.insert(1, 1);
    expired.1.advance(10 * SECOND);
    for (what, (cache, clock)) in [("first", first), ("expired", expired), ("early", due_for_early_refresh())] {
        let cache = Arc::new(cache);
        let (old, old_gate) = Load::gated(End::Value(2));
        let (new, new_gate) = Load::gated(End::Value(3));
        let leader = crew.ask(&cache, 1, &old);
        old.begun(1);
        clock.advance(20 * SECOND);
        let before: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &old)).collect();
        waiting_for(&cache, 6);
        change(&cache);
        assert_eq!(cache.get(&1), stored, "{what}");
        let after = match stored {
            None => {
                let (leader, mut waiting) = crew.flight(&cache, 1, &new, 6, &new);
                waiting.push(leader);
                waiting
            }
            Some(stored) => {
                let after: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &new)).collect();
                assert!(all_get(after, stored), "{what}: at once, while the old flight goes on");
                Vec::new()
            }
        };
        old_gate.open();
        assert!(all_get([leader], 2), "{what}: the leader has its value");
        assert!(all_get(before, 2), "{what}: so have those who waited");
        assert_eq!(cache.get(&1), stored, "{what}: and it is not stored");
        new_gate.open();
        assert!(all_get(after, 3), "{what}: those who came after have the value of a flight of their own");
        assert_eq!(cache.get(&1), Some(stored.unwrap_or(3)), "{what}");
        assert_eq!((old.calls(), new.calls()), (1, usize::from(stored.is_none())), "{what}");
        assert_eq!((cache.len(), cache.weight()), (1, 1), "{what}");
        nothing_in_flight(&cache, 1);
        cache.validate().unwrap();
    }
}
