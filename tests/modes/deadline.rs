//! Law 2: one's own deadline is an answer, too.

use crate::common::*;
use crate::driver::{Crew, Verb, all_get};
use crate::load::Load;
use bellwether::LoadError;
use std::sync::Arc;

pub fn waiters_past_their_deadline_leave_one_flight(crew: &Crew) {
    let (builder, clock) = timed();
    let cache: Arc<TestCache> = Arc::new(builder.wait_timeout(2 * SECOND).bypass(true).build().unwrap());
    let (load, gate) = Load::gated(End::Value(4));
    let (leader, _) = crew.flight(&cache, 1, &load, 0, &load);
    let (unused, own) = (Load::new(End::Value(9)), Load::new(End::Value(77)));
    let strict: Vec<_> = (0..20).map(|_| crew.ask_by(Verb::Fallible, &cache, 1, &unused)).collect();
    let lenient: Vec<_> = (0..4).map(|_| crew.ask_by(Verb::Infallible, &cache, 1, &own)).collect();
    waiting_for(&cache, 24);
    // They look at the clock after they were counted: it is moved until the last of them has had enough.
    until("the deadlines pass", || {
        clock.advance(SECOND);
        cache.stats().wait_timeouts == 24
    });
    assert!(strict.into_iter().all(|waiter| matches!(waiter.answer(), Answer::Error(LoadError::TimedOut))));
    assert!(all_get(lenient, 77), "without an error channel each runs its own load");
    assert_eq!((unused.calls(), own.calls(), cache.stats().bypassed), (0, 4, 4));
    assert_eq!(
        (cache.is_loading(&1), cache.get(&1)),
        (true, None),
        "the load goes on, and what was loaded alone is not stored"
    );
    gate.open();
    assert!(all_get([leader], 4));
    assert_eq!((cache.get(&1), load.calls(), cache.stats().loads), (Some(4), 1, 1));
    nothing_in_flight(&cache, 1);
}
