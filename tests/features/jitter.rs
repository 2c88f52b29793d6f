//! `ttl_jitter`: which times to live it shortens.

use crate::common::*;
use bellwether::{Builder, Entry, Loaded, Lookup, Ref};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Gives a key a value with a time to live of a minute.
type Fill = fn(&Arc<TestCache>, Key);

fn revalidated(cache: &TestCache, key: Key, loaded: Loaded<u64>) {
    drop(cache.entry(&key).revalidate_with(|_| Ok::<_, Broken>(loaded)).unwrap());
}

/// How much the times to live of 60 s differ that this gives keys 0 to 49; none is longer.
fn spread(set: fn(Builder<Key, u64>) -> Builder<Key, u64>, fill: impl Fn(&Arc<TestCache>, Key)) -> Duration {
    let (builder, _clock) = timed();
    let cache: Arc<TestCache> = Arc::new(set(builder.ttl_jitter(0.5).max_capacity(100)).build().unwrap());
    let lives: Vec<_> =
        (0..50).map(|key| (fill(&cache, key), Ref::expires_in(&cache.get_ref(&key).unwrap()).unwrap()).1).collect();
    assert!(lives.iter().all(|&life| life >= 30 * SECOND && life <= 60 * SECOND));
    lives.iter().max().unwrap().saturating_sub(*lives.iter().min().unwrap())
}

#[test]
fn what_loads_are_given_is_jittered() {
    let jittered: [(&str, Fill); 8] = [
        ("entry().ttl()", |c, k| drop(c.entry(&k).ttl(MINUTE).get_with(|| 1))),
        ("the last of both", |c, k| drop(c.entry(&k).exact_ttl(SECOND).ttl(MINUTE).get_with(|| 1))),
        ("entry().ttl(), async", |c, k| {
            drop(tasks::block_on(c.entry(&k).ttl(MINUTE).get_with_async(|| std::future::ready(1))));
        }),
        ("detached().ttl()", |c, k| drop(c.detached(&k).ttl(MINUTE).get_with(|| 1))),
        ("Loaded::New", |c, k| {
            drop(c.entry(&k).ttl(MINUTE).revalidate_with(|_| Ok::<_, Broken>(Loaded::New(1))).unwrap());
        }),
        ("Loaded::NewFor", |c, k| revalidated(c, k, Loaded::NewFor(1, MINUTE))),
        ("Loaded::NotModified", |c, k| {
            c.insert(k, 1);
            c.expire(&k);
            let renew = |_: Option<Entry<'_, Key, u64>>| Ok::<_, Broken>(Loaded::NotModified);
            drop(c.entry(&k).ttl(MINUTE).revalidate_with(renew).unwrap());
        }),
        ("Loaded::NewFor over exact_ttl()", |c, k| {
            let load = |_: Option<Entry<'_, Key, u64>>| Ok::<_, Broken>(Loaded::NewFor(1, MINUTE));
            drop(c.entry(&k).exact_ttl(SECOND).revalidate_with(load).unwrap());
        }),
    ];
    for (how, fill) in jittered {
        assert!(spread(|b| b, fill) > 10 * SECOND, "{how}");
    }
    assert!(spread(|b| b.time_to_live(MINUTE), |c, k| _ = c.get_with(&k, || 1)) > 10 * SECOND);
    assert!(spread(|b| b.ttl_with(|_, _| Some(MINUTE)), |c, k| c.insert(k, 1)) > 10 * SECOND);
}

#[test]
fn what_is_asked_for_exactly_is_not() {
    let exact: [(&str, Fill); 6] = [
        ("insert_with_ttl", |c, k| c.insert_with_ttl(k, 1, MINUTE)),
        ("fulfil_with_ttl", |c, k| {
            let Lookup::Lead(lease) = c.lease(&k) else { panic!() };
            drop(lease.fulfil_with_ttl(1, MINUTE).unwrap());
        }),
        ("entry().exact_ttl()", |c, k| drop(c.entry(&k).exact_ttl(MINUTE).get_with(|| 1))),
        ("the last of both", |c, k| drop(c.entry(&k).ttl(SECOND).exact_ttl(MINUTE).get_with(|| 1))),
        ("detached().exact_ttl()", |c, k| drop(c.detached(&k).exact_ttl(MINUTE).get_with(|| 1))),
        ("Loaded::NewForExactly", |c, k| revalidated(c, k, Loaded::NewForExactly(1, MINUTE))),
    ];
    for (how, fill) in exact {
        assert_eq!(spread(|b| b.time_to_live(SECOND), fill), Duration::ZERO, "{how}");
    }
}
