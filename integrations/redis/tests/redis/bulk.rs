//! Several keys at once.

use crate::support::source::Source;
use crate::support::*;
use bellwether::LoadError;
use bellwether_redis::SharedError;
use std::sync::{Arc, Mutex};

type Got = Vec<Result<String, LoadError<SharedError<String>>>>;

/// A loader of many keys, and what it was called for.
#[derive(Clone)]
struct Many {
    source: Source,
    calls: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Many {
    fn new() -> Self {
        Self { source: Source::new(), calls: Arc::default() }
    }

    async fn get(&self, tier: &Texts, keys: &[&str]) -> Got {
        let load = |mut keys: Vec<String>| async move {
            keys.sort();
            self.calls.lock().unwrap().push(keys.clone());
            self.source.load("call").await?;
            // There is nothing at keys that begin with a minus.
            Ok(keys.iter().filter(|key| !key.starts_with('-')).map(|key| (key.clone(), format!("{key}!"))).collect())
        };
        tier.try_get_many_with_async(keys.iter().copied(), load).await
    }

    fn begin(&self, tier: &Texts, keys: &'static [&'static str]) -> tokio::task::JoinHandle<Got> {
        let (this, tier) = (self.clone(), tier.clone());
        tokio::spawn(async move { this.get(&tier, keys).await })
    }

    fn calls(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

fn values(got: Got) -> Vec<String> {
    got.into_iter().map(|one| one.unwrap_or_else(|error| format!("{error}"))).collect()
}

#[test]
fn one_call_loads_what_no_level_has() {
    with_server(|server| async move {
        let (all, many) = (tiers(&server.url(), 2).await, Many::new());
        assert_eq!(values(many.get(&all[0], &["b", "a", "b"]).await), ["b!", "a!", "b!"]);
        assert_eq!(many.calls(), [["a", "b"]]);
        assert_eq!(values(many.get(&all[1], &["c", "b", "a", "c"]).await), ["c!", "b!", "a!", "c!"]);
        assert_eq!(many.calls(), [["c"]]);
        assert_eq!((all[1].stats().shared_hits, all[1].stats().shared_loads), (2, 1));
        // From memory, by now.
        assert_eq!(values(many.get(&all[1], &["a", "b", "c"]).await), ["a!", "b!", "c!"]);
        assert_eq!(all[1].get_many(["a", "none"]), [Some("a!".to_owned()), None]);
        assert!(many.get(&all[1], &[]).await.is_empty());
        assert_eq!((many.calls().len(), all[1].stats().shared_hits), (0, 2));
        // Keys of a bulk load are tracked as any.
        all[0].insert("c".into(), "new".into()).await.unwrap();
        all[1].invalidate("a").await.unwrap();
        eventually("the pushes come", || all[1].get("c").is_none() && all[0].get("a").is_none()).await;
        assert_eq!(values(many.get(&all[0], &["a", "b", "c"]).await), ["a!", "b!", "new"]);
    });
}

#[test]
fn keys_that_others_load_are_waited_for() {
    with_server(|server| async move {
        let (all, many) = (tiers(&server.url(), 3).await, Many::new());
        many.source.hold(true);
        let first = many.begin(&all[0], &["a", "b"]);
        eventually("the first loads", || many.source.loads() == 1).await;
        let second = many.begin(&all[1], &["b", "c"]);
        eventually("the second loads the rest", || many.source.loads() == 2).await;
        // In the same process, and for one key.
        let third = many.begin(&all[1], &["c", "b"]);
        let tier = all[2].clone();
        let one = tokio::spawn(async move { tier.try_get_with_async("a", || async { Err("it is loaded") }).await });
        eventually("the third tier waits", || all[2].stats().waits == 1).await;
        many.source.hold(false);
        assert_eq!(values(first.await.unwrap()), ["a!", "b!"]);
        assert_eq!(values(second.await.unwrap()), ["b!", "c!"]);
        assert_eq!(values(third.await.unwrap()), ["c!", "b!"]);
        assert_eq!(one.await.unwrap().unwrap(), "a!");
        assert_eq!(many.calls(), [vec!["a", "b"], vec!["c"]]);
    });
}

#[test]
fn one_failing_call_is_one_and_its_error_is_shared() {
    with_server(|server| async move {
        let (all, many) = (tiers(&server.url(), 2).await, Many::new());
        many.source.hold(true);
        many.source.fail(true);
        let leads = many.begin(&all[0], &["a", "b"]);
        eventually("it loads", || many.source.loads() == 1).await;
        let waits = many.begin(&all[1], &["a", "b"]);
        eventually("the other waits for both", || all[1].stats().waits == 2).await;
        many.source.hold(false);
        for (task, own) in [(leads, true), (waits, false)] {
            for one in task.await.unwrap() {
                let Err(LoadError::Load(error)) = one else { panic!("{one:?}") };
                assert_eq!((error.to_string().as_str(), error.own().is_some()), ("load 1 of call failed", own));
            }
        }
        assert_eq!(many.calls().len(), 1);
        many.source.fail(false);
        assert_eq!(values(many.get(&all[1], &["a"]).await), ["a!"]);
    });
}

#[test]
fn a_key_without_a_value_has_none_for_all() {
    with_server(|server| async move {
        let build = || up(builder(&server.url()).negative_ttl(MINUTE));
        let (a, b, many) = (build().await, build().await, Many::new());
        for tier in [&a, &b, &b] {
            let got = many.get(tier, &["-x", "y"]).await;
            assert!(matches!(&got[..], [Err(LoadError::NotFound), Ok(y)] if y == "y!"), "{got:?}");
        }
        assert_eq!(many.calls(), [["-x", "y"]]);
    });
}

#[test]
fn a_bulk_load_that_is_cancelled_is_handed_over() {
    with_server(|server| async move {
        let (all, many) = (tiers(&server.url(), 2).await, Many::new());
        many.source.hold(true);
        let first = many.begin(&all[0], &["a", "b"]);
        eventually("it loads", || many.source.loads() == 1).await;
        let other = many.begin(&all[1], &["b", "c"]);
        eventually("the other loads the rest", || many.source.loads() == 2).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        many.source.hold(false);
        assert_eq!(values(other.await.unwrap()), ["b!", "c!"]);
        assert_eq!(many.calls(), [vec!["a", "b"], vec!["c"], vec!["b"]]);
        assert_eq!(values(many.get(&all[0], &["a"]).await), ["a!"]);
    });
}

#[test]
fn an_invalidation_fences_a_key_of_a_bulk_load() {
    with_server(|server| async move {
        let (all, many) = (tiers(&server.url(), 2).await, Many::new());
        many.source.hold(true);
        let load = many.begin(&all[0], &["a", "b"]);
        eventually("it loads", || many.source.loads() == 1).await;
        all[1].invalidate("a").await.unwrap();
        many.source.hold(false);
        assert_eq!(values(load.await.unwrap()), ["a!", "b!"]);
        assert_eq!((all[0].get("a"), all[0].get("b").as_deref()), (None, Some("b!")));
        assert_eq!(all[0].stats().fenced, 1);
    });
}

#[test]
fn without_a_server_one_call_loads_all() {
    with_server(|mut server| async move {
        let (tier, many) = (tier(&server.url()).await, Many::new());
        server.kill();
        link_down(&tier).await;
        assert_eq!(values(many.get(&tier, &["a", "b"]).await), ["a!", "b!"]);
        assert_eq!(many.calls(), [["a", "b"]]);
        assert_eq!(tier.stats().local_loads, 2);
        server.run();
        link_up(&tier).await;
        // The server that came back knows no script.
        assert_eq!(values(many.get(&tier, &["a", "b", "c"]).await), ["a!", "b!", "c!"]);
        assert_eq!((many.calls().len(), tier.stats().shared_loads), (1, 3));
    });
}
