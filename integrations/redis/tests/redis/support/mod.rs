//! What the tests share.

pub mod node;
pub mod proxy;
pub mod server;
pub mod source;

use bellwether_redis::{Builder, LinkState, Tier};
use std::future::Future;
use std::time::Duration;

pub type Texts = Tier<String, String>;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A minute: longer than any test.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Runs a test on a runtime of its own, with a server; without one the test is skipped.
pub fn with_server<Fut: Future<Output = ()>>(test: impl FnOnce(server::Server) -> Fut) {
    let Some(server) = server::Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), test(server)).await.expect("the test hangs");
    });
    runtime.shutdown_background();
}

/// A builder for tests: an entry lives for a minute, a server that is slow is not taken for dead.
pub fn builder(url: &str) -> Builder<String, String> {
    Tier::builder(url)
        .unwrap()
        .namespace("test")
        .time_to_live(MINUTE)
        .lead_timeout(MINUTE)
        .command_timeout(Duration::from_secs(2))
        .heartbeat(Duration::from_millis(250), Duration::from_secs(2))
        .connect_timeout(Duration::from_secs(2))
}

/// Builds a tier, and waits until its link is up.
pub async fn up(builder: Builder<String, String>) -> Texts {
    let tier = builder.build().await.unwrap();
    link_up(&tier).await;
    tier
}

pub async fn tier(url: &str) -> Texts {
    up(builder(url)).await
}

pub async fn tiers(url: &str, number: usize) -> Vec<Texts> {
    let mut all = Vec::new();
    for _ in 0..number {
        all.push(tier(url).await);
    }
    all
}

pub async fn link_up(tier: &Texts) {
    wait_for_link(tier, |state| matches!(state, LinkState::Up { .. })).await;
}

pub async fn link_down(tier: &Texts) {
    wait_for_link(tier, |state| state == LinkState::Down).await;
}

async fn wait_for_link(tier: &Texts, is: impl Fn(LinkState) -> bool) {
    let mut states = tier.watch_link();
    let came = tokio::time::timeout(PATIENCE, states.wait_for(|state| is(*state))).await;
    came.expect("the link does not come to that state").unwrap();
}

/// Waits until something is true.
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(tokio::time::Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
