//! Writes reach all tiers.

use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{WriteError, Written};
use std::time::Duration;

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

/// Waits until memory has dropped a value.
async fn dropped(tier: &Texts, key: &str, value: &str) {
    eventually("the push comes", || tier.get(key).is_none_or(|found| found != value)).await;
}

#[test]
fn an_insert_is_seen_by_all() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        source.set("k", "1");
        for tier in &all {
            assert_eq!(get(tier, &source, "k").await, "1");
        }
        assert_eq!(all[1].insert("k".into(), "42".into()).await.unwrap(), Written::Shared);
        for tier in &all {
            dropped(tier, "k", "1").await;
            assert_eq!(get(tier, &source, "k").await, "42");
        }
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn an_invalidation_is_seen_by_all() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 6).await, Source::new());
        for round in 1..=20 {
            for tier in &all {
                assert_eq!(get(tier, &source, "k").await, format!("k#{round}"));
            }
            all[round % 6].invalidate("k").await.unwrap();
            for tier in &all {
                dropped(tier, "k", &format!("k#{round}")).await;
            }
        }
        assert_eq!(source.loads(), 20);
    });
}

#[test]
fn expire_makes_all_load_anew() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        get(&all[0], &source, "k").await;
        get(&all[1], &source, "k").await;
        all[0].expire("k").await.unwrap();
        dropped(&all[1], "k", "k#1").await;
        assert_eq!(get(&all[1], &source, "k").await, "k#2");
        assert_eq!(get(&all[0], &source, "k").await, "k#2");
    });
}

#[test]
fn invalidate_all_begins_anew_for_all() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        for key in ["a", "b"] {
            for tier in &all {
                get(tier, &source, key).await;
            }
        }
        all[1].invalidate_all().await.unwrap();
        for tier in &all {
            eventually("memory is empty", || tier.memory().is_empty()).await;
        }
        for tier in &all {
            assert_eq!(get(tier, &source, "a").await, "a#3");
            assert_eq!(get(tier, &source, "b").await, "b#4");
        }
        assert_eq!(source.loads(), 4);
    });
}

#[test]
fn a_generation_that_is_lost_brings_nothing_back() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        get(&all[0], &source, "k").await;
        all[0].invalidate_all().await.unwrap();
        get(&all[0], &source, "k").await;
        // As an eviction would.
        let mut conn = server.connection().await;
        redis::cmd("DEL").arg("test:gen").query_async::<()>(&mut conn).await.unwrap();
        eventually("memory is empty", || all[0].memory().is_empty()).await;
        assert_eq!(get(&all[0], &source, "k").await, "k#3");
        assert_eq!(get(&all[1], &source, "k").await, "k#3");
    });
}

#[test]
fn a_time_to_live_ends_by_the_servers_clock_for_all() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let request = all[0].entry("k").exact_ttl(Duration::from_millis(100));
        request.try_get_with_async(|| source.load("k")).await.unwrap();
        get(&all[1], &source, "k").await;
        eventually("it has expired", || all.iter().all(|tier| tier.get("k").is_none())).await;
        // Memory's clock may be a tick ahead of the server's.
        let end = tokio::time::Instant::now() + PATIENCE;
        while get(&all[1], &source, "k").await == "k#1" {
            assert!(tokio::time::Instant::now() < end, "it never expires");
        }
        assert_eq!(get(&all[1], &source, "k").await, "k#2");
    });
}

#[test]
fn what_cannot_be_shared_is_refused() {
    with_server(|server| async move {
        let tier = up(builder(&server.url()).max_value_bytes(10)).await;
        let refused = tier.insert("k".into(), "x".repeat(11)).await;
        assert!(matches!(refused, Err(WriteError::TooLarge)), "{refused:?}");
        // A loaded one is handed to its caller.
        let large = tier.try_get_with_async("k", || async { Ok::<_, String>("x".repeat(11)) }).await.unwrap();
        assert_eq!((large.len(), tier.get("k"), tier.stats().unshareable), (11, None, 1));
    });
}

#[test]
fn a_refusal_of_the_server_is_told() {
    let Some(server) = server::Server::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tier = builder(&server.url()).build().await.unwrap();
        let refused = tier.insert("k".into(), "v".into()).await;
        // The generation cannot be written either: the link never counts as up.
        assert_eq!(refused.unwrap(), Written::Queued);
        assert_eq!(get(&tier, &Source::new(), "other").await, "other#1");
        assert!(tier.stats().local_loads == 1);
    });
}
