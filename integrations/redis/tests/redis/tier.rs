//! Memory, then the server, then the loader; one load over all tiers.

use crate::support::source::Source;
use crate::support::*;
use bellwether::Loaded;
use bellwether::{LoadError, Outcome, Refresh};
use bellwether_redis::{SharedError, Source as Level};
use std::time::Duration;

async fn get(tier: &Texts, source: &Source, key: &str) -> Result<String, LoadError<SharedError<String>>> {
    tier.try_get_with_async(key, || source.load(key)).await
}

#[test]
fn memory_then_the_server_then_the_loader() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let from = async |tier: &Texts| {
            let answer = tier.entry("k").try_get_with_async(|| source.load("k")).await.unwrap();
            assert_eq!(answer.value, "k#1");
            (answer.source, answer.outcome)
        };
        assert_eq!(all[0].get("k"), None);
        assert_eq!(from(&all[0]).await, (Level::Loaded, Outcome::Computed));
        assert_eq!(from(&all[0]).await, (Level::Memory, Outcome::Hit));
        assert_eq!(all[1].get("k"), None);
        assert_eq!(from(&all[1]).await, (Level::Shared, Outcome::FromTier));
        assert_eq!(from(&all[1]).await, (Level::Memory, Outcome::Hit));
        assert_eq!(all[1].get("k").as_deref(), Some("k#1"));
        assert_eq!(source.loads(), 1);
        let stats = [all[0].stats(), all[1].stats()];
        assert_eq!([stats[0].shared_loads, stats[0].shared_hits], [1, 0]);
        assert_eq!([stats[1].shared_loads, stats[1].shared_hits], [0, 1]);
    });
}

#[test]
fn many_callers_of_many_tiers_share_one_load() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 4).await, Source::new());
        source.hold(true);
        let herd: Vec<_> = (0..200)
            .map(|caller| {
                let (tier, source) = (all[caller % 4].clone(), source.clone());
                tokio::spawn(async move { get(&tier, &source, "hot").await })
            })
            .collect();
        let waits = || all.iter().map(|tier| tier.stats().waits.min(1)).sum::<u64>();
        eventually("three tiers wait", || waits() == 3).await;
        source.hold(false);
        for caller in herd {
            assert_eq!(caller.await.unwrap().unwrap(), "hot#1");
        }
        assert_eq!(source.loads(), 1);
        assert_eq!(all.iter().map(|tier| tier.stats().shared_loads).sum::<u64>(), 1);
    });
}

#[test]
fn one_failing_load_is_one_call_and_all_share_its_error() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 4).await, Source::new());
        source.hold(true);
        source.fail(true);
        let herd: Vec<_> = (0..200)
            .map(|caller| {
                let (tier, source) = (all[caller % 4].clone(), source.clone());
                tokio::spawn(async move { get(&tier, &source, "k").await })
            })
            .collect();
        let waits = || all.iter().map(|tier| tier.stats().waits.min(1)).sum::<u64>();
        let coalesced = || all.iter().map(|tier| tier.memory().stats().coalesced).sum::<u64>();
        eventually("all wait", || waits() == 3 && coalesced() == 196).await;
        source.hold(false);
        let (mut own, mut remote) = (0, 0);
        for caller in herd {
            match caller.await.unwrap().unwrap_err() {
                LoadError::Load(error) => {
                    assert_eq!(error.to_string(), "load 1 of k failed");
                    match *error {
                        SharedError::Own(_) => own += 1,
                        SharedError::Remote(_) => remote += 1,
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((source.loads(), own, remote), (1, 50, 150));
        // It was shared by those who waited, and by no one else.
        source.fail(false);
        assert_eq!(get(&all[0], &source, "k").await.unwrap(), "k#2");
    });
}

#[test]
fn a_failure_is_remembered_by_all_for_the_negative_ttl() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).negative_ttl(MINUTE));
        let (a, b, source) = (build().await, build().await, Source::new());
        source.fail(true);
        get(&a, &source, "k").await.unwrap_err();
        let error = get(&b, &source, "k").await.unwrap_err();
        assert!(matches!(&error, LoadError::Load(error) if matches!(**error, SharedError::Remote(_))), "{error:?}");
        assert_eq!((source.loads(), b.stats().remote_failures), (1, 1));
    });
}

#[test]
fn a_cancelled_load_is_handed_over() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let begin = |tier: &Texts| {
            let (tier, source) = (tier.clone(), source.clone());
            tokio::spawn(async move { get(&tier, &source, "k").await })
        };
        let first = begin(&all[0]);
        eventually("the first loads", || source.loads() == 1).await;
        let other = begin(&all[1]);
        eventually("the other waits", || all[1].stats().waits == 1).await;
        first.abort();
        eventually("the other loads", || source.loads() == 2).await;
        source.hold(false);
        assert_eq!(other.await.unwrap().unwrap(), "k#2");
        assert_eq!(get(&all[0], &source, "k").await.unwrap(), "k#2");
    });
}

#[test]
fn a_cancelled_load_is_handed_over_within_its_own_tier() {
    with_server(|server| async move {
        let (tier, source) = (tier(&server.url()).await, Source::new());
        source.hold(true);
        let begin = || {
            let (tier, source) = (tier.clone(), source.clone());
            tokio::spawn(async move { get(&tier, &source, "k").await })
        };
        let first = begin();
        eventually("the first loads", || source.loads() == 1).await;
        let second = begin();
        eventually("the second waits", || tier.memory().stats().coalesced == 1).await;
        first.abort();
        eventually("the second loads", || source.loads() == 2).await;
        source.hold(false);
        assert_eq!(second.await.unwrap().unwrap(), "k#2");
    });
}

#[test]
fn a_load_that_panics_is_handed_over() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let tier = all[0].clone();
        let panics = tokio::spawn(async move {
            let load = || async { panic!("the loader panics") as Result<String, String> };
            tier.try_get_with_async("k", load).await
        });
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(get(&all[1], &source, "k").await.unwrap(), "k#1");
    });
}

#[test]
fn a_tier_that_starts_anew_loads_nothing_again() {
    with_server(|server| async move {
        let source = Source::new();
        let first = tier(&server.url()).await;
        for key in 0..50 {
            get(&first, &source, &key.to_string()).await.unwrap();
        }
        drop(first);
        let second = tier(&server.url()).await;
        for key in 0..50 {
            get(&second, &source, &key.to_string()).await.unwrap();
        }
        assert_eq!((source.loads(), second.stats().shared_hits), (50, 50));
    });
}

#[test]
fn not_modified_renews_the_value_for_all() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).stale_if_error(MINUTE));
        let (all, source) = ([build().await, build().await], Source::new());
        get(&all[0], &source, "k").await.unwrap();
        all[0].expire("k").await.unwrap();
        // The old value is the server's: memory has dropped it.
        let seen = |old: Option<String>| async move {
            assert_eq!(old.as_deref(), Some("k#1"));
            Ok::<_, String>(Loaded::NotModified)
        };
        let answer = all[1].entry("k").revalidate_with_async(seen).await.unwrap();
        assert_eq!((answer.value.as_str(), answer.source), ("k#1", Level::Loaded));
        assert_eq!(get(&all[0], &source, "k").await.unwrap(), "k#1");
        assert_eq!((source.loads(), all[0].stats().shared_hits), (1, 1));
        let nothing = all[0].entry("none").revalidate_with_async(|_| async { Ok::<_, String>(Loaded::NotModified) });
        assert!(matches!(nothing.await, Err(LoadError::NotModified)));
    });
}

#[test]
fn an_old_value_of_the_server_stands_in_for_an_error() {
    with_server(|server| async move {
        let tier = up(builder(&server.url()).stale_if_error(MINUTE)).await;
        let source = Source::new();
        get(&tier, &source, "k").await.unwrap();
        tier.expire("k").await.unwrap();
        source.fail(true);
        let answer = tier.entry("k").try_get_with_async(|| source.load("k")).await.unwrap();
        assert_eq!((answer.value.as_str(), answer.outcome, answer.source), ("k#1", Outcome::Stale, Level::Shared));
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn a_wait_for_another_tier_ends_by_its_timeout() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let (leads, loads) = (all[0].clone(), source.clone());
        let leader = tokio::spawn(async move { get(&leads, &loads, "k").await });
        eventually("the leader loads", || source.loads() == 1).await;
        let request = all[1].entry("k").wait_timeout(Duration::from_millis(20));
        let ended = request.try_get_with_async(|| source.load("k")).await;
        assert!(matches!(ended, Err(LoadError::TimedOut)), "{ended:?}");
        source.hold(false);
        assert_eq!(leader.await.unwrap().unwrap(), "k#1");
    });
}

#[test]
fn threads_and_tasks_share_a_load() {
    with_server(|server| async move {
        let tier = tier(&server.url()).await;
        let threads = tier.clone();
        let by_thread = tokio::task::spawn_blocking(move || threads.try_get_with("k", || Ok::<_, String>("v".into())));
        assert_eq!(by_thread.await.unwrap().unwrap(), "v");
        let by_task = tier.try_get_with_async("k", || async { Err("it is there") }).await;
        assert_eq!(by_task.unwrap(), "v");
    });
}

#[test]
fn a_caller_may_load_beside_another_tier() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        source.hold(true);
        let begin = |tier: &Texts, skip: bool| {
            let (tier, source) = (tier.clone(), source.clone());
            tokio::spawn(
                async move { tier.entry("k").skip_shared_lock(skip).try_get_with_async(|| source.load("k")).await },
            )
        };
        let leader = begin(&all[0], true);
        eventually("the leader loads", || source.loads() == 1).await;
        let beside = [begin(&all[1], true), begin(&all[1], true)];
        eventually("one beside it loads", || source.loads() == 2).await;
        let waits = begin(&all[2], false);
        eventually("the third waits", || all[2].stats().waits == 1).await;
        source.hold(false);
        assert_eq!(leader.await.unwrap().unwrap().value, "k#1");
        for task in beside {
            assert_eq!(task.await.unwrap().unwrap().value, "k#2");
        }
        assert_eq!(waits.await.unwrap().unwrap().value, "k#1");
        // The published value takes the place of the one that was loaded beside it.
        eventually("it is dropped", || all[1].get("k").is_none_or(|value| value == "k#1")).await;
        assert_eq!(get(&all[1], &source, "k").await.unwrap(), "k#1");
        assert_eq!((source.loads(), all[1].stats().loads_beside), (2, 1));
    });
}

#[test]
fn a_refresh_is_early_by_what_a_load_takes_and_not_by_what_the_server_takes() {
    with_server(|server| async move {
        // From 80 s before the expiry on, if the cost is the load's 20 ms: at once.
        let early = || builder(&server.url()).memory(|memory| memory.refresh(Refresh::lead(4000.0)));
        let (a, b, source) = (up(early()).await, up(early()).await, Source::new());
        source.take(Duration::from_millis(20));
        get(&a, &source, "k").await.unwrap();
        assert_eq!(get(&b, &source, "k").await.unwrap(), "k#1");
        let answer = b.entry("k").try_get_with_async(|| source.load("k")).await.unwrap();
        assert_eq!((answer.value.as_str(), answer.outcome, answer.source), ("k#2", Outcome::Refreshed, Level::Loaded));
        eventually("the other hears of it", || a.get("k").is_none()).await;
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn a_failure_that_is_remembered_gives_way_to_a_write() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).negative_ttl(MINUTE));
        let (a, b, c, source) = (build().await, build().await, build().await, Source::new());
        source.fail(true);
        get(&a, &source, "k").await.unwrap_err();
        get(&b, &source, "k").await.unwrap_err();
        c.insert("k".into(), "there".into()).await.unwrap();
        source.fail(false);
        for tier in [&a, &b] {
            let end = tokio::time::Instant::now() + PATIENCE;
            while get(tier, &source, "k").await.is_err() {
                assert!(tokio::time::Instant::now() < end, "the push never comes");
                tokio::task::yield_now().await;
            }
            assert_eq!(get(tier, &source, "k").await.unwrap(), "there");
        }
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn the_last_handle_closes_the_connection() {
    with_server(|server| async move {
        let first = tier(&server.url()).await;
        let second = first.clone();
        let mut conn = server.connection().await;
        let mut clients = async || {
            let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut conn).await.unwrap();
            list.lines().count()
        };
        drop(first);
        assert_eq!(clients().await, 2);
        drop(second);
        let end = tokio::time::Instant::now() + PATIENCE;
        while clients().await > 1 {
            assert!(tokio::time::Instant::now() < end, "the connection stays");
            tokio::task::yield_now().await;
        }
    });
}
