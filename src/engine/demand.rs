//! How new a value must be for one caller.

use super::outcome::Outcome;

/// How new a value must be for a caller. Packed in one word, as each lookup has one: the kind in
/// the two low bits, and above it an age in ns, or an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Demand(pub(super) u64);

pub(super) const KIND: u64 = 0b11;
pub(super) const WITHIN: u64 = 1;
pub(super) const SINCE: u64 = 2;
const LONGEST: u64 = u64::MAX >> 2;

impl Demand {
    /// Any value that may be served.
    pub(crate) const ANY: Self = Self(0);
    /// A value whose load begins after the call. No value and no flight that the caller finds at
    /// first is one.
    pub(crate) const ANEW: Self = Self(KIND);

    /// A value that was loaded at most so long ago, in ns.
    pub(crate) fn within(age: u64) -> Self {
        Self(age.min(LONGEST) << 2 | WITHIN)
    }

    /// As [`ANEW`](Self::ANEW), for a caller that has waited for the flight that it found at first.
    /// Each value and flight is new, but for the value whose node is at this address. The caller
    /// keeps a reference to that one. 0: there is none.
    pub(crate) fn since(address: usize) -> Self {
        // Nodes are aligned to 16.
        Self(address as u64 | SINCE)
    }

    /// Returns whether the caller refuses values that others may be served.
    pub(crate) fn refuses(self) -> bool {
        self != Self::ANY
    }

    /// Returns whether the caller has a load begin after its call. No failure that is kept answers
    /// it. (It gets the failure of a load that it waits for.)
    pub(super) fn is_forced(self) -> bool {
        self == Self::ANEW || self.0 & KIND == SINCE
    }

    /// Returns how a caller came by a value that was there when it looked.
    pub(crate) fn outcome_of_hit(self) -> Outcome {
        // The value was loaded while the caller waited for the flight that it found at first.
        if self.0 & KIND == SINCE { Outcome::Coalesced } else { Outcome::Hit }
    }
}
