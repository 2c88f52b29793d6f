//! Handlers that fail or are slow, and settings.

use super::*;
use bellwether_tower::BuildError;
use http::StatusCode;

/// Has ten requests wait in each of two processes, and returns their answers.
async fn twenty(server: &Server, origin: &Origin) -> (Vec<Read>, Vec<Read>) {
    let (one, two) = (origin.process(server).await, origin.process(server).await);
    let at_one = ten(&one).await;
    origin.called(1).await;
    let at_two = ten(&two).await;
    waits(&two).await;
    origin.gate.open();
    (all(at_one).await, all(at_two).await)
}

#[test]
fn a_failure_is_one_call_and_the_answer_of_all_processes() {
    with_server(|server| async move {
        let origin = Origin::held(|call, _| answer(503, &[("retry-after", "7")], format!("down {call}")));
        let (at_one, at_two) = twenty(&server, &origin).await;
        for read in at_one.iter().chain(&at_two) {
            assert_eq!((read.status, read.text(), read.header("retry-after")), (503, "down 1", Some("7")));
            assert_eq!(read.header("age"), None);
        }
        assert!(at_two.iter().all(|read| did(read) == "bellwether; fwd=uri-miss; collapsed"));
        assert_eq!(origin.calls(), 1);
    });
}

/// The text of a failure has a bound: of what is longer, the head is told.
#[test]
fn a_long_failure_is_told_without_its_body() {
    with_server(|server| async move {
        let origin = Origin::held(|_, _| answer(502, &[("retry-after", "7")], "x".repeat(5000)));
        let (at_one, at_two) = twenty(&server, &origin).await;
        assert!(at_one.iter().all(|read| (read.status, read.text().len()) == (502, 5000)));
        assert!(
            at_two.iter().all(|read| (read.status, read.text(), read.header("retry-after")) == (502, "", Some("7")))
        );
        assert_eq!(origin.calls(), 1);
    });
}

#[test]
fn a_panic_is_one_call_over_all_processes() {
    with_server(|server| async move {
        let origin = Origin::held(|_, _| panic!("a handler's fault, for a test"));
        let (at_one, at_two) = twenty(&server, &origin).await;
        for read in at_one.iter().chain(&at_two) {
            assert_eq!((read.status, &*did(read)), (500, "bellwether; fwd=uri-miss; detail=panicked"));
        }
        assert_eq!(origin.calls(), 1);
    });
}

/// A failure that has a time is one for all, and an invalidation ends it.
#[test]
fn a_failure_that_is_kept_is_shared() {
    with_server(|server| async move {
        let origin = Origin::new(|call, _| answer(503, &[("surrogate-key", "t")], call.to_string()));
        let process = async || {
            let kept = store().negative_ttl(StatusCode::SERVICE_UNAVAILABLE, s(600));
            let cache = up(kept, tier(&server.url())).await;
            origin.site(&cache, cache.layer())
        };
        let (one, two) = (process().await, process().await);
        one.get("/").await;
        let read = two.get("/").await;
        assert_eq!((read.status, read.text(), &*did(&read)), (503, "1", "bellwether; hit; detail=shared"));
        bounded(two.cache.invalidate_tag("t")).await.unwrap();
        let end = Instant::now() + s(60);
        while one.get("/").await.text() == "1" {
            assert!(Instant::now() < end, "it still serves the old failure");
        }
    });
}

#[test]
fn an_old_response_stands_in_for_a_failure_of_another_process() {
    with_server(|server| async move {
        let origin = Origin::new(|call, _| match call {
            1 => answer(200, &[("cache-control", "max-age=600, stale-if-error=600")], "good"),
            _ => answer(500, &[], "fails"),
        });
        let one = origin.process(&server).await;
        assert_eq!(one.get("/").await.text(), "good");
        bounded(one.cache.expire("", "/")).await.unwrap();
        let two = origin.process(&server).await;
        let read = two.get("/").await;
        assert_eq!((read.status, read.text(), origin.calls()), (200, "good", 2));
        assert!(did(&read).starts_with("bellwether; hit"), "{}", read.did());
    });
}

#[test]
fn an_old_response_is_served_while_another_process_calls() {
    with_server(|server| async move {
        let origin = Origin::held(|call, _| {
            answer(200, &[("cache-control", "max-age=600, stale-while-revalidate=600")], call.to_string())
        });
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        origin.gate.open_once();
        assert_eq!(one.get("/").await.text(), "1");
        bounded(one.cache.expire("", "/")).await.unwrap();
        let refreshing = one.begin(get("/", &[]));
        origin.called(2).await;
        let read = bounded(two.get("/")).await;
        assert_eq!((read.text(), &*did(&read)), ("1", "bellwether; hit"));
        origin.gate.open();
        assert_eq!(bounded(refreshing).await.unwrap().text(), "2");
        let end = Instant::now() + s(60);
        while two.get("/").await.text() == "1" {
            assert!(Instant::now() < end, "it still serves the old response");
        }
        assert_eq!(origin.calls(), 2);
    });
}

#[test]
fn deadlines_and_bounds_hold_where_another_process_calls() {
    with_server(|server| async move {
        let origin = Origin::held(|call, _| answer(200, &[("cache-control", "max-age=600")], call.to_string()));
        let one = origin.process(&server).await;
        let waiting = one.begin(get("/", &[]));
        origin.called(1).await;
        let cache = up(store().max_loads(1), tier(&server.url())).await;
        let short = Duration::from_millis(20);
        for layer in [cache.layer().wait_timeout(short), cache.layer().hard_timeout(short)] {
            let read = bounded(origin.site(&cache, layer).get("/")).await;
            assert_eq!((read.status, &*did(&read)), (504, "bellwether; fwd=uri-miss; detail=timed-out"));
        }
        // Its wait is a call of this process, too, and goes on in the background.
        let read = bounded(origin.site(&cache, cache.layer()).get("/other")).await;
        assert_eq!((read.status, &*did(&read)), (503, "bellwether; fwd=uri-miss; detail=overloaded"));
        origin.gate.open();
        assert_eq!(bounded(waiting).await.unwrap().text(), "1");
        assert_eq!(origin.calls(), 1);
    });
}

#[tokio::test]
async fn what_a_second_level_cannot_honour_is_refused() {
    let nowhere = || RedisTier::new("redis://127.0.0.1:1/");
    let refused = async |builder: Builder, tier: RedisTier| builder.build_on(tier).await.unwrap_err();
    assert_eq!(refused(store().clock(ManualClock::new()), nowhere()).await, BuildError::ClockWithTier);
    assert!(refused(ResponseCache::builder(), nowhere()).await.to_string().contains("max_bytes"));
    assert_eq!(refused(store().max_waiters(0), nowhere()).await, BuildError::ZeroMaxWaiters);
    for (tier, says) in [
        (RedisTier::new("http://:password@x/"), "address"),
        (nowhere().namespace("{"), "namespace"),
        (nowhere().probe(s(2)).lead_timeout(s(1)), "probe"),
        (nowhere().heartbeat(Duration::ZERO, s(1)), "heartbeat"),
    ] {
        let debug = format!("{tier:?}");
        let error = refused(store(), tier).await;
        assert!(matches!(error, BuildError::Tier(_)) && error.to_string().contains(says), "{error}");
        assert!(!format!("{debug} {error:?}").contains("password"));
    }
    assert!(store().build().unwrap().link().is_none());
}
