//! The memory of an entry, in processes of their own. (The program `memory` measures more of it.)

use crate::{
    resident::{entrants, measure},
    rounds::{Contestant, Sample},
};

const CAPACITY: u64 = 1_000_000;

/// Not a time: the unit is bytes an entry.
pub(crate) fn field() -> Vec<Contestant> {
    let of = |name| {
        let turn = move |_| {
            let found = measure(name, CAPACITY, 0).expect("the child measures");
            Sample::of(found.full_bytes as f64 / found.full_entries as f64)
        };
        Contestant { name, turn: Box::new(turn) }
    };
    entrants().map(|entrant| of(entrant.name)).collect()
}
