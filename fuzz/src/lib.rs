//! What the fuzz targets run: see `README.md`.
//!
//! Each target has a module with its `Input`, which the fuzzer chooses, and `run`, which panics where a law is broken.
//! The seeds are replayed by `tests/models/fuzz_seeds.rs` of the main crate, which includes these modules.

pub mod concurrent;
pub mod config;
pub mod hashes;
mod input;
pub mod leases;
mod model;
pub mod ops;
mod parts;
