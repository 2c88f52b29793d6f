//! The names of the contract, and what may cross threads.

use bellwether::{Cache, DefaultHashBuilder, Entry, Equivalent, Lease, Lookup, Pinned, Ref, ToKey, Waiter};
use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

fn send<T: Send>() {}
fn sync<T: Sync>() {}

/// `true` if `T: Send`: an inherent constant shadows the trait's where its bound holds.
macro_rules! is_send {
    ($t:ty) => {{
        #[allow(dead_code)]
        trait No {
            const IS: bool = false;
        }
        impl<T: ?Sized> No for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + Send> Probe<T> {
            const IS: bool = true;
        }
        <Probe<$t>>::IS
    }};
}

#[test]
fn what_may_cross_threads() {
    send::<Cache<String, Vec<u8>>>();
    sync::<Cache<String, Vec<u8>>>();
    send::<Entry<'_, String, String>>();
    send::<Lease<'_, String, String>>();
    send::<Waiter<'_, String, String>>();
    send::<Lookup<'_, String, String>>();
    assert!(!is_send!(Ref<'_, u8, u8>), "a pin belongs to its thread");
    assert!(!is_send!(Pinned<'_, u8, u8, DefaultHashBuilder>));
    assert!(!is_send!(bellwether::Local<'_, u8, u8, DefaultHashBuilder>));
    assert!(!is_send!(Cache<Rc<str>, u8>) && !is_send!(Cache<u8, std::cell::Cell<u8>>));
    assert!(!is_send!(Entry<'_, u8, Rc<u8>>) && !is_send!(Lease<'_, Rc<u8>, u8>));
    assert!(is_send!(Cache<u8, u8>));
}

#[test]
fn borrowed_keys() {
    let strings: Cache<String, u32> = Cache::new(10);
    assert_eq!(strings.get_with("one", || 1), 1);
    assert_eq!((strings.get("one"), strings.get(&"one".to_owned())), (Some(1), Some(1)));
    let boxed: Cache<Box<str>, u32> = Cache::new(10);
    let shared: Cache<Arc<str>, u32> = Cache::new(10);
    let counted: Cache<Rc<str>, u32> = Cache::new(10);
    assert_eq!((boxed.get_with("a", || 1), shared.get_with("a", || 2), counted.get_with("a", || 3)), (1, 2, 3));
    let bytes: Cache<Vec<u8>, u32> = Cache::new(10);
    let slices: Cache<Arc<[u8]>, u32> = Cache::new(10);
    assert_eq!((bytes.get_with(&b"xy"[..], || 4), slices.get_with(&b"xy"[..], || 5)), (4, 5));
    let paths: Cache<PathBuf, u32> = Cache::new(10);
    assert_eq!(paths.get_with(Path::new("/tmp"), || 6), 6);

    /// A pair borrowed in parts.
    #[derive(Hash)]
    struct Pair<'a>(&'a str, u8);
    impl Equivalent<(String, u8)> for Pair<'_> {
        fn equivalent(&self, key: &(String, u8)) -> bool {
            self.0 == key.0 && self.1 == key.1
        }
    }
    impl ToKey<(String, u8)> for Pair<'_> {
        fn to_key(&self) -> (String, u8) {
            (self.0.to_owned(), self.1)
        }
    }
    let pairs: Cache<(String, u8), u32> = Cache::new(10);
    assert_eq!(pairs.get_with(&Pair("x", 1), || 7), 7);
    assert_eq!(pairs.get(&("x".to_owned(), 1)), Some(7));
}

#[test]
fn plain_reads_and_walks() {
    let cache: Cache<u32, String> = Cache::builder().max_capacity(100).name("names").record_stats().build().unwrap();
    (0..10).for_each(|k| cache.insert(k, k.to_string()));
    assert_eq!(cache.get_many(&[3, 99, 4]), [Some("3".into()), None, Some("4".into())]);
    assert_eq!(cache.get_many::<u32>([]), []);
    assert_eq!((cache.name(), cache.len(), cache.is_empty()), ("names", 10, false));
    assert_eq!(&*cache.get_ref(&5).unwrap(), "5");
    assert_eq!(&*cache.peek(&5).unwrap(), "5");
    let entry = cache.get_entry(&6).unwrap();
    let again = entry.clone();
    std::thread::scope(|s| drop(s.spawn(move || assert_eq!(&*again, "6"))));
    cache.invalidate(&6);
    assert_eq!((entry.as_str(), cache.get(&6)), ("6", None));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (4, 2), "{stats:?}");
    // A lookup is counted once, whatever it takes.
    assert_eq!((cache.get_with(&5, String::new).as_str(), cache.get_with(&50, String::new).as_str()), ("5", ""));
    drop(cache.lease(&51));
    cache.compute(&52, |_| bellwether::Op::Nop);
    assert_eq!((cache.stats().hits, cache.stats().misses), (5, 4));
    cache.invalidate(&50);
    let keys: HashSet<u32> = (&cache).into_iter().map(|r| *Ref::key(&r)).collect();
    assert_eq!(keys, (0..10).filter(|&k| k != 6).collect());
    // References outlive the iterator they came from.
    let kept: Vec<_> = cache.iter().collect();
    assert_eq!(kept.len(), 9);
    assert!(format!("{cache:?} {kept:?} {entry:?}").contains("names"));
}

#[test]
fn one_pin_for_many_calls() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let pinned = cache.pin();
    pinned.insert(1, 10);
    pinned.insert_with_ttl(2, 20, std::time::Duration::MAX);
    assert_eq!((pinned.get(&1), pinned.get_many(&[2, 3])), (Some(10), vec![Some(20), None]));
    assert_eq!(*pinned.get_ref(&1).unwrap() + *pinned.peek(&2).unwrap(), 30);
    assert!(pinned.contains_key(&1) && !pinned.is_loading(&1));
    assert_eq!(pinned.iter().map(|r| *r).sum::<u32>(), 30);
    assert_eq!((&pinned).into_iter().count(), 2);
    let entry = pinned.get_entry(&1).unwrap();
    assert_eq!((pinned.remove(&1), pinned.remove_if(&2, |_, _| false), pinned.invalidate(&2)), (Some(10), None, true));
    pinned.retain(|_, _| true);
    pinned.invalidate_all();
    pinned.set_capacity(5);
    assert_eq!((pinned.purge_expired(), cache.capacity()), (0, 5));
    drop(pinned);
    assert_eq!(*entry, 10);
    let local = cache.register();
    let Lookup::Lead(lease) = local.lease(&7) else { panic!() };
    lease.fulfil(70).unwrap();
    assert_eq!(local.pin().get(&7), Some(70));
}

#[test]
fn without_a_capacity_limit_nothing_is_allocated_up_front_and_nothing_evicted() {
    let cache: Cache<u32, u32> = Cache::new(u64::MAX);
    (0..100_000).for_each(|k| cache.insert(k, k));
    assert_eq!((cache.len(), cache.stats().evictions), (100_000, 0));
    assert!((0..100_000).all(|k| cache.get(&k) == Some(k)), "through every growth of the table");
    // A wild guess is not taken at its word.
    for guess in [100_000, usize::MAX] {
        let sized: Cache<u32, u32> = Cache::builder().max_capacity(10).initial_capacity(guess).build().unwrap();
        (0..100).for_each(|k| sized.insert(k, k));
        assert_eq!(sized.len(), 10);
    }
}

/// However many: they are looked up several at a time.
#[test]
fn many_keys_in_their_order() {
    let cache = Cache::new(1000);
    (0..500).step_by(2).for_each(|key: u32| cache.insert(key, key));
    for many in [1, 15, 16, 17, 32, 500] {
        // Some of them twice.
        let keys: Vec<_> = (0..many).map(|i| i * 7 % 450).collect();
        let expected: Vec<_> = keys.iter().map(|key| (key % 2 == 0).then_some(*key)).collect();
        assert_eq!(cache.get_many(&keys), expected);
        assert_eq!(cache.pin().get_many(&keys), expected);
    }
}
