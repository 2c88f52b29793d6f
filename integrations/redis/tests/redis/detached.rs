//! Loads in the background: a caller that goes away ends nothing.

use crate::support::source::Source;
use crate::support::*;
use bellwether::{LoadError, Outcome, Refresh};
use bellwether_redis::{Answer, SharedError};
use std::time::Duration;
use tokio::task::JoinHandle;

type Told = Result<Answer<String>, LoadError<SharedError<String>>>;

const SOON: Duration = Duration::from_millis(20);

async fn load(source: Source) -> Result<String, String> {
    source.load("k").await
}

fn begin(tier: &Texts, source: &Source) -> JoinHandle<Told> {
    let (tier, source) = (tier.clone(), source.clone());
    tokio::spawn(async move { tier.detached("k").try_get_with_async(|| load(source)).await })
}

async fn get(tier: &Texts, source: &Source) -> String {
    tier.try_get_with_async("k", || source.load("k")).await.unwrap()
}

#[test]
fn a_caller_that_is_cancelled_ends_no_load() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let caller = begin(&all[0], &source);
        eventually("it loads", || source.loads() == 1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        let other = begin(&all[1], &source);
        eventually("the other waits", || all[1].stats().waits == 1).await;
        source.hold(false);
        assert_eq!(other.await.unwrap().unwrap().value, "k#1");
        eventually("it is stored", || all[0].get("k").as_deref() == Some("k#1")).await;
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn a_load_goes_on_after_a_deadline() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let own = source.clone();
        let late = all[0].detached("k").hard_timeout(SOON).try_get_with_async(|| load(own)).await;
        assert!(matches!(late, Err(LoadError::TimedOut)), "{late:?}");
        // So does the wait for another process.
        let own = source.clone();
        let late = all[1].detached("k").wait_timeout(SOON).try_get_with_async(|| load(own)).await;
        assert!(matches!(late, Err(LoadError::TimedOut)), "{late:?}");
        source.hold(false);
        for tier in &all {
            eventually("it is stored", || tier.get("k").as_deref() == Some("k#1")).await;
        }
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn no_caller_waits_for_an_early_refresh() {
    with_server(|server| async move {
        let tier = up(builder(&server.url()).memory(|memory| memory.refresh(Refresh::at(0.0)))).await;
        let source = Source::new();
        assert_eq!(get(&tier, &source).await, "k#1");
        source.hold(true);
        let answer = begin(&tier, &source).await.unwrap().unwrap();
        assert_eq!((answer.value.as_str(), answer.outcome), ("k#1", Outcome::Hit));
        eventually("it is refreshed", || source.loads() == 2).await;
        source.hold(false);
        eventually("it is stored", || tier.get("k").as_deref() == Some("k#2")).await;
    });
}

#[test]
fn an_invalidation_fences_a_load_in_the_background() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        source.set("k", "old");
        let caller = begin(&all[0], &source);
        eventually("it loads", || source.loads() == 1).await;
        source.set("k", "new");
        all[1].invalidate("k").await.unwrap();
        source.hold(false);
        assert_eq!(caller.await.unwrap().unwrap().value, "old");
        assert_eq!((all[0].get("k"), all[0].stats().fenced), (None, 1));
        assert_eq!(get(&all[0], &source).await, "new");
    });
}

#[test]
fn a_load_in_the_background_without_the_link_is_not_kept_after_its_return() {
    with_server(|mut server| async move {
        let (tier, source) = (tier(&server.url()).await, Source::new());
        server.kill();
        link_down(&tier).await;
        source.hold(true);
        let caller = begin(&tier, &source);
        eventually("it loads", || source.loads() == 1).await;
        server.run();
        link_up(&tier).await;
        source.hold(false);
        assert_eq!(caller.await.unwrap().unwrap().value, "k#1");
        assert_eq!(tier.get("k"), None);
    });
}

#[test]
fn a_load_in_the_background_that_panics_is_handed_over() {
    with_server(|server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        let panics = || async { panic!("the loader panics") as Result<String, String> };
        let told = all[0].detached("k").try_get_with_async(panics).await;
        assert!(matches!(told, Err(LoadError::Panicked(_))), "{told:?}");
        assert_eq!(get(&all[1], &source).await, "k#1");
    });
}
