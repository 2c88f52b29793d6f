//! What the scenarios in `tests/` share. Empty without `--cfg shuttle`; see README.md.
#![cfg(shuttle)]

pub mod deeds;
pub mod field;
pub mod ledger;
pub mod loads;
pub mod run;
pub mod value;

pub use field::{Field, Terms};
pub use run::{caught, schedules};

use shuttle::rand::{Rng, thread_rng};

/// A number below `n`, of shuttle's choice: it is replayed with the schedule.
pub fn roll(n: usize) -> usize {
    thread_rng().gen_range(0..n)
}

/// One of these.
pub fn one_of<T: Copy>(all: &[T]) -> T {
    all[roll(all.len())]
}
