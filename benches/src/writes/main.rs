//! How often an operation writes to cache lines that other threads use. Law 6: a hit never does, or this panics.
//!
//! `RUSTFLAGS="--cfg bellwether_count" CARGO_TARGET_DIR=target/count cargo run -p bellwether-benches --bin writes`

mod lines;

use bellwether::{Builder, Cache, Clock, ManualClock};
use lines::{Counts, Kind, TURNS_A_THREAD, Tally, counted, take_turns};
use std::{process::ExitCode, sync::Arc, time::Duration};

type Numbers = Cache<u64, u64>;
type Turn = Arc<dyn Fn(u64) + Send + Sync>;

const THREADS: [usize; 3] = [2, 8, 64];
const WRITES: &[Kind] = &[Kind::Store, Kind::Update, Kind::Take];
const ALL: &[Kind] = &[Kind::Load, Kind::Store, Kind::Update, Kind::Take];
const HOT: u64 = 7;
/// Keys in a cache that is given new ones.
const KEYS: u64 = 20_000;
const TURNS_IN_ALL: u64 = TURNS_A_THREAD * 64;
const HOUR: Duration = Duration::from_secs(3600);

/// The same cache and the same keys each time, but for the hasher's seed.
fn build(builder: Builder<u64, u64>) -> Arc<Numbers> {
    Arc::new(builder.seed(1).build().expect("valid settings"))
}

/// A number's key, spread over the table; no two have the same.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn with_keys(cache: Arc<Numbers>) -> Arc<Numbers> {
    // Loaded, not inserted: so those with a time to live are ones that may be refreshed early; and then warm.
    for number in 0..5 * KEYS {
        cache.get_with(&key(number % KEYS), || 1);
    }
    cache
}

/// With room for more, one without bounds, or full.
fn roomy() -> Arc<Numbers> {
    with_keys(build(Cache::builder().max_capacity(u64::MAX)))
}

fn full() -> Arc<Numbers> {
    with_keys(build(Cache::builder().max_capacity(KEYS)))
}

fn expiring() -> Arc<Numbers> {
    with_keys(build(Cache::builder().max_capacity(u64::MAX).time_to_live(HOUR)))
}

/// Does `operation` to a cache, with the turn's number.
fn doing(cache: Arc<Numbers>, operation: impl Fn(&Numbers, u64) + Send + Sync + 'static) -> Turn {
    Arc::new(move |number| counted(|| operation(&cache, number)))
}

fn hitting(cache: Arc<Numbers>) -> Turn {
    doing(cache, |cache, _| assert_eq!(cache.get(&key(HOT)), Some(1)))
}

fn hitting_with(cache: Arc<Numbers>) -> Turn {
    doing(cache, |cache, _| assert_eq!(cache.get_with(&key(HOT), || 2), 1))
}

fn hitting_pinned() -> Turn {
    let cache = roomy();
    Arc::new(move |_| {
        let pinned = cache.pin();
        counted(|| assert_eq!(pinned.get_ref(&key(HOT)).map(|value| *value), Some(1)));
    })
}

fn missing(cache: Arc<Numbers>) -> Turn {
    doing(cache, |cache, number| assert_eq!(cache.get_with(&key(KEYS + number), || 2), 2))
}

/// An entry that took its loader an hour is a nanosecond from its end, past its mark. The thread
/// before has loaded it, lest this one have all lines from doing so.
fn refreshing() -> Turn {
    let clock = ManualClock::new();
    let cache = build(Cache::builder().max_capacity(u64::MAX).time_to_live(HOUR).clock(clock.clone()));
    Arc::new(move |number| {
        if let Some(before) = number.checked_sub(1) {
            assert_eq!(counted(|| cache.get_with(&key(before), || 2)), 2);
            assert_eq!(cache.stats().early_refreshes, number);
        }
        cache.get_with(&key(number), || (clock.advance(HOUR), 1).1);
        clock.set(clock.now() + HOUR.as_nanos() as u64 - 1);
    })
}

fn removing() -> Turn {
    let cache = roomy();
    (0..TURNS_IN_ALL).for_each(|number| cache.insert(key(KEYS + number), 2));
    doing(cache, |cache, number| assert_eq!(cache.remove(&key(KEYS + number)), Some(2)))
}

/// Its name; whether it is a hit, which writes nothing; and what does it.
type Operation = (&'static str, bool, fn() -> Turn);

/// The most RMWs of an operation, own and shared, and the most lines that it moves, in the run of the most threads. The
/// counts differ a little from run to run, as the allocator's addresses do.
const LIMITS: &[(&str, f64, f64)] = &[
    ("`insert`, with room", 5.2, 8.0),
    ("`insert` over a key", 3.5, 4.0),
    ("`insert`, evicting", 10.5, 18.0),
    ("`get_with`, missing, with room", 7.3, 8.5),
    ("`get_with`, missing, evicting", 12.6, 19.6),
    ("`remove`", 5.6, 5.5),
];

/// Panics if an operation has more RMWs, or moves more lines, than its limits say.
fn judge(name: &str, counts: &Counts) {
    let Some((_, rmws, lines)) = LIMITS.iter().find(|(of, ..)| *of == name) else { return };
    let updates = counts.each(&[Kind::Update], |tally| tally.own + tally.shared);
    let moved = counts.each(ALL, |tally| tally.moved);
    assert!(updates <= *rmws, "{name}: {updates:.2} RMWs, {rmws} at most");
    assert!(moved <= *lines, "{name}: {moved:.2} lines moved, {lines} at most");
}

fn operations() -> Vec<Operation> {
    vec![
        ("hit: `get`", true, || hitting(roomy())),
        ("hit: `pin`, `get_ref`", true, hitting_pinned),
        ("hit: `get_with`", true, || hitting_with(roomy())),
        ("TTL hit: `get`", true, || hitting(expiring())),
        ("TTL hit: `get_with`", true, || hitting_with(expiring())),
        ("hit: `get`, `record_stats`", false, || {
            hitting(with_keys(build(Cache::builder().max_capacity(u64::MAX).record_stats())))
        }),
        ("early refresh", false, refreshing),
        ("`insert`, with room", false, || doing(roomy(), |cache, number| cache.insert(key(KEYS + number), 2))),
        ("`insert` over a key", false, || doing(roomy(), |cache, number| cache.insert(key(number * 7919 % KEYS), 2))),
        ("`insert`, evicting", false, || doing(full(), |cache, number| cache.insert(key(KEYS + number), 2))),
        ("`get_with`, missing, with room", false, || missing(roomy())),
        ("`get_with`, missing, evicting", false, || missing(full())),
        ("`remove`", false, removing),
    ]
}

/// The row of an operation, by its runs on ever more threads.
fn row(name: &str, runs: &[Counts]) -> String {
    let most = runs.last().expect("there are runs");
    let two = |figure: f64| if figure == 0.0 { "0".to_owned() } else { format!("{figure:.2}") };
    let figures = [
        most.each(&[Kind::Store], |tally| tally.own),
        most.each(&[Kind::Update], |tally| tally.own),
        most.each(&[Kind::Store], |tally| tally.shared),
        most.each(&[Kind::Update], |tally| tally.shared),
    ];
    let moved = runs.iter().map(|counts| counts.each(ALL, |tally| tally.moved));
    let busiest = most.busiest as f64 / most.turns as f64;
    let cells: Vec<_> = figures.into_iter().chain(moved).chain([busiest]).map(two).collect();
    format!("| {name} | {} |", cells.join(" | "))
}

/// Where an operation's moves come from, those of at least a tenth of the operations.
fn places(name: &str, counts: &Counts) {
    let often = |tally: &Tally| tally.moved * 10 >= counts.turns;
    let mut places: Vec<_> = counts.by_place.iter().filter(|(_, tally)| often(tally)).collect();
    places.sort_by_key(|(place, tally)| (std::cmp::Reverse(tally.moved), **place));
    if places.is_empty() {
        return;
    }
    println!("\n{name}, {} threads: accesses of shared lines an operation, and how many move a line", THREADS[2]);
    for ((kind, file, line), tally) in places {
        let each = |n: u64| n as f64 / counts.turns as f64;
        let file = file.rsplit_once("src/").map_or(*file, |(_, file)| file);
        println!("  {:6} {:5.2} {:5.2}   {file}:{line}", format!("{kind:?}"), each(tally.shared), each(tally.moved));
    }
}

fn main() -> ExitCode {
    if !cfg!(bellwether_count) {
        eprintln!("writes: there is nothing to count but in a build with RUSTFLAGS=\"--cfg bellwether_count\"");
        return ExitCode::from(2);
    }
    println!(
        "| operation | own stores | own RMWs | shared stores | shared RMWs | lines moved, 2 threads | 8 | 64 | the busiest |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut all = Vec::new();
    for (name, hit, turn) in operations() {
        let runs: Vec<_> = THREADS.iter().map(|&threads| take_turns(threads, turn())).collect();
        println!("{}", row(name, &runs));
        for counts in runs.iter().filter(|_| hit) {
            assert_eq!(counts.each(WRITES, |tally| tally.shared), 0.0, "{name} writes to lines that others use");
            assert_eq!(counts.each(ALL, |tally| tally.moved), 0.0, "{name} moves a line");
            assert!(counts.each(&[Kind::Load], |tally| tally.shared) >= 1.0, "{name}: the build counts");
        }
        judge(name, runs.last().expect("there are runs"));
        all.push((name, runs));
    }
    for (name, runs) in &all {
        places(name, runs.last().expect("there are runs"));
    }
    ExitCode::SUCCESS
}
