//! bellwether beside its peers: `cargo run --release -p bellwether-benches --features peers --bin speed`.
//!
//! All in one process, in rounds in which each contestant has its turn: what else the machine does meanwhile, it does
//! to all. What counts is the ratio of a peer's time to bellwether's in the same round, its median and its range over
//! the rounds. The tables go to standard output as Markdown, for README.md.

#[path = "../peers/caches.rs"]
#[allow(dead_code)]
mod caches;
mod chart;
mod dram;
mod expiry;
mod flow;
mod herd;
mod hits;
mod memory;
mod report;
#[path = "../resident.rs"]
#[allow(dead_code)]
mod resident;
mod rounds;
mod subjects;
mod tail;
#[path = "../../../demos/replay/trace.rs"]
#[allow(dead_code)]
mod trace;
mod workloads;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use report::Outcome;
use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use workloads::{ALL, Workload};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Rounds, and milliseconds of a turn.
const FULL: (usize, u64) = (15, 100);
const QUICK: (usize, u64) = (7, 30);

/// Measures how fast bellwether and other caches are, side by side.
#[derive(Debug, Parser)]
#[command(name = "speed")]
struct Cli {
    /// Only these workloads, by name or by how the name begins: hit, ttl, dram, hot, churn, mix, expiry,
    /// tail, herd, tasks, memory
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Turns of each contestant that count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1000))]
    rounds: Option<u64>,

    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,

    /// Also draws the ratios into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = resident::run_as_child() {
        return code;
    }
    let cli = Cli::parse();
    if let Some(unknown) = cli.only.iter().find(|name| ALL.iter().all(|workload| !workload.name.starts_with(*name))) {
        let known: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        eprintln!("speed: there is no workload {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    match measure(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result {
    let (rounds, millis) = if cli.quick { QUICK } else { FULL };
    let rounds = cli.rounds.map_or(rounds, |rounds| rounds as usize);
    let wanted = |workload: &&Workload| cli.only.is_empty() || cli.only.iter().any(|n| workload.name.starts_with(n));
    let chosen: Vec<&'static Workload> = ALL.iter().filter(wanted).collect();
    // On standard error. It draws nothing if that is not a terminal.
    let style = ProgressStyle::with_template("{spinner} {msg} [{bar:40}] {percent} %, {elapsed}")?;
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    let (before, mut outcomes) = (load(), Vec::new());
    for (place, &workload) in chosen.iter().enumerate() {
        bar.set_message(format!("{} ({} of {})", workload.name, place + 1, chosen.len()));
        bar.reset();
        let field = (workload.field)()?;
        let plan = workload.plan(rounds, millis);
        bar.set_length((field.len() * (plan.warm + plan.rounds)) as u64);
        let tracks = rounds::run(field, plan, || bar.inc(1));
        outcomes.push(Outcome { workload, tracks });
    }
    bar.finish_and_clear();
    if let Some(path) = &cli.plot {
        chart::draw(&outcomes, path)?;
    }
    let mut out = io::stdout().lock();
    let (machine, after) = (machine(), load());
    writeln!(out, "{machine}; load {before} before, {after} after; {rounds} rounds, turns of {millis} ms.\n")?;
    report::write(&mut out, &outcomes)?;
    Ok(out.flush()?)
}

/// The processor and how many there are, as far as the system tells.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([':', ' ', '\t']);
    format!("{model}, {} cores", std::thread::available_parallelism().map_or(0, usize::from))
}

/// How many threads wanted to run in the last minute, ours included: the less, the better are the figures.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().into()
}
