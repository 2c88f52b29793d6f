//! Lookups that make a caller a reader, a leader or a waiter, with handles of its own.

use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::Waiter;
use crate::engine::PendingNode;
use crate::engine::events::CacheEvent;
use crate::engine::key::ToKey;
use crate::engine::outcome::Outcome;
use crate::engine::role::{Intent, Role};
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
    let limits = if let Intent::Value(limits) = intent { limits } else { &core.get().config.limits };
    loop {
        let mut spare = PendingNode::none(core.get());
        let operation = core.get().operation(pin());
        let mut met = match operation.join_or_lead(hash, q, intent, &mut spare) {
            // None: the entry was removed a moment ago, so look again.
            Role::Hit(node, outcome) => take(node, outcome).inspect(|_| node.touch()).map(OwnedRole::Hit),
            Role::Lead { flight, lease, kind, counted } => {
                // SAFETY: `join_or_lead` just gave us the lease and its references, and, if it is
                // `counted`, its count.
                let lease = unsafe { Lease::new(core.clone(), flight, lease, kind, (limits.timed, counted)) };
                Some(OwnedRole::Lead(lease))
            }
            Role::Wait { flight, lease, subscription, came } => {
                let heard = (subscription, came);
                // SAFETY: `join_or_lead` just gave us the place among the waiters and the
                // references; the registration is with a bell of the core that `core` refers to.
                let waiter = unsafe { Waiter::new(core.clone(), flight, lease, heard, limits.lead_timeout) };
                Some(OwnedRole::Wait(if matches!(intent, Intent::Value(_)) { waiter.observed() } else { waiter }))
            }
            Role::Full => Some(OwnedRole::Full),
            Role::Failed(error) => Some(OwnedRole::Failed(error)),
        };
        // The drops of the operation and of the spare node run user code (listeners, drops of
        // values). That code may ask for this key, and may panic. So `met` must still be in a local
        // then: a panic would otherwise lose its lease.
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
        if let Some(met) = met {
            if matches!(met, OwnedRole::Full) {
                core.get().observe_query(q, hash, [CacheEvent::Refused]);
            }
            return met;
        }
    }
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
        let counted = |node: &Node<K, V>, _| {
            // SAFETY: the word of a hit was seen to have a value; `inc_ref` just took the reference
            // that is handed over.
            let entry = || unsafe { Entry::new(core.clone(), NonNull::from(node)) };
            node.inc_ref().then(entry)
        };
        if core.get().overloaded() {
            // Too much memory is retired for another flight to begin. A value that is there is
            // served all the same.
            let live =
                |pin: &Pin| core.get().find_live(pin, hash, |k| q.equivalent(k)).and_then(|n| counted(n, Outcome::Hit));
            let hit = live(&pin());
            core.get().observe_query(q, hash, hit.is_none().then_some(CacheEvent::Refused));
            return hit.map_or_else(|| Self::Wait(Waiter::overloaded(core.clone())), Self::Hit);
        }
        let met = acquire_role(&core, hash, q, Intent::Value(&core.get().config.limits), pin, counted);
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
