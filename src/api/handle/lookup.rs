//! Getting on board at a key: what a lookup gives, with handles of the caller's own.

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
use core::ptr::NonNull;
use equivalent::Equivalent;

/// What [`Cache::lease`](crate::Cache::lease) found.
#[non_exhaustive]
#[derive(Debug)]
#[must_use = "an ignored lease is a flight given up"]
pub enum Lookup<'c, K, V> {
    /// A value to use; with `stale_while_refresh` one that is over, perhaps.
    Hit(Entry<'c, K, V>),
    /// A value to use, and this caller has been chosen to load its replacement early (XFetch).
    Refresh(Entry<'c, K, V>, Lease<'c, K, V>),
    /// No value; this caller loads it.
    Lead(Lease<'c, K, V>),
    /// No value; somebody else is loading it, or may not be waited for ([`Waited::Overloaded`](crate::Waited::Overloaded)).
    Wait(Waiter<'c, K, V>),
}

/// What a caller met, with handles of its own.
pub(crate) enum OwnedRole<'c, K, V, T> {
    /// What the caller made of the hit.
    Hit(T),
    Lead(Lease<'c, K, V>),
    Wait(Waiter<'c, K, V>),
    Full,
    Failed(Option<SharedError>),
}

/// Looks a key up and gets on board; `take` makes of a hit what the caller wants, under the pin.
pub(crate) fn acquire_role<'c, K, V, Q, T>(
    core: &CoreRef<'c, K, V>,
    hash: u64,
    q: &Q,
    wanted: Intent<'_>,
    pin: impl Fn() -> Pin,
    take: impl Fn(&Node<K, V>, Outcome) -> Option<T>,
) -> OwnedRole<'c, K, V, T>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
{
    let limits = if let Intent::Value(limits) = wanted { limits } else { &core.get().config.limits };
    loop {
        let mut spare = PendingNode::none(core.get());
        let operation = core.get().operation(pin());
        let mut met = match operation.join_or_lead(hash, q, wanted, &mut spare) {
            // None: it was removed just now.
            Role::Hit(node, outcome) => take(node, outcome).inspect(|_| node.touch()).map(OwnedRole::Hit),
            Role::Lead { flight, lease, kind, counted } => {
                // SAFETY: the lease and its shares were just given to us.
                let lease = unsafe { Lease::new(core.clone(), flight, lease, kind, (limits.timed, counted)) };
                Some(OwnedRole::Lead(lease))
            }
            Role::Wait { flight, lease, listening } => {
                // SAFETY: the place among the waiters and the shares were just given to us; the registration is with a
                // bell of the core that `core` refers to.
                let waiter = unsafe { Waiter::new(core.clone(), flight, lease, listening, limits.lead_timeout) };
                Some(OwnedRole::Wait(if matches!(wanted, Intent::Value(_)) { waiter.observed() } else { waiter }))
            }
            Role::Full => Some(OwnedRole::Full),
            Role::Failed(error) => Some(OwnedRole::Failed(error)),
        };
        // User code runs as these go (listeners, drops). It may ask for this key, and it may panic: then `met` must be
        // a local still, or its lease would be lost.
        let others_turn = operation.has_more_to_do();
        let end = move || drop((operation, spare));
        match &mut met {
            Some(OwnedRole::Lead(lease)) => {
                reentry::during(&[lease.flight()], end);
                if others_turn {
                    // What ran meanwhile is not the loader's time.
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
    /// [`Cache::lease`](crate::Cache::lease).
    pub(crate) fn at<Q>(core: CoreRef<'c, K, V>, hash: u64, q: &Q, pin: impl Fn() -> Pin) -> Self
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        let counted = |node: &Node<K, V>, _| {
            // SAFETY: a hit's word was seen valued; the share just taken is handed over.
            let entry = || unsafe { Entry::new(core.clone(), NonNull::from(node)) };
            node.inc_ref().then(entry)
        };
        if core.get().overloaded() {
            // Not a flight more; what is there is served all the same.
            let live =
                |pin: &Pin| core.get().find_live(pin, hash, |k| q.equivalent(k)).and_then(|n| counted(n, Outcome::Hit));
            let hit = live(&pin());
            core.get().observe_query(q, hash, hit.is_none().then_some(CacheEvent::Refused));
            return hit.map_or_else(|| Self::Wait(Waiter::overloaded(core.clone())), Self::Hit);
        }
        let met = acquire_role(&core, hash, q, Intent::Value(&core.get().config.limits), pin, counted);
        // A value to use, whoever refreshes it.
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
