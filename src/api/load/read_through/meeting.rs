//! What a lookup meets at its key: a value, the lead of a flight, or a flight to wait for.

use super::{Progress, ReadThrough, Refusal, Resolution, limits_of};
use crate::api::handle::entry::CoreRef;
use crate::api::handle::form::ReturnAs;
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::Waiter;
use crate::engine::key::ToKey;
use crate::engine::outcome::Outcome;
use crate::engine::role::{Asker, Intent, Manner};
use crate::flight::node::Node;
use crate::flight::reentry::FlightId;
use equivalent::Equivalent;

/// What a caller meets at a key: its role, or how it came by a value. None: the caller loads for
/// itself alone.
pub(crate) type Met<'c, K, V, T> = Option<OwnedRole<'c, K, V, (T, Outcome)>>;

/// Looks a key up: gives its value, or joins or leads its flight.
#[inline(always)]
pub(crate) fn meet<'c, K, V, Q, F>(
    core: &CoreRef<'c, K, V>,
    q: &Q,
    hash: u64,
    asker: Asker<'_>,
) -> Met<'c, K, V, F::Out>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    let take = |node: &Node<K, V>, how| {
        // SAFETY: `take` is called only for a hit, whose word was seen to have a value, under the
        // pin under which the node was found.
        unsafe { F::of_hit(core, node, how) }.map(|value| (value, how))
    };
    if core.get().overloaded() {
        // Too much retired memory waits to be freed, so no further flight may begin. A value that
        // is there is still served.
        let core = core.get();
        let pin = core.limbo().enter();
        let live = core.find_live_uncounted(&pin, hash, |k| q.equivalent(k));
        let live = live.filter(|node| core.is_new_enough(node, asker.limits.demand));
        return live.and_then(|node| take(node, Outcome::Hit)).map(OwnedRole::Hit);
    }
    Some(acquire_role(core, hash, q, Intent::Value(&asker), || core.get().limbo().enter(), take))
}

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Looks the key up, and goes on from there.
    pub(super) fn join_or_lead(&mut self, led: &[FlightId]) {
        self.own = false;
        let asker = Asker { limits: limits_of(&self.limits, self.core.get()), manner: self.manner };
        match meet::<_, _, _, F>(&self.core, self.q, self.hash, asker) {
            Some(OwnedRole::Lead(lease)) => self.lead(lease),
            met => self.met(met, led),
        }
    }

    /// Goes on from what the caller has met at the key.
    pub(crate) fn met(&mut self, met: Met<'c, K, V, F::Out>, led: &[FlightId]) {
        match met {
            None => self.stage = Progress::Resolution(Resolution::Alone),
            Some(OwnedRole::Lead(lease)) => self.lead(lease),
            Some(OwnedRole::Hit((value, outcome))) => self.served(value, outcome),
            Some(OwnedRole::Full) if self.manner.has(Manner::WAITS_ON) => self.wait(Waiter::queued(self.core.clone())),
            Some(OwnedRole::Full) => self.refused(None, Refusal::Overloaded),
            Some(OwnedRole::Failed(error)) if self.is_infallible() => {
                if self.is_answer(error.as_ref()) {
                    self.stage = Progress::Resolution(Resolution::Refused(Refusal::Failed(error)));
                    return;
                }
                // Only the answer that there is no value is one for this caller: it loads in the
                // place of any other failure. (The error is dropped before there is a lease, which
                // would leak if that drop panicked.)
                drop(error);
                self.manner = self.manner.without(Manner::NEGATIVE);
                self.join_or_lead(led);
            }
            Some(OwnedRole::Failed(error)) => self.refused(None, Refusal::Failed(error)),
            Some(OwnedRole::Wait(waiter)) if waiter.is_reentrant(led) => {
                let asker = self.asker();
                let old = asker.substitute(|| waiter.servable_stale(asker.limits.max_stale()));
                let old = old.filter(|_| self.is_infallible());
                // The drop tells the observer that the wait has ended. So it comes before there is
                // a result, which would leak if the observer panicked.
                drop(waiter);
                self.refused(old, Refusal::Reentrant);
            }
            Some(OwnedRole::Wait(waiter)) => self.wait(waiter),
        }
    }
}
