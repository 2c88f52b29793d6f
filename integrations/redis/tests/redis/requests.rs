//! Settings of one call, and terms of one value.

use crate::support::source::Source;
use crate::support::*;
use bellwether::{Expiry, LoadError, Loaded, Outcome};
use bellwether_redis::{Answer, Builder, Source as Level, TierRequest};
use std::time::Duration;
use tokio::task::JoinHandle;

type Request<'t, 'q> = TierRequest<'t, 'q, String, String, str>;

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

async fn ask(source: &Source, request: Request<'_, '_>) -> Answer<String> {
    request.try_get_with_async(|| source.load("k")).await.unwrap()
}

fn told(answer: Answer<String>) -> (String, Outcome, Level) {
    (answer.value, answer.outcome, answer.source)
}

fn is(value: &str, outcome: Outcome, source: Level) -> (String, Outcome, Level) {
    (value.to_owned(), outcome, source)
}

fn begin(tier: &Texts, source: &Source, force: bool) -> JoinHandle<Answer<String>> {
    let (tier, source) = (tier.clone(), source.clone());
    tokio::spawn(async move {
        let request = tier.entry("k");
        ask(&source, if force { request.force() } else { request }).await
    })
}

/// Two processes, the first of which refreshes the key `k`, whose time is over. The load is held.
async fn refreshing(build: impl Fn() -> Builder<String, String>) -> (Texts, Texts, Source, JoinHandle<Answer<String>>) {
    let (a, b, source) = (up(build()).await, up(build()).await, Source::new());
    get(&a, &source, "k").await;
    a.expire("k").await.unwrap();
    source.hold(true);
    let refresh = begin(&a, &source, false);
    eventually("it loads", || source.loads() == 2).await;
    (a, b, source, refresh)
}

/// How long the server keeps the value of key `k` still.
async fn kept(server: &server::Server) -> Duration {
    let mut conn = server.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("test:*:{k:k}").query_async(&mut conn).await.unwrap();
    Duration::from_millis(redis::cmd("PTTL").arg(&keys[0]).query_async(&mut conn).await.unwrap())
}

#[test]
fn a_forced_load_replaces_the_value_for_all() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        get(&all[0], &source, "k").await;
        get(&all[1], &source, "k").await;
        // By one that has it in memory, and by one that has not.
        let forced = told(ask(&source, all[1].entry("k").force()).await);
        assert_eq!(forced, is("k#2", Outcome::Computed, Level::Loaded));
        let forced = told(ask(&source, all[2].entry("k").force()).await);
        assert_eq!(forced, is("k#3", Outcome::Computed, Level::Loaded));
        for tier in &all {
            eventually("it has heard of it", || tier.get("k").is_none_or(|value| value == "k#3")).await;
            assert_eq!(get(tier, &source, "k").await, "k#3");
        }
        assert_eq!(source.loads(), 3);
    });
}

#[test]
fn forced_callers_take_no_result_of_a_load_that_began_before_and_share_the_next() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        source.hold(true);
        source.set("k", "old");
        let first = begin(&all[0], &source, false);
        eventually("the first loads", || source.loads() == 1).await;
        source.set("k", "new");
        let forced = [begin(&all[1], &source, true), begin(&all[2], &source, true), begin(&all[2], &source, true)];
        eventually("two tiers wait", || all[1].stats().waits == 1 && all[2].stats().waits == 1).await;
        eventually("the third waits for its tier", || all[2].memory().stats().coalesced == 1).await;
        source.hold(false);
        assert_eq!(first.await.unwrap().value, "old");
        for caller in forced {
            assert_eq!(caller.await.unwrap().value, "new");
        }
        // Callers of one tier force one load together; a second may be due to the one that came to
        // lead after the first had ended.
        assert!((2..=3).contains(&source.loads()), "{}", source.loads());
        assert_eq!(get(&all[0], &source, "k").await, "new");
    });
}

#[test]
fn a_forced_load_that_fails_leaves_the_value() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).stale_if_error(MINUTE).negative_ttl(MINUTE));
        let (a, b, source) = (build().await, build().await, Source::new());
        get(&a, &source, "k").await;
        source.fail(true);
        for tier in [&a, &b] {
            let failed = tier.entry("k").force().try_get_with_async(|| source.load("k")).await;
            assert!(matches!(failed, Err(LoadError::Load(_))), "{failed:?}");
        }
        let old = told(ask(&source, a.entry("k").force().max_stale(MINUTE)).await);
        assert_eq!((old.0.as_str(), old.1), ("k#1", Outcome::Stale));
        assert_eq!(
            told(ask(&source, b.entry("k").force().max_stale(MINUTE)).await),
            is("k#1", Outcome::Stale, Level::Shared)
        );
        // No kept failure answers one that forces a load, nor hides the value.
        assert_eq!(source.loads(), 5);
        assert_eq!(get(&b, &source, "k").await, "k#1");
        source.fail(false);
        assert_eq!(ask(&source, b.entry("k").force()).await.value, "k#6");
    });
}

#[test]
fn a_value_is_as_old_for_all_as_it_was_told() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let aged = Expiry::new().ttl(MINUTE * 10).age(MINUTE * 2);
        all[0].insert_with("k".into(), "old".into(), aged).await.unwrap();
        // From the server, then from memory.
        let first = told(ask(&source, all[1].entry("k").max_age(MINUTE * 5)).await);
        assert_eq!(first, is("old", Outcome::FromTier, Level::Shared));
        let second = told(ask(&source, all[1].entry("k").max_age(MINUTE * 5)).await);
        assert_eq!(second, is("old", Outcome::Hit, Level::Memory));
        let new = told(ask(&source, all[1].entry("k").max_age(MINUTE)).await);
        assert_eq!(new, is("k#1", Outcome::Computed, Level::Loaded));
        let shared = told(ask(&source, all[0].entry("k").max_age(MINUTE)).await);
        assert_eq!(shared, is("k#1", Outcome::FromTier, Level::Shared));
        // The server's value is too old, and memory has none.
        all[0].insert_with("k".into(), "old".into(), aged).await.unwrap();
        assert_eq!(ask(&source, all[0].entry("k").max_age(MINUTE)).await.value, "k#2");
        assert!(kept(&server).await <= MINUTE);
    });
}

#[test]
fn terms_come_from_the_loader_the_request_and_the_builder_in_this_order() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).expiry_with(|_, _| Expiry::new().exact_ttl(MINUTE * 10)));
        let (a, b, source) = (build().await, build().await, Source::new());
        get(&a, &source, "k").await;
        let within = |kept: Duration, minutes: u32| kept <= MINUTE * minutes && kept > MINUTE * (minutes - 1);
        assert!(within(kept(&server).await, 10));
        ask(&source, a.entry("k").force().exact_ttl(MINUTE * 20)).await;
        assert!(within(kept(&server).await, 20));
        let own = |_| async { Ok::<_, String>(Loaded::With("own".to_owned(), Expiry::new().exact_ttl(MINUTE * 30))) };
        a.entry("k").force().exact_ttl(MINUTE * 20).revalidate_with_async(own).await.unwrap();
        assert!(within(kept(&server).await, 30));
        let renew = |_| async { Ok::<_, String>(Loaded::NotModifiedWith(Expiry::new().exact_ttl(MINUTE * 40))) };
        b.entry("k").force().revalidate_with_async(renew).await.unwrap();
        assert!(within(kept(&server).await, 40));
        assert_eq!(get(&b, &source, "k").await, "own");
        // A time to live that is over, and no window: the value is handed over only.
        let over = Expiry::new().exact_ttl(MINUTE).age(MINUTE * 2);
        assert_eq!(ask(&source, a.entry("gone").expiry(over)).await.value, "k#3");
        assert_eq!(ask(&source, b.entry("gone")).await.value, "k#4");
    });
}

#[test]
fn a_values_own_window_holds_in_all_processes() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let own = Expiry::new().exact_ttl(MINUTE).stale_if_error(MINUTE * 5);
        all[0].insert_with("k".into(), "mine".into(), own).await.unwrap();
        assert!(kept(&server).await > MINUTE * 5);
        all[0].expire("k").await.unwrap();
        source.fail(true);
        assert_eq!(told(ask(&source, all[1].entry("k")).await), is("mine", Outcome::Stale, Level::Shared));
        let none = all[1].entry("k").max_stale(Duration::ZERO).try_get_with_async(|| source.load("k")).await;
        assert!(matches!(none, Err(LoadError::Load(_))));
        // A value without windows of its own has the tier's, which are none.
        all[0].insert("k".into(), "plain".into()).await.unwrap();
        all[0].expire("k").await.unwrap();
        assert!(all[1].entry("k").try_get_with_async(|| source.load("k")).await.is_err());
    });
}

#[test]
fn what_does_not_exist_is_known_to_all_until_it_does() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).negative_ttl(MINUTE));
        let (a, b, c, source) = (build().await, build().await, build().await, Source::new());
        let asks = async |tier: &Texts| {
            let none = |_| async {
                source.load("k").await?;
                Ok::<_, String>(Loaded::NotFound)
            };
            tier.entry("k").revalidate_with_async(none).await
        };
        for round in 1..=2 {
            for tier in [&a, &b, &b] {
                let none = asks(tier).await;
                assert!(matches!(none, Err(LoadError::NotFound)), "{none:?}");
            }
            assert_eq!(source.loads(), round);
            // The value that comes is seen, and so is that there may be one again.
            c.insert("k".into(), "there".into()).await.unwrap();
            for tier in [&a, &b] {
                let end = tokio::time::Instant::now() + PATIENCE;
                while asks(tier).await.is_err() {
                    assert!(tokio::time::Instant::now() < end, "the push never comes");
                }
            }
            c.invalidate("k").await.unwrap();
            eventually("it is gone", || a.get("k").is_none() && b.get("k").is_none()).await;
            assert_eq!(source.loads(), round);
        }
        // Without a value that is removed, the answer alone is: all look again.
        assert!(matches!(asks(&a).await, Err(LoadError::NotFound)));
        assert!(matches!(asks(&b).await, Err(LoadError::NotFound)));
        c.invalidate("k").await.unwrap();
        let end = tokio::time::Instant::now() + PATIENCE;
        while source.loads() == 3 {
            assert!(tokio::time::Instant::now() < end, "the push never comes");
            let _ = asks(&b).await;
        }
    });
}

#[test]
fn the_servers_old_value_is_served_while_another_process_refreshes() {
    with_server(|server| async move {
        let build = || builder(&server.url()).stale_while_refresh(MINUTE);
        let (_a, b, source, refresh) = refreshing(build).await;
        assert_eq!(told(ask(&source, b.entry("k")).await), is("k#1", Outcome::Stale, Level::Shared));
        assert_eq!((b.stats().stale_hits, b.stats().waits), (1, 0));
        // From here on it is as if memory had had it: one waits, the others are served.
        let waits = begin(&b, &source, false);
        eventually("it waits", || b.stats().waits == 1).await;
        assert_eq!(told(ask(&source, b.entry("k")).await), is("k#1", Outcome::Stale, Level::Memory));
        assert_eq!(b.get("k"), None);
        source.hold(false);
        assert_eq!((refresh.await.unwrap().value.as_str(), waits.await.unwrap().value.as_str()), ("k#2", "k#2"));
        assert_eq!((get(&b, &source, "k").await.as_str(), source.loads()), ("k#2", 2));
    });
}

#[test]
fn an_invalidation_ends_the_servers_old_value_too() {
    with_server(|server| async move {
        let build = || builder(&server.url()).stale_while_refresh(MINUTE);
        let (a, b, source, refresh) = refreshing(build).await;
        assert_eq!(ask(&source, b.entry("k")).await.value, "k#1");
        a.invalidate("k").await.unwrap();
        eventually("memory hears of it", || b.memory().get_stale("k", MINUTE).is_none()).await;
        source.hold(false);
        refresh.await.unwrap();
        assert_eq!(get(&b, &source, "k").await, "k#3");
    });
}

#[test]
fn a_caller_that_waits_too_long_gets_an_old_value() {
    with_server(|server| async move {
        let build = || builder(&server.url()).stale_if_error(MINUTE);
        let (_a, b, source, refresh) = refreshing(build).await;
        let soon = Duration::from_millis(20);
        let old = told(ask(&source, b.entry("k").wait_timeout(soon)).await);
        assert_eq!(old, is("k#1", Outcome::Stale, Level::Shared));
        let refused = b.entry("k").wait_timeout(soon).max_stale(Duration::ZERO);
        let refused = refused.try_get_with_async(|| source.load("k")).await;
        assert!(matches!(refused, Err(LoadError::TimedOut)), "{refused:?}");
        source.hold(false);
        assert_eq!(refresh.await.unwrap().value, "k#2");
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn a_caller_that_waits_too_long_for_an_early_refresh_gets_the_value_that_is_good_still() {
    with_server(|server| async move {
        let early = || builder(&server.url()).memory(|memory| memory.refresh(bellwether::Refresh::at(0.0)));
        let (a, b, source) = (up(builder(&server.url())).await, up(early()).await, Source::new());
        get(&b, &source, "k").await;
        source.hold(true);
        let refresh = begin(&a, &source, true);
        eventually("it loads", || source.loads() == 2).await;
        let old = told(ask(&source, b.entry("k").wait_timeout(Duration::from_millis(20))).await);
        assert_eq!(old, is("k#1", Outcome::Stale, Level::Memory));
        let many = b.try_get_many_with_async(["k"], |_| async { Err("another process loads it".to_owned()) }).await;
        assert_eq!(many[0].as_ref().unwrap(), "k#1");
        source.hold(false);
        assert_eq!(refresh.await.unwrap().value, "k#2");
    });
}
