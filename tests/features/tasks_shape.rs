//! What the futures are: `Send`, and small.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, Equivalent, ToKey};
use std::cell::Cell;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::thread;

/// A query of another type than the key.
#[derive(PartialEq, Eq, Hash)]
struct Query(u32);

impl Equivalent<Key> for Query {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == *key
    }
}
impl ToKey<Key> for Query {
    fn to_key(&self) -> Key {
        self.0
    }
}

/// The bounds of the design, and no others, make the futures `Send` (src/future.rs has the converse).
#[allow(dead_code, reason = "it is enough that it compiles")]
fn futures_are_send<K, V, S, Q, F, G, Fut, Gut, E>(cache: &Cache<K, V, S>, q: &Q, f: F, g: G)
where
    K: Send + Sync,
    V: Send + Sync + Clone,
    S: Sync + std::hash::BuildHasher,
    Q: ?Sized + Sync + Hash + Equivalent<K> + ToKey<K>,
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = V> + Send,
    G: FnOnce() -> Gut + Send,
    Gut: Future<Output = Result<V, E>> + Send,
    E: Send + Sync + 'static,
{
    fn send<T: Send>(_: T) {}
    send(cache.get_with_async(q, f));
    send(cache.try_get_with_async(q, g));
}

#[test]
fn futures_are_sent_and_finished_elsewhere() {
    let cache: TestCache = Cache::new(10);
    // A future that is `Send` and not `Sync`.
    let cell = Cell::new(4);
    let q = Query(1);
    let mut leader = Box::pin(cache.get_with_async(&q, || async move {
        yield_now().await;
        cell.get()
    }));
    let mut polls = Task::new(std::future::poll_fn(|cx| leader.as_mut().poll(cx)));
    polls.step();
    drop(polls);
    let waiter = cache.get_with_async(&1, async || unreachable!());
    let mut waiter = Box::pin(waiter);
    let mut polls = Task::new(std::future::poll_fn(|cx| waiter.as_mut().poll(cx)));
    polls.step();
    drop(polls);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(waiter));
        let leader = scope.spawn(|| block_on(leader));
        assert_eq!((leader.join().unwrap(), waiter.join().unwrap()), (4, 4));
    });
    nothing_in_flight(&cache, 1);
}

/// What a call may add to its loader's own size, and how often it may hold the loader.
const FIXED: usize = 448;

#[test]
fn futures_are_not_much_larger_than_their_loaders() {
    fn sizes<const N: usize>() -> [usize; 4] {
        let cache: TestCache = Cache::new(1);
        let held = [1_u8; N];
        // The loader holds its bytes in the closure and across an await, as a real one does.
        let load = move || async move {
            yield_now().await;
            held.iter().map(|&b| u64::from(b)).sum::<u64>()
        };
        let fallible = move || async move { Ok::<_, Broken>(load().await) };
        let own = size_of_val(&load).max(size_of_val(&load()));
        let fallible_own = size_of_val(&fallible).max(size_of_val(&fallible()));
        let infallible_call = size_of_val(&cache.get_with_async(&1, load));
        let fallible_call = size_of_val(&cache.try_get_with_async(&1, fallible));
        assert!(infallible_call <= own * 5 / 2 + FIXED, "{infallible_call} for {own}");
        assert!(fallible_call <= fallible_own * 5 / 2 + FIXED, "{fallible_call} for {fallible_own}");
        [own, infallible_call, fallible_own, fallible_call]
    }
    for (bytes, sizes) in [(0, sizes::<0>()), (256, sizes::<256>()), (4096, sizes::<4096>())] {
        let [own, call, fallible, try_call] = sizes;
        println!("{bytes} bytes held: loader {own}, get_with_async {call}; loader {fallible}, try_ {try_call}");
    }
}

/// What a call adds that keeps handles, and tells how it came by its value.
const TOLD: usize = FIXED + 80;

#[test]
fn futures_of_requests_hold_no_more_of_their_loaders() {
    fn sizes<const N: usize>() -> [usize; 4] {
        let cache: Arc<TestCache> = Arc::new(Cache::new(1));
        let held = [1_u8; N];
        let load = move || async move {
            yield_now().await;
            held.iter().map(|&b| u64::from(b)).sum::<u64>()
        };
        let own = size_of_val(&load).max(size_of_val(&load()));
        let request = size_of_val(&cache.entry(&1).get_with_async(load));
        assert!(request <= own * 5 / 2 + TOLD, "{request} for {own}");
        // In the background they are boxed: a call holds what makes them.
        let (making, detached) = (size_of_val(&load), size_of_val(&cache.detached(&1).get_with_async(load)));
        assert!(detached <= making * 9 / 2 + TOLD + 160, "{detached} for {making}");
        let loading = Cache::builder().max_capacity(1).loader(move |_: &Key| {
            let load = load();
            async move { Ok::<_, Broken>(load.await) }
        });
        let loading = size_of_val(&loading.build().unwrap().load_async(&1));
        assert!(loading <= 2 * TOLD, "{loading}, which has nothing of it");
        [own, request, detached, loading]
    }
    for (bytes, sizes) in [(0, sizes::<0>()), (256, sizes::<256>()), (4096, sizes::<4096>())] {
        let [own, request, detached, loading] = sizes;
        println!("{bytes} bytes held: loader {own}, entry {request}, detached {detached}, load_async {loading}");
    }
}
