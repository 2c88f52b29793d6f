//! What keys cost that were chosen to collide: `cargo run --release --example hostile`.
//!
//! A cache finds a key in a list that is sorted by 31 bits of its hash, times a constant. Keys that agree in these are a run in that list, and
//! whoever looks for one of them walks it: so each of *n* such keys costs *n* times what one does. That is shown here for
//! hashers with which an attacker, or a mere pattern in the keys, can bring it about, and for those with which not.

use bellwether::{Cache, DefaultHashBuilder};
use clap::{Parser, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Measures operations on keys that collide, and on the same number of keys that do not.
#[derive(Debug, Parser)]
#[command(name = "hostile")]
struct Args {
    /// The most keys; beside it, a quarter of that and a sixteenth
    #[arg(long, value_name = "N", default_value = "8192", value_parser = value_parser!(u64).range(16..=1 << 20))]
    keys: u64,

    /// How often each is measured: the least is shown
    #[arg(long, value_name = "N", default_value = "3", value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// Says the same of all keys.
#[derive(Default)]
struct Constant;

impl Hasher for Constant {
    fn write(&mut self, _: &[u8]) {}
    fn finish(&self) -> u64 {
        0x5EED
    }
}

/// Says of an integer what it is.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are integers");
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an operation took, on average.
#[derive(Clone, Copy)]
struct Costs {
    insert: Duration,
    hit: Duration,
    miss: Duration,
    remove: Duration,
}

impl Costs {
    /// Of each the least: the others were disturbed.
    fn least(self, other: Self) -> Self {
        Self {
            insert: self.insert.min(other.insert),
            hit: self.hit.min(other.hit),
            miss: self.miss.min(other.miss),
            remove: self.remove.min(other.remove),
        }
    }
}

/// The nth key.
type Keys = fn(u64) -> u64;

/// Which hasher, and which keys.
struct Case {
    name: &'static str,
    measure: fn(u64, Keys) -> Result<Costs>,
    key: Keys,
}

/// What anyone can work out who knows the hasher: the constant is 2⁶⁴ over the golden ratio, and this its inverse, so that the
/// first half of the product is zero for all.
fn chosen(n: u64) -> u64 {
    n.wrapping_mul(0xF1DE83E19937733D)
}

/// A bijection that leaves no pattern: SplitMix64.
fn random(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const CASES: [Case; 9] = [
    Case { name: "constant hasher, random keys", measure: measure::<BuildHasherDefault<Constant>>, key: random },
    Case { name: "identity, equal low 32 bits", measure: measure::<BuildHasherDefault<Identity>>, key: |n| n << 32 },
    Case { name: "identity, equal high 32 bits", measure: measure::<BuildHasherDefault<Identity>>, key: |n| n },
    Case { name: "identity, chosen to collide", measure: measure::<BuildHasherDefault<Identity>>, key: chosen },
    Case { name: "identity, random keys", measure: measure::<BuildHasherDefault<Identity>>, key: random },
    Case { name: "default, equal low 32 bits", measure: measure::<DefaultHashBuilder>, key: |n| n << 32 },
    Case { name: "default, equal high 32 bits", measure: measure::<DefaultHashBuilder>, key: |n| n },
    Case { name: "default, random keys", measure: measure::<DefaultHashBuilder>, key: random },
    Case { name: "std's RandomState, random keys", measure: measure::<RandomState>, key: random },
];

/// Puts so many keys in, finds them, looks for as many others of their kind, and takes them out again.
fn measure<S: BuildHasher + Default>(keys: u64, key: Keys) -> Result<Costs> {
    let cache: Cache<u64, u64, S> = Cache::builder().max_capacity(u64::MAX).hasher(S::default()).build()?;
    let each = |first: u64, does: &mut dyn FnMut(u64) -> bool| {
        let start = Instant::now();
        let did = (first..first + keys).filter(|&n| does(key(n))).count() as u64;
        (start.elapsed() / keys as u32, did)
    };
    let insert = |key| {
        cache.insert(key, !key);
        true
    };
    let (insert, _) = each(0, &mut { insert });
    let (hit, hits) = each(0, &mut |key| cache.get(&key) == Some(!key));
    let (miss, misses) = each(keys, &mut |key| cache.get(&key).is_none());
    let (remove, removed) = each(0, &mut |key| cache.remove(&key) == Some(!key));
    // Slow is one thing, wrong another: identity is the full key.
    if [hits, misses, removed] != [keys; 3] || !cache.is_empty() {
        return Err(format!("{hits} hits, {misses} misses and {removed} removals of {keys}").into());
    }
    Ok(Costs { insert, hit, miss, remove })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result {
    let sizes = [args.keys / 16, args.keys / 4, args.keys];
    let style = ProgressStyle::with_template("   {msg} [{bar:40}] {pos}/{len}")?;
    let bar = ProgressBar::new((CASES.len() * sizes.len()) as u64).with_style(style);
    println!("   One operation takes, in ns, on so many keys:\n");
    println!(
        "   {:<31} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "hasher and keys", "keys", "insert", "get, hit", "miss", "remove"
    );
    for case in &CASES {
        bar.set_message(case.name);
        for keys in sizes {
            let mut costs = (case.measure)(keys, case.key)?;
            for _ in 1..args.rounds {
                costs = costs.least((case.measure)(keys, case.key)?);
            }
            let [insert, hit, miss, remove] =
                [costs.insert, costs.hit, costs.miss, costs.remove].map(|cost| cost.as_nanos());
            let row = format!("   {:<31} {keys:>7} {insert:>9} {hit:>9} {miss:>9} {remove:>9}", case.name);
            bar.suspend(|| println!("{row}"));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    println!(
        "\n   What grows with the number of keys are collisions. Where others choose the keys, use std's RandomState."
    );
    Ok(())
}
