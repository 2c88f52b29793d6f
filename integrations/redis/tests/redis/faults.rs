//! The link: its loss, local loads meanwhile, and its return.

use crate::support::proxy::{Mode, Proxy};
use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{LinkState, Tier, TierEvent, Written};
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

/// A builder that notices a silent server soon.
fn quick(url: &str) -> bellwether_redis::Builder<String, String> {
    builder(url)
        .heartbeat(Duration::from_millis(100), Duration::from_millis(400))
        .command_timeout(Duration::from_millis(400))
}

#[test]
fn without_a_server_loads_are_local() {
    with_server(|mut server| async move {
        server.kill();
        let (tier, source) = (builder(&server.url()).build().await.unwrap(), Source::new());
        assert_eq!(tier.link(), LinkState::Connecting);
        assert_eq!(get(&tier, &source, "k").await, "k#1");
        assert_eq!(get(&tier, &source, "k").await, "k#1");
        assert_eq!(tier.stats().local_loads, 1);
        server.run();
        link_up(&tier).await;
        // What was loaded meanwhile is no other process's.
        assert_eq!(get(&tier, &source, "k").await, "k#2");
        assert_eq!(tier.stats().shared_loads, 1);
    });
}

#[test]
fn a_killed_server_is_noticed_and_one_load_follows_its_return() {
    with_server(|mut server| async move {
        let (all, source) = (tiers(&server.url(), 3).await, Source::new());
        for tier in &all {
            get(tier, &source, "k").await;
        }
        server.kill();
        for tier in &all {
            link_down(tier).await;
            get(tier, &source, "other").await;
        }
        assert_eq!(source.loads(), 4, "each loads for itself");
        server.run();
        for tier in &all {
            link_up(tier).await;
        }
        for tier in &all {
            assert_eq!(get(tier, &source, "k").await, "k#5");
        }
        assert_eq!(source.loads(), 5);
    });
}

#[test]
fn who_waits_when_the_server_dies_loads_by_itself() {
    with_server(|mut server| async move {
        let (all, source) = (tiers(&server.url(), 2).await, Source::new());
        source.hold(true);
        let begin = |tier: &Texts| {
            let (tier, source) = (tier.clone(), source.clone());
            tokio::spawn(async move { get(&tier, &source, "k").await })
        };
        let leader = begin(&all[0]);
        eventually("the leader loads", || source.loads() == 1).await;
        let waits = begin(&all[1]);
        eventually("the other waits", || all[1].stats().waits == 1).await;
        server.kill();
        eventually("the other loads", || source.loads() == 2).await;
        source.hold(false);
        assert_eq!((leader.await.unwrap().as_str(), waits.await.unwrap().as_str()), ("k#1", "k#2"));
    });
}

#[test]
fn a_stopped_server_is_noticed() {
    with_server(|server| async move {
        let (tier, source) = (up(quick(&server.url())).await, Source::new());
        get(&tier, &source, "k").await;
        server.pause(true);
        link_down(&tier).await;
        assert_eq!(get(&tier, &source, "other").await, "other#2");
        server.pause(false);
        link_up(&tier).await;
        // Nothing has changed, so memory is good again without a load.
        assert_eq!(get(&tier, &source, "k").await, "k#1");
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn memory_that_has_changed_meanwhile_is_dropped_at_the_return() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (cut, other) = (up(quick(&proxy.url()).unlinked_ttl(MINUTE)).await, tier(&server.url()).await);
        let source = Source::new();
        for key in ["same", "changed", "gone"] {
            get(&cut, &source, key).await;
        }
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        other.insert("changed".into(), "new".into()).await.unwrap();
        other.invalidate("gone").await.unwrap();
        // Without a link it knows no better, for the `unlinked_ttl`.
        assert_eq!(cut.get("changed").as_deref(), Some("changed#2"));
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        assert_eq!((cut.get("changed"), cut.get("gone")), (None, None));
        assert_eq!(cut.get("same").as_deref(), Some("same#1"));
        assert_eq!(get(&cut, &source, "changed").await, "new");
        assert_eq!(cut.stats().outdated_versions, 2);
        // Its keys are tracked by the new connection.
        other.invalidate("same").await.unwrap();
        eventually("the push comes", || cut.get("same").is_none()).await;
    });
}

#[test]
fn memory_is_empty_when_the_unlinked_ttl_is_over() {
    with_server(|mut server| async move {
        let tier = up(quick(&server.url()).unlinked_ttl(Duration::from_millis(50))).await;
        let source = Source::new();
        get(&tier, &source, "k").await;
        server.kill();
        link_down(&tier).await;
        eventually("memory is no longer good", || tier.get("k").is_none()).await;
        assert_eq!(get(&tier, &source, "k").await, "k#2");
    });
}

#[test]
fn a_load_that_began_without_the_link_is_not_kept_after_its_return() {
    with_server(|mut server| async move {
        let (tier, source) = (tier(&server.url()).await, Source::new());
        server.kill();
        link_down(&tier).await;
        source.hold(true);
        let (caller, loads) = (tier.clone(), source.clone());
        let load = tokio::spawn(async move { get(&caller, &loads, "k").await });
        eventually("it loads", || source.loads() == 1).await;
        server.run();
        link_up(&tier).await;
        source.hold(false);
        assert_eq!(load.await.unwrap(), "k#1");
        assert_eq!(tier.get("k"), None);
    });
}

#[test]
fn writes_are_replayed_when_the_link_is_back() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (cut, other) = (up(quick(&proxy.url())).await, tier(&server.url()).await);
        let source = Source::new();
        for key in ["set", "gone", "set-then-gone"] {
            get(&other, &source, key).await;
        }
        get(&cut, &source, "set").await;
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        assert_eq!(cut.insert("set".into(), "1".into()).await.unwrap(), Written::Queued);
        cut.insert("set".into(), "2".into()).await.unwrap();
        cut.insert("set-then-gone".into(), "3".into()).await.unwrap();
        cut.invalidate("set-then-gone").await.unwrap();
        assert_eq!(cut.invalidate("gone").await.unwrap(), Written::Queued);
        assert_eq!(cut.get("set").as_deref(), Some("2"), "this process has its own");
        assert_eq!(other.get("set").as_deref(), Some("set#1"));
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        eventually("the other hears of it", || other.memory().is_empty()).await;
        assert_eq!(get(&other, &source, "set").await, "2");
        assert_eq!(get(&other, &source, "gone").await, "gone#4");
        assert_eq!(get(&other, &source, "set-then-gone").await, "set-then-gone#5");
        assert_eq!(get(&cut, &source, "set").await, "2");
        assert_eq!(cut.stats().replayed_writes, 3, "the newest of each key");
    });
}

#[test]
fn a_queued_write_that_the_server_refuses_is_no_replayed_write() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let cut = up(quick(&proxy.url())).await;
        get(&cut, &Source::new(), "k").await;
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        cut.expire("k").await.unwrap();
        let before = cut.stats().command_errors;
        let full = ["SET", "maxmemory", "1"];
        redis::cmd("CONFIG").arg(&full).query_async::<()>(&mut server.connection().await).await.unwrap();
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        // It would be refused again, for ever: it is dropped, and told as a command's error.
        assert_eq!((cut.stats().replayed_writes, cut.stats().command_errors - before), (0, 1));
    });
}

#[test]
fn a_queue_that_runs_over_begins_a_new_generation() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (cut, other) = (up(quick(&proxy.url()).max_queued_writes(3)).await, tier(&server.url()).await);
        let source = Source::new();
        get(&other, &source, "k").await;
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        for key in 0..4 {
            cut.invalidate(&key.to_string()).await.unwrap();
        }
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        eventually("the other begins anew", || other.get("k").is_none()).await;
        assert_eq!(get(&other, &source, "k").await, "k#2");
        assert_eq!((cut.stats().queue_overflows, cut.stats().replayed_writes), (1, 1));
    });
}

#[test]
fn invalidations_of_tags_and_of_all_are_replayed() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let tags = |builder: bellwether_redis::Builder<String, String>| builder.tags_with(|key, _, tags| tags.add(key));
        let (cut, other) = (up(tags(quick(&proxy.url()))).await, up(tags(builder(&server.url()))).await);
        let source = Source::new();
        for (round, all) in [false, true].into_iter().enumerate() {
            get(&other, &source, "k").await;
            proxy.set(Mode::Cut);
            link_down(&cut).await;
            let written = if all { cut.invalidate_all().await } else { cut.invalidate_tag("k").await };
            assert_eq!(written.unwrap(), Written::Queued);
            proxy.set(Mode::Pass);
            link_up(&cut).await;
            eventually("the other hears of it", || other.get("k").is_none()).await;
            assert_eq!(get(&other, &source, "k").await, format!("k#{}", round + 2));
        }
    });
}

#[test]
fn a_black_hole_and_half_a_connection_are_noticed() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (tier, source) = (up(quick(&proxy.url())).await, Source::new());
        for (number, mode) in [Mode::BlackHole, Mode::HalfOpen].into_iter().enumerate() {
            tier.insert("k".into(), "before".into()).await.unwrap();
            assert_eq!(get(&tier, &source, "k").await, "before");
            proxy.set(mode);
            link_down(&tier).await;
            let key = format!("{mode:?}");
            assert_eq!(get(&tier, &source, &key).await, format!("{key}#{}", number + 1));
            assert_eq!(tier.insert("k".into(), key.clone()).await.unwrap(), Written::Queued);
            proxy.set(Mode::Pass);
            link_up(&tier).await;
            assert_eq!(get(&tier, &source, "k").await, key);
        }
        assert_eq!(tier.stats().link_losses, 2);
    });
}

#[test]
fn a_slow_server_is_waited_for_within_the_limits() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (all, source) = ([tier(&proxy.url()).await, tier(&proxy.url()).await], Source::new());
        proxy.set(Mode::Delay(Duration::from_millis(20)));
        for tier in &all {
            assert_eq!(get(tier, &source, "k").await, "k#1");
        }
        assert_eq!((source.loads(), all[0].stats().link_losses), (1, 0));
    });
}

#[test]
fn events_tell_the_link_and_secrets_are_told_nowhere() {
    with_server(|mut server| async move {
        let told = Arc::new(Mutex::new(Vec::new()));
        let url = format!("redis://someone:hunter2@127.0.0.1:{}/", server.port());
        let mut conn = server.connection().await;
        let user = ["SETUSER", "someone", "on", ">hunter2", "~*", "&*", "+@all"];
        redis::cmd("ACL").arg(&user).query_async::<()>(&mut conn).await.unwrap();
        let listener = told.clone();
        let builder =
            quick(&url).observer(move |_: &str, event: &TierEvent| listener.lock().unwrap().push(event.clone()));
        let mut texts = format!("{builder:?}");
        let tier = up(builder).await;
        texts += &format!("{tier:?}");
        server.kill();
        link_down(&tier).await;
        // The user is gone: the server refuses the password.
        server.run();
        let refused =
            |event: &TierEvent| matches!(event, TierEvent::ConnectFailed { why, .. } if why.contains("WRONGPASS"));
        eventually("the refusal is told", || told.lock().unwrap().iter().any(refused)).await;
        let mut events = told.lock().unwrap().clone();
        events.retain(|event| !matches!(event, TierEvent::Counted { .. }));
        assert!(matches!(events[0], TierEvent::LinkUp { tracking: true, .. }), "{events:?}");
        assert_eq!(events[1], TierEvent::LinkLost);
        texts +=
            &format!("{events:?} {:?}", Tier::<String, String>::builder("redis://:hunter2@host:port/").unwrap_err());
        assert!(!texts.contains("hunter2") && !texts.contains("someone"), "{texts}");
    });
}

#[test]
fn a_server_that_does_not_track_is_told_and_memory_is_short_lived() {
    with_server(|server| async move {
        let mut conn = server.connection().await;
        let user = ["SETUSER", "plain", "on", ">p", "~*", "&*", "+@all", "-client|tracking"];
        redis::cmd("ACL").arg(&user).query_async::<()>(&mut conn).await.unwrap();
        let url = format!("redis://plain:p@127.0.0.1:{}/", server.port());
        let build = || up(builder(&url).untracked_ttl(Duration::from_millis(100)).probe(Duration::from_millis(50)));
        let (a, b, source) = (build().await, build().await, Source::new());
        assert_eq!(format!("{:?}", a.link()), "Up { tracking: false }");
        // One load all the same: the wait ends by the probe.
        source.hold(true);
        let begin = |tier: &Texts| {
            let (tier, source) = (tier.clone(), source.clone());
            tokio::spawn(async move { get(&tier, &source, "k").await })
        };
        let (first, second) = (begin(&a), begin(&b));
        eventually("one waits", || a.stats().waits + b.stats().waits >= 1).await;
        source.hold(false);
        assert_eq!((first.await.unwrap().as_str(), second.await.unwrap().as_str()), ("k#1", "k#1"));
        b.insert("k".into(), "new".into()).await.unwrap();
        eventually("memory is over", || a.get("k").is_none()).await;
        assert_eq!(get(&a, &source, "k").await, "new");
        b.invalidate_all().await.unwrap();
        eventually("the generation is noticed", || a.stats().shared_hits > 0 && a.memory().is_empty()).await;
    });
}

#[test]
fn a_queued_insert_does_not_undo_what_others_did_meanwhile() {
    with_server(|server| async move {
        let proxy = Proxy::to(server.port()).await;
        let (cut, other) = (up(quick(&proxy.url())).await, tier(&server.url()).await);
        let source = Source::new();
        for key in ["inserted", "removed"] {
            get(&cut, &source, key).await;
        }
        proxy.set(Mode::Cut);
        link_down(&cut).await;
        for key in ["inserted", "removed", "unknown"] {
            cut.insert(key.into(), "of the cut one".into()).await.unwrap();
        }
        other.insert("inserted".into(), "newer".into()).await.unwrap();
        other.invalidate("removed").await.unwrap();
        proxy.set(Mode::Pass);
        link_up(&cut).await;
        // The source alone knows which is newer.
        assert_eq!(get(&other, &source, "inserted").await, "inserted#3");
        assert_eq!(get(&other, &source, "removed").await, "removed#4");
        assert_eq!(get(&other, &source, "unknown").await, "unknown#5");
        assert_eq!(cut.stats().replay_conflicts, 3);
    });
}

#[test]
fn a_question_whose_answer_never_came_leaves_no_lease_behind() {
    with_server(|server| async move {
        let build = || up(quick(&server.url()).command_timeout(MINUTE).lead_timeout(MINUTE * 10));
        let (a, b, source) = (build().await, build().await, Source::new());
        // The server knows the scripts.
        get(&a, &source, "warm").await;
        server.pause(true);
        // The server has the question, and takes it when it goes on. The caller waits no longer
        // than the link lives.
        assert_eq!(get(&a, &source, "k").await, "k#2");
        server.pause(false);
        link_up(&a).await;
        link_up(&b).await;
        // The lease of that question would last for ten minutes, as its process is there again.
        assert_eq!(get(&b, &source, "k").await, "k#3");
        assert_eq!(get(&a, &source, "k").await, "k#3");
    });
}
