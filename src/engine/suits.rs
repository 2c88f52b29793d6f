//! Which values suit one caller: any that may be served, or only one that was loaded lately.

use super::config::{Limits, StaleWindow};
use super::demand::{Demand, KIND, SINCE, WITHIN};
use super::outcome::Outcome;
use super::role::{Asker, Intent, Manner, Role};
use super::stats::Event;
use super::{Core, Freshness, Operation};
use crate::flight::node::Node;
use crate::sys::mutants::mutant;
use core::ptr;

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
        let Intent::Value(&Asker { limits, .. }) = intent else { return None };
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
        matches!(intent, Intent::Value(asker) if asker.manner.has(Manner::NEGATIVE))
            && self.core.keeps_failure(node)
            && !intent.demand().is_forced()
            && self.core.is_new_enough(node, intent.demand())
    }

    /// Returns whether the value may be served to this caller.
    pub(super) fn serves(&self, node: &Node<K, V>, intent: Intent<'_>) -> bool {
        self.core.is_fresh(node) && self.core.is_new_enough(node, intent.demand())
    }
}
