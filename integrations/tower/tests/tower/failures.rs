//! Handlers that fail: no request waits for ever, and one failure is one call.

use crate::support::*;
use bellwether_tower::{Builder, ResponseCache};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::Full;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tower::{Layer, ServiceExt};

const STALE: &str = "max-age=10, stale-if-error=100";

/// A handler that waits at a gate and then does what the number of its call says.
fn gated(build: impl FnOnce(Builder) -> Builder, make: fn(usize) -> Answer) -> (Site, Gate) {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(build, move |call, _| {
        let gate = waits.clone();
        async move {
            gate.pass().await;
            make(call)
        }
    });
    (site, gate)
}

async fn ten(site: &Site, gate: &Gate) -> Vec<Read> {
    site.herd((0..10).map(|_| get("/", &[])).collect(), gate).await
}

#[tokio::test]
async fn a_panic_is_one_call_and_an_answer_for_all() {
    let (site, gate) = gated(
        |builder| builder,
        |call| {
            if call == 1 {
                panic!("a handler's fault, for a test")
            } else {
                answer(200, &[("cache-control", "max-age=9")], "good")
            }
        },
    );
    let all = ten(&site, &gate).await;
    assert!(all.iter().all(|read| read.status == 500 && read.did() == "bellwether; fwd=uri-miss; detail=panicked"));
    assert_eq!(site.calls(), 1);
    assert_eq!(site.get("/").await.text(), "good");
}

#[tokio::test]
async fn a_failure_is_one_call_shared_by_all_who_waited() {
    let (site, gate) = gated(|builder| builder, |call| answer(503, &[("retry-after", "7")], call.to_string()));
    let all = ten(&site, &gate).await;
    assert!(all.iter().all(|read| (read.status, read.text(), read.header("retry-after")) == (503, "1", Some("7"))));
    assert_eq!(all.iter().filter(|read| read.did() == "bellwether; fwd=uri-miss; collapsed").count(), 9);
    assert_eq!(site.calls(), 1);
    // It is not stored.
    assert_eq!(site.get("/").await.text(), "2");
}

/// A failure with a cookie belongs to one client.
#[tokio::test]
async fn a_failure_that_is_private_is_not_shared() {
    let (site, gate) = gated(|builder| builder, |call| answer(500, &[("set-cookie", "a=b")], call.to_string()));
    let mut bodies: Vec<_> = ten(&site, &gate).await.iter().map(|read| read.text().parse::<usize>().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_old_response_stands_in_for_each_kind_of_failure() {
    let failures: [fn() -> Answer; 4] = [
        || answer(500, &[], "fails"),
        || answer(503, &[("set-cookie", "a=b")], "fails"),
        || panic!("a handler's fault, for a test"),
        || answer(200, &[("cache-control", STALE), ("content-length", "3")], "longer"),
    ];
    for fails in failures {
        let site = Site::new(
            |builder| builder,
            move |call, _| async move { if call == 1 { answer(200, &[("cache-control", STALE)], "good") } else { fails() } },
        );
        site.get("/").await;
        site.clock.advance(s(20));
        for _ in 0..3 {
            let read = site.get("/").await;
            assert_eq!((read.status, read.text(), read.did()), (200, "good", "bellwether; hit; ttl=-10"));
            assert_eq!(read.header("age"), Some("20"));
        }
        // One failure, and then the handler is left alone for a while.
        assert_eq!(site.calls(), 2);
        site.clock.advance(s(1));
        site.get("/").await;
        assert_eq!(site.calls(), 3);
        site.clock.advance(s(100));
        assert!(!site.get("/").await.is_hit());
    }
}

/// An error that is no failure of the server's is an answer.
#[tokio::test]
async fn a_404_takes_the_place_of_an_old_response() {
    let site = Site::new(
        |builder| builder,
        |call, _| async move {
            if call == 1 { answer(200, &[("cache-control", STALE)], "good") } else { answer(404, &[], "gone") }
        },
    );
    site.get("/").await;
    site.clock.advance(s(20));
    assert_eq!(site.get("/").await.status, 404);
    assert_eq!(site.get("/").await.status, 404);
}

#[tokio::test]
async fn errors_are_kept_as_told() {
    let told = |builder: Builder| {
        builder
            .ttl(s(60))
            .negative_ttl(http::StatusCode::NOT_FOUND, s(5))
            .negative_ttl(http::StatusCode::BAD_GATEWAY, s(3))
    };
    for (status, kept) in [(404, 5), (502, 3)] {
        let site = Site::fixed(told, status, &[]);
        site.get("/").await;
        site.clock.advance(s(kept - 1));
        let hit = site.get("/").await;
        assert_eq!((hit.status, hit.text(), hit.did()), (status, "1", "bellwether; hit; ttl=1"));
        assert_eq!(hit.header("age"), Some(&*(kept - 1).to_string()));
        site.clock.advance(s(1));
        assert_eq!(site.get("/").await.text(), "2");
    }
    for status in [400, 403, 410, 500, 501, 503] {
        let site = Site::fixed(told, status, &[]);
        assert_eq!((site.get("/").await.text(), site.get("/").await.text()), ("1", "2"), "{status}");
    }
}

#[tokio::test]
async fn a_body_that_fails_half_way_is_an_answer_for_all() {
    let half = |call| {
        if call > 1 {
            return answer(200, &[("cache-control", "max-age=60")], "whole");
        }
        let parts = vec![Ok(Frame::data(Bytes::from("ha"))), Err(io::Error::other("torn"))];
        let mut response = Response::new(frames(parts));
        *response.headers_mut() = headers(&[("cache-control", "max-age=60")]);
        response
    };
    let (site, gate) = gated(|builder| builder, half);
    let all = ten(&site, &gate).await;
    assert!(all.iter().all(|read| read.status == 500 && read.did() == "bellwether; fwd=uri-miss; detail=broken-body"));
    assert_eq!(site.calls(), 1);
    assert_eq!(site.get("/").await.text(), "whole");
}

#[tokio::test]
async fn a_body_of_another_length_than_told_is_not_stored() {
    for told in ["2", "4"] {
        let site = Site::fixed(|builder| builder.ttl(s(60)), 200, &[("content-length", told)]);
        for call in 1..=2 {
            assert_eq!((site.get("/").await.status, site.calls()), (500, call));
        }
    }
}

/// An error of the service itself goes to the request that called it; those who waited get a 500.
#[tokio::test]
async fn an_error_of_the_service_is_one_call() {
    let clock = bellwether::ManualClock::new();
    let cache = builder(&clock).build().unwrap();
    let (gate, calls) = (Gate::closed(), Arc::new(AtomicUsize::new(0)));
    let (waits, counted) = (gate.clone(), calls.clone());
    let service = cache.layer().layer(tower::service_fn(move |_: Request<Full<Bytes>>| {
        let gate = waits.clone();
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            gate.pass().await;
            Err::<Answer, io::Error>(io::Error::other("down"))
        }
    }));
    let call = || {
        let service = service.clone();
        tokio::spawn(async move { service.oneshot(get("/", &[])).await.map(|response| response.status().as_u16()) })
    };
    let tasks: Vec<_> = (0..5).map(|_| call()).collect();
    settle().await;
    gate.open();
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(bounded(task).await.unwrap().map_err(|error| error.to_string()));
    }
    assert_eq!(ends[0], Err("down".to_owned()));
    assert!(ends[1..].iter().all(|end| *end == Ok(500)), "{ends:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn more_than_may_wait_are_told_to_come_again() {
    let told = |builder: Builder| builder.max_waiters(3).retry_after(std::time::Duration::from_millis(1500));
    let (site, gate) = gated(told, |call| answer(200, &[("cache-control", "max-age=60")], call.to_string()));
    let all = ten(&site, &gate).await;
    let refused: Vec<_> = all.iter().filter(|read| read.status == 503).collect();
    assert!(refused.iter().all(|read| read.header("retry-after") == Some("2")));
    assert!(refused.iter().all(|read| read.did() == "bellwether; fwd=uri-miss; detail=overloaded"));
    assert_eq!((refused.len(), site.calls()), (7, 1));
}

#[tokio::test]
async fn more_calls_than_may_be_are_told_to_come_again_or_served_stale() {
    let (site, gate) =
        gated(|builder| builder.max_loads(1), |call| answer(200, &[("cache-control", STALE)], call.to_string()));
    gate.open_once();
    assert_eq!(site.get("/old").await.text(), "1");
    site.clock.advance(s(20));
    let one = site.begin(get("/one", &[]));
    settle().await;
    assert_eq!(bounded(site.get("/two")).await.status, 503);
    let old = bounded(site.get("/old")).await;
    assert_eq!((old.status, old.text(), old.did()), (200, "1", "bellwether; hit; ttl=-10"));
    gate.open();
    assert_eq!(bounded(one).await.unwrap().status, 200);
}

#[tokio::test]
async fn deadlines_end_waits_and_not_the_call() {
    let (site, gate) = gated(
        |builder| builder.hard_timeout(s(2)),
        |call| answer(200, &[("cache-control", "max-age=60, stale-if-error=100")], call.to_string()),
    );
    let waiting: Vec<_> = (0..3).map(|_| site.begin(get("/", &[]))).collect();
    settle().await;
    site.clock.advance(s(2));
    for task in waiting {
        let read = bounded(task).await.unwrap();
        assert_eq!((read.status, read.did()), (504, "bellwether; fwd=uri-miss; detail=timed-out"));
    }
    gate.open_once();
    settle().await;
    assert!(site.get("/").await.is_hit());
    // With an old response at hand, that one is served instead.
    site.clock.advance(s(70));
    let waiting = site.begin(get("/", &[]));
    settle().await;
    site.clock.advance(s(2));
    assert_eq!(bounded(waiting).await.unwrap().did(), "bellwether; hit; ttl=-12");
    assert_eq!(site.calls(), 2);
}

/// A handler that hangs is called again by one of those who wait.
#[tokio::test]
async fn a_call_that_hangs_is_taken_over() {
    let clock = bellwether::ManualClock::new();
    let cache: ResponseCache = builder(&clock).build().unwrap();
    let layer = cache.layer().lead_timeout(s(5));
    let site = Site::with(cache, layer, clock, |call, _| async move {
        if call == 1 {
            std::future::pending::<()>().await;
        }
        answer(200, &[("cache-control", "max-age=60")], call.to_string())
    });
    let waiting: Vec<_> = (0..3).map(|_| site.begin(get("/", &[]))).collect();
    settle().await;
    site.clock.advance(s(5));
    for task in waiting {
        assert_eq!(bounded(task).await.unwrap().text(), "2");
    }
    assert_eq!(site.calls(), 2);
}

/// A handler that asks for the very page that it makes would wait for itself.
#[tokio::test]
async fn a_handler_may_ask_for_its_own_page() {
    let inner: Arc<std::sync::OnceLock<Site>> = Arc::default();
    let (asks, again) = (inner.clone(), Arc::new(AtomicBool::new(true)));
    let site = Site::new(
        |builder| builder,
        move |call, _| {
            let (site, first) = (asks.clone(), again.swap(false, Ordering::SeqCst));
            async move {
                let text =
                    if first { Box::pin(site.get().unwrap().get("/")).await.text().to_owned() } else { String::new() };
                answer(200, &[("cache-control", "max-age=60")], format!("{call}({text})"))
            }
        },
    );
    assert!(inner.set(site.clone()).is_ok());
    assert_eq!(bounded(site.get("/")).await.text(), "1(2())");
}
