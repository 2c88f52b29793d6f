//! Which values suit one caller: any that may be served, or only one that was loaded lately.

use super::config::{Limits, StaleWindow};
use super::outcome::Outcome;
use super::role::{Intent, Role};
use super::stats::Event;
use super::{Core, Freshness, Operation};
use crate::flight::node::Node;
use crate::runtime::xfetch::nanos;
use crate::sys::mutants::mutant;
use core::ptr;
use core::time::Duration;

/// How new a value must be for a caller. Packed in one word, as each lookup has one: the kind in
/// the two low bits, and above it an age in ns, or an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Demand(u64);

const KIND: u64 = 0b11;
const WITHIN: u64 = 1;
const SINCE: u64 = 2;
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

impl Limits {
    /// Has the value loaded anew. (A method, so that the settings of each kind of request need no
    /// import.)
    pub(crate) fn demand_anew(&mut self) {
        self.demand = Demand::ANEW;
    }

    /// Demands a value of at most this age.
    pub(crate) fn demand_within(&mut self, age: Duration) {
        self.demand = Demand::within(nanos(age));
    }

    /// Returns an old value in place of a new one, unless this caller takes none.
    pub(crate) fn substitute<T>(&self, old: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.demand.refuses() && !self.own_windows { None } else { old() }
    }
}

impl Intent<'_> {
    /// Returns how new a value must be for this caller.
    pub(super) fn demand(self) -> Demand {
        if let Self::Value(limits) = self { limits.demand } else { Demand::ANY }
    }
}

impl<K, V> Core<K, V> {
    /// Returns whether the value, or kept failure, in `node` is new enough for a caller.
    pub(crate) fn is_new_enough(&self, node: &Node<K, V>, demand: Demand) -> bool {
        match demand.0 & KIND {
            WITHIN => node.confirmed_ago(self.nodes(), self.config.time.now()) <= demand.0 >> 2,
            SINCE => ptr::from_ref(node).addr() as u64 != demand.0 & !KIND,
            KIND => mutant("an old load for a forced caller"),
            _ => true,
        }
    }

    /// Returns how fresh the value is for this caller's demand.
    pub(super) fn freshness_for(&self, node: &Node<K, V>, demand: Demand) -> Freshness {
        match self.freshness(node) {
            Freshness::Fresh | Freshness::Early if !self.is_new_enough(node, demand) => Freshness::TooOld,
            freshness => freshness,
        }
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Serves an expired value to a caller that takes it within this `window`.
    pub(super) fn serve_stale<'s>(
        &self,
        node: &'s Node<K, V>,
        intent: Intent<'_>,
        window: impl FnOnce(&Limits) -> StaleWindow,
    ) -> Option<Role<'s, K, V>> {
        let Intent::Value(limits) = intent else { return None };
        let served = match limits.demand.refuses() {
            true => limits.own_windows && self.core.servable_stale(node, window(limits)),
            false => self.core.within_grace(node, window(limits)),
        };
        served.then(|| {
            self.count_of(node, Event::StaleServe);
            Role::Hit(node, Outcome::Stale)
        })
    }

    /// Returns whether a failed flight is an answer to this caller.
    pub(super) fn is_kept_failure(&self, node: &Node<K, V>, intent: Intent<'_>) -> bool {
        matches!(intent, Intent::Value(limits) if limits.negative)
            && self.core.keeps_failure(node)
            && !intent.demand().is_forced()
            && self.core.is_new_enough(node, intent.demand())
    }

    /// Returns whether the value may be served to this caller.
    pub(super) fn serves(&self, node: &Node<K, V>, intent: Intent<'_>) -> bool {
        self.core.is_fresh(node) && self.core.is_new_enough(node, intent.demand())
    }
}
