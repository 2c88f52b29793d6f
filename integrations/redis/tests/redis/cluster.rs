//! A cluster of three masters.

use crate::support::server::{Server, free_port};
use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{Builder, Written};
use std::time::Duration;

struct Cluster {
    nodes: Vec<Server>,
    directories: Vec<std::path::PathBuf>,
}

/// How many slots there are.
const SLOTS: usize = 16384;

impl Cluster {
    /// Starts three masters that share the slots, and waits until they agree.
    async fn start() -> Self {
        let (mut nodes, mut directories) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let port = free_port();
            let directory = std::env::temp_dir().join(format!("bellwether-cluster-{}-{port}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let (bus, place) = (free_port().to_string(), directory.to_str().unwrap());
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
            nodes.push(Server::start_at(port, &[&arguments[..], &["--dir", place]].concat()));
            directories.push(directory);
        }
        let this = Self { nodes, directories };
        for (number, node) in this.nodes.iter().enumerate() {
            let (first, last) = (SLOTS * number / 3, SLOTS * (number + 1) / 3 - 1);
            this.command(number, &["ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
            let bus: Vec<_> = node.arguments().iter().skip_while(|it| *it != "--cluster-port").collect();
            this.command(0, &["MEET", "127.0.0.1", &node.port().to_string(), bus[1]]).await;
        }
        let agree = async |number: usize| {
            let info = this.command(number, &["INFO"]).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        let end = tokio::time::Instant::now() + PATIENCE;
        while !(agree(0).await && agree(1).await && agree(2).await) {
            assert!(tokio::time::Instant::now() < end, "the nodes do not agree");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        this
    }

    async fn command(&self, node: usize, words: &[&str]) -> String {
        let mut conn = self.nodes[node].connection().await;
        let answer: redis::Value = redis::cmd("CLUSTER").arg(words).query_async(&mut conn).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    fn builder(&self) -> Builder<String, String> {
        // The first address that is asked has no server.
        builder("redis://127.0.0.1:1/").cluster(&[&self.nodes[0].url(), &self.nodes[1].url()]).unwrap()
    }

    async fn tiers(&self, number: usize) -> Vec<Texts> {
        let mut all = Vec::new();
        for _ in 0..number {
            all.push(up(self.builder()).await);
        }
        all
    }

    /// Moves the slot of a key to another node, with the keys in it.
    async fn move_slot(&self, name: &str, from: usize, to: usize) {
        let slot = self.command(from, &["KEYSLOT", name]).await;
        let (old, new) = (self.command(from, &["MYID"]).await, self.command(to, &["MYID"]).await);
        self.command(to, &["SETSLOT", &slot, "IMPORTING", &old]).await;
        self.command(from, &["SETSLOT", &slot, "MIGRATING", &new]).await;
        let mut conn = self.nodes[from].connection().await;
        let keys: Vec<String> =
            redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(&slot).arg(100).query_async(&mut conn).await.unwrap();
        for key in keys {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.nodes[to].port()).arg(key).arg(0).arg(5000);
            migrate.query_async::<()>(&mut conn).await.unwrap();
        }
        // The third one, too: it may be the one that a tier asks for the masters, before the others
        // have told it.
        for node in [to, from, 3 - to - from] {
            self.command(node, &["SETSLOT", &slot, "NODE", &new]).await;
        }
    }

    /// Returns where a key lies, by the whole of its name.
    async fn find(&self, pattern: &str) -> (usize, String) {
        for (place, node) in self.nodes.iter().enumerate() {
            let keys: Vec<String> =
                redis::cmd("KEYS").arg(pattern).query_async(&mut node.connection().await).await.unwrap();
            if let Some(key) = keys.into_iter().next() {
                return (place, key);
            }
        }
        panic!("no node has {pattern}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Server::kill);
        for directory in &self.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

fn keys() -> Vec<String> {
    (0..30).map(|key| format!("key{key}")).collect()
}

#[test]
fn one_load_over_all_tiers_at_each_node_and_changes_reach_all() {
    with_server(|_| async {
        let cluster = Cluster::start().await;
        let tags = || cluster.builder().tags_with(|key, _, tags| tags.add(&key[..4]));
        let (a, b, source) = (up(tags()).await, up(tags()).await, Source::new());
        let loaded = async |tier: &Texts| {
            for key in keys() {
                get(tier, &source, &key).await;
            }
        };
        loaded(&a).await;
        loaded(&b).await;
        assert_eq!((source.loads(), b.stats().shared_hits), (30, 30));
        for node in &cluster.nodes {
            let found: Vec<String> =
                redis::cmd("KEYS").arg("test:*:{k:*").query_async(&mut node.connection().await).await.unwrap();
            assert!(!found.is_empty(), "each node has some");
        }
        for key in keys() {
            a.invalidate(&key).await.unwrap();
        }
        eventually("each node has pushed", || b.memory().is_empty()).await;
        loaded(&b).await;
        a.insert("key7".into(), "new".into()).await.unwrap();
        eventually("the insert is pushed", || b.get("key7").is_none()).await;
        assert_eq!((get(&b, &source, "key7").await.as_str(), source.loads()), ("new", 60));
        a.invalidate_tag("key1").await.unwrap();
        eventually("the tag is told", || b.memory().iter().all(|entry| !entry.starts_with("key1"))).await;
        a.invalidate_all().await.unwrap();
        eventually("a new generation begins", || b.memory().is_empty()).await;
        // In bulk: one call, a round trip to each node.
        let calls = std::sync::atomic::AtomicU64::new(0);
        let load = |keys: Vec<String>| {
            calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { Ok::<_, String>(keys.into_iter().map(|key| (key.clone(), key)).collect()) }
        };
        for tier in [&a, &b] {
            let got = tier.try_get_many_with_async(keys().iter(), load).await;
            assert!(got.iter().zip(keys()).all(|(got, key)| *got.as_ref().unwrap() == key));
        }
        assert_eq!(calls.into_inner(), 1);
        assert_eq!((a.stats().command_errors, b.stats().command_errors), (0, 0));
    });
}

#[test]
fn a_herd_is_one_load_and_a_dead_leader_is_noticed_by_the_probe() {
    with_server(|_| async {
        let cluster = Cluster::start().await;
        let (all, source) = (cluster.tiers(2).await, Source::new());
        source.hold(true);
        // A process of its own, as far as the servers see.
        let dies = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (doomed, own) = (cluster.builder(), source.clone());
        dies.spawn(async move { get(&up(doomed).await, &own, "hot").await });
        eventually("it loads", || source.loads() == 1).await;
        let herd: Vec<_> = (0..40)
            .map(|caller| {
                let (tier, source) = (all[caller % 2].clone(), source.clone());
                tokio::spawn(async move { get(&tier, &source, "hot").await })
            })
            .collect();
        eventually("both tiers wait", || all.iter().all(|tier| tier.stats().waits > 0)).await;
        assert_eq!(source.loads(), 1);
        // Its lease is for a minute; its connections are gone at once.
        dies.shutdown_background();
        eventually("another one loads", || source.loads() == 2).await;
        source.hold(false);
        for caller in herd {
            assert_eq!(caller.await.unwrap(), "hot#2");
        }
    });
}

#[test]
fn a_slot_that_moves_takes_its_keys_out_of_memory_and_is_followed() {
    with_server(|_| async {
        let cluster = Cluster::start().await;
        let (all, source) = (cluster.tiers(2).await, Source::new());
        for tier in &all {
            get(tier, &source, "k").await;
        }
        let (from, name) = cluster.find("test:*:{k:k}").await;
        cluster.move_slot(&name, from, (from + 1) % 3).await;
        for tier in &all {
            eventually("its removal is pushed", || tier.get("k").is_none()).await;
        }
        // The old node says that the key has moved. That call loads by itself; the link is made
        // anew.
        let ups = all[0].stats().link_ups;
        get(&all[0], &source, "k").await;
        eventually("the link is made anew", || all[0].stats().link_ups > ups).await;
        link_up(&all[0]).await;
        assert_eq!(get(&all[0], &source, "k").await, "k#1");
        assert_eq!(all[1].insert("k".into(), "new".into()).await.unwrap(), Written::Queued);
        link_up(&all[1]).await;
        eventually("the write has been made", || all[1].stats().replayed_writes == 1).await;
        eventually("it is pushed", || all[0].get("k").is_none_or(|value| value != "k#1")).await;
    });
}

#[test]
fn a_node_that_dies_takes_the_link_down_until_it_is_back() {
    with_server(|_| async {
        let mut cluster = Cluster::start().await;
        let (all, source) = (cluster.tiers(2).await, Source::new());
        for tier in &all {
            get(tier, &source, "k").await;
        }
        cluster.nodes[2].kill();
        for tier in &all {
            link_down(tier).await;
            get(tier, &source, "other").await;
        }
        assert_eq!(source.loads(), 3, "each loads for itself");
        assert_eq!(all[0].invalidate("k").await.unwrap(), Written::Queued);
        cluster.nodes[2].run();
        for tier in &all {
            link_up(tier).await;
        }
        eventually("the invalidation reaches the other", || all[1].get("k").is_none()).await;
        assert_eq!((get(&all[1], &source, "k").await, get(&all[0], &source, "k").await), ("k#4".into(), "k#4".into()));
    });
}
