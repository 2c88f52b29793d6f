//! Which refresh-ahead policy loads least while readers do not wait: the tables and the picture of
//! `docs/refresh.md`.
//!
//! `cargo run --release --example refresh_policies` prints the tables, `-- --update` writes them
//! into the page, and `-- --check` fails if the page differs from what the simulation gives.

mod candidates;
mod chart;
mod policy;
mod scenario;
mod simulation;
#[cfg(test)]
mod simulation_tests;
mod tables;

use clap::Parser;
use std::{error::Error, fs, path::PathBuf, process::ExitCode};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

const BEGIN: &str = "<!-- refresh_policies: begin -->\n";
const END: &str = "<!-- refresh_policies: end -->\n";

/// Compares refresh-ahead policies by simulation.
#[derive(Parser)]
struct Args {
    /// Writes the tables into docs/refresh.md, and the picture beside it.
    #[arg(long, conflicts_with = "check")]
    update: bool,
    /// Fails if the page or its picture is out of date.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refresh_policies: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result {
    let tables = tables::all();
    if !args.update && !args.check {
        print!("{tables}");
        return Ok(());
    }
    let picture = chart::draw()?;
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("docs");
    let (page_path, picture_path) = (docs.join("refresh.md"), docs.join("refresh.svg"));
    let page = fs::read_to_string(&page_path)?;
    let new_page = replaced(&page, &tables)?;
    if args.update {
        fs::write(page_path, new_page)?;
        fs::write(picture_path, picture)?;
    } else if page != new_page {
        return Err("docs/refresh.md is out of date: run with --update".into());
    } else if fs::read_to_string(picture_path)? != picture {
        return Err("docs/refresh.svg is out of date: run with --update".into());
    }
    Ok(())
}

/// `page` with these tables between its markers.
fn replaced(page: &str, tables: &str) -> Result<String> {
    let (head, rest) = page.split_once(BEGIN).ok_or("docs/refresh.md has no begin marker")?;
    let (_, tail) = rest.split_once(END).ok_or("docs/refresh.md has no end marker")?;
    Ok(format!("{head}{BEGIN}\n{tables}\n{END}{tail}"))
}
