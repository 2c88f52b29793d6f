//! Lookups that make a caller a reader, a leader or a waiter, with handles of its own.

use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::Waiter;
use crate::engine::events::{CacheEvent, LoadKind};
use crate::engine::flight_ref::Flight;
use crate::engine::key::ToKey;
use crate::engine::missing::Place;
use crate::engine::outcome::Outcome;
use crate::engine::role::{Asker, Intent, Manner, Role};
use crate::engine::{Operation, PendingNode};
use crate::flight::failure::SharedError;
use crate::flight::node::Node;
use crate::flight::reentry;
use crate::reclaim::Pin;
use core::convert::Infallible;
use core::ptr::NonNull;
use equivalent::Equivalent;

/// The role of a caller of [`Cache::lease`](crate::Cache::lease) at a key.
#[non_exhaustive]
#[derive(Debug)]
#[must_use = "an ignored lease is a flight given up"]
pub enum Lookup<'c, K, V> {
    /// A value to use. With `stale_while_refresh` it may have expired.
    Hit(Entry<'c, K, V>),
    /// A value to use. This caller loads its replacement early: it is the first past the
    /// entry's mark ([`Refresh`](crate::Refresh)), XFetch chose it, or it took such a load over
    /// from another leader.
    Refresh(Entry<'c, K, V>, Lease<'c, K, V>),
    /// No value; this caller loads it.
    Lead(Lease<'c, K, V>),
    /// No value. Another caller is loading it; or this caller may not wait, and the waiter ends at
    /// once with [`Waited::Overloaded`](crate::Waited::Overloaded).
    Wait(Waiter<'c, K, V>),
}

/// A caller's role at a key, with handles that the caller owns.
pub(crate) enum OwnedRole<'c, K, V, T> {
    /// The caller's own form of the hit.
    Hit(T),
    Lead(Lease<'c, K, V>),
    Wait(Waiter<'c, K, V>),
    Full,
    Failed(Option<SharedError>),
}

/// Looks a key up, and joins or leads its flight if need be. `take` turns a hit into the caller's
/// own form of it, under the pin.
#[inline(always)]
pub(crate) fn acquire_role<'c, K, V, Q, T>(
    core: &CoreRef<'c, K, V>,
    hash: u64,
    q: &Q,
    intent: Intent<'_>,
    pin: impl Fn() -> Pin,
    take: impl Fn(&Node<K, V>, Outcome) -> Option<T>,
) -> OwnedRole<'c, K, V, T>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
{
    let mut spare = PendingNode::none(core.get());
    let operation = core.get().operation(pin());
    let place = operation.lead_if_missing(hash, q, intent, &mut spare);
    if let Place::Led(node) = place {
        if operation.is_quiet() {
            // The usual case. No user code runs as the operation ends, so the lease cannot be lost
            // in between: it is built where it goes.
            operation.end_quietly();
            let terms = (1, intent.or(LoadKind::Missing), intent.timed(), intent.counted());
            // SAFETY: `lead_if_missing` just gave us the lease and its reference, and, if it is
            // `counted`, its count.
            return OwnedRole::Lead(unsafe { Lease::new(core.clone(), Flight { node, old: None }, terms) });
        }
    }
    acquire_role_at((spare, operation, place), core, (hash, q), intent, (pin, take))
}

/// Goes on from what the caller has met at the key.
#[inline(never)]
fn acquire_role_at<'c, 'o, K, V, Q, T>(
    met: (PendingNode<'o, K, V>, Operation<'o, K, V>, Place<K, V>),
    core: &'o CoreRef<'c, K, V>,
    (hash, q): (u64, &Q),
    intent: Intent<'_>,
    (pin, take): (impl Fn() -> Pin, impl Fn(&Node<K, V>, Outcome) -> Option<T>),
) -> OwnedRole<'c, K, V, T>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
{
    let (mut spare, mut operation, mut place) = met;
    loop {
        let role = operation.join_or_lead(place, (hash, q), intent, &mut spare);
        if let Role::Lead { flight, lease, kind, counted } = role {
            if spare.is_none() && operation.is_quiet() {
                // As above.
                operation.end_quietly();
                let terms = (lease, kind, intent.timed(), counted);
                // SAFETY: `join_or_lead` just gave us the lease and its references, and, if it is
                // `counted`, its count.
                return OwnedRole::Lead(unsafe { Lease::new(core.clone(), flight, terms) });
            }
        }
        let met = match role {
            // None: the entry was removed a moment ago, so look again.
            Role::Hit(node, outcome) => take(node, outcome).inspect(|_| node.touch()).map(OwnedRole::Hit),
            Role::Lead { flight, lease, kind, counted } => {
                let terms = (lease, kind, intent.timed(), counted);
                // SAFETY: as above.
                Some(OwnedRole::Lead(unsafe { Lease::new(core.clone(), flight, terms) }))
            }
            Role::Wait { flight, lease, subscription, came } => {
                let heard = (subscription, came);
                let lead_timeout = intent.limits(&core.get().config.limits).lead_timeout;
                // SAFETY: `join_or_lead` just gave us the place among the waiters and the
                // references; the registration is with a bell of the core that `core` refers to.
                let waiter = unsafe { Waiter::new(core.clone(), flight, lease, heard, lead_timeout) };
                Some(OwnedRole::Wait(if matches!(intent, Intent::Value(_)) { waiter.observed() } else { waiter }))
            }
            Role::Full => Some(OwnedRole::Full),
            Role::Failed(error) => Some(OwnedRole::Failed(error)),
        };
        if let Some(met) = end(met, operation, spare) {
            if matches!(met, OwnedRole::Full) {
                core.get().observe_query(q, hash, [CacheEvent::Refused]);
            }
            return met;
        }
        spare = PendingNode::none(core.get());
        operation = core.get().operation(pin());
        place = operation.lead_if_missing(hash, q, intent, &mut spare);
    }
}

/// Ends the operation in which a caller has met its role.
///
/// The drops of the operation and of the spare node run user code (listeners, drops of values).
/// That code may ask for this key, and may panic. So `met` must still be in a local then: a panic
/// would otherwise lose its lease.
#[inline(never)]
fn end<'c, K, V, T>(
    mut met: Option<OwnedRole<'c, K, V, T>>,
    operation: Operation<'_, K, V>,
    spare: PendingNode<'_, K, V>,
) -> Option<OwnedRole<'c, K, V, T>> {
    let others_turn = operation.has_more_to_do();
    let end = move || drop((operation, spare));
    match &mut met {
        Some(OwnedRole::Lead(lease)) => {
            reentry::during(&[lease.flight()], end);
            if others_turn {
                // The time of that user code is not the loader's.
                lease.begin_load();
            }
        }
        _ => end(),
    }
    met
}

impl<'c, K, V> Lookup<'c, K, V> {
    /// Carries out [`Cache::lease_anew`](crate::Cache::lease_anew).
    pub(crate) fn anew<Q>(core: CoreRef<'c, K, V>, hash: u64, q: &Q, pin: impl Fn() -> Pin) -> Self
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        if core.get().overloaded() {
            core.get().observe_query(q, hash, [CacheEvent::Refused]);
            return Self::Wait(Waiter::overloaded(core));
        }
        match acquire_role(&core, hash, q, Intent::Refresh, pin, |_, _| None::<Infallible>) {
            OwnedRole::Hit(never) => match never {},
            OwnedRole::Lead(lease) => Self::Lead(lease),
            OwnedRole::Wait(waiter) => Self::Wait(waiter),
            OwnedRole::Full | OwnedRole::Failed(_) => Self::Wait(Waiter::overloaded(core)),
        }
    }

    /// Carries out [`Cache::lease`](crate::Cache::lease).
    pub(crate) fn at<Q>(core: CoreRef<'c, K, V>, hash: u64, q: &Q, pin: impl Fn() -> Pin) -> Self
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        if core.get().overloaded() {
            // Too much memory is retired for another flight to begin. A value that is there is
            // served all the same.
            let pin = pin();
            let live = core.get().find_live_held(&pin, hash, |k| q.equivalent(k));
            // SAFETY: `find_live_held` took the reference that is handed over; the word was seen to
            // have a value under the pin.
            let hit = live.map(|node| unsafe { Entry::new(core.clone(), NonNull::from(node)) });
            drop(pin);
            core.get().observe_query(q, hash, hit.is_none().then_some(CacheEvent::Refused));
            return hit.map_or_else(|| Self::Wait(Waiter::overloaded(core.clone())), Self::Hit);
        }
        let counted = |node: &Node<K, V>, _| {
            // SAFETY: the word of a hit was seen to have a value; `inc_ref` just took the reference
            // that is handed over.
            let entry = || unsafe { Entry::new(core.clone(), NonNull::from(node)) };
            node.inc_ref().then(entry)
        };
        let asker = Asker { limits: &core.get().config.limits, manner: Manner::BY_HAND };
        let met = acquire_role(&core, hash, q, Intent::Value(&asker), pin, counted);
        // The lookup is a hit if there is a value to use, no matter which caller refreshes it.
        core.get().counters.lookup(match &met {
            OwnedRole::Hit(_) => true,
            OwnedRole::Lead(lease) => lease.is_early(),
            _ => false,
        });
        match met {
            OwnedRole::Hit(entry) => Self::Hit(entry),
            OwnedRole::Lead(lease) => match lease.entry_of_old() {
                Some(entry) => Self::Refresh(entry, lease),
                None => Self::Lead(lease),
            },
            OwnedRole::Wait(waiter) => Self::Wait(waiter),
            OwnedRole::Full | OwnedRole::Failed(_) => Self::Wait(Waiter::overloaded(core)),
        }
    }
}
