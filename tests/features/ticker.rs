//! The clock that a thread winds.
#![cfg(feature = "std")]

use crate::common::until;
use bellwether::{Cache, Clock, TickerClock};
use std::io::ErrorKind;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn it_moves_on_and_so_do_its_clones() {
    let clock = TickerClock::new(Duration::from_micros(100)).unwrap();
    let (clone, first) = (clock.clone(), clock.now());
    until("a tick", || clone.now() > first);
    let second = clone.now();
    until("the next tick", || clock.now() > second);
    // (In this order: there may be a tick in between.)
    let written = clock.now();
    assert!(clock.precise() >= written, "the time that is written down is not ahead");
}

#[test]
fn it_does_not_tick_once_every_zero_seconds() {
    assert_eq!(TickerClock::new(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Between two ticks the time stands still, so nothing expires; and deadlines need no timer of their own, as the time is the system's.
#[test]
fn a_cache_goes_by_its_ticks() {
    let clock = TickerClock::new(HOUR).unwrap();
    let builder = Cache::<u32, u32>::builder().max_capacity(10).time_to_live(HOUR).wait_timeout(HOUR);
    let cache = builder.clock(clock.clone()).build().unwrap();
    cache.insert_with_ttl(1, 1, Duration::from_nanos(1));
    assert_eq!(cache.get(&1), Some(1));
    assert_eq!(cache.get_with(&2, || 2), 2);
    assert_eq!(cache.get_ref(&2).map(|v| bellwether::Ref::age(&v)), Some(Duration::ZERO));
}
