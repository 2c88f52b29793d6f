//! What a leader is left with whose lease was taken over: a node of its own, which shows the flight's key.
#![cfg(loom)]

use bellwether::{Cache, Entry, Lookup, Waited};
use bellwether_loom_tests::*;
use std::hash::{Hash, Hasher};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A key that loom watches.
#[derive(Clone, Debug)]
struct Name(Value);

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.read() == other.0.read()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(0);
    }
}

type Names = std::sync::Arc<Cache<Name, Value, Plain>>;
type Named = Entry<'static, Name, Value>;

/// The entry of a fenced leader, which shows the key of the flight's node; that is an entry of the cache. Two more are to be
/// removed, so that what is retired is collected.
fn fenced() -> (Names, Named) {
    let clock = Still::default();
    let builder = Cache::builder().max_capacity(10).shards(1).seed(1).hasher(Plain::default()).initial_capacity(4);
    let builder = builder.clock(clock.clone()).timer(Never).lead_timeout(SECOND);
    let cache: Names = std::sync::Arc::new(builder.build().expect("a valid configuration"));
    [1, 2].into_iter().for_each(|n| cache.insert(Name(Value::new(n)), Value::new(n)));
    let key = Name(Value::new(0));
    let (Lookup::Lead(lease), Lookup::Wait(waiter)) = (cache.lease_owned(&key), cache.lease_owned(&key)) else {
        unreachable!()
    };
    clock.tick();
    let Waited::Lead(next) = loom::future::block_on(waiter) else { unreachable!() };
    assert!(next.fulfil(Value::new(8)).is_ok());
    (cache, lease.fulfil(Value::new(7)).expect_err("it was fenced"))
}

fn shows(entry: &Named) {
    assert_eq!((Entry::key(entry).0.read(), entry.read()), (0, 7));
}

/// What a fenced leader has is dropped as the flight's node, whose key it shows, is removed and collected.
/// Sees «unshare», «fenced without a share», «fenced share kept».
#[test]
fn fenced_entry_meets_removal() {
    model(3, || {
        let (cache, entry) = fenced();
        let thread = spawn(move || shows(&entry));
        for n in [0, 1, 2] {
            assert!(cache.invalidate(&Name(Value::new(n))));
        }
        thread.join().unwrap();
        assert_eq!(cache.len(), 0);
    });
}

/// It is dropped as a clone of it is: by the last one, with its share of the flight's node.
/// Sees «unshare», «last share unordered», «fenced without a share», «fenced share kept».
#[test]
fn fenced_entry_meets_its_clone() {
    model(3, || {
        let (cache, entry) = fenced();
        let clone = entry.clone();
        assert!(cache.invalidate(&Name(Value::new(0))));
        let thread = spawn(move || shows(&clone));
        shows(&entry);
        drop(entry);
        cache.invalidate(&Name(Value::new(1)));
        thread.join().unwrap();
    });
}

bugs! {
    fenced_entry_meets_removal: "unshare", "fenced without a share", "fenced share kept";
    fenced_entry_meets_its_clone: "unshare", "last share unordered", "fenced without a share", "fenced share kept";
}
