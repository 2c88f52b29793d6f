//! A trace in memory: requests for keys that are numbered densely.

use std::{collections::HashMap, hash::Hash};

/// The most requests and the most unique keys that a trace may have: positions and keys are `u32`, with one to spare.
const MOST: usize = u32::MAX as usize;

/// Who asked for what, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// A key for each request. Keys count up from 0 in the order of their first request.
    pub(crate) requests: Vec<u32>,
    unique: u32,
}

impl Trace {
    /// Gives numbers to keys of any kind. There must be at least one.
    pub(crate) fn renumber<K: Hash + Eq>(name: String, keys: impl Iterator<Item = K>) -> Result<Self, &'static str> {
        let mut numbers = HashMap::new();
        let mut requests = Vec::new();
        for key in keys {
            if requests.len() == MOST {
                return Err("more than 4,294,967,295 requests");
            }
            // There are no more keys than requests.
            let next = numbers.len() as u32;
            requests.push(*numbers.entry(key).or_insert(next));
        }
        if requests.is_empty() {
            return Err("there is no key in it");
        }
        Ok(Self { name, requests, unique: numbers.len() as u32 })
    }

    /// How many different keys there are: all are below this.
    pub(crate) fn unique(&self) -> u32 {
        self.unique
    }
}

/// The key as the cache gets it: one to one, and without the order of small dense numbers, which a hasher might be
/// lucky or unlucky with. (The finalizer of SplitMix64.)
pub(crate) fn mix(key: u32) -> u64 {
    let mut x = u64::from(key).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_by_first_request() {
        let trace = Trace::renumber("t".into(), ["b", "a", "b", "c", "a"].into_iter()).expect("five keys");
        assert_eq!(trace.requests, [0, 1, 0, 2, 1]);
        assert_eq!(trace.unique(), 3);
    }

    #[test]
    fn no_keys_are_no_trace() {
        assert_eq!(Trace::renumber("t".into(), std::iter::empty::<u32>()), Err("there is no key in it"));
    }

    #[test]
    fn mix_is_splitmix64() {
        // The first output of the generator seeded with 0, as in its reference implementation.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
    }
}
