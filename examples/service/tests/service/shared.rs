//! The second tier: a `redis-server` of the test's own.

use crate::herd::herd;
use crate::support::{BOUND, Running, settings};
use bellwether_service::Settings;
use reqwest::StatusCode;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts a server. None: there is no `redis-server`, and the test is to be skipped.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir", "/tmp"]);
        let Ok(process) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            assert!(std::env::var("CI").is_err(), "there is no redis-server, and CI must have one");
            eprintln!("skipped: there is no redis-server");
            return None;
        };
        let end = Instant::now() + BOUND;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { process, port })
    }

    /// Starts a service that is linked to this server.
    async fn service(&self, database: &Path) -> Arc<Running> {
        let redis_url = Some(format!("redis://127.0.0.1:{}/", self.port));
        let database = Some(database.to_owned());
        let service = Running::start_with(Settings { redis_url, database, ..settings() }).await;
        service.until("linked", |stats| stats["products_in"] == "memory and Redis").await;
        Arc::new(service)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_make_one_query_and_hear_of_each_others_writes() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.sqlite");
    let (one, two) = (redis.service(&database).await, redis.service(&database).await);
    one.stall(true).await;
    let at_one = herd(&one, 16, "/products/5").await;
    one.until("asked", |stats| stats["asking"] == 1).await;
    let at_two = herd(&two, 16, "/products/5").await;
    one.stall(false).await;
    for all in [at_one, at_two] {
        assert!(all.join_all().await.iter().all(|status| *status == StatusCode::OK));
    }
    assert_eq!((one.count("queries").await, two.count("queries").await), (1, 0));
    // The response, too: two's handler was not called.
    assert_eq!((one.count("handler_calls").await, two.count("handler_calls").await), (1, 0));

    // A write at one reaches the responses and the products of two.
    assert!(two.get("/products/5").await.cache("hit"));
    assert_eq!(one.put(5, "Changed", "tea").await.status, StatusCode::OK);
    let end = Instant::now() + BOUND;
    while two.get("/products/5").await.json()["name"] != "Changed" {
        assert!(Instant::now() < end, "two has the old product");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_finds_what_the_others_have() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.sqlite");
    let first = redis.service(&database).await;
    let product = first.get("/products/6").await;
    let list = first.get("/products?category=tea").await;
    assert_eq!(first.get("/products/60000").await.status, StatusCode::NOT_FOUND);
    let second = redis.service(&database).await;
    assert_eq!(second.get("/products/6").await.text, product.text);
    assert_eq!(second.get("/products/60000").await.status, StatusCode::NOT_FOUND, "kept, too");
    assert_eq!(second.get("/products?category=tea").await.text, list.text);
    // They were responses. Another response for the product is made of the product.
    assert_eq!(second.get("/products/6?asked=anew").await.text, product.text);
    let stats = second.stats().await;
    assert_eq!((&stats["shared_responses"], &stats["shared_hits"]), (&3.into(), &1.into()), "{stats}");
    assert_eq!((&stats["counts"]["queries"], &stats["counts"]["handler_calls"]), (&0.into(), &1.into()), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_a_service_queries_for_itself() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.sqlite");
    let service = redis.service(&database).await;
    service.get("/products/7").await;
    drop(redis);
    service.until("unlinked", |stats| stats["products_in"] == "memory; the link to Redis is down").await;
    assert_eq!(service.get("/products/8").await.status, StatusCode::OK);
    assert_eq!(service.put(8, "Changed", "tea").await.status, StatusCode::OK);
    assert_eq!(service.get("/products/8").await.json()["name"], "Changed");
}
