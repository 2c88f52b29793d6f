//! Law 8: a key is itself and not its hash.

use crate::common::*;
use bellwether::Cache;
use std::thread;

#[test]
fn keys_that_all_collide_are_still_told_apart() {
    let cache: TestCache<Constant> = Cache::builder().max_capacity(2000).hasher(Constant).build().unwrap();
    for key in 0..1000 {
        assert_eq!(cache.get_with(&key, || u64::from(key) * 3), u64::from(key) * 3);
    }
    assert_eq!(cache.len(), 1000);
    assert!((0..1000).all(|key| cache.get(&key) == Some(u64::from(key) * 3)));
    assert!((0..1000).step_by(2).all(|key| cache.remove(&key) == Some(u64::from(key) * 3)));
    assert!((0..1000).all(|key| cache.contains_key(&key) == (key % 2 == 1)));
    // Flights compare the full key, too.
    let (one, gate) = Loader::gated(End::Value(1));
    thread::scope(|scope| {
        let leader = ask(scope, &cache, 0, &one);
        one.begun(1);
        assert_eq!(cache.get_with(&2, || 22), 22, "another key does not wait for it");
        gate.open();
        assert_eq!(leader.answer().value(), 1);
    });
}
