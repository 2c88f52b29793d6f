//! Real processes, which are killed and stopped.

use crate::support::node::Node;
use crate::support::source::Source;
use crate::support::*;

async fn nodes(url: &str, source: &Source, number: usize, settings: &str) -> Vec<Node> {
    let port = source.serve().await;
    let mut all = Vec::new();
    for _ in 0..number {
        all.push(Node::start(url, port, settings).await);
    }
    all
}

/// Returns how often a process has counted something.
async fn count(node: &mut Node, name: &str) -> u64 {
    let stats = node.ask("stats").await;
    let number = stats.split(' ').find_map(|part| part.strip_prefix(&format!("{name}=")[..]));
    number.expect("it is counted").parse().unwrap()
}

/// Waits until a process that is otherwise idle has counted something so often.
async fn counted(node: &mut Node, name: &str, number: u64) {
    while count(node, name).await < number {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[test]
fn herds_of_four_processes_are_one_load() {
    with_server(|server| async move {
        let source = Source::new();
        source.take(std::time::Duration::from_millis(50));
        let mut all = nodes(&server.url(), &source, 4, "").await;
        for node in &mut all {
            node.say("herd k 250").await;
        }
        for node in &mut all {
            assert_eq!(node.answer().await, "1 k#1");
        }
        assert_eq!(source.loads(), 1);
        // A process that starts anew loads nothing again.
        let mut late = nodes(&server.url(), &source, 1, "").await.remove(0);
        assert_eq!(late.ask("get k").await, "k#1");
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn a_killed_leader_is_one_more_load() {
    with_server(|server| async move {
        let source = Source::new();
        source.hold(true);
        let mut all = nodes(&server.url(), &source, 4, "").await;
        let mut leader = all.remove(0);
        leader.say("get k").await;
        eventually("the leader loads", || source.loads() == 1).await;
        for node in &mut all {
            node.say("herd k 50").await;
        }
        for node in &mut all {
            // The herd's answer comes later: what the process says first are its counts.
            counted(node, "waits", 1).await;
        }
        leader.kill().await;
        eventually("another one loads", || source.loads() == 2).await;
        source.hold(false);
        for node in &mut all {
            assert_eq!(node.answer().await, "1 k#2");
        }
        assert_eq!(source.loads(), 2, "150 callers waited, and one has loaded");
    });
}

#[test]
fn a_stopped_leader_loses_its_lease_and_is_fenced() {
    with_server(|server| async move {
        let source = Source::new();
        source.hold(true);
        let mut all = nodes(&server.url(), &source, 2, "lead=1000 probe=100").await;
        all[0].say("get k").await;
        eventually("the leader loads", || source.loads() == 1).await;
        all[0].pause(true);
        all[1].say("get k").await;
        eventually("another one takes over", || source.loads() == 2).await;
        source.hold(false);
        assert_eq!(all[1].answer().await, "k#2");
        all[0].pause(false);
        assert_eq!(all[0].answer().await, "k#1", "for its own caller alone");
        assert_eq!(all[0].ask("get k").await, "k#2");
        assert_eq!(all[1].ask("get k").await, "k#2");
        assert_eq!(source.loads(), 2);
    });
}

#[test]
fn a_stopped_process_serves_nothing_old_when_it_goes_on() {
    with_server(|server| async move {
        let source = Source::new();
        let mut all = nodes(&server.url(), &source, 2, "unlinked=0 beat=200").await;
        for node in &mut all {
            assert_eq!(node.ask("get k").await, "k#1");
        }
        all[0].pause(true);
        assert_eq!(all[1].ask("insert k new").await, "shared");
        // Longer than its memory counts as good.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        all[0].pause(false);
        assert_ne!(all[0].ask("peek k").await, "k#1");
        assert_eq!(all[0].ask("get k").await, "new");
    });
}

#[test]
fn a_failing_load_is_one_call_of_one_process() {
    with_server(|server| async move {
        let source = Source::new();
        source.fail(true);
        source.hold(true);
        let mut all = nodes(&server.url(), &source, 4, "").await;
        for node in &mut all {
            node.say("herd k 50").await;
        }
        let mut waiting = 0;
        for node in &mut all {
            // One of them leads, and three wait.
            while count(node, "waits").await + count(node, "shared_loads").await == 0 {}
            waiting += count(node, "waits").await.min(1);
        }
        assert_eq!(waiting, 3);
        source.hold(false);
        let mut own = 0;
        for node in &mut all {
            let answer = node.answer().await;
            assert!(answer.starts_with("1 !") && answer.ends_with("load 1 of k failed"), "{answer}");
            own += u64::from(answer.contains("!own"));
        }
        assert_eq!((source.loads(), own), (1, 1));
    });
}
