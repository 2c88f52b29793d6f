//! Laws 3 and 5: a dead leader poisons nothing, and a failing load is one call.

use crate::common::*;
use crate::driver::{Crew, Verb, all_get};
use crate::load::Load;
use bellwether::Cache;
use std::sync::Arc;

pub fn a_panicking_leader_hands_over_to_exactly_one(crew: &Crew) {
    for waiters in [0, 1, 25] {
        let cache: Arc<TestCache> = Arc::new(Cache::new(10));
        let (dying, gate) = Load::gated(End::Panic);
        let heir = Load::new(End::Value(5));
        let (leader, waiting) = crew.flight(&cache, 1, &dying, waiters, &heir);
        gate.open();
        assert!(leader.answer().panicked(), "the panic reaches its own caller");
        assert!(all_get(waiting, 5));
        assert_eq!((dying.calls(), heir.calls()), (1, waiters.min(1)));
        let stats = cache.stats();
        assert_eq!((stats.handovers, stats.load_failures), (waiters.min(1) as u64, 1));
        nothing_in_flight(&cache, 1);
        assert_eq!(cache.get(&1), (waiters > 0).then_some(5));
    }
}

pub fn every_leader_panics_in_turn(crew: &Crew) {
    let builder = Cache::builder().max_capacity(10).max_handovers(u32::MAX);
    let cache: Arc<TestCache> = Arc::new(builder.build().unwrap());
    let (dying, gate) = Load::gated(End::Panic);
    let (leader, waiting) = crew.flight(&cache, 1, &dying, 9, &dying);
    gate.open();
    assert!(leader.answer().panicked());
    assert!(waiting.into_iter().all(|waiter| waiter.answer().panicked()));
    assert_eq!((dying.calls(), cache.stats().handovers), (10, 9), "each was handed the lead in turn");
    nothing_in_flight(&cache, 1);
    assert!(all_get([crew.ask(&cache, 1, &Load::new(End::Value(1)))], 1));
}

pub fn a_failing_load_is_one_call_shared_by_all(crew: &Crew) {
    let cache: Arc<TestCache> = Arc::new(Cache::new(10));
    let (load, gate) = Load::gated(End::Fail("no route"));
    let callers: Vec<_> = (0..50).map(|_| crew.ask_by(Verb::Fallible, &cache, 1, &load)).collect();
    waiting_for(&cache, 49);
    gate.open();
    let answers: Vec<_> = callers.into_iter().map(|caller| caller.answer()).collect();
    let first = answers[0].load_error();
    assert_eq!(first, &Broken("no route"));
    assert!(answers.iter().all(|answer| std::ptr::eq(answer.load_error(), first)), "the very same error");
    assert_eq!((load.calls(), cache.stats().load_failures), (1, 1));
    nothing_in_flight(&cache, 1);
    // Nothing was stored: the next caller loads.
    let next = Load::new(End::Value(3));
    assert!(all_get([crew.ask(&cache, 1, &next)], 3));
    assert_eq!(next.calls(), 1);
}

pub fn a_failure_is_a_hand_over_to_those_who_cannot_be_told(crew: &Crew) {
    let cache: Arc<TestCache> = Arc::new(Cache::new(10));
    let (failing, gate) = Load::gated(End::Fail("no"));
    let leader = crew.ask_by(Verb::Fallible, &cache, 1, &failing);
    failing.begun(1);
    let (unused, heir) = (Load::new(End::Value(0)), Load::new(End::Value(6)));
    let strict: Vec<_> = (0..10).map(|_| crew.ask_by(Verb::Fallible, &cache, 1, &unused)).collect();
    let lenient: Vec<_> = (0..10).map(|_| crew.ask_by(Verb::Infallible, &cache, 1, &heir)).collect();
    waiting_for(&cache, 20);
    gate.open();
    assert_eq!(leader.answer().load_error(), &Broken("no"));
    assert!(strict.into_iter().all(|caller| caller.answer().load_error() == &Broken("no")));
    assert!(all_get(lenient, 6));
    assert_eq!((failing.calls(), unused.calls(), heir.calls()), (1, 0, 1));
    assert_eq!(cache.get(&1), Some(6));
    nothing_in_flight(&cache, 1);
}
