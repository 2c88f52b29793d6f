//! What the layer costs where it is off, and what a hit costs, in allocations. (A binary of its
//! own: the counting allocator is the whole process's.)

use bellwether_tower::{Body, ResponseCache};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::{Ready, ready};
use tower::{Layer, Service};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// A handler that allocates for its headers only.
#[derive(Clone)]
struct Handler;

impl Service<Request<Full<Bytes>>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Ready<Answer> {
        let mut response = Response::new(Full::new(Bytes::from_static(b"body")));
        response.headers_mut().insert("cache-control", http::HeaderValue::from_static("max-age=60"));
        ready(Ok(response))
    }
}

/// Returns how many allocations a call of the service is, with reading the body.
fn allocations<S, B>(service: &mut S) -> u64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = || Request::builder().uri("/page").body(Full::default()).unwrap();
    let mut counted = 0;
    // The first calls fill what is filled once.
    for _ in 0..4 {
        let request = request();
        let measured = allocation_counter::measure(|| {
            runtime.block_on(async {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                let body = std::pin::pin!(service.call(request).await.unwrap().into_body());
                let mut body = body;
                while let Some(frame) = body.frame().await {
                    assert!(frame.unwrap().into_data().is_ok_and(|data| data == "body"));
                }
            });
        });
        counted = measured.count_total;
    }
    counted
}

fn cache() -> ResponseCache {
    ResponseCache::builder().max_bytes(1 << 20).build().unwrap()
}

#[test]
fn a_layer_that_is_off_allocates_nothing() {
    let bare = allocations(&mut Handler);
    assert!(bare > 0, "the allocator counts");
    let cache = cache();
    assert_eq!(allocations(&mut cache.layer().enable(false).layer(Handler)), bare);
    assert!(cache.is_empty());
}

/// The header map and its index, the body's future; `Age` and `Cache-Status` are at hand.
#[test]
fn a_hit_allocates_its_headers() {
    let hit = allocations(&mut cache().layer().layer(Handler));
    assert!((1..=4).contains(&hit), "{hit} allocations");
    assert_eq!(allocations(&mut cache().layer().cache_status(false).layer(Handler)), hit);
}

/// The future is no larger than the service's own needs, so a route without a cache moves nothing
/// more.
#[test]
fn the_future_is_small() {
    type Off = <bellwether_tower::CacheService<Handler> as Service<Request<Full<Bytes>>>>::Future;
    let own = size_of::<Ready<Answer>>();
    assert!(size_of::<Off>() <= own + 16, "{} and {own} bytes", size_of::<Off>());
    assert!(size_of::<Body<Full<Bytes>>>() <= 64, "{} bytes", size_of::<Body<Full<Bytes>>>());
}

/// In axum a layer with a body type of its own costs a box around the body and some more, also
/// where it is off. (A route without the layer costs nothing.)
#[test]
fn what_axum_adds_is_bounded() {
    use axum::{Router, body::Body, extract::Request, routing::get};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count = |app: Router| {
        let mut counted = 0;
        for _ in 0..4 {
            let (app, request) = (app.clone(), Request::get("/").body(Body::empty()).unwrap());
            let call = || drop(runtime.block_on(tower::ServiceExt::oneshot(app, request)).unwrap());
            counted = allocation_counter::measure(call).count_total;
        }
        counted
    };
    let (cache, route) = (cache(), || get(|| async { "body" }));
    let nothing = tower::util::MapRequestLayer::new(|request: Request| request);
    let identity = count(Router::new().route("/", route()).layer(nothing));
    let off = count(Router::new().route("/", route()).layer(cache.layer().enable(false)));
    println!("{identity} allocations with a layer that does nothing, {off} with one that is off");
    assert!((identity..=identity + 3).contains(&off), "{off} allocations, and {identity}");
}
