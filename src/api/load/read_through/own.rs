//! What becomes of the load that this caller leads, and what it gets for it.

use super::{Progress, ReadThrough, Resolution};
use crate::api::error::LoadError;
use crate::api::handle::entry::Entry;
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::Waiter;
use crate::api::load::form::ReturnAs;
use crate::api::load::inline::{Due, InlineLimit};
use crate::engine::config::Limits;
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
    /// The load that this caller had was lost, and it has no other: what it gets, if anything. The lease that it may be given is
    /// handed over.
    pub(crate) fn lost<E>(
        &mut self,
        end: Resolution<'c, K, V, F::Out>,
        why: LoadError<E>,
    ) -> Result<F::Out, LoadError<E>> {
        let old =
            if let Resolution::Lead(lease) = &end { lease.servable_stale(self.limits.stale_if_error) } else { None };
        drop(end);
        old.map(|old| self.make_do(old)).ok_or(why)
    }

    /// A load that this caller leads has come to nothing.
    #[cfg(feature = "std")]
    pub(crate) fn abandon<E>(&mut self, lease: Lease<'c, K, V>) -> Result<F::Out, LoadError<E>> {
        let old = lease.servable_stale(self.limits.stale_if_error);
        lease.fail();
        old.map(|old| self.make_do(old)).ok_or(LoadError::Abandoned)
    }

    /// The flight that it leads, if it has come to that.
    pub(crate) fn flight(&self) -> Option<FlightId> {
        if let Progress::Resolution(Resolution::Lead(lease)) = &self.stage { Some(lease.flight()) } else { None }
    }

    /// Gives a lease to somebody else to load: this caller waits like any other, or goes on with an old value that may be
    /// served.
    ///
    /// `load` is told which flights the load serves beside its own: this caller's, if it waits.
    pub(crate) fn hand_on(&mut self, lease: Lease<'c, K, V>, load: impl FnOnce(Lease<'c, K, V>, Vec<FlightId>)) {
        let old = self.meanwhile(&lease);
        let waiter = if old.is_none() { Waiter::of(&lease) } else { None };
        load(lease, if waiter.is_some() { reentry::serving() } else { Vec::new() });
        self.stage = match (old, waiter) {
            (Some((old, outcome)), _) => Progress::Resolution(self.served(F::of_entry(old, outcome), outcome)),
            (None, Some(waiter)) => {
                self.own = true;
                self.wait(waiter)
            }
            (None, None) => self.join_or_lead(&[]),
        };
    }

    /// The value to serve while a lease's load runs, if one may be.
    pub(crate) fn meanwhile(&self, lease: &Lease<'c, K, V>) -> Option<(Entry<'c, K, V>, Outcome)> {
        if let Some(old) = lease.entry_of_old() {
            return Some((old, Outcome::Hit));
        }
        let old =
            lease.servable_stale(self.limits.stale_while_refresh).filter(|_| self.limits.stale_while_refresh != 0)?;
        self.count(Event::StaleServe);
        Some((old, Outcome::Stale))
    }

    /// A load that this caller led has panicked on its own thread: what it gets for it.
    #[cfg(feature = "std")]
    pub(crate) fn lost_to_panic<E>(
        &mut self,
        old: Option<Entry<'c, K, V>>,
        message: Arc<str>,
    ) -> Result<F::Out, LoadError<E>> {
        let old = old.filter(|old| Entry::may_be_served(old, self.limits.stale_if_error));
        old.map(|old| self.make_do(old)).ok_or(LoadError::Panicked(message))
    }

    /// Whether a leader cannot go on before its own load has ended.
    pub(crate) fn must_wait(&self, lease: &Lease<'c, K, V>) -> bool {
        let patient = self.limits.soft_timeout.min(self.limits.hard_timeout) == NEVER;
        patient
            && !lease.is_early()
            && (self.limits.stale_while_refresh == 0 || lease.servable_stale(self.limits.stale_while_refresh).is_none())
    }

    /// The deadlines of this caller for a load that it polls itself.
    pub(crate) fn inline_limit(&self) -> InlineLimit {
        InlineLimit::new(&self.core, &self.limits, self.began)
    }

    /// Whether a caller that polls its own load stops waiting for it: ready with what it gets instead.
    /// None: it polls for itself alone.
    pub(crate) fn poll_limit<E>(
        &mut self,
        limit: &mut InlineLimit,
        lease: Option<&Lease<'c, K, V>>,
        cx: &Context<'_>,
    ) -> Poll<Result<F::Out, LoadError<E>>> {
        loop {
            let due = core::task::ready!(limit.poll(&self.core, cx));
            let patience = self.limits.max_stale();
            let old = lease.and_then(|lease| lease.guarded(|_| lease.servable_stale(patience)));
            let refused = due == Due::Hard && !self.infallible;
            if old.is_none() && !refused {
                // There is nothing but the load to wait for.
                continue;
            }
            self.count(Event::WaitTimeout);
            return Poll::Ready(old.map(|old| self.make_do(old)).ok_or(LoadError::TimedOut));
        }
    }

    /// Ends a lease with what this caller's load came to.
    pub(crate) fn finish<E>(
        &mut self,
        lease: Lease<'c, K, V>,
        loaded: Result<Loaded<V>, E>,
    ) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        self.finish_shared(lease, loaded.map_err(Arc::new))
    }

    /// The same, with an error that other loads may have ended with, too. If the load failed, the old value is given while it may
    /// be served.
    pub(crate) fn finish_shared<E>(
        &mut self,
        lease: Lease<'c, K, V>,
        loaded: Result<Loaded<V>, Arc<E>>,
    ) -> Result<F::Out, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let outcome = if lease.is_early() { Outcome::Refreshed } else { Outcome::Computed };
        let error = match loaded {
            Ok(loaded) => {
                let entry = lease.finish(loaded, self.limits.ttl).ok_or(LoadError::NotModified)?;
                return Ok(F::of_entry(entry, outcome));
            }
            Err(error) => error,
        };
        let window = self.limits.stale_if_error;
        let old = lease.guarded(|_| lease.servable_stale(window).map(|old| F::of_entry(old, Outcome::Stale)));
        drop(lease.end(Some(error.clone() as SharedError), window));
        let Some(old) = old else { return Err(LoadError::Load(error)) };
        self.count_lookup(Outcome::Stale);
        self.count(Event::StaleServe);
        // The value is a local still as the error goes.
        drop(error);
        Ok(old)
    }

    /// A value that is not stored: of a caller that runs its loader for itself alone.
    pub(crate) fn alone<E>(&self, loaded: Result<Loaded<V>, E>) -> Result<F::Out, LoadError<E>> {
        match loaded {
            Ok(
                Loaded::New(value)
                | Loaded::NewFor(value, _)
                | Loaded::NewForExactly(value, _)
                | Loaded::Unstored(value),
            ) => Ok(F::alone(&self.core, self.q, self.hash, value)),
            Ok(Loaded::NotModified) => Err(LoadError::NotModified),
            Err(error) => Err(LoadError::Load(Arc::new(error))),
        }
    }
}

/// Ends the lease of a load in the background. Its caller, if there is one, waits like any other.
pub(crate) fn deliver<K, V, E>(lease: Lease<'_, K, V>, loaded: Result<Loaded<V>, E>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    deliver_shared(lease, loaded.map_err(Arc::new), limits);
}

/// The same, with an error that other loads may have ended with, too.
pub(crate) fn deliver_shared<K, V, E>(lease: Lease<'_, K, V>, loaded: Result<Loaded<V>, Arc<E>>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    match loaded {
        Ok(loaded) => drop(lease.finish(loaded, limits.ttl)),
        Err(error) => drop(lease.end(Some(error), limits.stale_if_error)),
    }
}
