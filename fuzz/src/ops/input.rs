//! What the fuzzer chooses.

use crate::input::{Case, Hash, Key, Time, Worth};
use arbitrary::{Arbitrary, Result, Unstructured};

pub type Input = Case<Settings, Step>;

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
    /// From 128 on: there is no value.
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

/// What [`Op`] came to have no place for: a variant more would give all seeds another meaning.
#[derive(Arbitrary, Debug)]
pub enum More {
    Expire(Key),
    ExpireAll,
}

#[derive(Debug)]
pub enum Step {
    Op(Op),
    More(More),
}

/// Before a step of [`More`]: the first byte of no operation of a seed from before.
const MORE: u8 = 0xF4;

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        if u.peek_bytes(1) == Some(&[MORE]) {
            u.bytes(1)?;
            return More::arbitrary(u).map(Self::More);
        }
        Op::arbitrary(u).map(Self::Op)
    }
}
