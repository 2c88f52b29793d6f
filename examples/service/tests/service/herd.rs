//! A herd on one product.

use crate::support::Running;
use reqwest::{Method, StatusCode};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Sends requests for one path, and returns when all of them are in progress.
pub async fn herd(service: &Arc<Running>, requests: u64, path: &'static str) -> JoinSet<StatusCode> {
    let mut all = JoinSet::new();
    for _ in 0..requests {
        let service = service.clone();
        all.spawn(async move { service.get(path).await.status });
    }
    service.until_open(requests).await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cold_product_makes_one_query() {
    let service = Arc::new(Running::start().await);
    service.stall(true).await;
    let all = herd(&service, 64, "/products/1").await;
    service.until_waiting(63).await;
    service.stall(false).await;
    assert!(all.join_all().await.iter().all(|status| *status == StatusCode::OK));

    let counts = service.stats().await["counts"].clone();
    for (name, count) in [("requests", 64), ("called", 1), ("waited", 63), ("handler_calls", 1), ("queries", 1)] {
        assert_eq!(counts[name], count, "{name} of {counts}");
    }
    let responses = format!("{}-responses", service.name);
    let metric = async |name, cache: &str| service.metric(name, cache, &[]).await;
    assert_eq!(metric("bellwether_waits_total", &responses).await.as_deref(), Some("63"));
    assert_eq!(metric("bellwether_loads_total", &responses).await.as_deref(), Some("1"));
    assert_eq!(metric("bellwether_loads_total", &service.name).await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_caches_each_request_is_a_query() {
    let service = Arc::new(Running::start().await);
    service.stall(true).await;
    let all = herd(&service, 20, "/direct/products/1").await;
    service.stall(false).await;
    assert!(all.join_all().await.iter().all(|status| *status == StatusCode::OK));
    let counts = service.stats().await["counts"].clone();
    assert_eq!((&counts["direct"], &counts["hot_queries"]), (&20.into(), &20.into()), "{counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_waits_is_served_after_its_first_client_has_gone() {
    let service = Arc::new(Running::start().await);
    service.stall(true).await;
    let mut leader = herd(&service, 1, "/products/2").await;
    let mut others = JoinSet::new();
    for _ in 0..10 {
        let service = service.clone();
        others.spawn(async move { service.get("/products/2").await.status });
    }
    service.until_open(11).await;
    leader.shutdown().await;
    service.until_open(10).await;
    service.stall(false).await;
    assert!(others.join_all().await.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(service.count("queries").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_clearing_of_the_hot_product_makes_one_query() {
    let service = Arc::new(Running::start().await);
    service.get("/products/1").await;
    service.stall(true).await;
    let clear = service.send(service.request(Method::POST, "/demo/clear")).await;
    assert_eq!(clear.status, StatusCode::NO_CONTENT);
    let all = herd(&service, 30, "/products/1").await;
    service.stall(false).await;
    assert!(all.join_all().await.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(service.count("hot_queries").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_expired_product_gets_the_old_answer() {
    let service = Arc::new(Running::start().await);
    let fresh = service.get("/products/1").await;
    service.stall(true).await;
    let expire = service.send(service.request(Method::POST, "/demo/expire")).await;
    assert_eq!(expire.status, StatusCode::NO_CONTENT);
    // The query hangs, and no caller does.
    for _ in 0..20 {
        let old = service.get("/products/1").await;
        assert_eq!((old.status, &old.text), (StatusCode::OK, &fresh.text));
    }
    let stats = service.until("refreshing", |stats| stats["asking"] == 1).await;
    assert_eq!(stats["counts"]["stale"], 20, "{stats}");
    service.stall(false).await;
}
