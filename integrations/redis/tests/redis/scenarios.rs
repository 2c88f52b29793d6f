//! What the tests and the documents of other systems claim, with their numbers.

use crate::support::node::Node;
use crate::support::proxy::{Mode, Proxy};
use crate::support::source::Source;
use crate::support::*;
use std::time::Duration;

/// Has callers of some tiers ask for a key at once, and returns how many loads there were.
async fn herd(url: &str, number: usize, callers: usize, skip: bool) -> u64 {
    let (all, source) = (tiers(url, number).await, Source::new());
    let key = format!("{number}/{callers}/{skip}");
    source.take(Duration::from_millis(50));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (tier, source, key) = (all[caller % number].clone(), source.clone(), key.clone());
            tokio::spawn(async move {
                let request = tier.entry(&key).skip_shared_lock(skip);
                request.try_get_with_async(|| source.load(&key)).await.unwrap().value
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    source.loads()
}

/// FusionCache: cache stampede, 10, 100 and 1,000 callers.
#[test]
fn fusion_cache_callers_are_one_load() {
    with_server(|server| async move {
        for number in [1, 2, 8] {
            for callers in [10, 100, 1000] {
                assert_eq!(herd(&server.url(), number, callers, false).await, 1, "{callers} callers of {number}");
            }
        }
    });
}

/// FusionCache: 100,000 requests over 10 nodes: one load; with local protection only, ten.
#[test]
fn fusion_cache_a_hundred_thousand_requests_over_ten_nodes() {
    with_server(|server| async move {
        let source = Source::new();
        source.take(Duration::from_millis(200));
        let port = source.serve().await;
        for (settings, loads) in [("", 1..=1), ("skip=1", 2..=10)] {
            let mut nodes = Vec::new();
            for _ in 0..10 {
                nodes.push(Node::start(&server.url(), port, settings).await);
            }
            let (before, key) = (source.loads(), format!("hot{settings}"));
            for node in &mut nodes {
                node.say(&format!("herd {key} 10000")).await;
            }
            for node in &mut nodes {
                let answer = node.answer().await;
                assert!(!answer.contains('!'), "{answer}");
            }
            let made = source.loads() - before;
            assert!(loads.contains(&made), "{settings}: {made} loads");
        }
    });
}

async fn answer(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

/// FusionCache: nodes 1, 2 and 3 ask; one sets 42; one removes.
#[test]
fn fusion_cache_backplane() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        source.set("k", "1");
        for tier in &all {
            assert_eq!(answer(tier, &source, "k").await, "1");
        }
        all[0].insert("k".into(), "42".into()).await.unwrap();
        for tier in &all {
            eventually("the push comes", || tier.get("k").is_none_or(|value| value == "42")).await;
            assert_eq!(answer(tier, &source, "k").await, "42");
        }
        all[1].invalidate("k").await.unwrap();
        for tier in &all {
            eventually("it is absent", || tier.get("k").is_none()).await;
        }
        assert_eq!(source.loads(), 1);
    });
}

/// FusionCache: all links broken, B sets 30: A has 10 and B 30; repaired: both have 30.
#[test]
fn fusion_cache_recovery() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let build = || up(builder(&proxy.url()).unlinked_ttl(MINUTE));
        let (a, b, source) = (build().await, build().await, Source::new());
        source.set("k", "10");
        assert_eq!((answer(&a, &source, "k").await.as_str(), answer(&b, &source, "k").await.as_str()), ("10", "10"));
        proxy.set(Mode::Cut);
        link_down(&a).await;
        link_down(&b).await;
        b.insert("k".into(), "30".into()).await.unwrap();
        assert_eq!((answer(&a, &source, "k").await.as_str(), answer(&b, &source, "k").await.as_str()), ("10", "30"));
        proxy.set(Mode::Pass);
        link_up(&a).await;
        link_up(&b).await;
        eventually("A hears of it", || a.get("k").is_none_or(|value| value == "30")).await;
        assert_eq!((answer(&a, &source, "k").await.as_str(), answer(&b, &source, "k").await.as_str()), ("30", "30"));
        assert_eq!(source.loads(), 1);
    });
}

/// rueidisaside: 10 clients, 1,000 gets of each of 10 keys: one load a key.
#[test]
fn rueidisaside_ten_clients() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 10).await, Source::new());
        let mut tasks = Vec::new();
        for tier in &all {
            for key in 0..10 {
                let (tier, source, key) = (tier.clone(), source.clone(), key.to_string());
                tasks.push(tokio::spawn(async move {
                    for _ in 0..1000 {
                        answer(&tier, &source, &key).await;
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(source.loads(), 10);
    });
}

/// rueidisaside: cut off in the middle of a load, while another client loads: the second's value
/// stays.
#[test]
fn rueidisaside_cut_off_in_the_middle() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (cut, other, source) = (tier(&proxy.url()).await, tier(&server.url()).await, Source::new());
        source.hold(true);
        let (caller, loads) = (cut.clone(), source.clone());
        let first = tokio::spawn(async move { answer(&caller, &loads, "k").await });
        eventually("the first loads", || source.loads() == 1).await;
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        let (caller, loads) = (other.clone(), source.clone());
        let second = tokio::spawn(async move { answer(&caller, &loads, "k").await });
        eventually("the second loads", || source.loads() == 2).await;
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        source.hold(false);
        assert_eq!((first.await.unwrap().as_str(), second.await.unwrap().as_str()), ("k#1", "k#2"));
        assert_eq!(answer(&cut, &source, "k").await, "k#2");
        assert_eq!(source.loads(), 2);
    });
}

/// cachefence: 500 callers of a load of 50 ms, and 100 at once.
#[test]
fn cachefence_callers_are_one_load() {
    with_server(|server| async move {
        assert_eq!(herd(&server.url(), 4, 500, false).await, 1);
        assert_eq!(herd(&server.url(), 1, 100, false).await, 1);
    });
}
