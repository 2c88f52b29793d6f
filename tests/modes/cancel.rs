//! Laws 2 and 3 where executors cancel callers, on threads of their own. Those who go on are of any sort.

use crate::common::*;
use crate::driver::{Crew, all_get};
use crate::load::{Gate, Load};
use bellwether::Cache;
use std::sync::Arc;

pub fn a_cancelled_leader_hands_over_to_exactly_one(crew: &Crew) {
    // The clock stands still: whoever waited for a timeout would never be answered.
    let (builder, _clock) = timed();
    let cache: Arc<TestCache> = Arc::new(builder.wait_timeout(SECOND).build().unwrap());
    let (load, _gate) = Load::gated(End::Value(1));
    let heirs = Load::new(End::Value(5));
    let leader = crew.ask_as_task(&cache, 1, &load);
    load.begun(1);
    let waiting: Vec<_> = (0..9).map(|_| crew.ask(&cache, 1, &heirs)).collect();
    waiting_for(&cache, 9);
    assert!(leader.cancel().is_none());
    assert!(all_get(waiting, 5));
    let stats = cache.stats();
    assert_eq!((load.calls(), heirs.calls(), stats.handovers, stats.wait_timeouts), (1, 1, 1, 0));
    assert_eq!(cache.get(&1), Some(5));
    nothing_in_flight(&cache, 1);
}

/// Of ten; with the leader among those who go on, and among those who do not.
pub fn all_but_three_cancel(crew: &Crew) {
    for leader_cancels in [false, true] {
        let cache: Arc<TestCache> = Arc::new(Cache::new(10));
        let (load, gate) = Load::gated(End::Value(7));
        let leader = crew.ask_as_task(&cache, 1, &load);
        load.begun(1);
        let mut cancelling: Vec<_> = (0..6).map(|_| crew.ask_as_task(&cache, 1, &load)).collect();
        let mut staying: Vec<_> = (0..2).map(|_| crew.ask(&cache, 1, &load)).collect();
        let ninth = crew.ask_as_task(&cache, 1, &load);
        waiting_for(&cache, 9);
        let (cancels, stays) = if leader_cancels { (leader, ninth) } else { (ninth, leader) };
        cancelling.push(cancels);
        staying.push(stays);
        assert!(cancelling.into_iter().all(|caller| caller.cancel().is_none()));
        assert!(cache.is_loading(&1));
        gate.open();
        assert!(all_get(staying, 7));
        let taken_over = usize::from(leader_cancels);
        assert_eq!((load.calls(), cache.stats().handovers), (1 + taken_over, taken_over as u64));
        assert_eq!((cache.get(&1), cache.len(), cache.stats().bypassed), (Some(7), 1, 0));
        nothing_in_flight(&cache, 1);
    }
}

pub fn all_cancel(crew: &Crew) {
    for leader_first in [false, true] {
        let census = Census::default();
        let cache: Arc<TestCache> = Arc::new(Cache::new(10));
        let caller = |_| {
            let (cache, census) = (cache.clone(), census.clone());
            crew.start_task(move |face| async move {
                let load = || async {
                    let _loading = census.member(());
                    Gate::default().pass().await;
                    1
                };
                face.get_with(&cache, &1, load).await
            })
        };
        let mut callers: Vec<_> = (0..1).map(caller).collect();
        until("a load begins", || census.alive() == 1);
        callers.extend((0..9).map(caller));
        waiting_for(&cache, 9);
        if !leader_first {
            callers.reverse();
        }
        assert!(callers.into_iter().all(|caller| caller.cancel().is_none()));
        assert_eq!(census.alive(), 0, "the load was cancelled with its caller");
        nothing_in_flight(&cache, 1);
        assert_eq!((cache.get(&1), cache.len()), (None, 0));
        assert!(all_get([crew.ask(&cache, 1, &Load::new(End::Value(3)))], 3));
    }
}

pub fn a_leader_is_cancelled_as_its_load_ends(crew: &Crew) {
    let cache: Arc<TestCache> = Arc::new(Cache::new(100));
    for key in 0..50 {
        let (load, gate) = Load::gated(End::Value(1));
        let heirs = Load::new(End::Value(5));
        let leader = crew.ask_as_task(&cache, key, &load);
        load.begun(1);
        let waiting: Vec<_> = (0..4).map(|_| crew.ask(&cache, key, &heirs)).collect();
        gate.open();
        let value = match leader.cancel() {
            Some(told) => told.unwrap(),
            None => crew.ask(&cache, key, &heirs).answer().value(),
        };
        assert!(all_get(waiting, value), "of the one who has stored it");
        assert_eq!(cache.get(&key), Some(value));
        nothing_in_flight(&cache, key);
    }
}
