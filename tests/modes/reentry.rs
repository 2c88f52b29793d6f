//! A loader that asks for its own key.

use crate::common::*;
use crate::driver::{Crew, all_get};
use crate::load::{Gate, Load};
use bellwether::{Cache, LoadError};
use std::sync::Arc;

pub fn re_entry_is_answered_at_once(crew: &Crew) {
    let cache: Arc<TestCache> = Arc::new(Cache::new(10));
    let gate = Gate::default();
    let leader = {
        let (cache, gate) = (cache.clone(), gate.clone());
        crew.start(move |face| async move {
            let (cache, gate) = (&*cache, &gate);
            let strictly = async || face.try_get_with(cache, &1, || async { Ok::<_, Broken>(5) }).await;
            let load = || async {
                assert!(matches!(strictly().await, Err(LoadError::Reentrant)));
                gate.pass().await;
                // Others wait by now, on this very thread if it is an executor's; and this may be another thread.
                assert!(matches!(strictly().await, Err(LoadError::Reentrant)));
                let alone = face.get_with(cache, &1, || async { 20 }).await;
                assert_eq!((alone, cache.get(&1), cache.stats().bypassed), (20, None, 1), "and it is not stored");
                // Another key in between changes nothing.
                let through = || async { face.get_with(cache, &1, || async { alone }).await + 1 };
                face.get_with(cache, &2, through).await + 100
            };
            face.get_with(cache, &1, load).await
        })
    };
    until("it loads", || cache.is_loading(&1));
    let unused = Load::new(End::Value(9));
    let waiting: Vec<_> = (0..6).map(|_| crew.ask(&cache, 1, &unused)).collect();
    waiting_for(&cache, 6);
    gate.open();
    assert_eq!(leader.output(), 121);
    assert!(all_get(waiting, 121), "they are no part of the load: they wait");
    assert_eq!((cache.get(&1), cache.get(&2), unused.calls()), (Some(121), Some(21), 0));
    assert_eq!((cache.stats().bypassed, cache.stats().loads), (2, 2));
    nothing_in_flight(&cache, 1);
}
