//! Law 7: dropping the cache drops every key and value that were made.

use crate::common::*;
use crate::driver::Crew;
use crate::load::Gate;
use bellwether::{Cache, ManualClock};
use std::sync::Arc;

const CALLERS: u64 = 6;

type Counted = Cache<Member<u32>, Member<u64>>;

/// First loads and refreshes that end in every way, some of them removed on the way, in a cache that holds most of the keys.
pub fn what_is_made_is_dropped(crew: &Crew) {
    let (census, clock) = (Census::default(), ManualClock::new());
    let builder = Cache::builder().max_capacity(4).time_to_live(SECOND).xfetch(0.0).clock(clock.clone());
    let cache: Arc<Counted> = Arc::new(builder.build().unwrap());
    for round in 0..48 {
        // Whatever is there is over by now.
        clock.advance(SECOND);
        let key = round % 5;
        let gate = Gate::default();
        let waiting = cache.stats().coalesced + CALLERS - 1;
        let caller = |n: u64| {
            let (census, cache, gate) = (census.clone(), cache.clone(), gate.clone());
            crew.start(move |face| async move {
                let load = || async {
                    let made = census.member(n);
                    gate.pass().await;
                    match round % 4 {
                        0 | 1 => Ok(made),
                        2 => Err(Broken("no")),
                        _ => panic!("the load panics, as it was told to"),
                    }
                };
                let key = census.member(key);
                face.try_get_with(&cache, &key, load).await.map(|value| value.what)
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        until("callers wait", || cache.stats().coalesced >= waiting);
        if round % 3 == 0 {
            cache.invalidate(&census.member(key));
        }
        gate.open();
        let told: Vec<_> = callers.into_iter().map(|caller| caller.joined()).collect();
        let values: Vec<_> = told.iter().filter_map(|told| told.as_ref().ok()?.as_ref().ok()).collect();
        assert_eq!(values.len(), if round % 4 < 2 { told.len() } else { 0 });
        assert!(values.iter().all(|value| *value == values[0]), "of one load");
        assert!(!cache.is_loading(&census.member(key)));
    }
    assert!(!cache.is_empty() && census.alive() >= 2 * cache.len() as isize);
    drop(Arc::into_inner(cache).expect("nobody else has it any more"));
    assert_eq!(census.alive(), 0);
}
