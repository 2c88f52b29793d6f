//! The distributed flight: whose value is stored.

use crate::support::source::Source;
use crate::support::*;

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

fn begin(tier: &Texts, source: &Source, key: &'static str) -> tokio::task::JoinHandle<String> {
    let (tier, source) = (tier.clone(), source.clone());
    tokio::spawn(async move { get(&tier, &source, key).await })
}

#[test]
fn an_invalidation_by_another_tier_fences_a_load() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        source.hold(true);
        source.set("k", "old");
        let first = begin(&all[0], &source, "k");
        eventually("the first loads", || source.loads() == 1).await;
        source.set("k", "new");
        all[2].invalidate("k").await.unwrap();
        let second = begin(&all[1], &source, "k");
        eventually("the second loads", || source.loads() == 2).await;
        source.hold(false);
        // The first caller came before the invalidation, and may have what was loaded then.
        assert_eq!(first.await.unwrap(), "old");
        assert_eq!(second.await.unwrap(), "new");
        assert_eq!((all[0].get("k"), all[0].stats().fenced), (None, 1));
        assert_eq!(get(&all[0], &source, "k").await, "new");
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn an_insert_by_another_tier_wins_over_a_load_for_good() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let first = begin(&all[0], &source, "k");
        eventually("it loads", || source.loads() == 1).await;
        all[1].insert("k".into(), "inserted".into()).await.unwrap();
        source.hold(false);
        assert_eq!(first.await.unwrap(), "k#1");
        for tier in &all {
            assert_eq!(get(tier, &source, "k").await, "inserted");
        }
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn a_write_of_the_same_tier_fences_its_load() {
    with_server(|server| async move {
        let (tier, source) = (tier(&server.url()).await, Source::new());
        source.hold(true);
        let first = begin(&tier, &source, "k");
        eventually("it loads", || source.loads() == 1).await;
        tier.insert("k".into(), "inserted".into()).await.unwrap();
        source.hold(false);
        first.await.unwrap();
        assert_eq!(get(&tier, &source, "k").await, "inserted");
    });
}

#[test]
fn a_leader_later_than_its_lease_is_fenced() {
    with_server(|server| async move {
        let lead = std::time::Duration::from_millis(300);
        let short = || builder(&server.url()).probe(lead / 6).lead_timeout(lead);
        let (a, b, source) = (up(short()).await, up(short()).await, Source::new());
        source.hold(true);
        source.set("k", "old");
        let first = begin(&a, &source, "k");
        eventually("the first loads", || source.loads() == 1).await;
        source.set("k", "new");
        let second = begin(&b, &source, "k");
        eventually("the second takes over", || source.loads() == 2).await;
        source.hold(false);
        assert_eq!((first.await.unwrap().as_str(), second.await.unwrap().as_str()), ("old", "new"));
        eventually("the first is fenced", || a.stats().fenced == 1).await;
        assert_eq!(get(&a, &source, "k").await, "new");
    });
}

#[test]
fn a_foreign_lease_is_left_alone() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let first = begin(&all[0], &source, "k");
        eventually("the first loads", || source.loads() == 1).await;
        all[1].invalidate("k").await.unwrap();
        let second = begin(&all[1], &source, "k");
        eventually("the second loads", || source.loads() == 2).await;
        // The first is cancelled, and gives up the lease that it no longer has.
        first.abort();
        let _ = first.await;
        source.hold(false);
        assert_eq!(second.await.unwrap(), "k#2");
        assert_eq!(all[1].stats().fenced, 0);
    });
}

#[test]
fn keys_that_look_like_locks_do_not_collide() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let keys = ["a", "a:lock", "a:f", "a}:f", "", "}", "{a}"];
        for key in keys {
            get(&all[0], &source, key).await;
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(get(&all[1], &source, key).await, format!("{key}#{}", number + 1));
        }
        assert_eq!(source.loads(), keys.len() as u64);
    });
}

#[test]
fn scripts_come_back_after_a_flush() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        get(&all[0], &source, "a").await;
        let mut conn = server.connection().await;
        redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut conn).await.unwrap();
        get(&all[0], &source, "b").await;
        all[0].insert("c".into(), "c".into()).await.unwrap();
        assert_eq!(get(&all[1], &source, "c").await, "c");
        assert_eq!(all[0].stats().command_errors, 0);
    });
}

#[test]
fn a_flushed_server_empties_memory() {
    with_server(|server| async move {
        let (tier, source) = (tier(&server.url()).await, Source::new());
        get(&tier, &source, "k").await;
        let mut conn = server.connection().await;
        redis::cmd("FLUSHALL").query_async::<()>(&mut conn).await.unwrap();
        eventually("memory is empty", || tier.get("k").is_none()).await;
        assert_eq!(get(&tier, &source, "k").await, "k#2");
    });
}

#[test]
fn many_writers_and_readers_end_with_the_last_write() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 4).await, Source::new());
        let mut tasks = Vec::new();
        for caller in 0..16_usize {
            let (tier, source) = (all[caller % 4].clone(), source.clone());
            tasks.push(tokio::spawn(async move {
                for round in 0..50 {
                    match (caller + round) % 5 {
                        0 => drop(tier.invalidate("k").await.unwrap()),
                        1 => drop(tier.insert("k".into(), format!("{caller}/{round}")).await.unwrap()),
                        _ => drop(get(&tier, &source, "k").await),
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        all[0].insert("k".into(), "last".into()).await.unwrap();
        for tier in &all {
            eventually("the last write is there", || tier.get("k").is_none_or(|value| value == "last")).await;
            assert_eq!(get(tier, &source, "k").await, "last");
            // (A push that comes late may be removing a key just now.)
            eventually("memory is as it must be", || tier.memory().validate().is_ok()).await;
        }
    });
}
