//! Which requests are answered from the store, and how.

use crate::support::*;
use http::HeaderMap;
use std::sync::{Arc, Mutex};

const MINUTE: [(&str, &str); 1] = [("cache-control", "max-age=60")];

#[tokio::test]
async fn each_resource_has_its_own_response() {
    let site = Site::fixed(|builder| builder, 200, &MINUTE);
    let asked = [("/a", "one"), ("/a?x=1", "one"), ("/a?x=2", "one"), ("/b", "one"), ("/a", "two"), ("/a", "one:8080")];
    for (call, (uri, host)) in asked.iter().enumerate() {
        assert_eq!(site.call(get(uri, &[("host", host)])).await.text(), (call + 1).to_string());
    }
    // The host in the URI counts before the header; the scheme does not count.
    for uri in ["http://one/a", "https://one/a", "https://ONE:443/a"] {
        assert_eq!(site.call(get(uri, &[("host", "other")])).await.text(), "1", "{uri}");
    }
    // A request that says two hosts has no key.
    let two = get("/a", &[("host", "one"), ("host", "two")]);
    assert_eq!(site.call(two).await.did(), "bellwether; fwd=bypass");
}

#[tokio::test]
async fn head_is_answered_from_get() {
    let site = Site::fixed(|builder| builder, 200, &[("cache-control", "max-age=60"), ("content-type", "text/plain")]);
    let head = site.call(ask("HEAD", "/", &[])).await;
    assert_eq!((head.status, head.text(), head.header("content-length")), (200, "", Some("1")));
    // The handler was called as for GET.
    let get = site.get("/").await;
    assert_eq!((get.text(), get.is_hit()), ("1", true));
    let head = site.call(ask("HEAD", "/", &[])).await;
    let expected = (true, "", Some("1"), Some("text/plain"));
    assert_eq!((head.is_hit(), head.text(), head.header("content-length"), head.header("content-type")), expected);
    assert_eq!(site.calls(), 1);
}

#[tokio::test]
async fn a_client_that_has_it_is_told_so() {
    let lines = [
        ("cache-control", "max-age=60"),
        ("etag", "\"v1\""),
        ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT"),
        ("content-type", "text/plain"),
        ("vary", "x"),
    ];
    let site = Site::fixed(|builder| builder, 200, &lines);
    // Even where nothing is stored: the handler is not asked with the client's condition, because
    // its answer is for all.
    for call in 0..2 {
        let read = site.call(get("/", &[("if-none-match", "\"v0\", W/\"v1\"")])).await;
        assert_eq!((read.status, read.text(), read.is_hit()), (304, "", call == 1));
        let kept = ["etag", "cache-control", "date", "vary"];
        assert!(kept.iter().all(|name| read.header(name).is_some()), "{read:?}");
        assert!(["content-type", "content-length"].iter().all(|name| read.header(name).is_none()), "{read:?}");
    }
    let cases = [
        (vec![("if-none-match", "\"v2\"")], 200),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-modified-since", "Sun, 06 Nov 1994 08:00:00 GMT")], 304),
        (vec![("if-modified-since", "Sun, 06 Nov 1994 07:59:59 GMT")], 200),
        (vec![("if-none-match", "\"v2\""), ("if-modified-since", "Sun, 06 Nov 1994 08:00:00 GMT")], 200),
    ];
    for (asked, status) in cases {
        assert_eq!(site.call(get("/", &asked)).await.status, status, "{asked:?}");
        assert_eq!(site.call(ask("HEAD", "/", &asked)).await.status, status, "{asked:?}");
    }
    assert_eq!(site.calls(), 1);
}

/// A handler that knows its entity tag, and keeps the requests.
fn tagged(says: &'static str) -> (Site, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let site = Site::new(
        |builder| builder,
        move |call, request| {
            asked.lock().unwrap().push(request.headers().clone());
            let same = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v\"");
            let call = call.to_string();
            let lines = [("cache-control", says), ("etag", "\"v\""), ("x-call", &*call), ("content-type", "a/b")];
            let made = answer(if same { 304 } else { 200 }, &lines, if same { "" } else { "body" });
            async move { made }
        },
    );
    (site, seen)
}

#[tokio::test]
async fn a_304_confirms_what_is_stored_and_brings_new_headers() {
    let (site, seen) = tagged("max-age=10");
    site.get("/").await;
    site.clock.advance(s(10));
    let read = site.get("/").await;
    assert_eq!(read.did(), "bellwether; fwd=stale; fwd-status=304; stored; ttl=10");
    assert_eq!(
        (read.status, read.text(), read.header("x-call"), read.header("content-type")),
        (200, "body", Some("2"), Some("a/b"))
    );
    assert_eq!((read.header("date"), read.header("age")), (Some(&*date(10)), None));
    site.clock.advance(s(9));
    let hit = site.get("/").await;
    assert_eq!((hit.text(), hit.header("x-call"), hit.header("age")), ("body", Some("2"), Some("9")));
    assert_eq!(seen.lock().unwrap()[1]["if-none-match"], "\"v\"");
}

/// The handler's answer is for all, so it is not asked with the condition of one client.
#[tokio::test]
async fn a_clients_condition_does_not_reach_the_handler() {
    let (site, seen) = tagged("max-age=10");
    let first = site.call(get("/", &[("if-none-match", "\"v\""), ("if-modified-since", &date(0))])).await;
    assert_eq!((first.status, first.text()), (304, ""));
    let second = site.get("/").await;
    assert_eq!((second.status, second.text(), second.is_hit()), (200, "body", true));
    let seen = seen.lock().unwrap();
    assert!(!seen[0].contains_key("if-none-match") && !seen[0].contains_key("if-modified-since"));
}

/// Those who waited for the first response may not use it without a question, and share one.
#[tokio::test]
async fn no_cache_is_not_shared_without_a_question() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder,
        move |call, request| {
            let gate = waits.clone();
            async move {
                gate.pass().await;
                assert_eq!(request.headers().contains_key("if-none-match"), call > 1);
                answer(200, &[("cache-control", "no-cache"), ("etag", "\"v\"")], call.to_string())
            }
        },
    );
    let all = site.herd((0..10).map(|_| get("/", &[])).collect(), &gate).await;
    assert_eq!(all.iter().filter(|read| read.text() == "1").count(), 1);
    assert!((2..=3).contains(&site.calls()), "{} calls", site.calls());
}

#[tokio::test]
async fn no_cache_asks_once_for_all_who_come_meanwhile() {
    let (site, seen) = tagged("no-cache");
    for call in 1..=3 {
        let read = site.get("/").await;
        assert_eq!((read.status, read.text(), read.header("x-call")), (200, "body", Some(&*call.to_string())));
    }
    assert!(seen.lock().unwrap()[1..].iter().all(|asked| asked["if-none-match"] == "\"v\""));
    let all = site.herd((0..10).map(|_| get("/", &[])).collect(), &Gate::closed()).await;
    assert!(all.iter().all(|read| read.text() == "body"));
    // Those that came after the first one's question began share the next one's answer.
    assert!(site.calls() <= 3 + 2, "{} calls", site.calls());
}

#[tokio::test]
async fn what_is_for_one_client_goes_to_the_handler() {
    let site = Site::fixed(|builder| builder, 200, &MINUTE);
    assert_eq!(site.get("/").await.text(), "1");
    let passing = [
        ("range", "bytes=0-0"),
        ("cookie", "a=b"),
        ("authorization", "Basic YTpi"),
        ("if-match", "\"x\""),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("upgrade", "websocket"),
    ];
    for (call, line) in passing.iter().enumerate() {
        let read = site.call(get("/", &[*line])).await;
        assert_eq!((read.did(), read.text()), ("bellwether; fwd=bypass", &*(call + 2).to_string()), "{line:?}");
    }
    let mut with_body = get("/", &[]);
    *with_body.body_mut() = "question".into();
    assert_eq!(site.call(with_body).await.did(), "bellwether; fwd=bypass");
    // Nothing of that was stored.
    assert_eq!(site.get("/").await.text(), "1");
}

#[tokio::test]
async fn cookies_may_be_told_to_count_for_nothing() {
    let site = Site::fixed(|builder| builder.cookies(true), 200, &MINUTE);
    assert_eq!(site.call(get("/", &[("cookie", "a=b")])).await.text(), "1");
    assert_eq!(site.get("/").await.text(), "1");
}

#[tokio::test]
async fn other_methods_pass_and_a_change_removes_what_is_stored() {
    let site = Site::new(
        |builder| builder,
        |call, request| async move {
            let status = if request.headers().contains_key("fails") { 422 } else { 200 };
            let mut lines = vec![("cache-control", "max-age=60")];
            if request.method() != "GET" {
                lines.push(("location", "/created"));
                lines.push(("content-location", "http://elsewhere/other"));
            }
            answer(status, &lines, call.to_string())
        },
    );
    let from = |method: &str, uri: &str| ask(method, uri, &[("host", "a")]);
    let uris = ["/", "/created", "/other"];
    for uri in uris {
        site.call(from("GET", uri)).await;
    }
    // Safe methods, and changes that failed, remove nothing.
    assert_eq!(site.call(from("OPTIONS", "/")).await.did(), "bellwether; fwd=method");
    site.call(ask("POST", "/", &[("host", "a"), ("fails", "")])).await;
    for uri in uris {
        assert!(site.call(from("GET", uri)).await.is_hit());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "UNHEARD-OF"] {
        let read = site.call(from(method, "/")).await;
        assert_eq!((read.status, read.did()), (200, "bellwether; fwd=method"));
        assert!(!site.call(from("GET", "/")).await.is_hit(), "{method}");
        assert!(!site.call(from("GET", "/created")).await.is_hit(), "{method}");
        assert!(site.call(from("GET", "/other")).await.is_hit(), "{method}: another host's");
    }
}

/// A GET that began before a change ended is not stored.
#[tokio::test]
async fn a_change_fences_calls_in_flight() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder,
        move |call, request| {
            let gate = waits.clone();
            async move {
                if request.method() == "GET" {
                    gate.pass().await;
                }
                answer(200, &MINUTE, call.to_string())
            }
        },
    );
    let early = site.begin(get("/", &[]));
    settle().await;
    site.call(ask("PUT", "/", &[])).await;
    gate.open();
    let read = bounded(early).await.unwrap();
    assert_eq!((read.text(), read.did()), ("1", "bellwether; fwd=uri-miss"));
    assert_eq!(site.get("/").await.text(), "3");
}

#[tokio::test]
async fn only_if_cached_calls_no_handler() {
    let site = Site::fixed(|builder| builder.client_cache_control(true), 200, &MINUTE);
    let only = || get("/", &[("cache-control", "only-if-cached")]);
    let read = site.call(only()).await;
    assert_eq!((read.status, site.calls()), (504, 0));
    site.get("/").await;
    assert_eq!(site.call(only()).await.text(), "1");
    site.clock.advance(s(60));
    assert_eq!((site.call(only()).await.status, site.calls()), (504, 1));
}
