//! What the fuzzer chooses.

use crate::hashes::Shape;
use crate::input::to_the_end;
use arbitrary::{Arbitrary, Result, Unstructured};

/// Steps of each thread.
const MOST: usize = 64;

#[derive(Debug)]
pub struct Input {
    pub settings: Settings,
    pub threads: [Vec<Op>; 2],
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let settings = Settings::arbitrary(u)?;
        let mut threads: [Vec<Op>; 2] = Default::default();
        for (thread, op) in to_the_end::<(bool, Op)>(u)? {
            let ops = &mut threads[usize::from(thread)];
            if ops.len() < MOST {
                ops.push(op);
            }
        }
        Ok(Self { settings, threads })
    }
}

#[derive(Arbitrary, Debug)]
pub struct Settings {
    /// None: unbounded.
    pub capacity: Option<u8>,
    pub shape: Shape,
    /// Each waits for the load of the other; otherwise nobody waits, and leases are held over several steps.
    pub patient: bool,
    /// Whether who waits takes over at once.
    pub takes_over: bool,
    pub late: u8,
}

/// Few are met often.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Key(u8);

impl Key {
    pub fn id(self) -> u8 {
        if self.0 < 192 { self.0 % 3 } else { self.0 % 32 }
    }
}

/// What a loader, or the holder of a lease, does besides.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Aside {
    Nothing,
    Insert,
    Remove,
    Invalidate,
    Fail,
    Panic,
    Yield,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Op {
    Insert(Key),
    InsertForNoTime(Key),
    /// So many in a row.
    InsertMany(Key, u8),
    Get(Key),
    /// Looked at once more after another operation.
    GetRef(Key),
    GetEntry(Key),
    Remove(Key),
    RemoveIf(Key),
    Invalidate(Key),
    InvalidateAll,
    Retain(u8),
    GetWith(Key, Aside),
    TryGetWith(Key, Aside),
    Lease(Key, Aside),
    /// Of what is held.
    Fulfil(u8),
    GiveUp(u8),
    Compute(Key, bool),
    Expire(Key),
    Purge,
    SetCapacity(u8),
    Iterate,
}
