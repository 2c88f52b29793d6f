//! Settings: those of the store as defaults, and those of a route in their place.

use crate::support::*;
use bellwether::ManualClock;
use bellwether_tower::{BuildError, CacheLayer, ResponseCache};
use std::time::Duration;

/// A site of a layer whose handler answers with the number of the call.
fn counting(cache: &ResponseCache, clock: &ManualClock, layer: CacheLayer, lines: &[(&str, &str)]) -> Site {
    let lines = headers(lines);
    Site::with(cache.clone(), layer, clock.clone(), move |call, _| {
        let mut response = answer(200, &[], call.to_string());
        *response.headers_mut() = lines.clone();
        async move { response }
    })
}

#[tokio::test]
async fn a_route_has_the_stores_settings_or_its_own() {
    let clock = ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).stale_while_revalidate(s(10)).build().unwrap();
    let global = counting(&cache, &clock, cache.layer(), &[]);
    let own = counting(&cache, &clock, cache.layer().ttl(s(5)).stale_while_revalidate(Duration::ZERO), &[]);
    let off = counting(&cache, &clock, cache.layer().enable(false), &[]);
    for uri in ["/", "/"] {
        global.get(uri).await;
        own.get("/own").await;
        let read = off.get("/off").await;
        assert!(read.header("cache-status").is_none() && read.header("age").is_none() && read.header("date").is_none());
    }
    assert_eq!((global.calls(), own.calls(), off.calls()), (1, 1, 2));
    clock.advance(s(5));
    assert_eq!((global.get("/").await.text(), own.get("/own").await.text()), ("1", "2"));
    clock.advance(s(60));
    assert_eq!(global.get("/").await.did(), "bellwether; hit; ttl=-5");
    settle().await;
    assert_eq!(global.get("/").await.text(), "2");
}

#[tokio::test]
async fn a_store_may_be_off_but_for_one_route() {
    let clock = ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).enable(false).build().unwrap();
    let (off, on) = (cache.layer(), cache.layer().enable(true));
    let (off, on) = (counting(&cache, &clock, off, &[]), counting(&cache, &clock, on, &[]));
    for _ in 0..3 {
        off.get("/").await;
        on.get("/").await;
    }
    assert_eq!((off.calls(), on.calls()), (3, 1));
}

#[tokio::test]
async fn what_says_nothing_is_stored_as_told() {
    for (status, stored) in
        [(200, true), (203, true), (204, true), (300, true), (301, true), (308, true), (302, false), (404, false)]
    {
        let clock = ManualClock::new();
        let cache = builder(&clock).ttl(s(60)).build().unwrap();
        let site = Site::with(cache.clone(), cache.layer(), clock, move |_, _| async move { answer(status, &[], "") });
        site.get("/").await;
        assert_eq!(site.get("/").await.is_hit(), stored, "{status}");
    }
}

/// A time of zero stores nothing, and still makes one call of those that come at once.
#[tokio::test]
async fn a_route_may_do_nothing_but_share() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder.ttl(Duration::ZERO),
        move |call, _| {
            let gate = waits.clone();
            async move {
                gate.pass().await;
                answer(200, &[], call.to_string())
            }
        },
    );
    let all = site.herd((0..10).map(|_| get("/", &[])).collect(), &gate).await;
    assert!(all.iter().all(|read| read.text() == "1"));
    assert_eq!(all.iter().filter(|read| read.did() == "bellwether; fwd=uri-miss; collapsed").count(), 9);
    assert_eq!(site.get("/").await.text(), "2");
}

#[tokio::test]
async fn a_route_may_make_its_own_keys() {
    let clock = ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).build().unwrap();
    let layer = cache.layer().key(|parts| {
        assert_eq!(parts.method, "GET");
        let user = parts.headers.get("x-user")?.to_str().ok()?;
        Some(format!("user {user}"))
    });
    let site = counting(&cache, &clock, layer, &[]);
    let of = |user: &str, uri: &str| get(uri, &[("x-user", user)]);
    assert_eq!(site.call(of("a", "/1")).await.text(), "1");
    assert_eq!(site.call(of("a", "/2")).await.text(), "1");
    assert_eq!(site.call(of("b", "/1")).await.text(), "2");
    assert_eq!(site.get("/1").await.did(), "bellwether; fwd=bypass");
    assert_eq!(site.call(ask("HEAD", "/", &[("x-user", "a")])).await.header("content-length"), Some("1"));
    assert!(cache.invalidate_key("user a").was_there() && !cache.invalidate("", "user a").was_there());
    assert_eq!(site.call(of("a", "/1")).await.text(), "4");
    site.call(ask("POST", "/", &[("x-user", "b")])).await;
    assert_eq!(site.call(of("b", "/1")).await.text(), "6");
}

#[tokio::test]
async fn tags_from_handlers_layers_and_functions() {
    let clock = ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).stale_if_error(s(60)).build().unwrap();
    let layer = cache.layer().tag("all").tags_with(|parts| vec![format!("path:{}", parts.uri.path())]);
    let lines = [("surrogate-key", "product:7  list"), ("surrogate-key", "more")];
    let site = counting(&cache, &clock, layer, &lines);
    let mut calls = 0;
    for tag in ["product:7", "list", "more", "all", "path:/"] {
        calls += 1;
        assert_eq!(
            (site.get("/").await.text(), site.get("/").await.text()),
            (&*calls.to_string(), &*calls.to_string())
        );
        cache.invalidate_tag(tag);
        cache.invalidate_tag("of nothing");
    }
    assert_eq!(site.get("/").await.text(), "6");
    assert_eq!(site.get("/").await.header("surrogate-key"), Some("product:7  list"));
}

#[tokio::test]
async fn what_is_expired_is_served_stale_as_its_windows_say() {
    let clock = ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).stale_while_revalidate(s(60)).build().unwrap();
    let site = counting(&cache, &clock, cache.layer().tag("t"), &[]);
    site.call(get("/", &[("host", "a")])).await;
    for call in 1..=2 {
        if call == 1 {
            assert!(cache.expire_tag("t").was_there())
        } else {
            assert!(cache.expire("A:80", "/").was_there())
        }
        let read = site.call(get("/", &[("host", "a")])).await;
        assert_eq!((read.is_hit(), read.text()), (true, &*call.to_string()));
        // By its own word it would be fresh, and its time was ended.
        assert!(read.did().ends_with("; hit; ttl=0"), "{}", read.did());
        settle().await;
        assert_eq!(site.call(get("/", &[("host", "a")])).await.text(), (call + 1).to_string());
    }
    cache.invalidate_all();
    assert_eq!((site.call(get("/", &[("host", "a")])).await.text(), cache.len(), cache.is_empty()), ("4", 1, false));
}

#[tokio::test]
async fn the_status_header_may_be_named_joined_or_left_out() {
    let clock = ManualClock::new();
    let cache = builder(&clock).name("Edge-1").ttl(s(60)).build().unwrap();
    let lines = [("cache-status", "inner; hit"), ("cache-status", "other; fwd=miss")];
    let told = counting(&cache, &clock, cache.layer(), &lines);
    told.get("/").await;
    assert_eq!(told.get("/").await.did(), "inner; hit, other; fwd=miss, Edge-1; hit; ttl=60");
    let silent = counting(&cache, &clock, cache.layer().cache_status(false), &[]);
    silent.get("/silent").await;
    let hit = silent.get("/silent").await;
    assert_eq!((hit.header("cache-status"), hit.header("age"), hit.text()), (None, Some("0"), "1"));
    let silent = counting(&cache, &clock, cache.layer().cache_status(false), &lines);
    silent.get("/inner").await;
    assert_eq!(silent.get("/inner").await.did(), "inner; hit, other; fwd=miss");
}

#[tokio::test]
async fn what_is_stored_stays_within_its_bytes() {
    let site =
        Site::new(|builder| builder.max_bytes(100_000).ttl(s(60)), |_, _| async { answer(200, &[], vec![b'x'; 4000]) });
    for page in 0..200 {
        site.get(&format!("/{page}")).await;
    }
    assert!(site.cache.bytes() <= 100_000 && site.cache.len() >= 10, "{:?}", site.cache);
}

#[test]
fn settings_without_a_meaning_are_refused() {
    let of = |builder: bellwether_tower::Builder| builder.build().map(drop).unwrap_err();
    let base = || ResponseCache::builder().max_bytes(1000);
    assert_eq!(of(ResponseCache::builder()).to_string(), "max_bytes is required");
    for name in ["", "a b", "1a", "é", "a\"b"] {
        assert_eq!(of(base().name(name)), BuildError::Name(name.to_owned()));
    }
    assert_eq!(of(base().soft_timeout(s(2)).hard_timeout(s(1))), BuildError::SoftAboveHard);
    assert_eq!(of(base().max_waiters(0)), BuildError::ZeroMaxWaiters);
    assert_eq!(of(base().max_loads(0)), BuildError::Cache(bellwether::BuildError::ZeroMaxLoads));
    let layer = base().build().unwrap().layer().soft_timeout(s(2)).hard_timeout(s(1));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tower::Layer::layer(&layer, ()))).is_err());
    assert!(std::panic::catch_unwind(|| base().lead_timeout(Duration::ZERO)).is_err());
    assert!(std::panic::catch_unwind(|| base().negative_ttl(http::StatusCode::OK, s(1))).is_err());
}

#[tokio::test]
async fn what_is_counted() {
    let site = Site::fixed(|builder| builder.record_stats().ttl(s(60)), 200, &[]);
    for _ in 0..3 {
        site.get("/").await;
    }
    let stats = site.cache.stats();
    assert_eq!((stats.loads, stats.hits), (1, 2));
}
