//! 100,000 tasks ask for one cold key, and one of them loads it: `cargo run --release --example async_herd`.
//!
//! 1. *The wake-up*: how long after the value is there does each of the others go on? As a table and as `async_herd.svg`.
//! 2. *The abort*: the task that loads is aborted while all others wait for it, and one of them takes over.
//!
//! On both of tokio's runtimes, and beside `tokio::sync::OnceCell`. The exit code is 1 if a run contradicts what the crate
//! promises.

mod chart;
mod herd;
mod report;

use clap::{Parser, value_parser};
use herd::{Herd, WakeUp, Way};
use indicatif::{ProgressBar, ProgressStyle};
use std::{env, error::Error, fs, io, path::PathBuf, process::ExitCode, time::Instant};
use tokio::runtime::{Builder, Runtime, RuntimeFlavor};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Lets many tasks ask for one cold key, and shows when each of them gets its value.
#[derive(Debug, Parser)]
#[command(name = "async_herd")]
struct Args {
    /// Tasks that ask for the key
    #[arg(long, value_name = "N", default_value = "100000", value_parser = value_parser!(u32).range(2..=10_000_000))]
    tasks: u32,

    /// How often each herd is measured: the round whose slowest task is the middle one is shown
    #[arg(long, value_name = "N", default_value = "3", value_parser = value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// Threads of the multi-threaded runtime. Without it: tokio's own choice, one for each core
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// A runtime and a way of sharing, with what became of the herds there.
struct Case<'r> {
    runtime: &'r Runtime,
    way: Way,
    rounds: Vec<WakeUp>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_herd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result {
    let runtimes = [multi_thread(args.threads)?, Builder::new_current_thread().enable_time().build()?];
    let start = Instant::now();
    let mut cases: Vec<_> = runtimes.iter().flat_map(|runtime| Way::ALL.map(|way| Case::new(runtime, way))).collect();
    let bar = progress(u64::from(args.rounds + 2) * cases.len() as u64)?;
    // The first round only warms up: the tasks' memory is new to the process. The cases take turns, so that whatever
    // else the machine does falls on all of them.
    for round in 0..=args.rounds {
        for case in &mut cases {
            case.wake_up(args.tasks as usize, round > 0)?;
            bar.inc(1);
        }
    }
    let mut aborts = Vec::new();
    for case in &cases {
        aborts.push(case.runtime.block_on(Herd::new(case.way, args.tasks as usize).abort_leader())?);
        bar.inc(1);
    }
    bar.finish_and_clear();

    report::wake_ups(&cases, args);
    let svg = target_dir()?.join("async_herd.svg");
    chart::draw(&cases, args.tasks, &svg)?;
    println!("   The same as a picture: {}\n", svg.display());
    report::aborts(&cases, &aborts);
    println!("\n   All in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

fn multi_thread(threads: Option<u16>) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.into());
    }
    builder.enable_time().build()
}

impl<'r> Case<'r> {
    fn new(runtime: &'r Runtime, way: Way) -> Self {
        Self { runtime, way, rounds: Vec::new() }
    }

    fn runtime_name(&self) -> String {
        match self.runtime.handle().runtime_flavor() {
            RuntimeFlavor::CurrentThread => "current-thread".to_owned(),
            _ => format!("multi-thread, {} workers", self.runtime.metrics().num_workers()),
        }
    }

    fn wake_up(&mut self, tasks: usize, measured: bool) -> Result {
        let wake_up = self.runtime.block_on(Herd::new(self.way, tasks).wake_up())?;
        if measured {
            self.rounds.push(wake_up);
        }
        Ok(())
    }

    /// The round whose slowest task is the middle one: one real herd, and not one that the machine disturbed.
    fn typical(&self) -> &WakeUp {
        let mut rounds: Vec<_> = self.rounds.iter().collect();
        rounds.sort_by_key(|round| round.delays.last());
        rounds[rounds.len() / 2]
    }
}

/// Cargo's target directory: the one place where a demo may leave a file behind.
fn target_dir() -> io::Result<PathBuf> {
    let dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("target"), PathBuf::from);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A progress bar on standard error. It draws nothing if that is not a terminal.
fn progress(herds: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("   herds [{bar:40}] {pos}/{len}")?;
    Ok(ProgressBar::new(herds).with_style(style))
}

/// `Err(message)` unless `holds`.
fn ensure(holds: bool, message: impl Into<String>) -> Result {
    if holds { Ok(()) } else { Err(message.into().into()) }
}
