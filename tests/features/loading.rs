//! Caches with a loader of their own: one key, many keys, refreshes that nobody asks a closure for.

use crate::common::tasks::{block_on, yield_now};
use crate::common::*;
use bellwether::{Answers, Cache, Load, LoadAsync, LoadError, LoadingCache, ManualClock};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// Loads ten times the key, and keeps account of its calls. Keys from 100 on fail, and those from 1,000 on panic.
#[derive(Clone, Default)]
struct Tens {
    calls: Arc<Mutex<Vec<Vec<u64>>>>,
    bonus: Arc<AtomicUsize>,
    gate: Option<Gate>,
}

impl Tens {
    fn gated() -> (Self, Gate) {
        let gate = Gate::default();
        (Self { gate: Some(gate.clone()), ..Self::default() }, gate)
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.calls.lock().unwrap().clone()
    }

    fn begin(&self, keys: &[&u64]) {
        self.calls.lock().unwrap().push(keys.iter().map(|k| **k).collect());
    }

    fn value(&self, key: u64) -> Result<u64, Broken> {
        assert!(key < 1000, "the loader panics, as it was told to");
        if key < 100 { Ok(10 * key + self.bonus.load(SeqCst) as u64) } else { Err(Broken("no such key")) }
    }
}

impl Load<u64, u64> for Tens {
    type Error = Broken;
    fn load(&self, key: &u64) -> Result<u64, Broken> {
        self.begin(&[key]);
        self.gate.iter().for_each(Gate::pass);
        self.value(*key)
    }
    fn load_all(&self, keys: &[&u64], answers: &mut Answers<'_, u64, u64, Broken>) {
        self.begin(keys);
        self.gate.iter().for_each(Gate::pass);
        keys.iter().for_each(|key| assert!(answers.answer(*key, self.value(**key))));
    }
}

struct Async(Tens);

impl LoadAsync<u64, u64> for Async {
    type Error = Broken;
    async fn load(&self, key: &u64) -> Result<u64, Broken> {
        yield_now().await;
        self.0.load(key)
    }
    async fn load_all(&self, keys: &[&u64], answers: &mut Answers<'_, u64, u64, Broken>) {
        yield_now().await;
        self.0.load_all(keys, answers);
    }
}

fn tens(loader: &Tens) -> LoadingCache<u64, u64, Tens> {
    Cache::builder().max_capacity(1000).loader(loader.clone()).build().unwrap()
}

#[test]
fn one_key_is_loaded_once_and_refreshed_in_the_background() {
    let (loader, clock) = (Tens::default(), ManualClock::new());
    let builder = Cache::builder().max_capacity(10).time_to_live(10 * SECOND).stale_while_refresh(10 * SECOND);
    let cache = builder.clock(clock.clone()).loader(loader.clone()).build().unwrap();
    assert_eq!((cache.load(&1).unwrap(), cache.load(&1).unwrap()), (10, 10));
    assert!(matches!(cache.load(&100), Err(LoadError::Load(_))));
    assert_eq!(loader.calls(), [[1], [100]]);
    // Stale, and may be served: nobody waits.
    clock.advance(11 * SECOND);
    loader.bonus.store(1, SeqCst);
    assert_eq!(cache.load(&1).unwrap(), 10);
    until("it is refreshed", || cache.get(&1) == Some(11));
    // Without anybody who asks for it.
    loader.bonus.store(2, SeqCst);
    assert!(cache.refresh(&1));
    until("it is refreshed", || cache.get(&1) == Some(12));
    // An insertion changes nothing about the loader.
    cache.insert(1, 7);
    clock.advance(30 * SECOND);
    assert_eq!(cache.load(&1).unwrap(), 12);
}

#[test]
fn a_refresh_that_is_under_way_is_not_begun_twice() {
    let (loader, gate) = Tens::gated();
    let cache = tens(&loader);
    assert!(cache.refresh(&1));
    assert!(!cache.refresh(&1), "it is under way");
    let waits = thread::scope(|scope| {
        let waits = scope.spawn(|| cache.load(&1).unwrap());
        until("it waits", || cache.stats().coalesced == 1);
        gate.open();
        waits.join().unwrap()
    });
    assert_eq!((waits, loader.calls().len()), (10, 1));
}

#[test]
fn many_keys_are_loaded_by_one_call() {
    let loader = Tens::default();
    let cache = tens(&loader);
    cache.insert(3, 33);
    let all = cache.load_all(&[1, 2, 3, 101, 2, 1]);
    let values: Vec<Option<u64>> = all.iter().map(|r| r.as_ref().ok().copied()).collect();
    assert_eq!(values, [Some(10), Some(20), Some(33), None, Some(20), Some(10)]);
    assert!(matches!(&all[3], Err(LoadError::Load(e)) if e.0 == "no such key"));
    assert_eq!(loader.calls(), [vec![1, 2, 101]]);
    assert_eq!((cache.get(&1), cache.len(), cache.stats().loads), (Some(10), 3, 3));
    assert_eq!(cache.load_all(&[0; 0]).len(), 0);
}

/// Two bulk loads that overlap, and a single one within: each key is loaded once, and nobody waits for ever.
#[test]
fn bulk_and_single_loads_coalesce_key_by_key() {
    let (loader, gate) = Tens::gated();
    let cache = tens(&loader);
    thread::scope(|scope| {
        let one = scope.spawn(|| cache.load_all(&[1, 2, 3, 4]));
        until("it loads", || loader.calls().len() == 1);
        let two = scope.spawn(|| cache.load_all(&[5, 4, 3, 6]));
        until("it loads the rest", || loader.calls().len() == 2);
        let single = scope.spawn(|| cache.load(&6).unwrap());
        until("it waits", || cache.stats().coalesced == 3);
        gate.open();
        let values = |all: Vec<Result<u64, _>>| all.into_iter().map(|r| r.ok().unwrap()).collect::<Vec<_>>();
        assert_eq!(values(one.join().unwrap()), [10, 20, 30, 40]);
        assert_eq!(values(two.join().unwrap()), [50, 40, 30, 60]);
        assert_eq!(single.join().unwrap(), 60);
    });
    assert_eq!(loader.calls(), [vec![1, 2, 3, 4], vec![5, 6]]);
}

#[test]
fn a_bulk_load_that_panics_gives_all_up() {
    let loader = Tens::default();
    let cache = tens(&loader);
    let all = quietly(|| cache.load_all(&[1, 1000]));
    assert!(matches!(all[..], [Err(LoadError::Panicked(_)), Err(LoadError::Panicked(_))]), "{all:?}");
    assert!(!cache.is_loading(&1) && !cache.is_loading(&1000) && cache.is_empty());
    assert_eq!(cache.load(&1).unwrap(), 10);
}

/// A loader that asks for one of the keys that it is loading is told so; one that forgets some abandons them.
#[test]
fn odd_bulk_loaders() {
    static CACHE: std::sync::OnceLock<LoadingCache<u64, u64, Odd>> = std::sync::OnceLock::new();
    struct Odd;
    impl Load<u64, u64> for Odd {
        type Error = Broken;
        fn load(&self, _: &u64) -> Result<u64, Broken> {
            unreachable!("only in bulk")
        }
        fn load_all(&self, _: &[&u64], answers: &mut Answers<'_, u64, u64, Broken>) {
            let asked = CACHE.get().map(|cache| cache.load(&2));
            assert!(matches!(asked, Some(Err(LoadError::Reentrant))), "{asked:?}");
            assert!(answers.put(&1, 1));
        }
    }
    let cache = CACHE.get_or_init(|| Cache::builder().max_capacity(9).loader(Odd).build().unwrap());
    let all = cache.load_all(&[1, 2]);
    assert!(matches!((&all[0], &all[1]), (Ok(1), Err(LoadError::Abandoned))), "{all:?}");
}

#[test]
fn tasks_load_in_the_background() {
    fn sent<F: Future + Send>(future: F) -> F {
        future
    }
    let loader = Tens::default();
    let cache = Cache::builder().max_capacity(1000).loader(Async(loader.clone())).build().unwrap();
    block_on(async {
        assert_eq!(sent(cache.load_async(&1)).await.unwrap(), 10);
        let keys = [1, 2, 3, 100, 2];
        let all = sent(cache.load_all_async(&keys)).await;
        let values: Vec<Option<u64>> = all.into_iter().map(Result::ok).collect();
        assert_eq!(values, [Some(10), Some(20), Some(30), None, Some(20)]);
    });
    assert_eq!(loader.calls(), [vec![1], vec![2, 3, 100]]);
    assert!(cache.refresh_async(&1));
    until("it is refreshed", || !cache.is_loading(&1) && cache.stats().loads == 5);
    // Closures are loaders.
    let closure = |key: &u64| std::future::ready(Ok::<u64, Broken>(*key));
    let cache = Cache::builder().max_capacity(10).loader(closure).build().unwrap();
    assert_eq!(block_on(cache.load_async(&4)).unwrap(), 4);
}
