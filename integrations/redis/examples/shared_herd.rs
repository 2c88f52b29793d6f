//! A herd of many processes on one cold key: loads without the tier, loads with it, and what
//! happens when the leader's process is killed in the middle of the load.
//!
//! ```sh
//! cargo run --release -p bellwether-redis --example shared_herd             # 10 processes × 10,000 tasks
//! cargo run --release -p bellwether-redis --example shared_herd -- 4 500
//! ```
//!
//! `REDIS_URL` names a server; without it, the example starts its own `redis-server`.

mod support;

use bellwether_redis::Tier;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{Node, Server, Service, say, service, start};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The rows of the table that the query reads.
const ROWS: u64 = 400_000;

fn main() {
    support::run(node, parent);
}

/// A process: each line names a key, a number of tasks, and how its callers are protected.
async fn node(url: String, source: u16, _: u64) {
    let tier = Tier::<String, u64>::builder(&url).unwrap().namespace("herd").time_to_live(Duration::from_secs(600));
    let tier = tier.build().await.unwrap();
    let plain = Arc::new(bellwether::Cache::<String, u64>::new(100));
    say("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let parts: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let callers: usize = parts[1].parse().unwrap();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (tier, plain, key, how) = (tier.clone(), plain.clone(), parts[0].clone(), parts[2].clone());
                tokio::spawn(async move {
                    let load = || async { Ok::<_, String>(service(source, &key).await) };
                    match &*how {
                        "process" => plain.try_get_with_async(&key, load).await.unwrap(),
                        _ => tier.try_get_with_async(&key, load).await.unwrap(),
                    }
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers.dedup();
        say(&format!("{} {}", answers.len(), answers[0]));
    }
}

/// The database: a table, a query that reads all of it, and a count of the queries.
struct Database {
    rows: Vec<(u64, u64)>,
    queries: Arc<AtomicU64>,
}

impl Database {
    fn new(queries: Arc<AtomicU64>) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        Self { rows: (0..ROWS).map(|_| (random.u64(..1000), random.u64(..100))).collect(), queries }
    }

    /// The largest revenue of any customer.
    fn query(&self) -> u64 {
        self.queries.fetch_add(1, SeqCst);
        let mut of_customer = std::collections::HashMap::new();
        for (customer, amount) in &self.rows {
            *of_customer.entry(customer).or_insert(0) += amount;
        }
        // A remote database is no quicker than this.
        std::thread::sleep(Duration::from_millis(50));
        of_customer.values().copied().max().unwrap()
    }
}

/// Has all processes ask at once, and returns how long it took.
async fn herd(nodes: &mut [Node], key: &str, callers: u64, how: &str) -> Duration {
    let began = Instant::now();
    for node in &mut *nodes {
        node.tell(&format!("{key} {callers} {how}")).await;
    }
    for node in nodes {
        let answer = node.answer().await;
        assert!(answer.starts_with("1 "), "all callers get the same value");
    }
    began.elapsed()
}

async fn parent() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("processes and tasks"));
    let (processes, callers) = (numbers.next().unwrap_or(10), numbers.next().unwrap_or(10_000));
    let own = if std::env::var("REDIS_URL").is_ok() { None } else { Server::start() };
    let Some(url) = std::env::var("REDIS_URL").ok().or_else(|| own.as_ref().map(Server::url)) else { return };
    let queries = Arc::new(AtomicU64::new(0));
    let database = Database::new(queries.clone());
    let source = Service::start(move |_| database.query().to_string()).await;
    let mut nodes = Vec::new();
    for number in 0..processes {
        nodes.push(start(&url, source.port, number).await);
    }
    // Keys of their own, so that a server of others has nothing at them.
    let run = fastrand::u64(..);
    println!("{processes} processes × {callers} tasks on one cold key\n");
    println!("a cache in each process            {:>7} queries, as the most that it can promise", processes);
    let took = herd(&mut nodes, &format!("plain{run}"), callers, "process").await;
    println!("  measured                         {:>7} queries, {took:?}", queries.swap(0, SeqCst));
    let took = herd(&mut nodes, &format!("tier{run}"), callers, "tier").await;
    let made = queries.swap(0, SeqCst);
    println!("a tier over all processes          {made:>7} query, {took:?}");
    assert_eq!(made, 1);
    if processes < 2 {
        return;
    }
    // The first one leads, and dies.
    let key = format!("killed{run}");
    let mut leader = nodes.remove(0);
    leader.tell(&format!("{key} 1 tier")).await;
    while queries.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    leader.signal("-9");
    leader.finish().await;
    let took = herd(&mut nodes, &key, callers, "tier").await;
    println!("the leader is killed in its query  {:>7} queries, {took:?}", queries.load(SeqCst));
    assert_eq!(queries.load(SeqCst), 2);
}
