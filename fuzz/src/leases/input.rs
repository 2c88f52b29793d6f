//! What the fuzzer chooses.

use crate::input::{Case, Hash, Key, Time, Worth};
use arbitrary::Arbitrary;

pub type Input = Case<Settings, Op>;

#[derive(Arbitrary, Debug)]
pub struct Settings {
    /// None: unbounded.
    pub capacity: Option<u8>,
    pub weighs: bool,
    pub ttl: Option<Time>,
    pub lead_timeout: Option<Time>,
    pub wait_timeout: Option<Time>,
    pub max_waiters: Option<u8>,
    pub max_loads: Option<u8>,
    pub hash: Hash,
    /// In which order all that is held goes at the end.
    pub order: u64,
}

impl Settings {
    /// Somebody must be able to take over, and to load: otherwise the settings are refused.
    pub fn most_waiters(&self) -> Option<u8> {
        self.max_waiters.map(|most| (most % 8).max(self.lead_timeout.is_some().into()))
    }

    pub fn most_loads(&self) -> Option<u8> {
        self.max_loads.map(|most| (most % 8).max(1))
    }
}

/// A future's loader.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Script {
    /// How often it is pending.
    pub awaits: u8,
    pub ending: Ending,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Value,
    Error,
    Panic,
}

impl Ending {
    /// Of a loader that cannot fail.
    pub fn certain(self) -> Self {
        if self == Self::Error { Self::Value } else { self }
    }
}

/// User code that panics the next time that it is called.
#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    Weigher,
    Listener,
}

#[derive(Arbitrary, Debug)]
pub enum Op {
    Lease(Key),
    LeaseOwned(Key),
    /// `get_with_async`, not polled yet.
    Get(Key, Worth, Script),
    /// `try_get_with_async`.
    TryGet(Key, Worth, Script),
    /// A waiter or a future; by another waker, perhaps.
    Poll(u8, bool),
    /// The waiters and futures of all, from this one on.
    PollAll(u8),
    Fulfil(u8, Worth),
    FulfilWithTtl(u8, Worth, Time),
    Renew(u8),
    Fail(u8),
    /// With an error of a type of its own, perhaps.
    FailWith(u8, bool),
    /// Whatever the handle is.
    Drop(u8),
    /// The same, by a panic.
    Unwind(u8),
    Peek(Key),
    Insert(Key, Worth),
    Remove(Key),
    Invalidate(Key),
    InvalidateAll,
    Expire(Key),
    SetCapacity(u8),
    Purge,
    Advance(Time),
    Arm(Trap),
}
