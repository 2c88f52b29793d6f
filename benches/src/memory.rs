//! Resident memory of full caches: `cargo run --release -p bellwether-benches --features peers --bin memory`.
//!
//! Each cache lives in a process of its own, this program started again, so that none inherits what another left in the
//! allocator. The child reads its resident set from `/proc/self/statm` before it builds the cache, after it has offered
//! twice as many keys as there is room for, and after it has gone on inserting for long. Keys are computed, not stored:
//! whatever the resident set has grown by is the cache's.

#[path = "peers/caches.rs"]
#[allow(dead_code)]
mod caches;
#[path = "../../examples/replay/trace.rs"]
#[allow(dead_code)]
mod trace;

use bellwether::Cache;
use caches::{Entrant, PEERS, Peer};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    env,
    error::Error,
    fs,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};
use trace::mix;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// A round number, and a power of two: tables that double may be half empty at the one and full, or half empty, at the
/// other.
const CAPACITIES: [u64; 2] = [1_000_000, 1 << 20];
/// Of the peers, each crate's default number of shards, and the two of foyer's policies whose hit ratios are best.
const MEASURED: [&str; 6] = ["quick_cache", "moka", "mini-moka", "foyer LFU", "foyer S3-FIFO", "TinyUFO"];
const BELLWETHER: Entrant = Entrant { name: "bellwether", new: |capacity| Box::new(Cache::new(capacity)) };
/// While it goes on inserting, each key is drawn from this many times the capacity: some overwrite, most evict.
const UNIVERSE: u64 = 4;
/// Readings of the resident set meanwhile.
const READINGS: u64 = 100;

/// Measures the resident set of full caches from u64 to u64, bellwether's and its peers'.
#[derive(Debug, Parser)]
#[command(name = "memory")]
struct Cli {
    /// Inserts after the cache is full: 1000000000 takes minutes a cache
    #[arg(long, value_name = "N", default_value = "20000000")]
    churn: u64,

    /// Only these caches, by names as in the table
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// What this program starts itself with: measure the one cache named by --only at this capacity
    #[arg(long, hide = true)]
    child: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(unknown) = cli.only.iter().find(|name| entrants().all(|entrant| entrant.name != name.as_str())) {
        let known: Vec<_> = entrants().map(|entrant| entrant.name).collect();
        eprintln!("memory: there is no cache {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let result = match cli.child {
        Some(capacity) => child(&cli, capacity),
        None => parent(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn entrants() -> impl Iterator<Item = &'static Entrant> {
    let peers = MEASURED.iter().filter_map(|name| PEERS.iter().find(|peer| peer.name == *name));
    [&BELLWETHER].into_iter().chain(peers)
}

/// Has every cache measured, and prints the table as it grows.
fn parent(cli: &Cli) -> Result {
    let chosen: Vec<_> =
        entrants().filter(|entrant| cli.only.is_empty() || cli.only.iter().any(|name| name == entrant.name)).collect();
    let style = ProgressStyle::with_template("{spinner} {msg} ({pos} of {len} done, {elapsed})")?;
    let bar = ProgressBar::new((chosen.len() * CAPACITIES.len()) as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    let inserts = cli.churn as f64 / 1e6;
    bar.suspend(|| {
        println!(
            "| cache | capacity | entries, full | MiB | bytes an entry | most MiB in {inserts} M inserts | MiB after \
             | entries after | bytes an entry after |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    });
    for capacity in CAPACITIES {
        for entrant in &chosen {
            bar.set_message(format!("{} at {capacity}", entrant.name));
            let row = measure(entrant.name, capacity, cli.churn)?.row(entrant.name, capacity);
            bar.suspend(|| println!("{row}"));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What a child found out: bytes that its resident set grew by, and entries.
struct Found {
    full_bytes: u64,
    full_entries: u64,
    most_bytes: u64,
    after_bytes: u64,
    after_entries: u64,
}

impl Found {
    fn row(&self, name: &str, capacity: u64) -> String {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        let each = |bytes: u64, entries: u64| format!("{:.1}", bytes as f64 / entries as f64);
        format!(
            "| {name} | {capacity} | {} | {} | {} | {} | {} | {} | {} |",
            self.full_entries,
            mib(self.full_bytes),
            each(self.full_bytes, self.full_entries),
            mib(self.most_bytes),
            mib(self.after_bytes),
            self.after_entries,
            each(self.after_bytes, self.after_entries),
        )
    }
}

/// Runs a child for one cache.
fn measure(name: &str, capacity: u64, churn: u64) -> Result<Found> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--child", &capacity.to_string(), "--only", name, "--churn", &churn.to_string()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("measuring {name}: {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [full_bytes, full_entries, most_bytes, after_bytes, after_entries] = numbers[..] else {
        return Err(format!("measuring {name}: it said {text:?}").into());
    };
    Ok(Found { full_bytes, full_entries, most_bytes, after_bytes, after_entries })
}

/// Measures one cache and prints the numbers of [`Found`].
fn child(cli: &Cli, capacity: u64) -> Result {
    let entrant = entrants().find(|entrant| cli.only.iter().any(|name| name == entrant.name)).ok_or("which cache?")?;
    let before = resident()?;
    let mut cache = (entrant.new)(capacity);
    for key in 0..2 * capacity {
        request(cache.as_mut(), key as u32);
    }
    let full_entries = cache.len();
    let full = resident()?;

    let (mut most, mut state) = (full, 1_u64);
    for reading in 0..READINGS {
        let inserts = cli.churn * (reading + 1) / READINGS - cli.churn * reading / READINGS;
        for _ in 0..inserts {
            request(cache.as_mut(), draw(&mut state, UNIVERSE * capacity));
        }
        most = most.max(resident()?);
    }
    let after_entries = cache.len();
    let after = resident()?;

    // Asking for each key may change the order of eviction, not what is there. All that matters has been read by now.
    let mut count = || (0..UNIVERSE * capacity).filter(|&key| cache.get(mix(key as u32)).is_some()).count() as u64;
    let after_entries = after_entries.unwrap_or_else(&mut count);
    // A cache that cannot count is as full before as after.
    let full_entries = full_entries.unwrap_or(after_entries);
    let grown = |bytes: u64| bytes.saturating_sub(before);
    println!("{} {full_entries} {} {} {after_entries}", grown(full), grown(most.max(after)), grown(after));
    Ok(())
}

/// An insert, after a look that lets the peers settle what they queue, as in a read-through.
fn request(cache: &mut dyn Peer, key: u32) {
    let key = mix(key);
    let _ = cache.get(key);
    cache.insert(key, !key);
}

/// A number below `end`, which is below 2^32.
fn draw(state: &mut u64, end: u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (((*state >> 32) * end) >> 32) as u32
}

/// Bytes of this process in memory.
fn resident() -> Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("/proc/self/statm has no second field")?.parse()?;
    Ok(pages * PAGE)
}

/// x86-64's; statm counts pages.
const PAGE: u64 = 4096;

impl Peer for Cache<u64, u64> {
    fn get(&mut self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        Self::insert(self, key, value);
    }

    fn len(&mut self) -> Option<u64> {
        Some(Self::len(self) as u64)
    }
}
