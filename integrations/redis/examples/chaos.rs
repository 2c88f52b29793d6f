//! Five processes under faults: the server is killed and stopped, and processes are, too. Each read
//! is checked against the acknowledged changes.
//!
//! ```sh
//! cargo run --release -p bellwether-redis --example chaos -- 60
//! ```

mod support;

use bellwether_redis::Tier;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::{Server, Service, now, say, service, start};

const PROCESSES: usize = 5;
const KEYS: u64 = 8;
const UNLINKED: Duration = Duration::from_millis(500);

/// How old a value may be: the heartbeat's 450 ms, the `unlinked_ttl`, and the time that a busy
/// machine takes to run what is due.
const BOUND: Duration = Duration::from_millis(450 + 500 + 500);

fn main() {
    support::run(node, parent);
}

/// A process: reads and changes at random, and tells of each.
async fn node(url: String, source: u16, seed: u64) {
    let tier = Tier::<u64, u64>::builder(&url).unwrap().namespace("chaos").time_to_live(Duration::from_secs(5));
    let tier = tier.unlinked_ttl(UNLINKED).lead_timeout(Duration::from_secs(2)).build().await.unwrap();
    say("ready");
    for task in 0..8 {
        let (tier, mut random) = (tier.clone(), fastrand::Rng::with_seed(seed * 100 + task));
        tokio::spawn(async move {
            loop {
                let (key, began) = (random.u64(..KEYS), now());
                let work = async {
                    if task == 0 {
                        let number = service(source, &format!("change {key}")).await;
                        if tier.invalidate(&key).await.is_ok_and(|written| written == bellwether_redis::Written::Shared)
                        {
                            say(&format!("w {key} {number} {}", now()));
                        }
                        tokio::time::sleep(Duration::from_millis(random.u64(..40))).await;
                        return;
                    }
                    let load = || async { Ok::<_, String>(service(source, &format!("load {key}")).await) };
                    let found = tier.try_get_with_async(&key, load).await.unwrap();
                    say(&format!("r {key} {found} {began}"));
                };
                if tokio::time::timeout(Duration::from_secs(20), work).await.is_err() {
                    say(&format!("hang {key}"));
                }
                tokio::time::sleep(Duration::from_micros(random.u64(200..5000))).await;
            }
        });
    }
    std::future::pending::<()>().await;
}

async fn parent() {
    let seconds: u64 = std::env::args().nth(1).map_or(60, |text| text.parse().expect("a number of seconds"));
    let Some(mut server) = Server::start() else { return };
    // What the source has: a number for each key.
    let (mut source, loads) = (BTreeMap::<u64, u64>::new(), Arc::new(AtomicU64::new(0)));
    let counted = loads.clone();
    let source = Service::start(move |question| {
        let (what, key) = question.split_once(' ').unwrap();
        let number = source.entry(key.parse().unwrap()).or_default();
        if what == "change" {
            *number += 1;
        } else {
            counted.fetch_add(1, Relaxed);
        }
        number.to_string()
    })
    .await;
    let mut nodes = Vec::new();
    for seed in 0..PROCESSES {
        nodes.push(start(&server.url(), source.port, seed as u64).await);
    }
    let (mut faults, mut random, began) = (BTreeMap::<&str, u64>::new(), fastrand::Rng::with_seed(7), Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(random.u64(500..3000))).await;
        let time = Duration::from_millis(random.u64(100..2000));
        let name = match random.u8(..4) {
            0 => {
                server.kill();
                tokio::time::sleep(time).await;
                server.run();
                "server killed, and started empty"
            }
            1 => {
                server.pause(true);
                tokio::time::sleep(time).await;
                server.pause(false);
                "server stopped for a while"
            }
            2 => {
                let node = &nodes[random.usize(..PROCESSES)];
                node.signal("-STOP");
                tokio::time::sleep(time).await;
                node.signal("-CONT");
                "process stopped for a while"
            }
            _ => {
                let place = random.usize(..PROCESSES);
                nodes[place].signal("-9");
                let lines = nodes[place].finish().await;
                let mut anew = start(&server.url(), source.port, 100 + random.u64(..1000)).await;
                anew.earlier = lines;
                nodes[place] = anew;
                "process killed, and another one started"
            }
        };
        *faults.entry(name).or_default() += 1;
    }
    // All must still be there, and at work.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut lines = Vec::new();
    let mut lost = 0;
    for node in &mut nodes {
        lost += u64::from(node.has_ended());
        node.signal("-9");
        lines.extend(node.finish().await);
    }
    println!("{} loads", loads.load(Relaxed));
    // The exit drops nothing: the server would go on.
    server.kill();
    std::process::exit(report(seconds, &faults, &lines, lost));
}

/// Checks the history, prints the report, and returns the exit code.
fn report(seconds: u64, faults: &BTreeMap<&str, u64>, lines: &[String], lost: u64) -> i32 {
    let numbers = |line: &str| -> Option<[u64; 3]> {
        let mut parts = line.split(' ').skip(1).map(str::parse::<u64>);
        Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
    };
    let mut changes: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for [key, number, at] in lines.iter().filter(|line| line.starts_with("w ")).filter_map(|line| numbers(line)) {
        changes.entry(key).or_default().push((number, at));
    }
    // For each number, when it or a higher one was first acknowledged.
    for of_key in changes.values_mut() {
        of_key.sort_unstable();
        let mut first = u64::MAX;
        for (_, at) in of_key.iter_mut().rev() {
            first = first.min(*at);
            *at = first;
        }
    }
    let mut ages: Vec<Duration> = Vec::new();
    let mut reads = 0;
    for [key, found, began] in lines.iter().filter(|line| line.starts_with("r ")).filter_map(|line| numbers(line)) {
        reads += 1;
        let of_key = changes.get(&key).map_or(&[][..], Vec::as_slice);
        let newer = of_key.get(of_key.partition_point(|&(number, _)| number <= found));
        if let Some(&(_, at)) = newer.filter(|(_, at)| *at < began) {
            ages.push(Duration::from_micros(began - at));
        }
    }
    ages.sort_unstable();
    let hangs = lines.iter().filter(|line| line.starts_with("hang")).count();
    let beyond = ages.iter().filter(|&&age| age > BOUND).count();
    println!("{seconds} s, {PROCESSES} processes, {KEYS} keys");
    faults.iter().for_each(|(name, times)| println!("  {times:>3} × {name}"));
    println!("{reads} reads, {} acknowledged changes", changes.values().map(Vec::len).sum::<usize>());
    println!("{} reads of an old value, {beyond} of them beyond {BOUND:?}", ages.len());
    if let (Some(median), Some(oldest)) = (ages.get(ages.len() / 2), ages.last()) {
        println!("  old for {median:?} in the median, {oldest:?} at most");
    }
    println!("{hangs} callers hung, {lost} processes lost");
    let well = beyond == 0 && hangs == 0 && lost == 0 && reads > 0;
    println!("{}", if well { "ok" } else { "FAILED" });
    i32::from(!well)
}
