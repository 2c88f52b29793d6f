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

/// The role of a caller at a key. To a value belongs how the caller came by it.
pub(crate) type Met<'c, K, V, T> = OwnedRole<'c, K, V, (T, Outcome)>;

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
    acquire_role(core, hash, q, Intent::Value(&asker), || core.get().limbo().enter(), take)
}

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Looks the key up, and goes on from there.
    pub(super) fn join_or_lead(&mut self, led: &[FlightId]) {
        self.own = false;
        if self.core.get().overloaded() {
            return self.load_alone();
        }
        let asker = Asker { limits: limits_of(&self.limits, self.core.get()), manner: self.manner };
        match meet::<_, _, _, F>(&self.core, self.q, self.hash, asker) {
            OwnedRole::Lead(lease) => self.lead(lease),
            met => self.met(met, led),
        }
    }

    /// Goes on where too much retired memory waits to be freed, so that no further flight may
    /// begin. A value that is there is still served.
    #[cold]
    fn load_alone(&mut self) {
        let (core, q) = (self.core.get(), self.q);
        let pin = core.limbo().enter();
        let live = core.find_live_uncounted(&pin, self.hash, |k| q.equivalent(k));
        let live = live.filter(|node| core.is_new_enough(node, self.limits().demand));
        // SAFETY: the node was found under the pin, which is held, and its word has a value.
        let value = live.and_then(|node| unsafe { F::of_hit(&self.core, node, Outcome::Hit) });
        drop(pin);
        match value {
            Some(value) => self.served(value, Outcome::Hit),
            None => self.stage = Progress::Resolution(Resolution::Alone),
        }
    }

    /// Goes on from what the caller has met at the key.
    pub(crate) fn met(&mut self, met: Met<'c, K, V, F::Out>, led: &[FlightId]) {
        match met {
            OwnedRole::Lead(lease) => self.lead(lease),
            OwnedRole::Hit((value, outcome)) => self.served(value, outcome),
            OwnedRole::Full if self.manner.has(Manner::WAITS_ON) => self.wait(Waiter::queued(self.core.clone())),
            OwnedRole::Full => self.refused(None, Refusal::Overloaded),
            OwnedRole::Failed(error) if self.is_infallible() => {
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
            OwnedRole::Failed(error) => self.refused(None, Refusal::Failed(error)),
            OwnedRole::Wait(waiter) if waiter.is_reentrant(led) => {
                let asker = self.asker();
                let old = asker.substitute(|| waiter.servable_stale(asker.limits.max_stale()));
                let old = old.filter(|_| self.is_infallible());
                // The drop tells the observer that the wait has ended. So it comes before there is
                // a result, which would leak if the observer panicked.
                drop(waiter);
                self.refused(old, Refusal::Reentrant);
            }
            OwnedRole::Wait(waiter) => self.wait(waiter),
        }
    }
}
