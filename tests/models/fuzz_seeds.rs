//! What the fuzzers run, on the seeds that are kept in `fuzz/corpus`: a crash that was found is a test from then on.
#![allow(unreachable_pub, reason = "the modules are those of a library of its own")]

#[path = "../../fuzz/src/concurrent/mod.rs"]
mod concurrent;
#[path = "../../fuzz/src/config/mod.rs"]
mod config;
#[path = "../../fuzz/src/hashes/mod.rs"]
mod hashes;
#[path = "../../fuzz/src/input.rs"]
mod input;
#[path = "../../fuzz/src/leases/mod.rs"]
mod leases;
#[path = "../../fuzz/src/model/mod.rs"]
mod model;
#[path = "../../fuzz/src/ops/mod.rs"]
mod ops;
#[path = "../../fuzz/src/parts.rs"]
mod parts;

use arbitrary::{Arbitrary, Unstructured};
use std::fs;
use std::path::Path;

fn replay<I: for<'a> Arbitrary<'a>>(name: &str, times: usize, run: fn(I)) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "only {} seeds", paths.len());
    for path in paths {
        println!("{}", path.display());
        let bytes = fs::read(path).unwrap();
        for _ in 0..times {
            run(I::arbitrary(&mut Unstructured::new(&bytes)).expect("a seed is an input"));
        }
    }
}

#[test]
fn seeds_of_ops() {
    replay("ops", 1, ops::run);
}

#[test]
fn seeds_of_leases() {
    replay("leases", 1, leases::run);
}

#[test]
fn seeds_of_hash() {
    replay("hash", 1, hashes::run);
}

#[test]
fn seeds_of_config() {
    replay("config", 1, config::run);
}

/// What two threads do to each other is not the same each time.
#[test]
fn seeds_of_concurrent() {
    replay("concurrent", 20, concurrent::run);
}
