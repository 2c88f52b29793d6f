//! Tags over all tiers.

use crate::support::source::Source;
use crate::support::*;

/// Each key's tag is its first letter.
async fn tagged(url: &str) -> Texts {
    up(builder(url).tags_with(|key, _, tags| tags.add(&key[..1]))).await
}

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

#[test]
fn a_tag_is_invalidated_for_all() {
    with_server(|server| async move {
        let (a, b, source) = (tagged(&server.url()).await, tagged(&server.url()).await, Source::new());
        for key in ["x1", "x2", "y1"] {
            get(&a, &source, key).await;
            get(&b, &source, key).await;
        }
        a.invalidate_tag("x").await.unwrap();
        eventually("the other hears of it", || b.get("x1").is_none() && b.get("x2").is_none()).await;
        assert_eq!(b.get("y1").as_deref(), Some("y1#3"));
        assert_eq!(get(&b, &source, "x1").await, "x1#4");
        assert_eq!(get(&a, &source, "x1").await, "x1#4");
        assert_eq!(get(&a, &source, "y1").await, "y1#3");
        // One that has nothing in memory passes over what it finds.
        let c = tagged(&server.url()).await;
        assert_eq!((get(&c, &source, "x2").await.as_str(), c.stats().tag_misses), ("x2#5", 1));
    });
}

#[test]
fn a_tag_fences_loads_that_have_begun() {
    with_server(|server| async move {
        let (a, b, source) = (tagged(&server.url()).await, tagged(&server.url()).await, Source::new());
        source.hold(true);
        let (tier, loads) = (a.clone(), source.clone());
        let first = tokio::spawn(async move { get(&tier, &loads, "x").await });
        eventually("it loads", || source.loads() == 1).await;
        b.invalidate_tag("x").await.unwrap();
        source.hold(false);
        assert_eq!(first.await.unwrap(), "x#1");
        assert_eq!(get(&b, &source, "x").await, "x#2");
        assert_eq!(get(&a, &source, "x").await, "x#2");
    });
}

#[test]
fn a_tier_that_comes_later_knows_of_invalidations() {
    with_server(|server| async move {
        let (a, source) = (tagged(&server.url()).await, Source::new());
        get(&a, &source, "x").await;
        get(&a, &source, "y").await;
        a.invalidate_tag("x").await.unwrap();
        let b = tagged(&server.url()).await;
        assert_eq!(get(&b, &source, "x").await, "x#3");
        assert_eq!(get(&b, &source, "y").await, "y#2");
    });
}

#[test]
fn tags_that_the_server_has_lost_bring_nothing_back() {
    with_server(|server| async move {
        let (a, source) = (tagged(&server.url()).await, Source::new());
        get(&a, &source, "x").await;
        a.invalidate_tag("x").await.unwrap();
        let mut conn = server.connection().await;
        redis::cmd("DEL").arg("test:tags").query_async::<()>(&mut conn).await.unwrap();
        let b = tagged(&server.url()).await;
        assert_eq!(get(&b, &source, "x").await, "x#2");
    });
}
