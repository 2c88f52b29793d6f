//! Read-through as a state machine: the next step of a caller that wants a value.
//!
//! Threads and tasks share one machine. It never waits, and holds no pin between its steps. Its
//! drivers ([`blocking`](crate::api::load::blocking), [`future`](crate::api::load::future)) do two
//! things for it: they run the loader, and they sleep on a [`Waiter`] until a time.

mod attempt;
mod own;
mod resolution;

pub(crate) use attempt::{Attempt, plain_hit};
pub(crate) use own::{deliver, deliver_shared};
pub(crate) use resolution::{Refusal, Resolution};

use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::{Waiter, Woken};
use crate::api::load::form::ReturnAs;
use crate::engine::config::{Limits, StaleWindow};
use crate::engine::demand::Demand;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::role::Intent;
use crate::engine::stats::Event;
use crate::flight::failure::{NotFound, Panicked, SharedError};
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::xfetch::NEVER;
use alloc::boxed::Box;
use core::cell::Cell;
use core::convert::Infallible;
use core::marker::PhantomData;
use equivalent::Equivalent;

/// A lookup that loads the value if it does not find it.
pub(crate) struct ReadThrough<'c, 'q, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
    limits: Limits,
    /// Whether the caller has no way to report an error. Then the failure of another caller's load
    /// is no answer to it, and instead of a refusal it loads alone.
    infallible: bool,
    /// Whether the lookup was counted as a hit, which happens when it gives a value that was there.
    /// A lookup that was not counted when it is dropped counts as a miss.
    counted: bool,
    /// Whether the caller waits for its own load, which the spawner runs.
    own: bool,
    /// Whether the caller's time to wait has run out, and it waits on because it has no
    /// alternative.
    waits_on: bool,
    /// When the caller began to wait; `NEVER` if it has not.
    began: u64,
    /// The value that is too old for a forced caller: see [`Demand::since`].
    refused: Option<Box<Entry<'c, K, V>>>,
    stage: Progress<'c, K, V, F::Out>,
    _form: PhantomData<fn() -> F>,
}

/// The state of the machine.
enum Progress<'c, K, V, T> {
    Wait(Waiter<'c, K, V>),
    Resolution(Resolution<'c, K, V, T>),
}

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Begins a lookup: finds the value, or joins or leads the flight of the key.
    pub(crate) fn new(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, limits: Limits, infallible: bool) -> Self {
        Self::among(core, q, hash, limits, infallible, &[])
    }

    /// As [`new`](Self::new), without settings of the caller's. (Never inlined: in the caller,
    /// which is a hit most often, it would cost registers.)
    #[inline(never)]
    pub(crate) fn plain(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, infallible: bool) -> Self {
        let limits = core.get().config.plain_limits();
        Self::new(core, q, hash, limits, infallible)
    }

    /// As [`new`](Self::new), for a caller that leads the flights `led`. It may wait for them,
    /// because it ends them before it waits.
    pub(crate) fn among(
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        mut limits: Limits,
        infallible: bool,
        led: &[FlightId],
    ) -> Self {
        limits.negative = !infallible || limits.absence;
        // One bulk call counts as one load.
        limits.counted = led.is_empty();
        // A loader that waits for another load may, by way of other keys, wait for itself. So
        // within a load the caller does not wait on, but loads for itself alone.
        limits.waits_on = infallible && !core.get().config.bypass && !reentry::within_a_load();
        let stage = Progress::Resolution(Resolution::Alone);
        let (counted, own, waits_on, began, refused) = (false, false, false, NEVER, None);
        let mut this = Self {
            core,
            q,
            hash,
            limits,
            infallible,
            counted,
            own,
            waits_on,
            began,
            refused,
            stage,
            _form: PhantomData,
        };
        this.stage = this.join_or_lead(led);
        this
    }

    /// As [`new`](Self::new), for a caller that takes any value but this one.
    pub(crate) fn instead_of(
        refused: Entry<'c, K, V>,
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        mut limits: Limits,
        infallible: bool,
    ) -> Self {
        limits.demand = Demand::since(Entry::address(&refused));
        let mut this = Self::new(core, q, hash, limits, infallible);
        this.refused = Some(Box::new(refused));
        this
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// Returns the key that is looked up, in the caller's form.
    pub(crate) fn query(&self) -> &'q Q {
        self.q
    }

    /// Looks the key up: gives its value, or joins or leads its flight.
    fn join_or_lead(&mut self, led: &[FlightId]) -> Progress<'c, K, V, F::Out> {
        let (handle, core, q) = (&self.core, self.core.get(), self.q);
        let outcome = Cell::new(Outcome::Hit);
        let take = |node: &Node<K, V>, how| {
            outcome.set(how);
            // SAFETY: `take` is called only for a hit, whose word was seen to have a value, under
            // the pin under which the node was found.
            unsafe { F::of_hit(handle, node, how) }
        };
        self.own = false;
        if core.overloaded() {
            // Too much retired memory waits to be freed, so no further flight may begin. A value
            // that is there is still served.
            let pin = core.limbo().enter();
            let live = core.find_live_uncounted(&pin, self.hash, |k| q.equivalent(k));
            let live = live.filter(|node| core.is_new_enough(node, self.limits.demand));
            let value = live.and_then(|node| take(node, Outcome::Hit));
            drop(pin);
            return Progress::Resolution(value.map_or(Resolution::Alone, |value| self.served(value, Outcome::Hit)));
        }
        let met = acquire_role(handle, self.hash, q, Intent::Value(&self.limits), || core.limbo().enter(), take);
        match met {
            OwnedRole::Hit(value) => Progress::Resolution(self.served(value, outcome.get())),
            OwnedRole::Lead(lease) => Progress::Resolution(Resolution::Lead(lease)),
            OwnedRole::Full if self.limits.waits_on => self.wait(Waiter::queued(self.core.clone())),
            OwnedRole::Full => self.refused(None, Refusal::Overloaded),
            OwnedRole::Failed(error) if self.infallible => {
                if self.is_answer(error.as_ref()) {
                    return Progress::Resolution(Resolution::Refused(Refusal::Failed(error)));
                }
                // Only the answer that there is no value is one for this caller: it loads in the
                // place of any other failure. (The error is dropped before there is a lease, which
                // would leak if that drop panicked.)
                drop(error);
                self.limits.negative = false;
                self.join_or_lead(led)
            }
            OwnedRole::Failed(error) => self.refused(None, Refusal::Failed(error)),
            OwnedRole::Wait(waiter) if waiter.is_reentrant(led) => {
                let old = self.limits.substitute(|| waiter.servable_stale(self.limits.max_stale()));
                let old = old.filter(|_| self.infallible);
                // The drop tells the observer that the wait has ended. So it comes before there is
                // a result, which would leak if the observer panicked.
                drop(waiter);
                self.refused(old, Refusal::Reentrant)
            }
            OwnedRole::Wait(waiter) => self.wait(waiter),
        }
    }

    /// Returns whether the end of a flight is an answer to a caller that cannot report an error:
    /// that there is no value, to one that can report that.
    fn is_answer(&self, error: Option<&SharedError>) -> bool {
        self.limits.absence && is_absence(error)
    }

    /// Begins to wait. The caller's deadlines count from the first time that it does.
    fn wait(&mut self, waiter: Waiter<'c, K, V>) -> Progress<'c, K, V, F::Out> {
        let Limits { wait_timeout, soft_timeout, hard_timeout, .. } = self.limits;
        if self.began == NEVER && wait_timeout.min(soft_timeout).min(hard_timeout) != NEVER {
            self.began = self.core.get().config.wait_now();
        }
        Progress::Wait(waiter)
    }

    /// Ends the lookup with a value that the caller came by in this way.
    fn served(&mut self, value: F::Out, outcome: Outcome) -> Resolution<'c, K, V, F::Out> {
        self.count_lookup(outcome);
        Resolution::Value(value)
    }

    /// Counts an event, and tells the observer of it.
    fn count(&self, event: Event) {
        self.core.get().count_query(self.q, self.hash, event);
    }

    /// Counts the lookup as a hit, once, if the outcome is one.
    fn count_lookup(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Hit | Outcome::Stale) && !core::mem::replace(&mut self.counted, true) {
            self.core.get().counters.lookup(true);
        }
    }

    /// Serves an old value in place of a new one.
    fn make_do(&mut self, old: Entry<'c, K, V>) -> F::Out {
        self.count_lookup(Outcome::Stale);
        self.count(Event::StaleServe);
        F::of_entry(old, Outcome::Stale)
    }

    /// Ends the lookup without a new value: by an old one if there is one. If not, an infallible
    /// caller loads alone, and any other is refused.
    fn refused(&mut self, old: Option<Entry<'c, K, V>>, why: Refusal) -> Progress<'c, K, V, F::Out> {
        Progress::Resolution(match old {
            Some(old) => {
                // `why` may hold a user's error. Drop it before there is a result, which would leak
                // if that drop panicked.
                drop(why);
                Resolution::Value(self.make_do(old))
            }
            None if self.infallible => Resolution::Alone,
            None => Resolution::Refused(why),
        })
    }

    /// Returns how long the caller waits: first if there is no old value for it, second if there is
    /// one.
    fn lengths(&self) -> (u64, u64) {
        let Limits { wait_timeout, soft_timeout, hard_timeout, .. } = self.limits;
        let longest = if self.own { hard_timeout } else { hard_timeout.min(wait_timeout) };
        // An infallible caller cannot report that a wait takes too long. So it waits on for its own
        // load, which the spawner runs. Once `waits_on` is set, it does so for another's load, too.
        let without = if self.own && self.infallible || self.waits_on { NEVER } else { longest };
        (without, if self.waits_on { NEVER } else { longest.min(soft_timeout) })
    }

    /// Returns the waiter to sleep on, and until when; after the sleep the driver calls
    /// [`on`](Self::on). None: there is nothing to wait for, and the driver calls
    /// [`end`](Self::end).
    pub(crate) fn waits(&mut self) -> Option<(&mut Waiter<'c, K, V>, u64)> {
        let ((without, with), limits) = (self.lengths(), &self.limits);
        let Progress::Wait(waiter) = &mut self.stage else { return None };
        let old = || limits.substitute(|| waiter.servable_stale(limits.max_stale()));
        let limit = if with < without && old().is_some() { with } else { without };
        if limit == NEVER || self.core.get().config.timeless() {
            return Some((waiter, NEVER));
        }
        Some((waiter, self.began.saturating_add(limit)))
    }

    /// Returns whether this ends the wait for the flight that a forced caller found at first, whose
    /// load began before the call.
    fn was_first(&self, woken: &Option<Woken<'c, K, V>>) -> bool {
        let ended = matches!(woken, Some(Woken::Ready(_) | Woken::Failed(..)));
        ended && self.limits.demand == Demand::ANEW && !self.own
    }

    /// Looks again after that wait, for a load that began since.
    fn look_again(&mut self, woken: Option<Woken<'c, K, V>>) -> Progress<'c, K, V, F::Out> {
        self.refuse(match woken {
            Some(Woken::Ready(entry)) => Some(entry),
            Some(Woken::Failed(_, old)) => old,
            _ => None,
        });
        self.join_or_lead(&[])
    }

    /// Notes the one value that is too old for a forced caller.
    fn refuse(&mut self, old: Option<Entry<'c, K, V>>) {
        self.limits.demand = Demand::since(old.as_ref().map_or(0, Entry::address));
        self.refused = old.map(Box::new);
    }

    /// Goes on after a sleep: with the answer to the wait, or with None if its time has come first.
    pub(crate) fn on(&mut self, woken: Option<Woken<'c, K, V>>) {
        if self.was_first(&woken) {
            self.stage = self.look_again(woken);
            return;
        }
        self.stage = match woken {
            Some(Woken::Ready(entry)) => {
                let outcome = if self.own { Outcome::Computed } else { Outcome::Coalesced };
                Progress::Resolution(Resolution::Value(F::of_entry(entry, outcome)))
            }
            Some(Woken::Lead(lease)) => Progress::Resolution(Resolution::Lead(lease)),
            Some(Woken::Failed(error, old)) => {
                // There is no value any more.
                let old = old.filter(|_| !is_absence(error.as_ref()));
                // The old value is fresh again: a later flight has renewed it. So looking again
                // finds a hit.
                let renewed = !self.own
                    && !self.limits.demand.refuses()
                    && old.as_ref().is_some_and(|old| Entry::may_be_served(old, StaleWindow::Exactly(0)));
                let old = old.filter(|old| Entry::may_be_served(old, self.limits.if_error()));
                let old = self.limits.substitute(|| old);
                // An infallible caller looks again after an error, and not after panics: if loaders
                // panic each time, its own would be the next.
                let answer = is_panic(error.as_ref()) || self.is_answer(error.as_ref());
                let again = if old.is_some() { renewed } else { self.infallible && !answer };
                if again {
                    // Drop these before there is a lease or a value, which would leak if a drop of
                    // the user's panicked.
                    drop((error, old));
                    self.join_or_lead(&[])
                } else if old.is_none() && self.infallible {
                    Progress::Resolution(Resolution::Refused(Refusal::Failed(error)))
                } else {
                    self.refused(old, Refusal::Failed(error))
                }
            }
            Some(Woken::Again) => self.join_or_lead(&[]),
            Some(Woken::Overloaded) => self.refused(None, Refusal::Overloaded),
            None => {
                let Progress::Wait(waiter) = &self.stage else { return };
                let old = self.limits.substitute(|| waiter.servable_stale(self.limits.max_stale()));
                let without = self.began.saturating_add(self.lengths().0);
                if old.is_none() && self.core.get().config.wait_now() < without {
                    // The old value was removed meanwhile, or is too old by now. Only the load is
                    // left to wait for.
                    return;
                }
                if old.is_none() && self.limits.waits_on {
                    self.waits_on = true;
                    return;
                }
                self.count(Event::WaitTimeout);
                self.refused(old, Refusal::TimedOut)
            }
        };
    }

    /// Returns how the lookup ended. The driver calls it once, when there is nothing to wait for.
    pub(crate) fn end(&mut self) -> Resolution<'c, K, V, F::Out> {
        match core::mem::replace(&mut self.stage, Progress::Resolution(Resolution::Alone)) {
            Progress::Resolution(end) => {
                if matches!(end, Resolution::Alone) {
                    self.count(Event::Bypassed);
                }
                end
            }
            Progress::Wait(_) => unreachable!("it still waits"),
        }
    }
}

impl<'c, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> Drop for ReadThrough<'c, '_, K, V, Q, F> {
    fn drop(&mut self) {
        if !self.counted {
            self.core.get().counters.lookup(false);
        }
    }
}

/// Interprets the output of a loader that gives a value or an error.
pub(crate) fn as_loaded<V, E>(output: Result<V, E>) -> Result<Loaded<V>, E> {
    output.map(Loaded::New)
}

/// Returns whether a flight ended with the answer that there is no value.
fn is_absence(error: Option<&SharedError>) -> bool {
    error.is_some_and(|error| error.is::<NotFound>())
}

/// Returns whether a flight ended because too many leaders panicked.
fn is_panic(error: Option<&SharedError>) -> bool {
    error.is_some_and(|error| error.is::<Panicked>())
}

/// Returns the value of an infallible lookup.
///
/// # Panics
/// If the leaders that the caller waited for have panicked too often.
pub(crate) fn certain<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        // An infallible lookup is refused only because of panics, and its loader has no error.
        Err(failed) => panic!("{failed}"),
    }
}
