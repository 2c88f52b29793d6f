//! A master, its replica and a sentinel: what a failover does.

use crate::support::server::{Server, free_port};
use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{BuildError, Tier};
use std::time::Duration;

/// A sentinel that watches a master of the name `main`.
struct Sentinel {
    server: Server,
    directory: std::path::PathBuf,
}

impl Sentinel {
    fn of(master: u16) -> Self {
        let directory = std::env::temp_dir().join(format!("bellwether-sentinel-{}-{master}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (file, port) = (directory.join("sentinel.conf"), free_port());
        let lines = format!(
            "port {port}\ndir {}\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            directory.display()
        );
        std::fs::write(&file, lines).unwrap();
        let server = Server::start_at(port, &[file.to_str().unwrap(), "--sentinel"]);
        Self { server, directory }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.server.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns whether a server tells this of itself. Who becomes the master, or stops being it, may
/// close the connection meanwhile.
async fn info(server: &Server, wanted: &str) -> bool {
    let Ok(mut conn) = server.try_connection().await else { return false };
    let info = redis::cmd("INFO").query_async::<String>(&mut conn).await;
    info.is_ok_and(|info| info.contains(wanted))
}

async fn until(what: &str, server: &Server, wanted: &str) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !info(server, wanted).await {
        assert!(tokio::time::Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

#[test]
fn a_failover_is_followed_and_what_the_replica_has_is_not_loaded_again() {
    with_server(|mut master| async move {
        let port = master.port().to_string();
        let of_master = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"];
        let replica = Server::start_with(&of_master).unwrap();
        until("the replica has caught up", &replica, "master_link_status:up").await;
        let sentinel = Sentinel::of(master.port());
        until("the sentinel knows the replica", &sentinel.server, "slaves=1").await;
        let build = || {
            let login = builder("redis://nowhere.invalid/").unlinked_ttl(Duration::ZERO);
            up(login.sentinels("main", &["redis://127.0.0.1:1/", &sentinel.server.url()]).unwrap())
        };
        let (a, b, source) = (build().await, build().await, Source::new());
        assert_eq!(get(&a, &source, "k").await, "k#1");
        assert_eq!(get(&b, &source, "k").await, "k#1");
        let mut conn = master.connection().await;
        redis::cmd("WAIT").arg(1).arg(20_000).query_async::<u64>(&mut conn).await.unwrap();
        master.kill();
        for tier in [&a, &b] {
            link_down(tier).await;
        }
        assert_eq!(a.insert("changed".into(), "meanwhile".into()).await.unwrap(), bellwether_redis::Written::Queued);
        until("the replica is the master", &replica, "role:master").await;
        for tier in [&a, &b] {
            link_up(tier).await;
        }
        assert_eq!(get(&a, &source, "k").await, "k#1");
        assert_eq!((get(&b, &source, "k").await.as_str(), source.loads()), ("k#1", 1));
        // One load over both, and pushes, as before.
        assert_eq!((get(&a, &source, "new").await, get(&b, &source, "new").await), ("new#2".into(), "new#2".into()));
        a.invalidate("new").await.unwrap();
        eventually("the push comes from the new master", || b.get("new").is_none()).await;
        assert_eq!((a.stats().replayed_writes, source.loads()), (1, 2));
    });
}

#[test]
fn a_master_that_was_demoted_is_left() {
    with_server(|server| async move {
        let sentinel = Sentinel::of(server.port());
        let login = builder("redis://nowhere.invalid/");
        let tier = up(login.sentinels("main", &[&sentinel.server.url()]).unwrap()).await;
        let mut conn = server.connection().await;
        let demote = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query_async::<()>(&mut conn).await;
        demote.unwrap();
        // Refused by a server that is no master: the write waits for the one that is.
        assert_eq!(tier.insert("k".into(), "v".into()).await.unwrap(), bellwether_redis::Written::Queued);
        link_down(&tier).await;
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async::<()>(&mut conn).await.unwrap();
        link_up(&tier).await;
        assert_eq!(tier.try_get_with_async("k", || async { Err("it is there") }).await.unwrap_or_default(), "");
        assert_eq!(tier.stats().replay_conflicts, 1, "the key is removed: another process may have changed it");
    });
}

#[test]
fn sentinels_that_cannot_be_used_are_refused() {
    let any = || builder("redis://127.0.0.1/");
    assert!(matches!(any().sentinels("main", &[]), Err(BuildError::Address(_))));
    assert!(matches!(any().sentinels("main", &["nonsense"]), Err(BuildError::Address(_))));
    let two = any().sentinels("main", &["redis://127.0.0.1/"]).unwrap();
    assert!(matches!(two.sentinels("main", &["redis://127.0.0.1/"]), Err(BuildError::TwoKinds)));
    let secret = Tier::<String, String>::builder("redis://:hunter2@127.0.0.1/").unwrap();
    let shown = format!("{:?}", secret.sentinels("main", &["redis://:hunter3@127.0.0.1/"]).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
}
