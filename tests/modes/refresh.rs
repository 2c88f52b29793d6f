//! A refresh in flight: it is the one load of its key, and stays.

use crate::common::*;
use crate::driver::{Crew, all_get};
use crate::load::Load;
use bellwether::Refresh;
use std::sync::Arc;

pub fn a_later_miss_joins_an_early_refresh(crew: &Crew) {
    let (cache, clock) = due_for_early_refresh();
    let cache = Arc::new(cache);
    let (load, gate) = Load::gated(End::Value(2));
    let unused = Load::new(End::Value(9));
    let leader = crew.ask(&cache, 1, &load);
    load.begun(1);
    let served: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &unused)).collect();
    assert!(all_get(served, 1), "while the value is good, nobody waits");
    assert_eq!(cache.stats().coalesced, 0);
    clock.advance(20 * SECOND);
    assert_eq!(cache.get(&1), None, "it is over while its refresh is in flight");
    let late: Vec<_> = (0..12).map(|_| crew.ask(&cache, 1, &unused)).collect();
    waiting_for(&cache, 12);
    gate.open();
    assert!(all_get([leader], 2) && all_get(late, 2));
    assert_eq!((load.calls(), unused.calls(), cache.stats().early_refreshes), (1, 0, 1));
    assert_eq!((cache.get(&1), cache.len()), (Some(2), 1));
    nothing_in_flight(&cache, 1);
}

pub fn one_caller_refreshes_past_the_mark(crew: &Crew) {
    let policies = [Refresh::at(0.5), Refresh::after(5 * SECOND), Refresh::lead(5.0)].map(|policy| (policy, 6));
    for (policy, mark) in policies.into_iter().chain([(Refresh::default(), 8)]) {
        let (builder, clock) = timed();
        let cache: TestCache = builder.max_capacity(9).time_to_live(10 * SECOND).refresh(policy).build().unwrap();
        // Loaded within a second, to expire at 11 s.
        cache.get_with(&1, || (clock.advance(SECOND), 1).1);
        let cache = Arc::new(cache);
        let unused = Load::new(End::Value(9));
        clock.advance((mark - 2) * SECOND);
        let before: Vec<_> = (0..3).map(|_| crew.ask(&cache, 1, &unused)).collect();
        assert!(all_get(before, 1), "{policy:?}");
        clock.advance(SECOND);
        let (load, gate) = Load::gated(End::Value(2));
        let leader = crew.ask(&cache, 1, &load);
        load.begun(1);
        let served: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &unused)).collect();
        assert!(all_get(served, 1), "all others keep the value: {policy:?}");
        gate.open();
        assert!(all_get([leader], 2));
        assert_eq!((load.calls(), unused.calls(), cache.stats().early_refreshes), (1, 0, 1));
        assert!(all_get([crew.ask(&cache, 1, &unused)], 2), "the mark has moved: {policy:?}");
        nothing_in_flight(&cache, 1);
    }
}

pub fn a_refresh_stands_up_to_eviction(crew: &Crew) {
    let (builder, clock) = timed();
    let cache: TestCache = builder.max_capacity(2).time_to_live(10 * SECOND).xfetch(1e9).build().unwrap();
    cache.get_with(&1, || (clock.advance(SECOND), 1).1);
    let cache = Arc::new(cache);
    let push = |keys: std::ops::Range<Key>| {
        for key in keys {
            let value = u64::from(key);
            assert!(all_get([crew.ask(&cache, key, &Load::new(End::Value(value)))], value));
            cache.insert(key + 1000, value);
            assert!(cache.weight() <= 2);
        }
    };
    let (load, gate) = Load::gated(End::Value(2));
    let unused = Load::new(End::Value(9));
    let leader = crew.ask(&cache, 1, &load);
    load.begun(1);
    push(10..40);
    cache.set_capacity(0);
    assert_eq!((cache.get(&1), cache.is_loading(&1)), (Some(1), true), "the old value is still served");
    assert_eq!(cache.len(), 1, "while all others had to go");
    cache.set_capacity(2);
    clock.advance(20 * SECOND);
    push(40..70);
    assert!(cache.is_loading(&1), "an entry that is over stays for its refresh");
    let late: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &unused)).collect();
    waiting_for(&cache, 6);
    push(70..100);
    gate.open();
    assert!(all_get([leader], 2) && all_get(late, 2));
    assert_eq!((load.calls(), unused.calls(), cache.get(&1)), (1, 0, Some(2)));
    assert!(cache.stats().evictions > 0 && cache.weight() <= 2);
    nothing_in_flight(&cache, 1);
    // Once it has landed, it is evicted like any other.
    cache.set_capacity(0);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    cache.validate().unwrap();
}
