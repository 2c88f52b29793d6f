//! What other response caches get wrong when many requests come at once.

use crate::support::*;

#[tokio::test]
async fn a_hundred_cold_requests_are_one_call() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder,
        move |call, _| {
            let gate = waits.clone();
            async move {
                gate.pass().await;
                answer(200, &[("cache-control", "max-age=60")], call.to_string())
            }
        },
    );
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
