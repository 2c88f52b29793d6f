//! What each level costs, beside the plain commands and beside a lock that is polled, in one run
//! and as ratios: `cargo bench -p bellwether-redis`. It starts its own `redis-server`.

use bellwether::Cache;
use bellwether_redis::Tier;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../examples/support/mod.rs"]
mod support;

const ROUNDS: usize = 9;

/// Returns the median of some rounds, in ns for each operation.
async fn measure(operations: usize, mut round: impl AsyncFnMut(usize)) -> f64 {
    let mut times = Vec::new();
    for number in 0..ROUNDS {
        let began = Instant::now();
        round(number).await;
        times.push(began.elapsed().as_nanos() as f64 / operations as f64);
    }
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn main() {
    // `cargo test` builds and runs benches too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(server) = support::Server::start() else { return };
        memory(&server.url()).await;
        shared(&server.url()).await;
    });
}

async fn build(url: &str, capacity: u64) -> Tier<u64, String> {
    let builder = Tier::builder(url).unwrap().time_to_live(Duration::from_secs(600)).max_capacity(capacity);
    builder.build().await.unwrap()
}

/// A hit of memory, beside one of the core.
async fn memory(url: &str) {
    const HITS: usize = 1_000_000;
    let tier = build(url, 10_000).await;
    let plain: Cache<u64, String> =
        Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(600)).build().unwrap();
    let load = || async { Ok::<_, String>("x".repeat(8)) };
    for key in 0..1000 {
        tier.try_get_with_async(&key, load).await.unwrap();
        plain.insert(key, "x".repeat(8));
    }
    let core = measure(HITS, async |_| {
        (0..HITS as u64).for_each(|n| drop(black_box(plain.get(&black_box(n % 1000)))));
    });
    let core = core.await;
    let here = measure(HITS, async |_| {
        (0..HITS as u64).for_each(|n| drop(black_box(tier.get(&black_box(n % 1000)))));
    });
    let here = here.await;
    println!("| memory hit, 8-byte String | ns | ratio |\n|---|--:|--:|");
    println!("| bellwether, `get` | {core:.1} | 1.00 |");
    println!("| tier, `get` | {here:.1} | {:.2} (+{:.1} ns) |", here / core, here - core);
    let core = measure(HITS, async |_| {
        for n in 0..HITS as u64 {
            black_box(plain.try_get_with_async(&(n % 1000), load).await.unwrap());
        }
    });
    let core = core.await;
    let here = measure(HITS, async |_| {
        for n in 0..HITS as u64 {
            black_box(tier.try_get_with_async(&(n % 1000), load).await.unwrap());
        }
    });
    let here = here.await;
    let entry = measure(HITS, async |_| {
        for n in 0..HITS as u64 {
            black_box(plain.entry(&(n % 1000)).try_get_with_async(load).await.unwrap().0.clone());
        }
    });
    let entry = entry.await;
    println!("| bellwether, `try_get_with_async` | {core:.1} | 1.00 |");
    println!("| bellwether, `entry`, `try_get_with_async` | {entry:.1} | {:.2} |", entry / core);
    println!("| tier, `try_get_with_async` | {here:.1} | {:.2} (+{:.1} ns) |\n", here / core, here - core);
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
