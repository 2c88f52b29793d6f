//! In an axum application: nested routers, settings of routes, compression on either side.

use crate::support::{Read, builder, read, s};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Router, body::Body, extract::Request, response::IntoResponse};
use bellwether::ManualClock;
use bellwether_tower::ResponseCache;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

async fn ask(app: &Router, method: &str, uri: &str, lines: &[(&str, &str)]) -> Read {
    let request = lines
        .iter()
        .fold(Request::builder().method(method).uri(uri), |request, (name, value)| request.header(*name, *value));
    read(app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

fn cache() -> ResponseCache {
    builder(&ManualClock::new()).ttl(s(60)).build().unwrap()
}

/// `http-cache-tower-server` mixes them up: within a nest, the URI of the request is that within
/// the nest.
#[tokio::test]
async fn nested_routers_do_not_share_entries() {
    let cache = cache();
    let inner = |name: &'static str| {
        let handler = move |uri: Uri| async move { format!("{name} {uri}") };
        Router::new().route("/page", get(handler)).layer(cache.layer())
    };
    let app = Router::new().nest("/a", inner("a")).nest("/b", Router::new().nest("/c", inner("b")));
    for _ in 0..2 {
        assert_eq!(ask(&app, "GET", "/a/page", &[]).await.text(), "a /page");
        assert_eq!(ask(&app, "GET", "/b/c/page", &[]).await.text(), "b /page");
    }
    assert!(ask(&app, "GET", "/a/page", &[]).await.is_hit());
    assert!(cache.invalidate("", "/a/page").was_there() && !cache.invalidate("", "/page").was_there());
}

/// The shape of an application: one store, settings for routes, tags that handlers invalidate.
#[tokio::test]
async fn an_application() {
    #[derive(Clone)]
    struct App {
        cache: ResponseCache,
        calls: Arc<AtomicUsize>,
    }
    async fn product(State(app): State<App>) -> impl IntoResponse {
        let call = app.calls.fetch_add(1, Ordering::SeqCst) + 1;
        ([("surrogate-key", "product:7")], call.to_string())
    }
    async fn change(State(app): State<App>) -> StatusCode {
        app.cache.invalidate_tag("product:7");
        StatusCode::NO_CONTENT
    }
    let cache = cache();
    let state = App { cache: cache.clone(), calls: Arc::default() };
    let app = Router::new()
        .route("/products/7", get(product).layer(cache.layer()))
        .route("/short", get(product).layer(cache.layer().ttl(s(5)).tag("short")))
        .route("/live", get(product).layer(cache.layer().enable(false)))
        .route("/none", get(product))
        .route("/change", axum::routing::post(change))
        .with_state(state);
    let text = async |uri| ask(&app, "GET", uri, &[]).await.text().to_owned();
    assert_eq!((text("/products/7").await, text("/products/7").await), ("1".into(), "1".into()));
    assert_eq!((text("/short").await, text("/short").await), ("2".into(), "2".into()));
    assert_eq!((text("/live").await, text("/live").await), ("3".into(), "4".into()));
    assert_eq!((text("/none").await, text("/none").await), ("5".into(), "6".into()));
    assert_eq!(ask(&app, "POST", "/change", &[]).await.status, 204);
    assert_eq!((text("/products/7").await, text("/short").await), ("7".into(), "8".into()));
    // What no route answers is not cached.
    assert_eq!(ask(&app, "GET", "/absent", &[]).await.status, 404);
}

/// A text that is worth compressing.
fn long() -> String {
    "compressible ".repeat(200)
}

fn counted() -> (axum::routing::MethodRouter, Arc<AtomicUsize>) {
    let calls = Arc::<AtomicUsize>::default();
    let counted = calls.clone();
    let route = get(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        ([("content-type", "text/plain")], long())
    });
    (route, calls)
}

/// Each coding is a variant, made once.
#[tokio::test]
async fn compression_inside() {
    let cache = cache();
    let (route, calls) = counted();
    let app = Router::new().route("/", route).layer(CompressionLayer::new()).layer(cache.layer());
    for round in 0..3 {
        for (accepted, coding) in [("gzip", Some("gzip")), ("br", Some("br")), ("identity", None)] {
            let read = ask(&app, "GET", "/", &[("accept-encoding", accepted)]).await;
            assert_eq!((read.header("content-encoding"), read.is_hit()), (coding, round > 0), "{accepted}");
            let body = read.body.as_ref().unwrap();
            assert_eq!(body.len() < 1000, coding.is_some());
            assert_eq!(read.header("content-length"), Some(&*body.len().to_string()));
            if coding.is_none() {
                assert_eq!(read.text(), long());
            }
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

/// One response is stored, and each client gets its own coding.
#[tokio::test]
async fn compression_outside() {
    let cache = builder(&ManualClock::new()).ttl(s(60)).etag(true).build().unwrap();
    let (route, calls) = counted();
    let app = Router::new().route("/", route).layer(cache.layer()).layer(CompressionLayer::new());
    for round in 0..3 {
        for (accepted, coding) in [("gzip", Some("gzip")), ("br", Some("br")), ("identity", None)] {
            let read = ask(&app, "GET", "/", &[("accept-encoding", accepted)]).await;
            assert_eq!(read.header("content-encoding"), coding, "{accepted}");
            assert_eq!(read.is_hit(), round > 0 || accepted != "gzip");
            assert_eq!(read.body.as_ref().unwrap().len() < 1000, coding.is_some());
            if coding.is_none() {
                assert_eq!(read.text(), long());
            }
            // The tag is weak, so it stands for each coding.
            let tag = read.header("etag").unwrap();
            let again = ask(&app, "GET", "/", &[("accept-encoding", accepted), ("if-none-match", tag)]).await;
            assert_eq!((again.status, again.text()), (304, ""));
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
