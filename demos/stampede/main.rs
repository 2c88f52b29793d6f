//! A cache stampede, without and with bellwether, in under a minute: `cargo run --release --example stampede`.
//!
//! 1. *The herd*: 500 threads ask one cold key whose loader is a slow query on a real database.
//! 2. *The landing page*: DiskCache's case study of cache stampedes, as a table and as `stampede.svg`.
//! 3. *XFetch*: the early refreshes measured against the theory of the paper that they come from.
//!
//! The exit code is 1 if a run contradicts what the crate promises.

mod chart;
mod database;
mod herd;
mod landing;
mod xfetch;

use indicatif::{ProgressBar, ProgressStyle};
use std::{env, error::Error, fs, io, path::PathBuf, process::ExitCode, time::Duration};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stampede: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result {
    herd::run()?;

    let runs = landing::run()?;
    let svg = target_dir()?.join("stampede.svg");
    chart::draw(&runs, &svg)?;
    println!("   The same as a picture: {}\n", svg.display());
    // Only now, so that a run that breaks the promise can be looked at.
    landing::check(&runs)?;

    xfetch::run()
}

/// Cargo's target directory: the one place where a demo may leave a file behind.
fn target_dir() -> io::Result<PathBuf> {
    let dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("target"), PathBuf::from);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A progress bar on standard error. It draws nothing if that is not a terminal.
fn progress(steps: u64, message: &'static str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("   {msg} [{bar:40}] {pos}/{len}")?;
    Ok(ProgressBar::new(steps).with_style(style).with_message(message))
}

/// `Err(message)` unless `holds`.
fn ensure(holds: bool, message: impl Into<String>) -> Result {
    if holds { Ok(()) } else { Err(message.into().into()) }
}

/// A duration in the unit that a reader would choose.
fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}
