//! Throughput of a cached hit, as ratios within one run: no cache at all, `axum-response-cache`, a
//! middleware written by hand around `moka`, and this layer. Rounds are interleaved, and each
//! figure is a median, so that what else the machine does hits all alike.
//!
//! ```sh
//! cargo bench -p bellwether-tower --bench ratios -- 60     # rounds
//! ```
//!
//! All four are services around the same handler, called without sockets: a kilobyte of JSON with
//! two headers, whose body the caller reads. The handler does nothing else, so "no cache" is no
//! cost that a cache could save, but the cost of the call itself.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bellwether_tower::ResponseCache;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tower::{Layer, Service, ServiceExt};

/// Calls of a contender in a round, on each thread.
const CALLS: usize = 2000;
const PAGES: usize = 16;
const MINUTE: Duration = Duration::from_secs(3600);

async fn handler(_: Request) -> Result<Response, Infallible> {
    let mut response = Response::new(Body::from(Bytes::from_static(&[b'x'; 1024])));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=3600"));
    Ok(response)
}

fn request(page: usize) -> Request {
    let uri = format!("/api/products/{page}?expand=prices&currency=eur");
    Request::builder().uri(uri).header("host", "shop.example").body(Body::empty()).unwrap()
}

/// What services write by hand: a key of method and URI, the parts and the bytes as the value.
fn by_hand<S>(inner: S) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    type Kept = (StatusCode, HeaderMap, Bytes);
    let cache: moka::future::Cache<String, Kept> =
        moka::future::Cache::builder().max_capacity(10_000).time_to_live(MINUTE).build();
    tower::service_fn(move |request: Request| {
        let (cache, inner) = (cache.clone(), inner.clone());
        async move {
            let key = format!("{} {}", request.method(), request.uri());
            let (status, headers, body) = match cache.get(&key).await {
                Some(kept) => kept,
                None => {
                    let (parts, body) = inner.oneshot(request).await?.into_parts();
                    let kept = (parts.status, parts.headers, body.collect().await.unwrap().to_bytes());
                    cache.insert(key, kept.clone()).await;
                    kept
                }
            };
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        }
    })
}

/// Returns the nanoseconds that a call takes, over `threads` threads that call at the same time.
fn measure<S, B>(service: &S, threads: usize) -> f64
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible, Future: Send> + Clone + Send,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send,
{
    let times: Vec<f64> = std::thread::scope(|scope| {
        let work = || {
            let service = service.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let requests: Vec<_> = (0..CALLS).map(|call| request(call % PAGES)).collect();
                runtime.block_on(async {
                    for page in 0..PAGES {
                        let response = service.clone().oneshot(request(page)).await.unwrap();
                        response.into_body().collect().await.unwrap();
                    }
                    let begin = Instant::now();
                    for request in requests {
                        let response = service.clone().oneshot(request).await.unwrap();
                        black_box(response.into_body().collect().await.unwrap().to_bytes());
                    }
                    begin.elapsed().as_nanos() as f64 / CALLS as f64
                })
            })
        };
        let all: Vec<_> = (0..threads).map(|_| work()).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    // `cargo test` builds and runs benches too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds: usize = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(40);
    let bare = tower::service_fn(handler);
    let axum_cache = axum_response_cache::CacheLayer::with_lifespan(MINUTE).layer(bare);
    let moka = by_hand(bare);
    let build = || ResponseCache::builder().max_bytes(1 << 24).build().unwrap();
    let ours = build().layer().layer(bare);
    let silent = build().layer().cache_status(false).layer(bare);
    let names = ["no cache", "axum-response-cache", "moka by hand", "this layer", "this layer, no Cache-Status"];
    println!("{rounds} rounds of {CALLS} calls, interleaved; medians, and ratios to this layer");
    for threads in [1, 2] {
        let mut times: [Vec<f64>; 5] = Default::default();
        for _ in 0..rounds {
            times[0].push(measure(&bare, threads));
            times[1].push(measure(&axum_cache, threads));
            times[2].push(measure(&moka, threads));
            times[3].push(measure(&ours, threads));
            times[4].push(measure(&silent, threads));
        }
        let medians = times.map(|mut times| median(&mut times));
        println!("\n| {threads} threads | ns a call | times this layer |\n|---|--:|--:|");
        for (name, time) in names.iter().zip(medians) {
            println!("| {name} | {time:.0} | {:.2} |", time / medians[3]);
        }
    }
}
