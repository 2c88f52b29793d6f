//! What other response caches get wrong, one test each.

use crate::support::*;

/// A handler that waits at a gate, and then answers with these headers and the number of the call.
fn gated(
    build: impl FnOnce(bellwether_tower::Builder) -> bellwether_tower::Builder,
    lines: &[(&str, &str)],
) -> (Site, Gate) {
    let (gate, lines) = (Gate::closed(), headers(lines));
    let waits = gate.clone();
    let site = Site::new(build, move |call, _| {
        let (gate, lines) = (waits.clone(), lines.clone());
        async move {
            gate.pass().await;
            let mut response = answer(200, &[], call.to_string());
            *response.headers_mut() = lines;
            response
        }
    });
    (site, gate)
}

/// `http-cache-tower` makes a hundred calls.
#[tokio::test]
async fn a_hundred_cold_requests_are_one_call() {
    let (site, gate) = gated(|builder| builder, &[("cache-control", "max-age=60")]);
    let all = site.herd((0..100).map(|_| get("/", &[("host", "a")])).collect(), &gate).await;
    assert_eq!(site.calls(), 1);
    assert!(all.iter().all(|read| read.text() == "1"));
    let did = |did: &str| all.iter().filter(|read| read.did() == did).count();
    assert_eq!(did("bellwether; fwd=uri-miss; stored; ttl=60"), 1);
    assert_eq!(did("bellwether; fwd=uri-miss; stored; collapsed; ttl=60"), 99);
    site.clock.advance(s(10));
    let hit = site.call(get("/", &[("host", "a")])).await;
    assert_eq!((hit.did(), hit.header("age"), site.calls()), ("bellwether; hit; ttl=50", Some("10"), 1));
}

/// `axum-response-cache` replays the cookie to all.
#[tokio::test]
async fn a_cookie_is_never_replayed() {
    let (site, gate) = gated(|builder| builder.ttl(s(60)), &[("cache-control", "max-age=60"), ("set-cookie", "id=1")]);
    let all = site.herd((0..10).map(|_| get("/", &[])).collect(), &gate).await;
    // One after the other would be ten times as slow: those who have waited call the handler
    // themselves.
    let mut bodies: Vec<_> = all.iter().map(|read| read.text().parse::<usize>().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (1..=10).collect::<Vec<_>>());
    assert_eq!(site.get("/").await.did(), "bellwether; fwd=bypass; detail=hit-for-pass");
    assert_eq!(site.calls(), 11);
}

/// Once a URI is known to have no shared response, requests for it do not wait for each other.
#[tokio::test]
async fn a_herd_on_an_uncacheable_route_does_not_queue() {
    let gates: Vec<_> = (0..5).map(|_| Gate::closed()).collect();
    let waits = gates.clone();
    let site = Site::new(
        |builder| builder,
        move |call, _| {
            let gate = waits[call - 1].clone();
            async move {
                gate.pass().await;
                answer(200, &[("cache-control", "no-store")], call.to_string())
            }
        },
    );
    gates[0].open();
    assert_eq!(site.get("/").await.did(), "bellwether; fwd=uri-miss");
    let tasks: Vec<_> = (0..4).map(|_| site.begin(get("/", &[]))).collect();
    settle().await;
    // All four are with the handler, though none of them has an answer.
    assert_eq!(site.calls(), 5);
    gates.iter().for_each(Gate::open);
    for task in tasks {
        assert_eq!(bounded(task).await.unwrap().did(), "bellwether; fwd=bypass; detail=hit-for-pass");
    }
    // Some time later the layer looks again.
    site.clock.advance(s(5));
    assert!(!site.cache.is_empty());
}

#[tokio::test]
async fn the_mark_of_an_uncacheable_route_ends() {
    let site = Site::new(
        |builder| builder.hit_for_pass(s(3)),
        |call, _| async move {
            let says = if call == 1 { "private" } else { "max-age=60" };
            answer(200, &[("cache-control", says)], call.to_string())
        },
    );
    site.get("/").await;
    site.clock.advance(s(2));
    assert_eq!(site.get("/").await.did(), "bellwether; fwd=bypass; detail=hit-for-pass");
    site.clock.advance(s(1));
    assert_eq!(site.get("/").await.did(), "bellwether; fwd=uri-miss; stored; ttl=60");
    assert!(site.get("/").await.is_hit());
    assert_eq!(site.calls(), 3);
}

/// `http-cache-semantics` makes one of them.
#[tokio::test]
async fn both_link_headers_are_kept() {
    let lines = [("cache-control", "max-age=60"), ("link", "</a>; rel=preload"), ("link", "</b>; rel=preload")];
    let site = Site::fixed(|builder| builder, 200, &lines);
    for _ in 0..2 {
        let read = site.get("/").await;
        let links: Vec<_> = read.headers.get_all("link").iter().collect();
        assert_eq!(links, ["</a>; rel=preload", "</b>; rel=preload"]);
    }
    assert_eq!(site.calls(), 1);
}

/// `http-cache-semantics` overwrites it at each hit.
#[tokio::test]
async fn the_date_is_that_of_the_response() {
    let site = Site::fixed(|builder| builder, 200, &[("cache-control", "max-age=60")]);
    assert_eq!(site.get("/").await.header("date"), Some(&*date(0)));
    site.clock.advance(s(7));
    let hit = site.get("/").await;
    assert_eq!((hit.header("date"), hit.header("age")), (Some(&*date(0)), Some("7")));
}

/// Other caches leave those who wait alone when the client that called the handler goes away.
#[tokio::test]
async fn a_client_that_goes_away_ends_nothing() {
    let (site, gate) = gated(|builder| builder, &[("cache-control", "max-age=60")]);
    let leader = site.begin(get("/", &[]));
    settle().await;
    assert_eq!(site.calls(), 1);
    let followers: Vec<_> = (0..5).map(|_| site.begin(get("/", &[]))).collect();
    settle().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    settle().await;
    gate.open();
    for follower in followers {
        assert_eq!(bounded(follower).await.unwrap().text(), "1");
    }
    assert_eq!(site.calls(), 1);
}

/// Nor does it matter if all clients have gone: the response is there for the next one.
#[tokio::test]
async fn the_handler_goes_on_without_any_client() {
    let (site, gate) = gated(|builder| builder, &[("cache-control", "max-age=60")]);
    let only = site.begin(get("/", &[]));
    settle().await;
    only.abort();
    let _ = only.await;
    gate.open();
    settle().await;
    assert!(site.get("/").await.is_hit());
    assert_eq!(site.calls(), 1);
}

/// The leader asks for gzip and ten followers for br: two calls, and each gets its own.
#[tokio::test]
async fn followers_with_other_headers_lead_their_own_variant() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder,
        move |_, request| {
            let gate = waits.clone();
            let coding = request.headers()["accept-encoding"].to_str().unwrap().to_owned();
            async move {
                gate.pass().await;
                let lines =
                    [("cache-control", "max-age=60"), ("vary", "Accept-Encoding"), ("content-encoding", &*coding)];
                answer(200, &lines, coding.clone())
            }
        },
    );
    let coded = |coding| get("/", &[("accept-encoding", coding)]);
    let requests = std::iter::once(coded("gzip")).chain((0..10).map(|_| coded("br"))).collect();
    let all = site.herd(requests, &gate).await;
    assert_eq!(site.calls(), 2);
    assert_eq!(all[0].text(), "gzip");
    assert!(all[1..].iter().all(|read| read.text() == "br" && read.header("content-encoding") == Some("br")));
    assert_eq!(all[1..].iter().filter(|read| read.did() == "bellwether; fwd=vary-miss; stored; ttl=60").count(), 1);
    for coding in ["gzip", "br"] {
        let hit = site.call(coded(coding)).await;
        assert_eq!((hit.text(), hit.is_hit()), (coding, true));
    }
    assert_eq!(site.calls(), 2);
}
