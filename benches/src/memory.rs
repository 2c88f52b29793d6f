//! Resident memory of full caches: `cargo run --release -p bellwether-benches --features peers --bin memory`.
//!
//! Each cache lives in a process of its own: see `resident.rs`.

#[path = "peers/caches.rs"]
#[allow(dead_code)]
mod caches;
#[allow(dead_code)]
mod resident;
#[path = "../../demos/replay/trace.rs"]
#[allow(dead_code)]
mod trace;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use resident::{Found, entrants, measure};
use std::{error::Error, process::ExitCode, time::Duration};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// A round number, and a power of two: tables that double may be half empty at the one and full, or half empty, at the
/// other.
const CAPACITIES: [u64; 2] = [1_000_000, 1 << 20];
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
}

fn main() -> ExitCode {
    if let Some(code) = resident::run_as_child() {
        return code;
    }
    let cli = Cli::parse();
    if let Some(unknown) = cli.only.iter().find(|name| entrants().all(|entrant| entrant.name != name.as_str())) {
        let known: Vec<_> = entrants().map(|entrant| entrant.name).collect();
        eprintln!("memory: there is no cache {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    match parent(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
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
            let found = measure(entrant.name, capacity, cli.churn)?;
            let row = row(&found, entrant.name, capacity);
            bar.suspend(|| println!("{row}"));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn row(found: &Found, name: &str, capacity: u64) -> String {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let each = |bytes: u64, entries: u64| format!("{:.1}", bytes as f64 / entries as f64);
    format!(
        "| {name} | {capacity} | {} | {} | {} | {} | {} | {} | {} |",
        found.full_entries,
        mib(found.full_bytes),
        each(found.full_bytes, found.full_entries),
        mib(found.most_bytes),
        mib(found.after_bytes),
        found.after_entries,
        each(found.after_bytes, found.after_entries),
    )
}
