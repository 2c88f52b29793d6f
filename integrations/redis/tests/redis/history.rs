//! Random histories under faults: no value is served that is older than a change that was
//! acknowledged longer ago than the bound.
//!
//! A value is the number of the source's change. A change raises the source's number, then tells
//! the tier of it by an invalidation or an insert. The checker has the time of each
//! acknowledgement, and of the beginning of each read.

use crate::support::proxy::{Mode, Proxy};
use crate::support::*;
use bellwether_redis::{Tier, Written};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KEYS: usize = 4;

const HEARTBEAT: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_millis(200);
const UNLINKED: Duration = Duration::from_millis(200);

/// What README.md says, and the time that a busy machine takes to run what is due.
const BOUND: Duration = Duration::from_millis(100 + 200 + 200 + 500);

/// How much later an insert that has timed out may still be undone: the link must come back first.
const RETURN: Duration = Duration::from_secs(4);

type Numbers = Tier<u64, u64>;

#[derive(Default)]
struct History {
    numbers: [AtomicU64; KEYS],
    /// For each key, the acknowledged changes, in their order.
    acknowledged: [Mutex<Vec<(Instant, u64)>>; KEYS],
    reads: AtomicU64,
    writes: AtomicU64,
    old: Mutex<Vec<String>>,
}

impl History {
    fn read(&self, key: usize, began: Instant, found: u64, bound: Duration) {
        self.reads.fetch_add(1, SeqCst);
        let acknowledged = self.acknowledged[key].lock().unwrap();
        let floor = acknowledged.iter().rev().find(|(at, _)| *at + bound <= began);
        if let Some(&(at, number)) = floor.filter(|(_, number)| found < *number) {
            let ago = began - at;
            self.old.lock().unwrap().push(format!("key {key}: {found}, and {number} was acknowledged {ago:?} ago"));
        }
    }

    fn acknowledge(&self, key: usize, number: u64) {
        self.writes.fetch_add(1, SeqCst);
        self.acknowledged[key].lock().unwrap().push((Instant::now(), number));
    }
}

async fn read_on(
    tier: Numbers,
    history: Arc<History>,
    mut random: fastrand::Rng,
    over: Arc<AtomicBool>,
    bound: Duration,
) {
    while !over.load(SeqCst) {
        let key = random.usize(..KEYS);
        let began = Instant::now();
        let load = || async {
            let number = history.numbers[key].load(SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok::<_, String>(number)
        };
        let found = match random.u8(..2) {
            0 => tier.get(&(key as u64)),
            _ => Some(tier.try_get_with_async(&(key as u64), load).await.unwrap()),
        };
        if let Some(found) = found {
            history.read(key, began, found, bound);
        }
        tokio::time::sleep(Duration::from_micros(random.u64(..2000))).await;
    }
}

/// Writes one key alone, through different tiers: its changes have an order.
async fn write_on(
    tiers: Vec<Numbers>,
    key: usize,
    history: Arc<History>,
    mut random: fastrand::Rng,
    over: Arc<AtomicBool>,
    inserts: bool,
) {
    while !over.load(SeqCst) {
        let tier = &tiers[random.usize(..tiers.len())];
        let number = history.numbers[key].fetch_add(1, SeqCst) + 1;
        let written = match random.u8(..3) {
            0 if inserts => tier.insert(key as u64, number).await,
            _ => tier.invalidate(&(key as u64)).await,
        };
        if written.is_ok_and(|written| written == Written::Shared) {
            history.acknowledge(key, number);
        }
        tokio::time::sleep(Duration::from_millis(random.u64(..20))).await;
    }
}

async fn run(seed: u64, mut server: server::Server, inserts: bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let number = random.usize(2..=4);
    let (mut proxies, mut tiers) = (Vec::new(), Vec::new());
    for _ in 0..number {
        let proxy = Proxy::to(server.port()).await;
        let tier = Numbers::builder(&proxy.url()).unwrap().time_to_live(MINUTE).heartbeat(HEARTBEAT, LIMIT);
        let tier = tier.unlinked_ttl(UNLINKED).command_timeout(LIMIT).lead_timeout(Duration::from_secs(1)).build();
        tiers.push(tier.await.unwrap());
        proxies.push(proxy);
    }
    let (history, over) = (Arc::new(History::default()), Arc::new(AtomicBool::new(false)));
    let bound = if inserts { BOUND + RETURN } else { BOUND };
    let mut tasks = Vec::new();
    for tier in &tiers {
        for _ in 0..3 {
            tasks.push(tokio::spawn(read_on(tier.clone(), history.clone(), random.fork(), over.clone(), bound)));
        }
    }
    for key in 0..KEYS {
        let task = write_on(tiers.clone(), key, history.clone(), random.fork(), over.clone(), inserts);
        tasks.push(tokio::spawn(task));
    }
    for _ in 0..8 {
        let proxy = &proxies[random.usize(..number)];
        match random.u8(..6) {
            0 => proxy.set(Mode::Cut),
            1 => proxy.set(Mode::BlackHole),
            2 => proxy.set(Mode::HalfOpen),
            3 => proxy.set(Mode::Delay(Duration::from_millis(random.u64(1..50)))),
            4 => server.pause(true),
            _ => {
                server.kill();
                server.run();
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(50..700))).await;
        server.pause(false);
        proxy.set(Mode::Pass);
        tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
    }
    over.store(true, SeqCst);
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await.expect("no caller hangs").unwrap();
    }
    let (reads, writes) = (history.reads.load(SeqCst), history.writes.load(SeqCst));
    println!("seed {seed}: {number} tiers, {reads} reads, {writes} acknowledged changes");
    let old = history.old.lock().unwrap().clone();
    assert!(old.is_empty(), "seed {seed}: {} old values, as {}", old.len(), old[0]);
    assert!(reads > 100 && writes > 10);
    for tier in &tiers {
        // (A push that comes late may be removing a key just now.)
        eventually("memory is as it must be", || tier.memory().validate().is_ok()).await;
    }
}

/// The seeds: 3, or those of `BELLWETHER_SEEDS` (a number).
fn seeds() -> u64 {
    std::env::var("BELLWETHER_SEEDS").map_or(3, |seeds| seeds.parse().unwrap())
}

#[test]
fn nothing_older_than_an_acknowledged_invalidation_is_served() {
    for seed in 0..seeds() {
        with_server(|server| run(seed, server, false));
    }
}

#[test]
fn nothing_older_than_an_acknowledged_write_is_served() {
    for seed in 100..100 + seeds() {
        with_server(|server| run(seed, server, true));
    }
}

#[test]
fn the_checker_sees_an_old_value() {
    let history = History::default();
    history.acknowledge(0, 5);
    let later = |time: Duration| Instant::now() + time;
    history.read(0, later(BOUND), 5, BOUND);
    history.read(0, later(Duration::ZERO), 4, BOUND);
    history.read(1, later(BOUND), 4, BOUND);
    assert!(history.old.lock().unwrap().is_empty(), "the newest; within the bound; another key");
    history.read(0, later(BOUND), 4, BOUND);
    assert_eq!(history.old.lock().unwrap().len(), 1);
}
