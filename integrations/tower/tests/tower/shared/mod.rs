//! Stores on one `redis-server`, which each test starts on a free port and stops. Where there is
//! none, the tests say so and pass; with `CI=true` they fail.
//!
//! Several stores in one process are as many processes to each other: each has a memory, an identity
//! and a connection of its own. What needs a process that ends is in `processes`.

mod answers;
mod failures;
mod herds;
mod invalidations;
mod outages;
mod processes;
// The server of bellwether-redis's tests.
#[allow(dead_code, unreachable_pub, reason = "of another test binary, which uses more of it")]
#[path = "../../../../redis/tests/redis/support/server.rs"]
mod server;

use crate::support::*;
use bellwether::ManualClock;
use bellwether_redis::LinkState;
use bellwether_tower::{Builder, CacheLayer, RedisTier, ResponseCache};
use server::Server;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Runs a test with a server; without one the test is skipped.
fn with_server<Fut: Future<Output = ()>>(test: impl FnOnce(Server) -> Fut) {
    let Some(server) = Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(bounded(test(server)));
    runtime.shutdown_background();
}

/// A second level for tests: a server that is slow is not taken for dead.
fn tier(url: &str) -> RedisTier {
    RedisTier::new(url)
        .namespace("test")
        .lead_timeout(s(60))
        .command_timeout(s(2))
        .heartbeat(Duration::from_millis(250), s(2))
        .connect_timeout(s(2))
}

/// A store of one process.
fn store() -> Builder {
    ResponseCache::builder().max_bytes(1 << 24)
}

async fn link(cache: &ResponseCache, is: impl Fn(&LinkState) -> bool) {
    let mut states = cache.watch_link().expect("it has a second level");
    bounded(states.wait_for(|state| is(state))).await.unwrap();
}

async fn link_up(cache: &ResponseCache) {
    link(cache, |state| matches!(state, LinkState::Up { .. })).await;
}

/// Builds a store, and waits until its link is up.
async fn up(builder: Builder, tier: RedisTier) -> ResponseCache {
    let cache = builder.build_on(tier).await.unwrap();
    link_up(&cache).await;
    cache
}

/// Waits until something is true.
async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + s(60);
    while !is() {
        assert!(Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The handler of all processes: it counts its calls, over all of them.
#[derive(Clone)]
struct Origin {
    calls: Arc<AtomicUsize>,
    gate: Gate,
    make: Arc<dyn Fn(usize, Asked) -> Answer + Send + Sync>,
}

impl Origin {
    /// `make` gets the number of the call, from 1.
    fn new(make: impl Fn(usize, Asked) -> Answer + Send + Sync + 'static) -> Self {
        let origin = Self::held(make);
        origin.gate.open();
        origin
    }

    /// An origin whose calls wait.
    fn held(make: impl Fn(usize, Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), gate: Gate::closed(), make: Arc::new(make) }
    }

    /// An origin whose answers are all alike, but for the body: the number of the call.
    fn fixed(lines: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(move |call, _| answer(200, lines, call.to_string()))
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    async fn called(&self, times: usize) {
        eventually("a call of the handler", || self.calls() >= times).await;
    }

    /// A process with this handler.
    fn site(&self, cache: &ResponseCache, layer: CacheLayer) -> Site {
        let origin = self.clone();
        Site::with(cache.clone(), layer, ManualClock::new(), move |_, request| {
            let (origin, call) = (origin.clone(), origin.calls.fetch_add(1, SeqCst) + 1);
            async move {
                origin.gate.pass().await;
                (origin.make)(call, request)
            }
        })
    }

    /// A process of the test's server with this handler.
    async fn process(&self, server: &Server) -> Site {
        let cache = up(store(), tier(&server.url())).await;
        self.site(&cache, cache.layer())
    }
}

/// Begins requests for `/`. When this returns, all of them wait for the handler.
async fn ten(site: &Site) -> Vec<JoinHandle<Read>> {
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let site = site.clone();
        let mut call = Box::pin(async move { site.call(get("/", &[])).await });
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        tasks.push(tokio::spawn(call));
    }
    tasks
}

async fn all(tasks: Vec<JoinHandle<Read>>) -> Vec<Read> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(bounded(task).await.unwrap());
    }
    all
}

/// Waits until a process waits for the call of another one.
async fn waits(site: &Site) {
    eventually("a wait for another process", || site.cache.tier_stats().unwrap().waits > 0).await;
}

/// Returns what the cache says it did, without the time that passes as the test runs.
fn did(read: &Read) -> String {
    let parts = read.did().split("; ").filter(|part| !part.starts_with("ttl="));
    parts.collect::<Vec<_>>().join("; ")
}

/// Asks until memory answers. (A push that is late may end what memory has just taken.)
async fn from_memory(site: &Site) -> Read {
    let end = Instant::now() + s(60);
    loop {
        let read = site.get("/").await;
        if did(&read).ends_with("bellwether; hit") {
            return read;
        }
        assert!(Instant::now() < end, "never from memory: {}", read.did());
    }
}

/// Returns all that the server has.
async fn everything(server: &Server) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut connection = server.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        // (Not all are texts.)
        if let Ok(value) = redis::cmd("GET").arg(&key).query_async::<Vec<u8>>(&mut connection).await {
            all.push((key, value));
        }
    }
    all
}
