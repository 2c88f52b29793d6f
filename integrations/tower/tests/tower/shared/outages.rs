//! The server goes away, and comes back.

use super::*;
use bellwether_tower::Reach;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("surrogate-key", "t")];

#[test]
fn without_the_server_each_process_goes_on() {
    with_server(|mut server| async move {
        let origin = Origin::fixed(FRESH);
        let cache = up(store(), tier(&server.url()).unlinked_ttl(s(600))).await;
        let one = origin.site(&cache, cache.layer());
        assert_eq!(one.get("/").await.text(), "1");
        server.kill();
        link(&cache, |state| *state == LinkState::Down).await;
        // Memory serves, and a cold route is one call.
        assert_eq!((one.get("/").await.text(), &*did(&one.get("/").await)), ("1", "bellwether; hit"));
        let cold = (0..10).map(|_| one.begin(get("/cold", &[]))).collect();
        assert!(all(cold).await.iter().all(|read| (read.status, read.text()) == (200, "2")));
        assert_eq!(bounded(cache.invalidate_tag("t")).await, Ok(Reach::Queued));
        assert_eq!(one.get("/").await.text(), "3");
        // What was made meanwhile is not what the others have.
        server.run();
        link_up(&cache).await;
        let two = origin.process(&server).await;
        assert_eq!(two.get("/").await.text(), "4");
        let end = Instant::now() + s(60);
        while one.get("/").await.text() != "4" {
            assert!(Instant::now() < end, "it keeps its own");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[tokio::test]
async fn a_store_that_never_finds_its_server_is_a_store() {
    let origin = Origin::fixed(FRESH);
    let cache = store().build_on(RedisTier::new("redis://127.0.0.1:1/").unlinked_ttl(s(600))).await.unwrap();
    let site = origin.site(&cache, cache.layer());
    assert_eq!((site.get("/").await.text(), site.get("/").await.text()), ("1", "1"));
    assert!(!cache.is_empty() && cache.bytes() > 0 && cache.len() == 1);
    cache.invalidate_all().await.unwrap();
    assert_eq!(site.get("/").await.text(), "2");
    assert_ne!(cache.link(), Some(LinkState::Down), "it was never up");
}
