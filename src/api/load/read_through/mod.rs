//! Reading through: what a caller who wants a value does next, however it waits.
//!
//! One machine for threads and tasks. It never waits, holds no pin between its steps, and leaves two things to its driver
//! ([`blocking`](crate::api::load::blocking), [`future`](crate::api::load::future)): to run the loader, and to sleep on a [`Waiter`] until a time.

mod own;

pub(crate) use own::{deliver, deliver_shared};

use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::{Met, embark};
use crate::api::handle::waiter::{Waiter, Woken};
use crate::api::load::form::Form;
use crate::engine::Core;
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::role::Wanted;
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
pub(crate) struct Through<'c, 'q, K, V, Q: ?Sized, F: Form<'c, K, V>> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
    limits: Limits,
    /// There is no way to report an error: the failure of another is no answer, and a refusal means to load alone.
    lenient: bool,
    /// Whether the lookup was counted, as a hit. It is when a value that was there is given; else it is a miss, once it has ended.
    counted: bool,
    /// Whether what is waited for is this caller's own load, which the spawner runs.
    own: bool,
    /// Whether its `wait_timeout` is over, and it waits on, as it has nothing else to do.
    waits_on: bool,
    /// When it began to wait; `NEVER`: it did not.
    began: u64,
    stage: Stage<'c, K, V, F::Out>,
    _form: PhantomData<fn() -> F>,
}

enum Stage<'c, K, V, T> {
    Wait(Waiter<'c, K, V>),
    End(End<'c, K, V, T>),
}

/// How the lookup ends.
pub(crate) enum End<'c, K, V, T> {
    Value(T),
    /// This caller loads, and [lands](Through::land) what comes of it.
    Lead(Lease<'c, K, V>),
    /// It loads for itself [alone](Through::alone).
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

impl<'c, 'q, K, V, Q, F> Through<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: Form<'c, K, V>,
{
    /// Gets on board.
    pub(crate) fn new(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, limits: Limits, lenient: bool) -> Self {
        Self::among(core, q, hash, limits, lenient, &[])
    }

    /// The same, of a caller who leads these flights, and may wait for them: it ends them before it waits.
    pub(crate) fn among(
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        mut limits: Limits,
        lenient: bool,
        led: &[FlightId],
    ) -> Self {
        limits.negative = !lenient;
        // One bulk call is one load.
        limits.counted = led.is_empty();
        // A loader that waits for another load may wait for itself, by way of other keys: it had
        // better load for itself alone.
        limits.waits_on = lenient && !core.get().config.bypass && !reentry::within_a_load();
        let stage = Stage::End(End::Alone);
        let (counted, own, waits_on, began) = (false, false, false, NEVER);
        let mut this =
            Self { core, q, hash, limits, lenient, counted, own, waits_on, began, stage, _form: PhantomData };
        this.stage = this.board(led);
        this
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn board(&mut self, led: &[FlightId]) -> Stage<'c, K, V, F::Out> {
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
            let live = core.live_uncounted(&pin, self.hash, |k| q.equivalent(k));
            let value = live.and_then(|node| take(node, Outcome::Hit));
            drop(pin);
            return Stage::End(value.map_or(End::Alone, |value| self.served(value, Outcome::Hit)));
        }
        let met = embark(handle, self.hash, q, Wanted::Value(&self.limits), || core.limbo().enter(), take);
        match met {
            Met::Hit(value) => Stage::End(self.served(value, outcome.get())),
            Met::Lead(lease) => Stage::End(End::Lead(lease)),
            Met::Full if self.limits.waits_on => self.wait(Waiter::queued(self.core.clone())),
            Met::Full => self.refused(None, Refusal::Overloaded),
            Met::Failed(error) => self.refused(None, Refusal::Failed(error)),
            Met::Wait(waiter) if waiter.is_reentrant(led) => {
                let old = waiter.fallback(self.limits.patience()).filter(|_| self.lenient);
                // The observer is told of its end: before there is a value that would be lost if that panics.
                drop(waiter);
                self.refused(old, Refusal::Reentrant)
            }
            Met::Wait(waiter) => self.wait(waiter),
        }
    }

    /// Begins to wait; its deadlines count from the first time.
    fn wait(&mut self, waiter: Waiter<'c, K, V>) -> Stage<'c, K, V, F::Out> {
        let Limits { wait, soft, hard, .. } = self.limits;
        if self.began == NEVER && wait.min(soft).min(hard) != NEVER {
            self.began = self.core.get().config.wait_now();
        }
        Stage::Wait(waiter)
    }

    /// This caller is given a value, in this way.
    fn served(&mut self, value: F::Out, outcome: Outcome) -> End<'c, K, V, F::Out> {
        self.count_lookup(outcome);
        End::Value(value)
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
    fn refused(&mut self, old: Option<Entry<'c, K, V>>, why: Refusal) -> Stage<'c, K, V, F::Out> {
        Stage::End(match old {
            Some(old) => {
                // An error of the user's, perhaps: it goes first, for the reason that `Form::of_entry` has.
                drop(why);
                End::Value(self.make_do(old))
            }
            None if self.lenient => End::Alone,
            None => End::Refused(why),
        })
    }

    /// How long it waits: as long as there is no old value for it, and if there is one.
    fn lengths(&self) -> (u64, u64) {
        let Limits { wait, soft, hard, .. } = self.limits;
        let longest = if self.own { hard } else { hard.min(wait) };
        // Without a way to report that it takes too long, this caller has nothing but the load to wait
        // for: its own, which the spawner runs, or once its time is over, that of another.
        let without = if self.own && self.lenient || self.waits_on { NEVER } else { longest };
        (without, if self.waits_on { NEVER } else { longest.min(soft) })
    }

    /// What to sleep on, and until when; then go [`on`](Self::on). None: it has come to an [`end`](Self::end).
    pub(crate) fn waits(&mut self) -> Option<(&mut Waiter<'c, K, V>, u64)> {
        let ((without, with), patience) = (self.lengths(), self.limits.patience());
        let Stage::Wait(waiter) = &mut self.stage else { return None };
        let limit = if with < without && waiter.fallback(patience).is_some() { with } else { without };
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
                Stage::End(End::Value(F::of_entry(entry, outcome)))
            }
            Some(Woken::Lead(lease)) => Stage::End(End::Lead(lease)),
            Some(Woken::Failed(error, old)) => {
                // Good again: a later flight has confirmed it. That is a hit like any other.
                let renewed = !self.own && old.as_ref().is_some_and(|old| Entry::may_be_served(old, 0));
                let old = old.filter(|old| Entry::may_be_served(old, self.limits.if_error));
                // (Where loaders panic each time, its own would be the next.)
                let again = if old.is_some() { renewed } else { self.lenient && !is_panic(error.as_ref()) };
                if again {
                    // Before there is a lease or a value that would be lost if a drop of these panics.
                    drop((error, old));
                    self.board(&[])
                } else if old.is_none() && self.lenient {
                    Stage::End(End::Refused(Refusal::Failed(error)))
                } else {
                    self.refused(old, Refusal::Failed(error))
                }
            }
            Some(Woken::Again) => self.board(&[]),
            Some(Woken::Overloaded) => self.refused(None, Refusal::Overloaded),
            None => {
                let Stage::Wait(waiter) = &self.stage else { return };
                let old = waiter.fallback(self.limits.patience());
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
    pub(crate) fn end(&mut self) -> End<'c, K, V, F::Out> {
        match core::mem::replace(&mut self.stage, Stage::End(End::Alone)) {
            Stage::End(end) => {
                if matches!(end, End::Alone) {
                    self.count(Event::Bypassed);
                }
                end
            }
            Stage::Wait(_) => unreachable!("it still waits"),
        }
    }
}

impl<'c, K, V, Q: ?Sized, F: Form<'c, K, V>> Drop for Through<'c, '_, K, V, Q, F> {
    fn drop(&mut self) {
        if !self.counted {
            self.core.get().counters.lookup(false);
        }
    }
}

/// What a lookup begins with: a plain hit, most often, or else something to see through.
#[allow(clippy::large_enum_variant, reason = "it is taken apart on the spot")]
pub(crate) enum Begun<'c, 'q, K, V, Q: ?Sized, F: Form<'c, K, V>> {
    Hit(F::Out),
    Through(Through<'c, 'q, K, V, Q, F>),
}

/// The value, if nothing but a plain hit can come of looking the key up.
#[inline]
pub(crate) fn plain_hit<K, V, Q>(core: &Core<K, V>, q: &Q, hash: u64) -> Option<V>
where
    Q: ?Sized + Equivalent<K>,
    V: Clone,
{
    core.read_quietly(&core.limbo().enter(), hash, |k| q.equivalent(k), V::clone)
}

/// What it means that a loader gives a value, or an error.
pub(crate) fn told<V, E>(output: Result<V, E>) -> Result<Loaded<V>, E> {
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
