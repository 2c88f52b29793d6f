//! Read-through as a state machine: the next step of a caller that wants a value.
//!
//! Threads and tasks share one machine. It never waits, and holds no pin between its steps. Its
//! drivers ([`blocking`](crate::api::load::blocking), [`future`](crate::api::load::future)) do two
//! things for it: they run the loader, and they sleep on a [`Waiter`] until a time.

mod attempt;
mod begin;
mod meeting;
mod own;
mod resolution;

pub(crate) use attempt::{Attempt, plain_hit};
#[cfg(feature = "std")]
pub(crate) use begin::manner_of;
#[cfg(feature = "std")]
pub(crate) use meeting::{Met, meet};
pub(crate) use own::{deliver, deliver_shared};
pub(crate) use resolution::{Refusal, Resolution};

use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::form::ReturnAs;
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::{Waiter, Woken};
use crate::engine::Core;
use crate::engine::config::{Limits, StaleWindow};
use crate::engine::demand::Demand;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::role::{Asker, Manner};
use crate::engine::stats::Event;
use crate::flight::failure::{NotFound, Panicked, SharedError};
use crate::runtime::xfetch::NEVER;
use alloc::boxed::Box;
use core::convert::Infallible;
use core::marker::PhantomData;
use equivalent::Equivalent;

/// A lookup that loads the value if it does not find it.
pub(crate) struct ReadThrough<'c, 'q, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
    /// The caller's own limits. None: the cache's.
    limits: Option<Limits>,
    manner: Manner,
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
    /// The lookup has not begun. (It begins in the place where it stays: it is large.)
    New,
    Wait(Waiter<'c, K, V>),
    Resolution(Resolution<'c, K, V, T>),
}

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Returns the limits of this caller, which are its own or the cache's.
    pub(crate) fn limits(&self) -> &Limits {
        limits_of(&self.limits, self.core.get())
    }

    fn is_infallible(&self) -> bool {
        self.manner.has(Manner::INFALLIBLE)
    }

    /// Returns what the engine must know of this caller.
    fn asker(&self) -> Asker<'_> {
        Asker { limits: self.limits(), manner: self.manner }
    }

    pub(crate) fn core(&self) -> &CoreRef<'c, K, V> {
        &self.core
    }

    /// Returns the key that is looked up, in the caller's form.
    pub(crate) fn query(&self) -> &'q Q {
        self.q
    }

    /// Notes that this caller leads. (Most often the lookup has just begun, and no earlier state of
    /// it is to be dropped.)
    #[inline(always)]
    fn lead(&mut self, lease: Lease<'c, K, V>) {
        if matches!(self.stage, Progress::New) {
            core::mem::forget(core::mem::replace(&mut self.stage, Progress::Resolution(Resolution::Lead(lease))));
        } else {
            self.stage = Progress::Resolution(Resolution::Lead(lease));
        }
    }

    /// Returns whether the end of a flight is an answer to a caller that cannot report an error:
    /// that there is no value, to one that can report that.
    fn is_answer(&self, error: Option<&SharedError>) -> bool {
        self.manner.has(Manner::ABSENCE) && is_absence(error)
    }

    /// Begins to wait. The caller's deadlines count from the first time that it does.
    fn wait(&mut self, waiter: Waiter<'c, K, V>) {
        let Limits { wait_timeout, soft_timeout, hard_timeout, .. } = *self.limits();
        if self.began == NEVER && wait_timeout.min(soft_timeout).min(hard_timeout) != NEVER {
            self.began = self.core.get().config.wait_now();
        }
        self.stage = Progress::Wait(waiter);
    }

    /// Ends the lookup with a value that the caller came by in this way.
    fn served(&mut self, value: F::Out, outcome: Outcome) {
        self.count_lookup(outcome);
        self.stage = Progress::Resolution(Resolution::Value(value));
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
    fn refused(&mut self, old: Option<Entry<'c, K, V>>, why: Refusal) {
        self.stage = Progress::Resolution(match old {
            Some(old) => {
                // `why` may hold a user's error. Drop it before there is a result, which would leak
                // if that drop panicked.
                drop(why);
                Resolution::Value(self.make_do(old))
            }
            None if self.is_infallible() => Resolution::Alone,
            None => Resolution::Refused(why),
        });
    }

    /// Returns how long the caller waits: first if there is no old value for it, second if there is
    /// one.
    fn lengths(&self) -> (u64, u64) {
        let Limits { wait_timeout, soft_timeout, hard_timeout, .. } = *self.limits();
        let longest = if self.own { hard_timeout } else { hard_timeout.min(wait_timeout) };
        // An infallible caller cannot report that a wait takes too long. So it waits on for its own
        // load, which the spawner runs. Once `waits_on` is set, it does so for another's load, too.
        let without = if self.own && self.is_infallible() || self.waits_on { NEVER } else { longest };
        (without, if self.waits_on { NEVER } else { longest.min(soft_timeout) })
    }

    /// Begins the lookup, unless it has begun. Returns the waiter to sleep on, and until when;
    /// after the sleep the driver calls [`on`](Self::on). None: there is nothing to wait for, and
    /// the driver calls [`end`](Self::end).
    #[inline(always)]
    pub(crate) fn waits(&mut self) -> Option<(&mut Waiter<'c, K, V>, u64)> {
        if matches!(self.stage, Progress::New) {
            self.join_or_lead(&[]);
        }
        if matches!(self.stage, Progress::Resolution(_)) { None } else { self.waiter() }
    }

    fn waiter(&mut self) -> Option<(&mut Waiter<'c, K, V>, u64)> {
        let (without, with) = self.lengths();
        let asker = Asker { limits: limits_of(&self.limits, self.core.get()), manner: self.manner };
        let Progress::Wait(waiter) = &mut self.stage else { return None };
        let old = || asker.substitute(|| waiter.servable_stale(asker.limits.max_stale()));
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
        ended && self.limits().demand == Demand::ANEW && !self.own
    }

    /// Looks again after that wait, for a load that began since.
    fn look_again(&mut self, woken: Option<Woken<'c, K, V>>) {
        self.refuse(match woken {
            Some(Woken::Ready(entry)) => Some(entry),
            Some(Woken::Failed(_, old)) => old,
            _ => None,
        });
        self.join_or_lead(&[]);
    }

    /// Notes the one value that is too old for a forced caller, which has limits of its own.
    fn refuse(&mut self, old: Option<Entry<'c, K, V>>) {
        if let Some(limits) = &mut self.limits {
            limits.demand = Demand::since(old.as_ref().map_or(0, Entry::address));
        }
        self.refused = old.map(Box::new);
    }

    /// Goes on after a sleep: with the answer to the wait, or with None if its time has come first.
    pub(crate) fn on(&mut self, woken: Option<Woken<'c, K, V>>) {
        if self.was_first(&woken) {
            return self.look_again(woken);
        }
        match woken {
            Some(Woken::Ready(entry)) => {
                let outcome = if self.own { Outcome::Computed } else { Outcome::Coalesced };
                self.stage = Progress::Resolution(Resolution::Value(F::of_entry(entry, outcome)));
            }
            Some(Woken::Lead(lease)) => self.lead(lease),
            Some(Woken::Failed(error, old)) => {
                // There is no value any more.
                let old = old.filter(|_| !is_absence(error.as_ref()));
                // The old value is fresh again: a later flight has renewed it. So looking again
                // finds a hit.
                let renewed = !self.own
                    && !self.limits().demand.refuses()
                    && old.as_ref().is_some_and(|old| Entry::may_be_served(old, StaleWindow::Exactly(0)));
                let old = old.filter(|old| Entry::may_be_served(old, self.limits().if_error()));
                let old = self.asker().substitute(|| old);
                // An infallible caller looks again after an error, and not after panics: if loaders
                // panic each time, its own would be the next.
                let answer = is_panic(error.as_ref()) || self.is_answer(error.as_ref());
                let again = if old.is_some() { renewed } else { self.is_infallible() && !answer };
                if again {
                    // Drop these before there is a lease or a value, which would leak if a drop of
                    // the user's panicked.
                    drop((error, old));
                    self.join_or_lead(&[]);
                } else if old.is_none() && self.is_infallible() {
                    self.stage = Progress::Resolution(Resolution::Refused(Refusal::Failed(error)));
                } else {
                    self.refused(old, Refusal::Failed(error));
                }
            }
            Some(Woken::Again) => self.join_or_lead(&[]),
            Some(Woken::Overloaded) => self.refused(None, Refusal::Overloaded),
            None => {
                let Progress::Wait(waiter) = &self.stage else { return };
                let asker = self.asker();
                let old = asker.substitute(|| waiter.servable_stale(asker.limits.max_stale()));
                let without = self.began.saturating_add(self.lengths().0);
                if old.is_none() && self.core.get().config.wait_now() < without {
                    // The old value was removed meanwhile, or is too old by now. Only the load is
                    // left to wait for.
                    return;
                }
                if old.is_none() && self.manner.has(Manner::WAITS_ON) {
                    self.waits_on = true;
                    return;
                }
                self.count(Event::WaitTimeout);
                self.refused(old, Refusal::TimedOut);
            }
        }
    }

    /// Returns the lease, if this caller leads, where it is.
    #[inline(always)]
    pub(crate) fn leads(&mut self) -> Option<&mut Lease<'c, K, V>> {
        if let Progress::Resolution(Resolution::Lead(lease)) = &mut self.stage { Some(lease) } else { None }
    }

    /// Returns the value that the lookup keeps, for its driver to drop before there is a result.
    #[cfg(feature = "std")]
    pub(crate) fn keeps(&mut self) -> impl Sized + use<'c, K, V, Q, F> {
        self.refused.take()
    }

    /// Returns how the lookup ended. The driver calls it once, when there is nothing to wait for.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Resolution<'c, K, V, F::Out> {
        if matches!(self.stage, Progress::Resolution(Resolution::Alone)) {
            self.count(Event::Bypassed);
        }
        let Progress::Resolution(end) = &mut self.stage else { unreachable!("it has not ended") };
        core::mem::replace(end, Resolution::Alone)
    }
}

impl<'c, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> Drop for ReadThrough<'c, '_, K, V, Q, F> {
    fn drop(&mut self) {
        if !self.counted {
            self.core.get().counters.lookup(false);
        }
    }
}

/// Returns a caller's own limits, or else the cache's.
fn limits_of<'l, K, V>(own: &'l Option<Limits>, core: &'l Core<K, V>) -> &'l Limits {
    own.as_ref().unwrap_or(&core.config.limits)
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
