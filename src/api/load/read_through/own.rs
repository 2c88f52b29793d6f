//! The load that this caller leads: how it ends, and what the caller gets for it.

use super::{Progress, ReadThrough, Resolution};
use crate::api::error::LoadError;
use crate::api::handle::entry::Entry;
use crate::api::handle::form::ReturnAs;
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::Waiter;
use crate::api::load::inline::{Due, InlineLimit};
use crate::engine::config::Limits;
use crate::engine::demand::Demand;
use crate::engine::key::ToKey;
use crate::engine::outcome::{Loaded, Outcome};
use crate::engine::stats::Event;
use crate::flight::failure::SharedError;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::xfetch::NEVER;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};
use equivalent::Equivalent;

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Ends the lookup of a caller whose load was lost and that has no other: with an old value if
    /// one may be served, and else with `why`. A lease that the caller was given meanwhile is
    /// handed over.
    pub(crate) fn lost<E>(
        &mut self,
        end: Resolution<'c, K, V, F::Out>,
        why: LoadError<E>,
    ) -> Result<F::Out, LoadError<E>> {
        let old = if let Resolution::Lead(lease) = &end { self.substitute(lease) } else { None };
        drop(end);
        old.map(|old| self.make_do(old)).ok_or(why)
    }

    /// Returns the old value in place of a new one that did not come.
    fn substitute(&self, lease: &Lease<'c, K, V>) -> Option<Entry<'c, K, V>> {
        self.asker().substitute(|| lease.servable_stale(self.limits().if_error()))
    }

    /// Ends a load that this caller leads and that gave no answer.
    #[cfg(feature = "std")]
    pub(crate) fn abandon<E>(&mut self, lease: Lease<'c, K, V>) -> Result<F::Out, LoadError<E>> {
        let old = self.substitute(&lease);
        lease.fail();
        old.map(|old| self.make_do(old)).ok_or(LoadError::Abandoned)
    }

    /// Returns the flight that this caller leads, if the lookup has come to that.
    pub(crate) fn flight(&self) -> Option<FlightId> {
        if let Progress::Resolution(Resolution::Lead(lease)) = &self.stage { Some(lease.flight()) } else { None }
    }

    /// Gives a lease to another thread or task to load. This caller then waits as any other does,
    /// or goes on with an old value that may be served.
    ///
    /// `load` also gets the flights that the load serves beside its own: those that this thread is
    /// loading, if the caller waits.
    pub(crate) fn hand_on(&mut self, mut lease: Lease<'c, K, V>, load: impl FnOnce(Lease<'c, K, V>, Vec<FlightId>)) {
        let old = self.meanwhile(&lease);
        let waiter = if old.is_none() { Waiter::of(&lease) } else { None };
        if self.limits().demand == Demand::ANEW {
            // Should another caller take the load over, its value is as new.
            self.refuse(lease.old_entry());
        }
        if waiter.is_some() && self.limits().while_wanted {
            lease.live_for_waiters();
        }
        load(lease, if waiter.is_some() { reentry::serving() } else { Vec::new() });
        match (old, waiter) {
            (Some((old, outcome)), _) => self.served(F::of_entry(old, outcome), outcome),
            (None, Some(waiter)) => {
                self.own = true;
                self.wait(waiter);
            }
            (None, None) => self.join_or_lead(&[]),
        }
    }

    /// Returns the value to serve while the load of a lease runs, if one may be served.
    pub(crate) fn meanwhile(&self, lease: &Lease<'c, K, V>) -> Option<(Entry<'c, K, V>, Outcome)> {
        if self.limits().demand.refuses() {
            return None;
        }
        if let Some(old) = lease.entry_of_old() {
            return Some((old, Outcome::Hit));
        }
        let old = lease.expired_within(self.limits().while_refresh())?;
        self.count(Event::StaleServe);
        Some((old, Outcome::Stale))
    }

    /// Ends a load that this caller led and that has panicked on the caller's thread: with the old
    /// value if it may be served, and else with the panic's message.
    #[cfg(feature = "std")]
    pub(crate) fn lost_to_panic<E>(
        &mut self,
        old: Option<Entry<'c, K, V>>,
        message: Arc<str>,
    ) -> Result<F::Out, LoadError<E>> {
        let old = old.filter(|old| Entry::may_be_served(old, self.limits().if_error()));
        let old = self.asker().substitute(|| old);
        old.map(|old| self.make_do(old)).ok_or(LoadError::Panicked(message))
    }

    /// Returns whether a leader cannot go on before its own load has ended.
    pub(crate) fn must_wait(&self, lease: &Lease<'c, K, V>) -> bool {
        let patient = self.limits().soft_timeout.min(self.limits().hard_timeout) == NEVER;
        let waits = || !lease.is_early() && lease.expired_within(self.limits().while_refresh()).is_none();
        patient && (self.limits().demand.refuses() || waits())
    }

    /// Returns the deadlines of this caller for a load that it polls itself.
    pub(crate) fn inline_limit(&self) -> InlineLimit {
        InlineLimit::new(&self.core, self.limits(), self.began)
    }

    /// Checks the deadlines of a caller that polls its own load. Ready if the caller stops waiting,
    /// with the result that it gets instead. `lease` is None for a load for the caller alone.
    pub(crate) fn poll_limit<E>(
        &mut self,
        limit: &mut InlineLimit,
        lease: Option<&Lease<'c, K, V>>,
        cx: &Context<'_>,
    ) -> Poll<Result<F::Out, LoadError<E>>> {
        loop {
            let due = core::task::ready!(limit.poll(&self.core, cx));
            let asker = self.asker();
            let old = |lease: &Lease<'c, K, V>| lease.guarded(|_| lease.servable_stale(asker.limits.max_stale()));
            let old = asker.substitute(|| lease.and_then(old));
            let refused = due == Due::Hard && !self.is_infallible();
            if old.is_none() && !refused {
                // There is no alternative to the load.
                continue;
            }
            self.count(Event::WaitTimeout);
            return Poll::Ready(old.map(|old| self.make_do(old)).ok_or(LoadError::TimedOut));
        }
    }

    /// Ends a lease with the result of this caller's load.
    pub(crate) fn finish<E>(
        &mut self,
        lease: Lease<'c, K, V>,
        loaded: Result<Loaded<V>, E>,
    ) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        self.lead(lease);
        self.finish_led(loaded)
    }

    /// As [`finish`](Self::finish), with the lease that the lookup has [come to](Self::leads).
    #[inline(always)]
    pub(crate) fn finish_led<E>(&mut self, loaded: Result<Loaded<V>, E>) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        match loaded {
            // The usual end. It is told apart here, where the compiler most often knows it.
            Ok(Loaded::New(value)) if self.limits().has_no_terms() => Ok(self.store(value)),
            loaded => {
                let lease = self.take_lease();
                self.finish_shared(lease, loaded.map_err(Arc::new))
            }
        }
    }

    /// Takes the lease of a lookup that has come to one.
    #[inline(always)]
    fn take_lease(&mut self) -> Lease<'c, K, V> {
        let Progress::Resolution(end) = &mut self.stage else { unreachable!("it has ended") };
        let Resolution::Lead(lease) = core::mem::replace(end, Resolution::Alone) else { unreachable!("it leads") };
        // Nothing in the stage is to be dropped any more.
        core::mem::forget(core::mem::replace(&mut self.stage, Progress::New));
        lease
    }

    /// Ends the lease with a value to which neither the loader nor the caller has given terms.
    #[inline(never)]
    fn store(&mut self, value: V) -> F::Out {
        let refuses = self.limits().demand.refuses();
        let outcome = match self.leads() {
            Some(lease) if !refuses && lease.is_early() => Outcome::Refreshed,
            _ => Outcome::Computed,
        };
        self.take_lease().store::<F>(value, outcome)
    }

    /// As [`finish`](Self::finish), with an error that other loads may share. If the load failed,
    /// the caller gets the old value if it may be served.
    #[inline(never)]
    pub(crate) fn finish_shared<E>(
        &mut self,
        lease: Lease<'c, K, V>,
        loaded: Result<Loaded<V>, Arc<E>>,
    ) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let outcome = match &loaded {
            Ok(Loaded::With(_, own) | Loaded::NotModifiedWith(own)) if own.from_tier => Outcome::FromTier,
            _ if !self.limits().demand.refuses() && lease.is_early() => Outcome::Refreshed,
            _ => Outcome::Computed,
        };
        let error = match loaded {
            Ok(loaded) => {
                let entry = lease.finish(loaded, self.limits())?;
                return Ok(F::of_entry(entry, outcome));
            }
            Err(error) => error,
        };
        let window = self.limits().if_error();
        let old = lease.guarded(|_| self.substitute(&lease).map(|old| F::of_entry(old, Outcome::Stale)));
        drop(lease.end(Some(error.clone() as SharedError), window));
        let Some(old) = old else { return Err(LoadError::Load(error)) };
        self.count_lookup(Outcome::Stale);
        self.count(Event::StaleServe);
        // The result is a local while the error is dropped. It would leak if it were already being
        // returned and that drop panicked.
        drop(error);
        Ok(old)
    }

    /// Returns the result of a caller that runs its loader for itself alone; a value is not stored.
    pub(crate) fn alone<E>(&self, loaded: Result<Loaded<V>, E>) -> Result<F::Out, LoadError<E>> {
        let value = loaded.map_err(|error| LoadError::Load(Arc::new(error)))?.into_value()?;
        Ok(F::alone(&self.core, self.q, self.hash, value))
    }
}

/// Ends the lease of a load in the background. A caller that began it waits as any other does.
pub(crate) fn deliver<K, V, E>(lease: Lease<'_, K, V>, loaded: Result<Loaded<V>, E>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    deliver_shared(lease, loaded.map_err(Arc::new), limits);
}

/// As [`deliver`], with an error that other loads may share.
pub(crate) fn deliver_shared<K, V, E>(lease: Lease<'_, K, V>, loaded: Result<Loaded<V>, Arc<E>>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    match loaded {
        Ok(loaded) => drop(lease.finish(loaded, limits)),
        Err(error) => drop(lease.end(Some(error), limits.if_error())),
    }
}
