//! What the fuzzer chooses.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::time::Duration;

#[derive(Debug)]
pub struct Input {
    pub settings: Settings,
    pub ops: Vec<Op>,
}

/// Operations to the last byte: the derived implementation flips a coin before each.
impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let settings = Settings::arbitrary(u)?;
        let mut ops = Vec::new();
        while !u.is_empty() {
            ops.push(Op::arbitrary(u)?);
        }
        Ok(Self { settings, ops })
    }
}

#[derive(Arbitrary, Debug)]
pub struct Settings {
    /// None: unbounded.
    pub capacity: Option<u8>,
    pub weighs: bool,
    pub ttl: Option<Time>,
    pub ttl_with: bool,
    pub idle: Option<Time>,
    pub beta: Beta,
    pub cooldown: Time,
    pub seed: u64,
    pub shards: u8,
    pub hash: Hash,
    pub record_stats: bool,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Beta {
    Off,
    One,
    Eager,
}

/// How many bits of the hash are left: with none, all keys collide.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Hash {
    Constant,
    OneBit,
    Full,
}

/// A length of time, in ms; the largest is for ever.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Time(u8);

impl Time {
    pub fn duration(self) -> Duration {
        match self.0 {
            u8::MAX => Duration::MAX,
            ms => Duration::from_millis(ms.into()),
        }
    }
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Key(u8);

impl Key {
    /// Some keys are met often: it takes several operations on one key to get anywhere.
    pub fn id(self) -> u8 {
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 5][usize::from(self.0 % 16)]
    }
}

/// A value to be.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Worth {
    pub weight: u8,
    /// What `ttl_with` says of it.
    pub ttl: Option<Time>,
}

/// What a loader does besides.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Aside {
    Nothing,
    Advance(Time),
    StepBack(Time),
    Invalidate,
    InvalidateAll,
    Insert(Worth),
    Reenter,
    Fail,
}

#[derive(Arbitrary, Debug)]
pub enum Op {
    Insert(Key, Worth),
    InsertWithTtl(Key, Worth, Time),
    Get(Key),
    GetRef(Key),
    GetEntry(Key),
    GetMany(Key, Key),
    Peek(Key),
    Contains(Key),
    IsLoading(Key),
    GetWith(Key, Worth, Aside),
    TryGetWith(Key, Worth, Aside),
    Lease(Key),
    Fulfil(u8, Worth),
    FulfilWithTtl(u8, Worth, Time),
    Renew(u8),
    Fail(u8),
    FailWith(u8),
    /// Whatever the handle is.
    Drop(u8),
    Poll(u8),
    WaitTimeout(u8),
    Remove(Key),
    RemoveIf(Key, bool),
    Invalidate(Key),
    InvalidateAll,
    /// The set of keys to keep.
    Retain(u8),
    ComputePut(Key, Worth),
    ComputeRemove(Key),
    ComputeNop(Key),
    SetCapacity(u8),
    Purge,
    Iterate,
    Advance(Time),
    AdvanceFar,
    StepBack(Time),
}
