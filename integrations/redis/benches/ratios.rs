//! What each level costs, beside the plain commands and beside a lock that is polled, in one run
//! and as ratios: `cargo bench -p bellwether-redis`. It starts its own `redis-server`. Where there is
//! valgrind it counts the instructions of a hit, too; these repeat, and times do not.

use bellwether::{Cache, Entry};
use bellwether_redis::Tier;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../examples/support/mod.rs"]
mod support;

const ROUNDS: usize = 9;

/// How often each way to a hit has its turn, and how many hits a turn is: some ms, so that a turn in
/// which another program ran is one of few.
const TURNS: (usize, u64) = (301, 20_000);

/// Returns the median of some rounds, in ns for each operation.
async fn measure(operations: usize, mut round: impl AsyncFnMut(usize)) -> f64 {
    let mut times = Vec::new();
    for number in 0..ROUNDS {
        let began = Instant::now();
        round(number).await;
        times.push(began.elapsed().as_nanos() as f64 / operations as f64);
    }
    median(times)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    // `cargo test` builds and runs benches too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(how) = std::env::var("BELLWETHER_HITS") {
        return runtime.block_on(hits(&how));
    }
    runtime.block_on(async {
        let Some(server) = support::Server::start() else { return };
        instructions(&server.url());
        memory(&server.url()).await;
        shared(&server.url()).await;
    });
}

async fn build(url: &str, capacity: u64) -> Tier<u64, String> {
    let builder = Tier::builder(url).unwrap().time_to_live(Duration::from_secs(600)).max_capacity(capacity);
    // On a busy machine a slow answer is no lost link.
    let patient = builder.heartbeat(Duration::from_millis(250), Duration::from_secs(10));
    patient.command_timeout(Duration::from_secs(10)).build().await.unwrap()
}

/// The ways to a hit of memory: of bellwether's, and of the tier's.
const WAYS: [&str; 6] = [
    "bellwether, `get`",
    "tier, `get`",
    "bellwether, `try_get_with_async`",
    "tier, `try_get_with_async`",
    "bellwether, `entry`, `try_get_with_async`",
    "tier, `entry`, `try_get_with_async`",
];

/// Counts the instructions of a hit, each way in a process of its own under callgrind.
fn instructions(url: &str) {
    const FEW: u64 = 1000;
    let count = |way: usize, hits: u64| -> Option<u64> {
        let out = std::env::temp_dir().join(format!("bellwether-hits-{}", std::process::id()));
        let mut run = std::process::Command::new("valgrind");
        run.args(["--tool=callgrind", "--toggle-collect=*counted_hits*"]);
        run.arg(format!("--callgrind-out-file={}", out.display())).arg(std::env::current_exe().unwrap()).arg("--bench");
        run.env("BELLWETHER_HITS", format!("{url} {way} {hits}")).output().ok()?;
        let profile = std::fs::read_to_string(&out).ok()?;
        let _ = std::fs::remove_file(out);
        profile.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok())
    };
    println!("| memory hit, 8-byte String | instructions |\n|---|--:|");
    for (way, name) in WAYS.iter().enumerate() {
        // The difference: what the first hits alone cost is left out.
        match (count(way, FEW), count(way, 2 * FEW)) {
            (Some(few), Some(many)) => println!("| {name} | {:.1} |", (many - few) as f64 / FEW as f64),
            _ => return println!("| not counted: there is no valgrind | |\n"),
        }
    }
    println!();
}

/// A process that hits.
async fn hits(how: &str) {
    let parts: Vec<&str> = how.split(' ').collect();
    let (way, hits): (usize, u64) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
    // Under valgrind the server seems slow; and no heartbeat is to come in between.
    let minute = Duration::from_secs(60);
    let builder = Tier::builder(parts[0]).unwrap().time_to_live(minute * 10).heartbeat(minute, minute);
    let tier: Tier<u64, String> = builder.command_timeout(minute).connect_timeout(minute).build().await.unwrap();
    let plain: Cache<u64, String> = Cache::builder().max_capacity(10_000).time_to_live(minute * 10).build().unwrap();
    for key in 0..1000 {
        tier.try_get_with_async(&key, || async { Ok::<_, String>("x".repeat(8)) }).await.unwrap();
        plain.insert(key, "x".repeat(8));
    }
    counted(way, hits, &tier, &plain).await;
}

/// Hits. Each poll of it is counted: there is one.
async fn counted(way: usize, hits: u64, tier: &Tier<u64, String>, plain: &Cache<u64, String>) {
    let mut all = std::pin::pin!(pass(way, hits, tier, plain));
    std::future::poll_fn(|cx| counted_hits(all.as_mut(), cx)).await;
}

/// Hits so many times, in this way.
async fn pass(way: usize, hits: u64, tier: &Tier<u64, String>, plain: &Cache<u64, String>) {
    let load = || async { Ok::<_, String>(String::new()) };
    let keys = || (0..hits).map(|hit| black_box(hit % 1000));
    match way {
        0 => keys().for_each(|key| drop(black_box(plain.get(&key)))),
        1 => keys().for_each(|key| drop(black_box(tier.get(&key)))),
        2 => {
            for key in keys() {
                drop(black_box(plain.try_get_with_async(&key, load).await.unwrap()));
            }
        }
        3 => {
            for key in keys() {
                drop(black_box(tier.try_get_with_async(&key, load).await.unwrap()));
            }
        }
        4 => {
            for key in keys() {
                let (entry, _) = plain.entry(&key).try_get_with_async(load).await.unwrap();
                drop(black_box(Entry::into_value(entry)));
            }
        }
        _ => {
            for key in keys() {
                drop(black_box(tier.entry(&key).try_get_with_async(load).await.unwrap().value));
            }
        }
    }
}

#[inline(never)]
fn counted_hits(
    all: std::pin::Pin<&mut impl Future<Output = ()>>,
    cx: &mut std::task::Context<'_>,
) -> std::task::Poll<()> {
    all.poll(cx)
}

/// A hit of memory, beside one of the core: the ways take turns.
async fn memory(url: &str) {
    let (turns, hits) = TURNS;
    let tier = build(url, 10_000).await;
    let plain: Cache<u64, String> =
        Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(600)).build().unwrap();
    for key in 0..1000 {
        tier.try_get_with_async(&key, || async { Ok::<_, String>("x".repeat(8)) }).await.unwrap();
        plain.insert(key, "x".repeat(8));
    }
    let mut times = [const { Vec::new() }; WAYS.len()];
    for _ in 0..turns {
        for (way, times) in times.iter_mut().enumerate() {
            let began = Instant::now();
            pass(way, hits, &tier, &plain).await;
            times.push(began.elapsed().as_nanos() as f64 / hits as f64);
        }
    }
    let times = times.map(median);
    println!("| memory hit, 8-byte String | ns | beside bellwether's |\n|---|--:|--:|");
    for (way, name) in WAYS.iter().enumerate() {
        let core = times[way & !1];
        println!("| {name} | {:.1} | {:.2} ({:+.1} ns) |", times[way], times[way] / core, times[way] - core);
    }
    let hit = |way: usize| times[way] / times[2];
    println!("\n`entry` beside `try_get_with_async`: bellwether {:.2}, tier {:.2}\n", hit(4), hit(5));
}

/// Hits of the server and cold loads, beside plain commands, one at a time.
async fn shared(url: &str) {
    const KEYS: usize = 1000;
    let value = "x".repeat(200);
    let client = redis::Client::open(url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    for key in 0..KEYS {
        redis::cmd("SET").arg(format!("plain{key}")).arg(&value).query_async::<()>(&mut conn).await.unwrap();
    }
    let get = measure(KEYS, async |_| {
        for key in 0..KEYS {
            black_box(redis::cmd("GET").arg(format!("plain{key}")).query_async::<String>(&mut conn).await.unwrap());
        }
    });
    let get = get.await;
    let tier = build(url, 10_000).await;
    let load = || async { Ok::<_, String>("x".repeat(200)) };
    let cold = measure(KEYS, async |round| {
        for key in 0..KEYS {
            black_box(tier.try_get_with_async(&((1 + round * KEYS + key) as u64), load).await.unwrap());
        }
    });
    let cold = cold.await;
    // Each round by a tier whose memory is empty.
    let mut readers = Vec::new();
    for _ in 0..ROUNDS {
        readers.push(build(url, 10_000).await);
    }
    let hit = measure(KEYS, async |round| {
        for key in 0..KEYS {
            black_box(readers[round].try_get_with_async(&((1 + key) as u64), load).await.unwrap());
        }
    });
    let hit = hit.await;
    assert!(readers.iter().all(|reader| reader.stats().shared_hits == KEYS as u64));
    // A lock that is polled: GET, SET NX, load, SET, DEL of the lock.
    let polled = measure(KEYS, async |round| {
        for key in 0..KEYS {
            let (name, lock) = (format!("polled{round}/{key}"), format!("polled{round}/{key}:lock"));
            let found: Option<String> = redis::cmd("GET").arg(&name).query_async(&mut conn).await.unwrap();
            assert!(found.is_none());
            let mut set = redis::cmd("SET");
            set.arg(&lock).arg("token").arg("NX").arg("PX").arg(10_000).query_async::<()>(&mut conn).await.unwrap();
            redis::cmd("SET").arg(&name).arg(&value).arg("PX").arg(600_000).query_async::<()>(&mut conn).await.unwrap();
            redis::cmd("DEL").arg(&lock).query_async::<()>(&mut conn).await.unwrap();
        }
    });
    let polled = polled.await;
    println!("| one at a time, 200 bytes, loopback | µs | in round trips of a GET |\n|---|--:|--:|");
    for (name, time) in [
        ("plain GET", get),
        ("tier, hit of the server", hit),
        ("tier, cold load", cold),
        ("a polled lock, cold load (GET, SET NX, SET, DEL)", polled),
    ] {
        println!("| {name} | {:.1} | {:.2} |", time / 1000.0, time / get);
    }
}
