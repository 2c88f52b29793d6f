//! Replays access traces through bellwether and its peers, next to the best that any policy could have done:
//! `cargo run --release -p bellwether-benches --features peers --bin peers -- TRACE [TRACE…]`.
//!
//! Traces are read, and sizes chosen, by the modules of `demos/replay`: what it says of them holds here too. The
//! tables go to standard output as Markdown, for README.md.
//!
//! The exit code is 2 for bad arguments and for a trace that cannot be read, and 1 if a replay contradicts what a cache
//! promises or its results cannot be written.

// The demo uses more of these modules than is used here.
#[path = "../../../demos/replay/args.rs"]
#[allow(dead_code)]
mod args;
#[path = "../../../demos/replay/belady.rs"]
mod belady;
mod caches;
#[path = "../../../demos/replay/decode.rs"]
mod decode;
mod race;
#[path = "../../../demos/replay/replay.rs"]
#[allow(dead_code)]
mod replay;
mod report;
#[path = "../../../demos/replay/trace.rs"]
mod trace;

use args::{Args, Capacity, Column, Format, Size};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use race::Race;
use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use trace::Trace;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Replays access traces through bellwether and other caches and compares their hit ratios.
///
/// A trace is one of:
///   NAME.u32, NAME.u64   little-endian keys of 4 or 8 bytes, and nothing else
///   NAME.csv             a key a row; see --key-column
///   any other name       UTF-8 text, a key a line; empty lines are skipped
/// Each of them may be compressed by zstd, as NAME.u32.zst and so on.
#[derive(Debug, Parser)]
#[command(name = "peers", verbatim_doc_comment)]
struct Cli {
    /// Files to replay
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,

    /// Sizes of the caches: entries (5000), or a share of the trace's unique keys (10%, 0.1%).
    /// Without it: 0.1%,1%,5%,10%,25%, as far as that is 64 entries or more
    #[arg(long, value_name = "SIZE[,SIZE…]", value_delimiter = ',', verbatim_doc_comment)]
    capacity: Vec<Capacity>,

    /// What the files hold, whatever their names say
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,

    /// Column of CSV files that holds the key: its name in the first row, or its number, from 1, in files whose first
    /// row is data already. Without it: the column named `key`, or the only one there is
    #[arg(long, value_name = "NAME|N", verbatim_doc_comment)]
    key_column: Option<Column>,
}

impl From<Cli> for Args {
    fn from(cli: Cli) -> Self {
        let Cli { traces, capacity, format, key_column } = cli;
        Self { traces, capacity, compare: false, plot: None, format, key_column, threads: 1 }
    }
}

fn main() -> ExitCode {
    // Bad arguments end here, with exit code 2.
    let args = Args::from(Cli::parse());
    let jobs = match prepare(&args) {
        Ok(jobs) => jobs,
        Err(error) => {
            eprintln!("peers: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&jobs, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A trace, and the sizes to replay it at.
struct Job {
    trace: Trace,
    sizes: Vec<Size>,
}

/// Everything that may be wrong with the input is found out here, before the first replay.
fn prepare(args: &Args) -> Result<Vec<Job>> {
    args.check()?;
    let load = |path: &PathBuf| {
        let trace = decode::load(path, args.format, args.key_column.as_ref())?;
        let (sizes, _) = args.sizes(trace.unique()).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Job { trace, sizes })
    };
    let spinner = ProgressBar::new_spinner().with_message("reading");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let jobs = args.traces.iter().map(load).collect();
    spinner.finish_and_clear();
    jobs
}

fn run(jobs: &[Job], out: &mut impl Write) -> Result {
    let requests = jobs.iter().map(|job| (job.trace.requests.len() * job.sizes.len()) as u64);
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent} %, {eta} to go")?;
    // On standard error. It draws nothing if that is not a terminal.
    let bar = ProgressBar::new(requests.sum::<u64>() * race::RUNS).with_style(style);
    let races: Result<Vec<Race>> = jobs.iter().map(|job| race::run(&job.trace, &job.sizes, &bar)).collect();
    bar.finish_and_clear();
    Ok(report::write(out, &races?)?)
}
