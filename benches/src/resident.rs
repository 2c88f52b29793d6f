//! The resident set of a full cache, measured in a process of its own: the program that includes this, started again, so
//! that no cache inherits what another left in the allocator.
//!
//! The child reads its resident set from `/proc/self/statm` before it builds the cache, after it has offered twice as many
//! keys as there is room for, and after it has gone on inserting for long. Keys are computed, not stored: whatever the
//! resident set has grown by is the cache's.

use crate::{
    caches::{Entrant, PEERS, Peer},
    trace::mix,
};
use bellwether::Cache;
use std::{
    env,
    error::Error,
    fs,
    process::{Command, ExitCode, Stdio},
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Of the peers, each crate's default number of shards, and the two of foyer's policies whose hit ratios are best.
const MEASURED: [&str; 6] = ["quick_cache", "moka", "mini-moka", "foyer LFU", "foyer S3-FIFO", "TinyUFO"];
const BELLWETHER: Entrant = Entrant { name: "bellwether", new: |capacity| Box::new(Cache::new(capacity)) };
/// While it goes on inserting, each key is drawn from this many times the capacity: some overwrite, most evict.
const UNIVERSE: u64 = 4;
/// Readings of the resident set meanwhile.
const READINGS: u64 = 100;
/// What tells a child what to do: capacity, inserts, name.
const VARIABLE: &str = "BELLWETHER_RESIDENT";

/// The caches that are measured, bellwether first.
pub(crate) fn entrants() -> impl Iterator<Item = &'static Entrant> {
    let peers = MEASURED.iter().filter_map(|name| PEERS.iter().find(|peer| peer.name == *name));
    [&BELLWETHER].into_iter().chain(peers)
}

/// What a child found out: bytes that its resident set grew by, and entries.
pub(crate) struct Found {
    pub(crate) full_bytes: u64,
    pub(crate) full_entries: u64,
    pub(crate) most_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) after_entries: u64,
}

/// Runs a child for one cache: that capacity, and that many inserts once it is full.
pub(crate) fn measure(name: &str, capacity: u64, churn: u64) -> Result<Found> {
    let mut command = Command::new(env::current_exe()?);
    command.env(VARIABLE, format!("{capacity} {churn} {name}"));
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

/// If this process is such a child: does what it is for.
pub(crate) fn run_as_child() -> Option<ExitCode> {
    let task = env::var(VARIABLE).ok()?;
    match child(&task) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{VARIABLE}={task}: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}

/// Measures one cache and prints the numbers of [`Found`].
fn child(task: &str) -> Result {
    let [capacity, churn, name] = task.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        return Err("capacity, inserts, and a name".into());
    };
    let (capacity, churn): (u64, u64) = (capacity.parse()?, churn.parse()?);
    let entrant = entrants().find(|entrant| entrant.name == name).ok_or("which cache?")?;
    let before = resident()?;
    let mut cache = (entrant.new)(capacity);
    for key in 0..2 * capacity {
        request(cache.as_mut(), key as u32);
    }
    let full_entries = cache.len();
    let full = resident()?;

    let (mut most, mut state) = (full, 1_u64);
    for reading in 0..READINGS {
        let inserts = churn * (reading + 1) / READINGS - churn * reading / READINGS;
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
