//! Whether what several threads saw of one key can be put in one order.
//!
//! Wing and Gong's search: an operation may come next if no other one that is left had returned before it was called; with
//! Lowe's memory of what was tried, a set of operations done and the state that they led to. One key is one object (histories
//! of different keys need no common order, if each has one of its own: Herlihy and Wing's locality).
//!
//! The model is a place for one value. What a cache may do that such a place may not is said here, and no more:
//!
//! * Where there may be *evictions*, a value may vanish at any time.
//! * A load that a writer has *overtaken* (`insert`, `remove` and their like, of this key, at the same time) may be handed to those
//!   who asked before, and not be stored. The key was absent when they asked.

use bellwether::Op;
use std::collections::HashSet;

pub(crate) type Value = u32;

/// An operation, and what came of it. All values of a history are different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Get(Option<Value>),
    Contains(bool),
    Insert(Value),
    Remove(Option<Value>),
    /// `invalidate`.
    Drop(bool),
    /// `remove_if`, of odd values.
    RemoveOdd(Option<Value>),
    /// Read-through that got a value of another.
    Found(Value),
    /// Read-through that loaded this value.
    Loaded(Value),
    /// Read-through that got an error, or panicked: its own or another's.
    Failed,
    /// `compute`, with what it saw.
    Compute(Option<Value>, Op<Value>),
}

/// An operation, with the ticks at which it was called and had returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) call: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
}

impl Record {
    fn overlaps(&self, other: &Self) -> bool {
        self.call < other.end && other.call < self.end
    }

    /// A writer that does not wait for loads.
    fn overtakes(&self) -> bool {
        matches!(self.what, What::Insert(_) | What::Remove(_) | What::Drop(_) | What::RemoveOdd(Some(_)))
    }

    /// The value of a load, which may come to be not stored.
    fn loads(&self) -> Option<Value> {
        match self.what {
            What::Loaded(value) | What::Compute(_, Op::Put(value)) => Some(value),
            _ => None,
        }
    }
}

/// The operations on one key.
pub(crate) struct History<'h> {
    records: &'h [Record],
    /// Which of them a writer may have overtaken.
    overtaken: Vec<bool>,
    evictions: bool,
}

impl<'h> History<'h> {
    /// Starts with the key absent.
    pub(crate) fn new(records: &'h [Record], evictions: bool) -> Self {
        assert!(records.len() <= 64, "a set of operations is the bits of a word");
        let overtaken = |record: &Record| records.iter().any(|other| other.overtakes() && other.overlaps(record));
        Self { records, overtaken: records.iter().map(overtaken).collect(), evictions }
    }

    pub(crate) fn is_linearizable(&self) -> bool {
        self.goes_on(0, None, &mut HashSet::new())
    }

    /// Whether what is not `done` can follow.
    fn goes_on(&self, done: u64, state: Option<Value>, tried: &mut HashSet<(u64, Option<Value>)>) -> bool {
        let left = || (0..self.records.len()).filter(|at| done & 1 << at == 0);
        let Some(first_end) = left().map(|at| self.records[at].end).min() else { return true };
        if !tried.insert((done, state)) {
            return false;
        }
        left().filter(|&at| self.records[at].call < first_end).any(|at| {
            self.next(at, state).into_iter().flatten().any(|state| self.goes_on(done | 1 << at, state, tried))
        })
    }

    /// The states that this operation can lead to.
    fn next(&self, at: usize, state: Option<Value>) -> [Option<Option<Value>>; 2] {
        let absent = state.is_none() || self.evictions;
        let only = |possible: bool, next: Option<Value>| [possible.then_some(next), None];
        // What reads nothing may come after an eviction.
        let sees = |seen: Option<Value>| if seen.is_none() { absent } else { state == seen };
        let overtaken = |possible: bool, next: Option<Value>| (possible && self.overtaken[at]).then_some(next);
        match self.records[at].what {
            What::Get(seen) => only(sees(seen), seen),
            What::Contains(true) => only(state.is_some(), state),
            What::Contains(false) | What::Failed => only(absent, None),
            What::Insert(value) => only(true, Some(value)),
            What::Remove(seen) => only(sees(seen), None),
            What::Drop(was) => only(if was { state.is_some() } else { absent }, None),
            What::RemoveOdd(Some(seen)) => only(seen % 2 == 1 && state == Some(seen), None),
            What::RemoveOdd(None) => [absent.then_some(None), state.filter(|value| value % 2 == 0).map(Some)],
            What::Found(value) => {
                [(state == Some(value)).then_some(state), (absent && self.handed_over(at, value)).then_some(None)]
            }
            What::Loaded(value) => [absent.then_some(Some(value)), overtaken(absent, None)],
            What::Compute(seen, Op::Put(value)) => [sees(seen).then_some(Some(value)), overtaken(sees(seen), seen)],
            What::Compute(seen, Op::Remove) => [sees(seen).then_some(None), overtaken(sees(seen), seen)],
            What::Compute(seen, _) => only(sees(seen), seen),
        }
    }

    /// Whether this value may have been handed to a caller, and to nobody after it.
    fn handed_over(&self, to: usize, value: Value) -> bool {
        let by = |at: &usize| self.records[*at].loads() == Some(value);
        (0..self.records.len())
            .find(by)
            .is_some_and(|at| self.overtaken[at] && self.records[at].overlaps(&self.records[to]))
    }
}

mod tests {
    use super::What::*;
    use super::*;

    /// Operations of which each is over before the next, but for those that are given the same turn.
    fn check(evictions: bool, turns: &[&[What]]) -> bool {
        let record =
            |(turn, what): (usize, &What)| Record { call: 2 * turn as u64, end: 2 * turn as u64 + 1, what: *what };
        let records: Vec<_> =
            turns.iter().enumerate().flat_map(|(turn, all)| all.iter().map(move |what| record((turn, what)))).collect();
        History::new(&records, evictions).is_linearizable()
    }

    /// Holds with evictions too, as all that holds without them.
    fn good(turns: &[&[What]]) {
        assert!(check(false, turns) && check(true, turns), "{turns:?}");
    }

    /// Does not hold, evictions or not.
    fn bad(turns: &[&[What]]) {
        assert!(!check(false, turns) && !check(true, turns), "{turns:?}");
    }

    /// Needs an eviction.
    fn vanishes(turns: &[&[What]]) {
        assert!(!check(false, turns) && check(true, turns), "{turns:?}");
    }

    #[test]
    fn reads_and_writes() {
        good(&[&[Get(None)], &[Insert(1)], &[Get(Some(1))], &[Remove(Some(1))], &[Contains(false)]]);
        good(&[&[Insert(1), Insert(2)], &[Get(Some(1))]]);
        good(&[&[Insert(1), Get(None), Get(Some(1))]]);
        good(&[&[Insert(1)], &[RemoveOdd(Some(1))], &[Insert(2)], &[RemoveOdd(None)], &[Get(Some(2))]]);
        bad(&[&[Get(Some(1))]]);
        bad(&[&[Get(Some(1))], &[Insert(1)]]);
        bad(&[&[Insert(1)], &[Insert(2)], &[Get(Some(1))]]);
        bad(&[&[Insert(1)], &[Remove(Some(1))], &[Get(Some(1))]]);
        bad(&[&[Insert(1)], &[Remove(Some(1)), Remove(Some(1))]]);
        bad(&[&[Insert(1)], &[Drop(true), Drop(true)]]);
        bad(&[&[Insert(1), Insert(2)], &[Get(Some(1))], &[Get(Some(2))]]);
        bad(&[&[Insert(2)], &[RemoveOdd(Some(2))]]);
        vanishes(&[&[Insert(1)], &[Get(None)]]);
        vanishes(&[&[Insert(1)], &[Drop(false)]]);
        vanishes(&[&[Insert(1)], &[RemoveOdd(None)]]);
        bad(&[&[Insert(1)], &[Get(None)], &[Get(Some(1))]]);
    }

    #[test]
    fn loads() {
        good(&[&[Loaded(1), Found(1)], &[Get(Some(1))], &[Found(1)]]);
        good(&[&[Failed], &[Loaded(1)], &[Remove(Some(1))], &[Loaded(2)]]);
        bad(&[&[Found(1)], &[Loaded(1)]]);
        vanishes(&[&[Loaded(1)], &[Get(None)]]);
        vanishes(&[&[Loaded(1), Loaded(2)]]);
        vanishes(&[&[Insert(1)], &[Loaded(2)]]);
        vanishes(&[&[Insert(1)], &[Failed]]);
        bad(&[&[Loaded(1)], &[Insert(2)], &[Found(1)]]);
    }

    #[test]
    fn overtaken_loads_are_for_those_who_wait() {
        good(&[&[Loaded(1), Found(1), Remove(None)], &[Get(None)]]);
        good(&[&[Loaded(1), Found(1), Insert(2)], &[Get(Some(2))]]);
        good(&[&[Loaded(1), Drop(false), Loaded(2)], &[Get(Some(2))]]);
        bad(&[&[Loaded(1), Insert(2)], &[Found(1)], &[Get(Some(2))]]);
        vanishes(&[&[Loaded(1), RemoveOdd(None)], &[Get(None)]]);
        // It was absent when they asked, and is not.
        bad(&[&[Insert(2)], &[Loaded(1), Remove(None)], &[Get(Some(2))]]);
        vanishes(&[&[Insert(2)], &[Loaded(1), Insert(3)], &[Get(Some(3))], &[Get(Some(3))]]);
        // Only a load can be handed over.
        bad(&[&[Insert(1), Found(2), Remove(None)]]);
    }

    #[test]
    fn computations() {
        let put = |seen, value| Compute(seen, Op::Put(value));
        good(&[&[put(None, 1)], &[put(Some(1), 2)], &[Compute(Some(2), Op::Remove)], &[Compute(None, Op::Nop)]]);
        good(&[&[Insert(1)], &[put(Some(1), 2), put(Some(2), 3)], &[Get(Some(3))]]);
        good(&[&[Insert(1)], &[put(Some(1), 2), Insert(3)], &[Get(Some(3))]]);
        good(&[&[put(None, 1), Found(1), Drop(false)], &[Get(None)]]);
        bad(&[&[Insert(1)], &[put(Some(1), 2), put(Some(1), 3)]]);
        bad(&[&[Insert(1)], &[Compute(Some(1), Op::Remove)], &[Get(Some(1))]]);
        bad(&[&[Insert(1)], &[put(Some(1), 2)], &[Get(Some(1))]]);
        vanishes(&[&[Insert(1)], &[put(None, 2)]]);
    }

    #[test]
    fn what_has_returned_comes_first() {
        let record = |call, end, what| Record { call, end, what };
        let spans = [record(0, 9, Insert(1)), record(1, 2, Get(Some(1))), record(3, 4, Get(None))];
        assert!(!History::new(&spans, false).is_linearizable());
        let spans = [record(0, 9, Insert(1)), record(1, 2, Get(None)), record(3, 4, Get(Some(1)))];
        assert!(History::new(&spans, false).is_linearizable());
    }
}
