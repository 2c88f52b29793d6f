//! Loads in the background where a reader does not let go: each caller runs its own, and is told
//! what became of it. A test binary of its own: a pin holds up every cache of its process.
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Cache, LoadError, Outcome};
use common::tasks::{block_on, yield_now};
use common::*;
use std::sync::Arc;
use std::thread;

#[test]
fn loads_without_a_flight_come_to_what_their_loaders_say() {
    let loader = |key: &Key| {
        let key = *key;
        async move {
            yield_now().await;
            if key == 7 { Err(Broken("no such key")) } else { Ok(u64::from(key) + 100) }
        }
    };
    let loading = Cache::builder().max_capacity(100).loader(loader).build().unwrap();
    let cache: &Arc<TestCache> = loading.cache();
    cache.insert(0, 0);
    let stalled = cache.get_ref(&0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            until("new values are not kept", || {
                (0..1000).for_each(|value| cache.insert(1, value));
                cache.get(&1).is_none()
            });
            until("loads have no flights", || {
                (0..1000).for_each(|key| _ = cache.get_with(&(key % 50), || 3));
                cache.stats().bypassed > 0
            });
            let bypassed = cache.stats().bypassed;
            assert_eq!(block_on(loading.load_async(&60)).unwrap(), 160);
            let failed = block_on(loading.load_async(&7));
            assert!(matches!(&failed, Err(LoadError::Load(error)) if error.0 == "no such key"), "{failed:?}");
            let all = block_on(loading.load_all_async(&[61, 7, 62]));
            assert_eq!((all[0].as_ref().unwrap(), all[2].as_ref().unwrap()), (&161, &162));
            assert!(matches!(&all[1], Err(LoadError::Load(error)) if error.0 == "no such key"), "{all:?}");
            let load = |value: Result<u64, Broken>| async move {
                yield_now().await;
                value
            };
            let (entry, outcome) =
                block_on(cache.detached(&63).get_with_async(move || async move { load(Ok(5)).await.unwrap() }));
            assert_eq!((*entry, outcome), (5, Outcome::Computed));
            let (entry, outcome) = block_on(cache.detached(&63).try_get_with_async(move || load(Ok(6)))).unwrap();
            assert_eq!((*entry, outcome), (6, Outcome::Computed));
            let failed = block_on(cache.detached(&63).try_get_with_async(move || load(Err(Broken("no")))));
            assert!(matches!(&failed, Err(LoadError::Load(error)) if error.0 == "no"), "{failed:?}");
            assert!(cache.stats().bypassed >= bypassed + 8);
            assert_eq!((60..64).filter(|key| cache.contains_key(key)).count(), 0);
        });
    });
    assert_eq!(*stalled, 0);
}
