//! Reading through: what a caller who wants a value does next, however it waits.
//!
//! One machine for threads and tasks. It never waits, holds no pin between its steps, and leaves two things to its driver
//! ([`blocking`](crate::blocking), [`future`](crate::future)): to run the loader, and to sleep on a [`Waiter`] until a time.

use crate::engine::Core;
use crate::engine::board::Wanted;
use crate::engine::config::Limits;
use crate::entry::{CoreRef, Entry};
use crate::error::{LoadError, SharedError};
use crate::expiry::NEVER;
use crate::flight::node::Node;
use crate::flight::reentry;
use crate::form::Form;
use crate::key::ToKey;
use crate::lease::Lease;
use crate::lookup::{Met, embark};
use crate::outcome::{Loaded, Outcome};
use crate::stats::Event;
use crate::waiter::{Waiter, Woken};
use alloc::sync::Arc;
use core::convert::Infallible;
use core::marker::PhantomData;
use core::time::Duration;
use equivalent::Equivalent;

/// A lookup that loads what it does not find.
pub(crate) struct Through<'c, 'q, K, V, Q: ?Sized, F: Form<'c, K, V>> {
    core: CoreRef<'c, K, V>,
    q: &'q Q,
    hash: u64,
    limits: Limits,
    /// There is no way to report an error: the failure of another is no answer, and a refusal means to load alone.
    lenient: bool,
    /// Whether the lookup was counted.
    counted: bool,
    /// Whether what is waited for is this caller's own load, which somebody else runs.
    own: bool,
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
    pub(crate) fn new(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, mut limits: Limits, lenient: bool) -> Self {
        limits.negative = !lenient;
        let stage = Stage::End(End::Alone);
        let (counted, own, began) = (false, false, NEVER);
        let mut this = Self { core, q, hash, limits, lenient, counted, own, began, stage, _form: PhantomData };
        this.stage = this.board();
        this
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn board(&mut self) -> Stage<'c, K, V, F::Out> {
        let (handle, core, q) = (&self.core, self.core.get(), self.q);
        // SAFETY: a hit's word was seen valued, and `take` runs under the pin it was found under.
        let take = |node: &Node<K, V>, outcome| unsafe { F::of_hit(handle, node, outcome) };
        let first = !core::mem::replace(&mut self.counted, true);
        self.own = false;
        if core.overloaded() {
            // Not a flight more; what is there is served all the same.
            let pin = core.limbo().enter();
            let value = core.live(&pin, self.hash, |k| q.equivalent(k)).and_then(|node| take(node, Outcome::Hit));
            return Stage::End(value.map_or(End::Alone, End::Value));
        }
        let met = embark(handle, self.hash, q, Wanted::Value(&self.limits), || core.limbo().enter(), take);
        if first {
            core.counters.lookup(matches!(met, Met::Hit(_)));
        }
        match met {
            Met::Hit(value) => Stage::End(End::Value(value)),
            Met::Lead(lease) => Stage::End(End::Lead(lease)),
            Met::Full => self.refused(None, Refusal::Overloaded),
            Met::Failed(error) => self.refused(None, Refusal::Failed(error)),
            Met::Wait(waiter) if reentry::loading(waiter.flight()) => {
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

    /// Makes do with an old value.
    fn make_do(&self, old: Entry<'c, K, V>) -> F::Out {
        self.core.get().count(Event::StaleServe);
        F::of_entry(old, Outcome::Stale)
    }

    /// Makes do with an old value, or goes without.
    fn refused(&self, old: Option<Entry<'c, K, V>>, why: Refusal) -> Stage<'c, K, V, F::Out> {
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
        // Its loader is with somebody else: without a way to report that this takes too long, it has nothing but that to wait for.
        (if self.own && self.lenient { NEVER } else { longest }, longest.min(soft))
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
                if if old.is_some() { renewed } else { self.lenient } {
                    // Before there is a lease or a value that would be lost if a drop of these panics.
                    drop((error, old));
                    self.board()
                } else {
                    self.refused(old, Refusal::Failed(error))
                }
            }
            Some(Woken::Again) => self.board(),
            Some(Woken::Overloaded) => self.refused(None, Refusal::Overloaded),
            None => {
                let Stage::Wait(waiter) = &self.stage else { return };
                let old = waiter.fallback(self.limits.patience());
                let without = self.began.saturating_add(self.lengths().0);
                if old.is_none() && self.core.get().config.wait_now() < without {
                    // The old value was removed meanwhile, or is too old by now: there is nothing but to wait on.
                    return;
                }
                self.core.get().count(Event::WaitTimeout);
                self.refused(old, Refusal::TimedOut)
            }
        };
    }

    /// How it ended. Called once, when there is nothing to wait for.
    pub(crate) fn end(&mut self) -> End<'c, K, V, F::Out> {
        match core::mem::replace(&mut self.stage, Stage::End(End::Alone)) {
            Stage::End(end) => {
                if matches!(end, End::Alone) {
                    self.core.get().count(Event::Bypassed);
                }
                end
            }
            Stage::Wait(_) => unreachable!("it still waits"),
        }
    }

    /// The load that this caller had was lost, and it has no other: what it gets, if anything. The lease that it may be given is
    /// handed over.
    pub(crate) fn lost<E>(&self, end: End<'c, K, V, F::Out>) -> Result<F::Out, LoadError<E>> {
        let old = if let End::Lead(lease) = &end { lease.fallback(self.limits.if_error) } else { None };
        drop(end);
        old.map(|old| self.make_do(old)).ok_or(LoadError::Abandoned)
    }

    /// A load that this caller leads has come to nothing.
    #[cfg(feature = "std")]
    pub(crate) fn abandon<E>(&self, lease: Lease<'c, K, V>) -> Result<F::Out, LoadError<E>> {
        let old = lease.fallback(self.limits.if_error);
        lease.fail();
        old.map(|old| self.make_do(old)).ok_or(LoadError::Abandoned)
    }

    /// Whether it would have to wait for a load that this thread is in the middle of.
    pub(crate) fn is_reentrant(&self) -> bool {
        matches!(self.stage, Stage::End(End::Refused(Refusal::Reentrant)))
    }

    /// The flight that it leads, if it has come to that.
    pub(crate) fn flight(&self) -> Option<usize> {
        if let Stage::End(End::Lead(lease)) = &self.stage { Some(lease.flight()) } else { None }
    }

    /// The lease, if it has come to that: to [land](Self::land), or to [hand on](Self::hand_on).
    pub(crate) fn lead(&mut self) -> Option<Lease<'c, K, V>> {
        if !matches!(self.stage, Stage::End(End::Lead(_))) {
            return None;
        }
        if let End::Lead(lease) = self.end() { Some(lease) } else { None }
    }

    /// Gives a lease to somebody else to load: this caller waits like any other, or goes on with an old value that may be
    /// served.
    pub(crate) fn hand_on(&mut self, lease: Lease<'c, K, V>, load: impl FnOnce(Lease<'c, K, V>)) {
        let old = self.meanwhile(&lease);
        let waiter = if old.is_none() { lease.follow() } else { None };
        load(lease);
        self.stage = match (old, waiter) {
            (Some((old, outcome)), _) => Stage::End(End::Value(F::of_entry(old, outcome))),
            (None, Some(waiter)) => {
                self.own = true;
                self.wait(waiter)
            }
            (None, None) => self.board(),
        };
    }

    /// The value to serve while a lease's load runs, if one may be.
    pub(crate) fn meanwhile(&self, lease: &Lease<'c, K, V>) -> Option<(Entry<'c, K, V>, Outcome)> {
        if let Some(old) = lease.entry_of_old() {
            return Some((old, Outcome::Hit));
        }
        let old = lease.fallback(self.limits.while_refresh).filter(|_| self.limits.while_refresh != 0)?;
        self.core.get().count(Event::StaleServe);
        Some((old, Outcome::Stale))
    }

    /// Whether a leader cannot go on before its own load has ended.
    #[cfg(feature = "std")]
    pub(crate) fn must_wait(&self, lease: &Lease<'c, K, V>) -> bool {
        let patient = self.limits.soft.min(self.limits.hard) == NEVER;
        patient
            && !lease.is_early()
            && (self.limits.while_refresh == 0 || lease.fallback(self.limits.while_refresh).is_none())
    }

    /// Ends a lease with what this caller's load came to.
    pub(crate) fn land<E>(&self, lease: Lease<'c, K, V>, loaded: Result<Loaded<V>, E>) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        land::<K, V, F, E>(lease, loaded, &self.limits)
    }

    /// A value that is not stored: of a caller that runs its loader for itself alone.
    pub(crate) fn alone<E>(&self, loaded: Result<Loaded<V>, E>) -> Result<F::Out, LoadError<E>> {
        match loaded {
            Ok(Loaded::New(value) | Loaded::NewFor(value, _) | Loaded::Unstored(value)) => {
                Ok(F::alone(&self.core, self.q, self.hash, value))
            }
            Ok(Loaded::NotModified) => Err(LoadError::Abandoned),
            Err(error) => Err(LoadError::Load(Arc::new(error))),
        }
    }
}

/// Ends a lease with what its load came to. If that failed, the old value is given while it may be served.
fn land<'c, K, V, F, E>(
    lease: Lease<'c, K, V>,
    loaded: Result<Loaded<V>, E>,
    limits: &Limits,
) -> Result<F::Out, LoadError<E>>
where
    F: Form<'c, K, V>,
    E: Send + Sync + 'static,
{
    let outcome = if lease.is_early() { Outcome::Refreshed } else { Outcome::Computed };
    let error = match loaded {
        Ok(loaded) => {
            let entry = settle(lease, loaded, limits).ok_or(LoadError::Abandoned)?;
            return Ok(F::of_entry(entry, outcome));
        }
        Err(error) => Arc::new(error),
    };
    let old = lease.guarded(|_| lease.fallback(limits.if_error).map(|old| F::of_entry(old, Outcome::Stale)));
    let core = lease.end(Some(error.clone() as SharedError), limits.if_error);
    let Some(old) = old else { return Err(LoadError::Load(error)) };
    core.get().count(Event::StaleServe);
    // The value is a local still as the error goes.
    drop((error, core));
    Ok(old)
}

/// Ends a lease with what was loaded. None: nothing was, nor is there an old value, and the flight is given up.
fn settle<'c, K, V>(lease: Lease<'c, K, V>, loaded: Loaded<V>, limits: &Limits) -> Option<Entry<'c, K, V>> {
    let (value, ttl) = match loaded {
        Loaded::New(value) => (value, limits.ttl),
        Loaded::NewFor(value, ttl) => (value, Some(ttl)),
        Loaded::Unstored(value) => (value, Some(Duration::ZERO)),
        Loaded::NotModified => return lease.renew_for(limits.ttl),
    };
    let (Ok(entry) | Err(entry)) = match ttl {
        Some(ttl) => lease.fulfil_with_ttl(value, ttl),
        None => lease.fulfil(value),
    };
    Some(entry)
}

/// The same for a load in the background, whose caller, if there is one, waits like any other.
pub(crate) fn deliver<K, V, E>(lease: Lease<'_, K, V>, loaded: Result<Loaded<V>, E>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    match loaded {
        Ok(loaded) => drop(settle(lease, loaded, limits)),
        Err(error) => drop(lease.end(Some(Arc::new(error)), limits.if_error)),
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

/// The value of a lookup that cannot fail.
pub(crate) fn certain<T>(found: Result<T, LoadError<Infallible>>) -> T {
    match found {
        Ok(value) => value,
        // A lenient lookup refuses nothing, and its loader has no error.
        Err(_) => unreachable!("a lookup that cannot fail has failed"),
    }
}
