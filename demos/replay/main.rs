//! Replays access traces through bellwether, next to the best that any policy could have done:
//! `cargo run --release --example replay -- TRACE [TRACE…] --capacity 10%[,1%,5000…] [--compare] [--plot FILE.svg]`.
//!
//! A replay is a read-through: each request asks the cache for a key, and a miss loads and stores it. All entries weigh
//! the same. `--help` tells the rest: the formats of a trace, threads, and what the options mean.
//!
//! The exit code is 2 for bad arguments and for a trace that cannot be read, and 1 if a replay contradicts what the
//! crate promises or its results cannot be written.

mod args;
mod belady;
mod chart;
mod decode;
mod list;
mod race;
mod replay;
mod report;
mod s3fifo;
mod simple;
mod simulation;
mod trace;

use args::{Args, Size};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use race::Field;
use std::{error::Error, io, path::PathBuf, process::ExitCode, thread, time::Duration};
use trace::Trace;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    // Bad arguments end here, with exit code 2: that is clap's choice as well as ours.
    let args = Args::parse();
    let jobs = match prepare(&args) {
        Ok(jobs) => jobs,
        Err(error) => {
            eprintln!("replay: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&args, jobs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A trace, the sizes to replay it at, and how many sizes were left out.
struct Job {
    trace: Trace,
    sizes: Vec<Size>,
    left_out: usize,
}

/// Everything that may be wrong with the input is found out here, before the first replay.
fn prepare(args: &Args) -> Result<Vec<Job>> {
    args.check()?;
    let load = |path: &PathBuf| {
        let trace = decode::load(path, args.format, args.key_column.as_ref())?;
        let (sizes, left_out) = args.sizes(trace.unique()).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Job { trace, sizes, left_out })
    };
    let spinner = ProgressBar::new_spinner().with_message("reading");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let jobs = args.traces.iter().map(load).collect();
    spinner.finish_and_clear();
    jobs
}

fn run(args: &Args, jobs: Vec<Job>) -> Result {
    let field = Field { threads: usize::from(args.threads), compare: args.compare };
    let requests = jobs.iter().map(|job| (job.trace.requests.len() * job.sizes.len()) as u64);
    let bar = progress(requests.sum::<u64>() * field.runs())?;
    report::heading(&mut io::stdout(), &field, thread::available_parallelism().ok())?;

    let mut races = Vec::new();
    for job in jobs {
        bar.set_message(job.trace.name.clone());
        let race = race::run(&field, &job.trace, &job.sizes, &bar)?;
        // A table that is printed while the bar is drawn would be torn.
        bar.suspend(|| report::table(&mut io::stdout(), &race, job.left_out))?;
        races.push(race);
    }
    bar.finish_and_clear();

    report::means(&mut io::stdout(), &races)?;
    if let Some(svg) = &args.plot {
        chart::draw(&races, svg)?;
        println!("The same as a picture: {}", svg.display());
    }
    Ok(())
}

/// A progress bar on standard error. It draws nothing if that is not a terminal.
fn progress(steps: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent} %, {eta} to go")?;
    Ok(ProgressBar::new(steps).with_style(style))
}
