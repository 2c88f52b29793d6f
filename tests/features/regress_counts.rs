//! A lookup counts once, also where it has to look again.

use bellwether::{Cache, Equivalent, Lookup, ToKey};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// A key that is removed while a lookup compares it: just then its references are given back.
struct Vanishes<'a>(&'a dyn Fn());

impl Hash for Vanishes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        1_u32.hash(state);
    }
}

impl Equivalent<u32> for Vanishes<'_> {
    fn equivalent(&self, key: &u32) -> bool {
        (self.0)();
        *key == 1
    }
}

impl ToKey<u32> for Vanishes<'_> {
    fn to_key(&self) -> u32 {
        1
    }
}

/// A lookup that finds a node, gets no reference to it and looks again is one lookup.
#[test]
fn a_lookup_whose_key_vanishes_counts_once() {
    let cache = Cache::<u32, u64>::builder().max_capacity(20).record_stats().build().unwrap();
    let vanish = || assert!(cache.remove(&1).is_none_or(|value| value > 6));
    let counted = |what: &str, look: &dyn Fn(), expected: (u64, u64)| {
        cache.insert(1, 7);
        let before = cache.stats();
        look();
        let after = cache.stats();
        assert_eq!((after.hits - before.hits, after.misses - before.misses), expected, "{what}");
    };
    counted("get_entry", &|| assert!(cache.get_entry(&Vanishes(&vanish)).is_none()), (0, 1));
    counted("pinned", &|| assert!(cache.pin().get_entry(&Vanishes(&vanish)).is_none()), (0, 1));
    let (key, stale) = (Vanishes(&vanish), Duration::from_secs(1));
    counted("get_stale", &|| assert!(cache.get_stale(&key, stale).is_none()), (0, 1));
    counted("entry", &|| assert_eq!(*cache.entry(&key).get_with(|| 8).0, 8), (0, 1));
    counted("lease", &|| assert!(matches!(cache.lease(&key), Lookup::Lead(_))), (0, 1));
    counted("get_with", &|| assert_eq!(cache.get_with(&key, || 9), 7), (1, 0));
}
