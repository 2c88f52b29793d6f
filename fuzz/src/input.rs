//! What every fuzzer's input is made of.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::time::Duration;

/// Operations to the last byte: the derived implementation flips a coin before each.
pub fn to_the_end<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while !u.is_empty() {
        all.push(T::arbitrary(u)?);
    }
    Ok(all)
}

/// Settings, and then what is done.
#[derive(Debug)]
pub struct Case<S, O> {
    pub settings: S,
    pub ops: Vec<O>,
}

impl<'a, S: Arbitrary<'a>, O: Arbitrary<'a>> Arbitrary<'a> for Case<S, O> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { settings: S::arbitrary(u)?, ops: to_the_end(u)? })
    }
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
