//! What the README's calls show, one by one.

use crate::support::Running;
use reqwest::{Method, StatusCode};
use serde_json::json;

const README: &str = include_str!("../../README.md");

#[tokio::test]
async fn a_first_request_and_a_second_one() {
    let service = Running::start().await;
    let first = service.get("/products/1").await;
    assert_eq!(first.status, StatusCode::OK);
    assert!(first.cache("fwd=uri-miss") && first.cache("stored"), "{}", first.header("cache-status"));
    assert!(first.header("surrogate-key").split(' ').any(|tag| tag == "product:1"));
    assert!(first.header("cache-control").contains("s-maxage=3600"));
    let second = service.get("/products/1").await;
    assert!(second.cache("hit"), "{}", second.header("cache-status"));
    assert!(second.header("age").parse::<u64>().is_ok());
    assert_eq!(first.text, second.text);
    let shown = first.json();
    assert_eq!((&shown["id"], &shown["orders"]), (&1.into(), &200.into()));
    assert_eq!(shown["bought_together"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_client_that_has_it_gets_304() {
    let service = Running::start().await;
    let tag = service.get("/products/1").await.header("etag").to_owned();
    assert!(tag.starts_with('"') || tag.starts_with("W/\""), "{tag}");
    let again = service.send(service.request(Method::GET, "/products/1").header("if-none-match", &tag)).await;
    assert_eq!((again.status, &*again.text, again.header("etag")), (StatusCode::NOT_MODIFIED, "", &*tag));
    assert!(again.cache("hit"));
}

#[tokio::test]
async fn that_there_is_no_such_product_is_kept() {
    let service = Running::start().await;
    for kept in [false, true] {
        let none = service.get("/products/999999").await;
        assert_eq!((none.status, none.cache("hit")), (StatusCode::NOT_FOUND, kept));
        assert_eq!(none.json()["error"], "no product 999999");
    }
    assert_eq!(service.count("queries").await, 1);
}

#[tokio::test]
async fn a_write_ends_what_shows_the_product() {
    let service = Running::start().await;
    let list = service.get("/products?category=tea").await;
    assert!(list.json().as_array().unwrap().iter().any(|line| line["id"] == 1));
    assert!(service.get("/products?category=tea").await.cache("hit"));
    let details = json!({ "name": "Assam, first flush", "category": "tea", "price_cents": 990 });
    let written = service.send(service.request(Method::PUT, "/products/1").json(&details)).await;
    assert_eq!((written.status, &written.json()["id"]), (StatusCode::OK, &1.into()));
    let ended = ["category:tea", "mentions:1", "product:1", "products"];
    assert_eq!(written.json()["invalidated"], json!(ended));
    let page = service.get("/products/1").await;
    assert!(!page.cache("hit"));
    assert_eq!((&page.json()["name"], &page.json()["price_cents"]), (&"Assam, first flush".into(), &990.into()));
    assert!(!service.get("/products?category=tea").await.cache("hit"));
}

/// The query that was too slow for its client goes on, and the next client finds its answer.
#[tokio::test]
async fn a_deadline_ends_the_wait_and_not_the_query() {
    let service = Running::start().await;
    service.stall(true).await;
    let hasty = service.send(service.request(Method::GET, "/products/1").header("x-deadline-ms", 20)).await;
    assert_eq!(hasty.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(hasty.json()["error"], "no answer within 20 ms");
    service.stall(false).await;
    assert_eq!(service.get("/products/1").await.status, StatusCode::OK);
    assert_eq!((service.count("queries").await, service.count("late").await), (1, 1));

    let wrong = service.send(service.request(Method::GET, "/products/1").header("x-deadline-ms", "soon")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_service_has_a_deadline_of_its_own() {
    let deadline = std::time::Duration::from_millis(30);
    let settings = bellwether_service::Settings { deadline, ..crate::support::settings() };
    let service = Running::start_with(settings).await;
    service.stall(true).await;
    let later = service.request(Method::GET, "/products/1").header("x-deadline-ms", 60_000);
    assert_eq!(service.send(later).await.json()["error"], "no answer within 30 ms");
    service.stall(false).await;
}

#[tokio::test]
async fn without_the_caches_nothing_is_kept() {
    let service = Running::start().await;
    for _ in 0..2 {
        let direct = service.get("/direct/products/1").await;
        assert_eq!((direct.status, direct.header("cache-control")), (StatusCode::OK, "no-store"));
        assert_eq!(direct.header("cache-status"), "");
    }
    assert_eq!(service.count("queries").await, 2);
}

#[tokio::test]
async fn the_metrics_have_the_counters_of_both_caches() {
    let service = Running::start().await;
    for _ in 0..3 {
        service.get("/products/1").await;
    }
    let reply = service.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for name in ["service_requests_total", "service_queries_total", "service_handler_calls_total"] {
        assert!(reply.text.contains(&format!("# TYPE {name} counter")), "{name}");
    }
    let (products, responses) = (service.name.clone(), format!("{}-responses", service.name));
    let missing = ["kind=\"missing\""];
    for cache in [&products, &responses] {
        assert_eq!(service.metric("bellwether_loads_total", cache, &missing).await.as_deref(), Some("1"), "{cache}");
        let count = service.metric("bellwether_load_duration_seconds_count", cache, &missing).await;
        assert_eq!(count.as_deref(), Some("1"), "{cache}");
    }
    assert_eq!(service.metric("bellwether_entries", &products, &[]).await.as_deref(), Some("1"));
    assert_eq!(service.metric("bellwether_misses_total", &products, &[]).await.as_deref(), Some("1"));
}

/// Each path and each name of the environment in the README is one that the service has.
#[test]
fn the_readme_calls_what_is_there() {
    let calls = README.lines().filter(|line| line.starts_with("$ curl ")).collect::<Vec<_>>();
    assert!(calls.len() > 6, "the calls were found: {calls:?}");
    for call in calls {
        let address = call.split("localhost:808").nth(1).expect("an address").split(['\'', ' ']).next().unwrap();
        let path = &address[1..];
        let known = ["/products", "/direct/products/", "/metrics", "/stats", "/demo/"];
        assert!(known.iter().any(|known| path.starts_with(known)), "{call}");
    }
    for name in README.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split('`').next()) {
        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            assert!(include_str!("../../src/settings.rs").contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
