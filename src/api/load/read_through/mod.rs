//! Reading through: what a caller who wants a value does next, however it waits.
//!
//! One machine for threads and tasks. It never waits, holds no pin between its steps, and leaves two things to its driver
//! ([`blocking`](crate::api::load::blocking), [`future`](crate::api::load::future)): to run the loader, and to sleep on a [`Waiter`] until a time.

mod attempt;
mod own;

pub(crate) use attempt::{Attempt, plain_hit};
pub(crate) use own::{deliver, deliver_shared};

use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::{Waiter, Woken};
use crate::api::load::form::ReturnAs;
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::role::Intent;
use crate::engine::stats::Event;
use crate::flight::failure::{Panicked, SharedError};
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::xfetch::NEVER;
use core::cell::Cell;
use core::convert::Infallible;
use core::marker::PhantomData;
use equivalent::Equivalent;

/// A lookup that loads what it does not find.
pub(crate) struct ReadThrough<'c, 'q, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
    limits: Limits,
    /// There is no way to report an error: the failure of another is no answer, and a refusal means to load alone.
    infallible: bool,
    /// Whether the lookup was counted, as a hit. It is when a value that was there is given; else it is a miss, once it has ended.
    counted: bool,
    /// Whether what is waited for is this caller's own load, which the spawner runs.
    own: bool,
    /// Whether its `wait_timeout` is over, and it waits on, as it has nothing else to do.
    waits_on: bool,
    /// When it began to wait; `NEVER`: it did not.
    began: u64,
    stage: Progress<'c, K, V, F::Out>,
    _form: PhantomData<fn() -> F>,
}

enum Progress<'c, K, V, T> {
    Wait(Waiter<'c, K, V>),
    Resolution(Resolution<'c, K, V, T>),
}

/// How the lookup ends.
pub(crate) enum Resolution<'c, K, V, T> {
    Value(T),
    /// This caller loads, and [lands](ReadThrough::finish) what comes of it.
    Lead(Lease<'c, K, V>),
    /// It loads for itself [alone](ReadThrough::alone).
    Alone,
    Refused(Refusal),
}

/// Why a caller gets no value.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The load that it joined failed.
    Failed(Option<SharedError>),
    TimedOut,
    Reentrant,
    Overloaded,
}

impl<E: Send + Sync + 'static> From<Refusal> for LoadError<E> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(error) => LoadError::of_flight(error),
            Refusal::TimedOut => LoadError::TimedOut,
            Refusal::Reentrant => LoadError::Reentrant,
            Refusal::Overloaded => LoadError::Overloaded,
        }
    }
}

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Gets on board.
    pub(crate) fn new(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, limits: Limits, infallible: bool) -> Self {
        Self::among(core, q, hash, limits, infallible, &[])
    }

    /// The same, of a caller who leads these flights, and may wait for them: it ends them before it waits.
    pub(crate) fn among(
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        mut limits: Limits,
        infallible: bool,
        led: &[FlightId],
    ) -> Self {
        limits.negative = !infallible;
        // One bulk call is one load.
        limits.counted = led.is_empty();
        // A loader that waits for another load may wait for itself, by way of other keys: it had
        // better load for itself alone.
        limits.waits_on = infallible && !core.get().config.bypass && !reentry::within_a_load();
        let stage = Progress::Resolution(Resolution::Alone);
        let (counted, own, waits_on, began) = (false, false, false, NEVER);
        let mut this =
            Self { core, q, hash, limits, infallible, counted, own, waits_on, began, stage, _form: PhantomData };
        this.stage = this.join_or_lead(led);
        this
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn join_or_lead(&mut self, led: &[FlightId]) -> Progress<'c, K, V, F::Out> {
        let (handle, core, q) = (&self.core, self.core.get(), self.q);
        let outcome = Cell::new(Outcome::Hit);
        let take = |node: &Node<K, V>, how| {
            outcome.set(how);
            // SAFETY: a hit's word was seen valued, and this runs under the pin it was found under.
            unsafe { F::of_hit(handle, node, how) }
        };
        self.own = false;
        if core.overloaded() {
            // Not a flight more; what is there is served all the same.
            let pin = core.limbo().enter();
            let live = core.find_live_uncounted(&pin, self.hash, |k| q.equivalent(k));
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
            OwnedRole::Failed(error) => self.refused(None, Refusal::Failed(error)),
            OwnedRole::Wait(waiter) if waiter.is_reentrant(led) => {
                let old = waiter.servable_stale(self.limits.max_stale()).filter(|_| self.infallible);
                // The observer is told of its end: before there is a value that would be lost if that panics.
                drop(waiter);
                self.refused(old, Refusal::Reentrant)
            }
            OwnedRole::Wait(waiter) => self.wait(waiter),
        }
    }

    /// Begins to wait; its deadlines count from the first time.
    fn wait(&mut self, waiter: Waiter<'c, K, V>) -> Progress<'c, K, V, F::Out> {
        let Limits { wait_timeout: wait, soft_timeout: soft, hard_timeout: hard, .. } = self.limits;
        if self.began == NEVER && wait.min(soft).min(hard) != NEVER {
            self.began = self.core.get().config.wait_now();
        }
        Progress::Wait(waiter)
    }

    /// This caller is given a value, in this way.
    fn served(&mut self, value: F::Out, outcome: Outcome) -> Resolution<'c, K, V, F::Out> {
        self.count_lookup(outcome);
        Resolution::Value(value)
    }

    /// Counts an event, and tells the observer of it.
    fn count(&self, event: Event) {
        self.core.get().count_query(self.q, self.hash, event);
    }

    fn count_lookup(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Hit | Outcome::Stale) && !core::mem::replace(&mut self.counted, true) {
            self.core.get().counters.lookup(true);
        }
    }

    /// Makes do with an old value.
    fn make_do(&mut self, old: Entry<'c, K, V>) -> F::Out {
        self.count_lookup(Outcome::Stale);
        self.count(Event::StaleServe);
        F::of_entry(old, Outcome::Stale)
    }

    /// Makes do with an old value, or goes without.
    fn refused(&mut self, old: Option<Entry<'c, K, V>>, why: Refusal) -> Progress<'c, K, V, F::Out> {
        Progress::Resolution(match old {
            Some(old) => {
                // An error of the user's, perhaps: it goes first, for the reason that `ReturnAs::of_entry` has.
                drop(why);
                Resolution::Value(self.make_do(old))
            }
            None if self.infallible => Resolution::Alone,
            None => Resolution::Refused(why),
        })
    }

    /// How long it waits: as long as there is no old value for it, and if there is one.
    fn lengths(&self) -> (u64, u64) {
        let Limits { wait_timeout: wait, soft_timeout: soft, hard_timeout: hard, .. } = self.limits;
        let longest = if self.own { hard } else { hard.min(wait) };
        // Without a way to report that it takes too long, this caller has nothing but the load to wait
        // for: its own, which the spawner runs, or once its time is over, that of another.
        let without = if self.own && self.infallible || self.waits_on { NEVER } else { longest };
        (without, if self.waits_on { NEVER } else { longest.min(soft) })
    }

    /// What to sleep on, and until when; then go [`on`](Self::on). None: it has come to an [`end`](Self::end).
    pub(crate) fn waits(&mut self) -> Option<(&mut Waiter<'c, K, V>, u64)> {
        let ((without, with), patience) = (self.lengths(), self.limits.max_stale());
        let Progress::Wait(waiter) = &mut self.stage else { return None };
        let limit = if with < without && waiter.servable_stale(patience).is_some() { with } else { without };
        if limit == NEVER || self.core.get().config.timeless() {
            return Some((waiter, NEVER));
        }
        Some((waiter, self.began.saturating_add(limit)))
    }

    /// After a sleep that was answered, or (None) ended by its time.
    pub(crate) fn on(&mut self, woken: Option<Woken<'c, K, V>>) {
        self.stage = match woken {
            Some(Woken::Ready(entry)) => {
                let outcome = if self.own { Outcome::Computed } else { Outcome::Coalesced };
                Progress::Resolution(Resolution::Value(F::of_entry(entry, outcome)))
            }
            Some(Woken::Lead(lease)) => Progress::Resolution(Resolution::Lead(lease)),
            Some(Woken::Failed(error, old)) => {
                // Good again: a later flight has confirmed it. That is a hit like any other.
                let renewed = !self.own && old.as_ref().is_some_and(|old| Entry::may_be_served(old, 0));
                let old = old.filter(|old| Entry::may_be_served(old, self.limits.stale_if_error));
                // (Where loaders panic each time, its own would be the next.)
                let again = if old.is_some() { renewed } else { self.infallible && !is_panic(error.as_ref()) };
                if again {
                    // Before there is a lease or a value that would be lost if a drop of these panics.
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
                let old = waiter.servable_stale(self.limits.max_stale());
                let without = self.began.saturating_add(self.lengths().0);
                if old.is_none() && self.core.get().config.wait_now() < without {
                    // The old value was removed meanwhile, or is too old by now: there is nothing but to wait on.
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

    /// How it ended. Called once, when there is nothing to wait for.
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

/// What it means that a loader gives a value, or an error.
pub(crate) fn as_loaded<V, E>(output: Result<V, E>) -> Result<Loaded<V>, E> {
    output.map(Loaded::New)
}

/// Whether a flight ended because too many leaders have panicked.
fn is_panic(error: Option<&SharedError>) -> bool {
    error.is_some_and(|error| error.is::<Panicked>())
}

/// The value of a lookup that cannot fail but by panics.
pub(crate) fn certain<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        // A lenient lookup refuses nothing else, and its loader has no error.
        Err(failed) => panic!("{failed}"),
    }
}
