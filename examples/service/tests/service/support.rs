//! A service of a test's own, and a client for it.

use bellwether_service::{Service, Settings};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A bound against hangs, much longer than anything here takes.
pub const BOUND: Duration = Duration::from_secs(60);

/// Settings under which nothing expires while a test runs, and no deadline ends.
pub fn settings() -> Settings {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let hour = Duration::from_secs(3600);
    Settings {
        port: 0,
        orders: 200,
        product_ttl: hour,
        negative_ttl: hour,
        response_ttl: hour,
        response_stale: hour,
        deadline: BOUND,
        // Each service has its own metrics.
        name: format!("products-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        ..Settings::default()
    }
}

pub struct Running {
    service: Service,
    client: reqwest::Client,
    pub name: String,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns whether `Cache-Status` has this parameter.
    pub fn cache(&self, parameter: &str) -> bool {
        self.header("cache-status").split(';').any(|part| part.trim() == parameter)
    }
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let name = settings.name.clone();
        let service = Service::start(settings).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap();
        Self { service, client, name }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.service.address()))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn put(&self, id: u32, name: &str, category: &str) -> Reply {
        let details = json!({ "name": name, "category": category, "price_cents": 450 });
        self.send(self.request(Method::PUT, &format!("/products/{id}")).json(&details)).await
    }

    pub async fn post(&self, path: &str, body: Value) {
        let reply = self.send(self.request(Method::POST, path).json(&body)).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text);
    }

    /// Takes the database's connections away, or gives them back.
    pub async fn stall(&self, stalled: bool) {
        self.post("/demo/database", json!({ "stalled": stalled })).await;
    }

    pub async fn stats(&self) -> Value {
        self.get("/stats").await.json()
    }

    pub async fn count(&self, name: &str) -> u64 {
        self.stats().await["counts"][name].as_u64().unwrap()
    }

    /// Asks until the answer is as wanted.
    async fn ask_until<T: Debug>(what: &str, ask: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
        let end = Instant::now() + BOUND;
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "never {what}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the numbers are as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        Self::ask_until(what, async || self.stats().await, wanted).await
    }

    /// Waits until so many requests are in progress.
    pub async fn until_open(&self, requests: u64) {
        self.until("all in progress", |stats| stats["open"] == requests).await;
    }

    /// Waits until so many requests wait for another one's response. (One that is in progress may
    /// not have looked for it yet.)
    pub async fn until_waiting(&self, requests: u64) {
        let responses = format!("{}-responses", self.name);
        let waits = async || self.metric("bellwether_waits_total", &responses, &[]).await;
        Self::ask_until("all waiting", waits, |waits| *waits == Some(requests.to_string())).await;
    }

    /// Returns a line of the metrics: that of this service's cache `cache`, with all of these parts.
    pub async fn metric(&self, name: &str, cache: &str, parts: &[&str]) -> Option<String> {
        let cache = format!("cache=\"{cache}\"");
        let text = self.get("/metrics").await.text;
        let is_it = |line: &&str| {
            line.starts_with(&format!("{name}{{"))
                && line.contains(&cache)
                && parts.iter().all(|part| line.contains(part))
        };
        text.lines().find(is_it).map(|line| line.rsplit(' ').next().unwrap().to_owned())
    }

    pub async fn stop(self) {
        drop(self.client);
        self.service.stop().await;
    }
}
