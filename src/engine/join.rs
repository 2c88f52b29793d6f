//! What a caller who wants a value meets at a key, and how it gets on board: a hit, the lead of a flight, or a wait.

use super::config::Limits;
use super::events::{CacheEvent, LoadKind};
use super::flight_ref::Flight;
use super::key::ToKey;
use super::outcome::Outcome;
use super::role::{Intent, Role};
use super::spare::PendingNode;
use super::stats::Event;
use super::{Core, Freshness, Operation, Ptr, Shard};
use crate::flight::expiry::ExpiryWord;
use crate::flight::failure::Failure;
use crate::flight::node::Node;
use crate::flight::word::{GaveUp, Joined, State};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use crate::sys::sync::yield_now;
use crate::table::link::Link;
use crate::table::split_order::split_order;
use core::ptr::NonNull;
use equivalent::Equivalent;

impl<K, V> Core<K, V> {
    /// When a leader has held its lease for longer than `lead_timeout`; None: never, or when it began is not noted yet.
    pub(crate) fn noted_end(&self, node: &Node<K, V>, lease: u32, lead_timeout: u64) -> Option<u64> {
        if lead_timeout == NEVER || self.config.timeless() {
            return None;
        }
        Some(node.begun(lease)?.saturating_add(lead_timeout))
    }
}

impl<'c, K, V> Operation<'c, K, V> {
    /// Gets on board at `q`.
    pub(crate) fn join_or_lead<'s, Q>(
        &'s self,
        hash: u64,
        q: &Q,
        wanted: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
    ) -> Role<'s, K, V>
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        let shard = self.core.shard(hash);
        loop {
            let hit = |link: NonNull<Link>| q.equivalent(self.node(link).key());
            let place = self.core.table.search(self.pin(), hash, hit);
            let Some(found) = place.found else {
                // One share for the list, one for the lease.
                // Once more below: `to_key` is the user's, and not to be called in vain, nor with a lease counted.
                if self.core.leases_full(self.most_leases(wanted)) {
                    return Role::Full;
                }
                let node = self.begin(spare, || q.to_key(), (hash, wanted), 2);
                if !self.lease_begins(wanted) {
                    return Role::Full;
                }
                if self.core.table.insert(&place, Node::as_link(node)) {
                    spare.used();
                    let kind = wanted.or(LoadKind::Missing);
                    return self.leads(Flight { node, old: None }, 1, kind, wanted.counted());
                }
                self.lease_unused(wanted);
                continue;
            };
            let begin = |spare: &mut PendingNode<'c, K, V>| self.begin(spare, || q.to_key(), (hash, wanted), 1);
            if let Some(boarded) = self.join_at(shard, self.node(found), wanted, spare, begin) {
                return boarded;
            }
        }
    }

    /// `compute` has to have its turn.
    fn most_leases(&self, wanted: Intent<'_>) -> usize {
        let unbounded = matches!(wanted, Intent::Lease) || !wanted.counted();
        if unbounded { usize::MAX } else { self.core.config.max_loads }
    }

    /// Counts the lease of a new flight; false if there are too many.
    fn lease_begins(&self, wanted: Intent<'_>) -> bool {
        !wanted.counted() || self.core.lease_begins(self.most_leases(wanted))
    }

    /// Counts it out: there is no flight.
    fn lease_unused(&self, wanted: Intent<'_>) {
        if wanted.counted() {
            self.core.lease_ends();
        }
    }

    /// A node for a flight that begins now.
    fn begin(
        &self,
        spare: &mut PendingNode<'c, K, V>,
        key: impl FnOnce() -> K,
        (hash, wanted): (u64, Intent<'_>),
        shares: u32,
    ) -> Ptr<K, V> {
        let node = spare.ready(key, split_order(hash), shares);
        // SAFETY: our own node, not yet shared.
        unsafe { node.as_ref() }.set_begun(self.core.config.wait_now(), wanted.counted());
        node
    }

    /// A value that is over, for one who takes it within this `window`.
    fn serve_stale<'s>(
        &self,
        node: &'s Node<K, V>,
        wanted: Intent<'_>,
        window: impl FnOnce(&Limits) -> u64,
    ) -> Option<Role<'s, K, V>> {
        let Intent::Value(limits) = wanted else { return None };
        self.core.within_grace(node, window(limits)).then(|| {
            self.count_of(node, Event::StaleServe);
            Role::Hit(node, Outcome::Stale)
        })
    }

    fn leads<'s>(&'s self, flight: Flight<K, V>, lease: u32, kind: LoadKind, counted: bool) -> Role<'s, K, V> {
        self.core.counters.count(Event::Load);
        // SAFETY: the lease that is given has a share.
        self.observe_of(unsafe { flight.node.as_ref() }, || CacheEvent::LoadStarted { kind });
        Role::Lead { flight, lease, kind, counted }
    }

    /// At a node found by key; None: look again.
    fn join_at<'s>(
        &'s self,
        shard: &Shard<K, V>,
        node: &'s Node<K, V>,
        wanted: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
        begin: impl FnOnce(&mut PendingNode<'c, K, V>) -> Ptr<K, V>,
    ) -> Option<Role<'s, K, V>> {
        let flight = Flight { node: NonNull::from(node), old: None };
        match node.word.load().state() {
            State::Computing { lease, .. } if self.overdue(node, lease, wanted) => self.relieve(flight, lease),
            State::Computing { .. } | State::Publishing => self.join(flight, wanted),
            State::Empty { .. } => self.claim(flight),
            State::Ready => {
                let (hot, freshness) = (node.hot(), self.core.freshness(node));
                let hit = || Some(Role::Hit(node, Outcome::Hit));
                if wanted.value() && freshness == Freshness::Fresh {
                    return hit();
                }
                if freshness == Freshness::Expired && self.core.in_cooldown(node) {
                    if let Some(stale) = self.serve_stale(node, wanted, |l| l.stale_if_error) {
                        return Some(stale);
                    }
                }
                match self.refresh(node, (hot, freshness), wanted, spare, begin) {
                    // Somebody else refreshes it, or nobody more may load: the value is good.
                    None | Some(Role::Full) if wanted.value() && freshness == Freshness::Early => hit(),
                    Some(Role::Full) => {
                        let stale = self.serve_stale(node, wanted, Limits::max_stale);
                        stale.or(Some(Role::Full))
                    }
                    refreshing => refreshing,
                }
            }
            State::Refreshing(next) => self.join_successor(shard, node, next.cast(), wanted),
            State::Failed(error) if self.is_kept_failure(node, wanted) => {
                // SAFETY: found under this scope's pin.
                Some(Role::Failed(unsafe { Failure::shared(error) }))
            }
            State::Failed(_) | State::Dead | State::Closed => {
                self.clear_away(shard, node);
                None
            }
        }
    }

    /// Whether a failed flight is an answer to this caller.
    fn is_kept_failure(&self, node: &Node<K, V>, wanted: Intent<'_>) -> bool {
        matches!(wanted, Intent::Value(limits) if limits.negative) && self.core.keeps_failure(node)
    }

    /// Hangs a successor from an entry.
    fn refresh<'s>(
        &'s self,
        old: &'s Node<K, V>,
        (hot, freshness): (ExpiryWord, Freshness),
        wanted: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
        begin: impl FnOnce(&mut PendingNode<'c, K, V>) -> Ptr<K, V>,
    ) -> Option<Role<'s, K, V>> {
        if self.core.leases_full(self.most_leases(wanted)) {
            return Some(Role::Full);
        }
        let next = begin(spare);
        if !self.lease_begins(wanted) {
            return Some(Role::Full);
        }
        if !old.inc_ref() {
            self.lease_unused(wanted);
            return None;
        }
        let this = NonNull::from(old);
        if !old.word.refresh(next.cast()) {
            self.lease_unused(wanted);
            // SAFETY: the share taken above.
            unsafe { self.release(this) };
            return None;
        }
        spare.used();
        let flight = Flight { node: next, old: Some(this) };
        // (Of a good one with a time to idle that says nothing: it changes with each look.)
        let telling = freshness == Freshness::Expired || self.core.config.idle == NEVER;
        if wanted.value() && telling && old.hot() != hot {
            // Another has refreshed it since it was looked at: and failed, or confirmed it. Look again.
            self.lease_unused(wanted);
            // SAFETY: the lease and its shares are ours, and end here.
            unsafe {
                if next.as_ref().word.give_up(1, false) == GaveUp::Ended {
                    self.ended(flight);
                }
                self.release_flight(flight);
            }
            return None;
        }
        if freshness == Freshness::Early && wanted.value() {
            self.core.counters.count(Event::EarlyRefresh);
        }
        let kind = if freshness == Freshness::Expired { LoadKind::Expired } else { LoadKind::Early };
        Some(self.leads(flight, 1, wanted.or(kind), wanted.counted()))
    }

    /// At an entry that has a successor.
    fn join_successor<'s>(
        &'s self,
        shard: &Shard<K, V>,
        old: &'s Node<K, V>,
        successor: Ptr<K, V>,
        wanted: Intent<'_>,
    ) -> Option<Role<'s, K, V>> {
        // SAFETY: read from an entry found unmarked under the present pin: alive under it (see `Core::serving`).
        let next: &'s Node<K, V> = unsafe { successor.as_ref() };
        let flight = Flight { node: successor, old: Some(NonNull::from(old)) };
        match next.word.load().state() {
            // Whether the old value may be served or not: a leader that hangs is replaced by the first
            // caller who meets it.
            State::Computing { lease, .. } if self.overdue(next, lease, wanted) => self.relieve(flight, lease),
            _ if wanted.value() && self.core.is_fresh(old) => Some(Role::Hit(old, Outcome::Hit)),
            State::Computing { .. } | State::Publishing => {
                self.serve_stale(old, wanted, |l| l.stale_while_refresh).or_else(|| self.join(flight, wanted))
            }
            State::Empty { .. } => self.claim(flight),
            State::Failed(_) | State::Dead => {
                old.word.refresh_ended(successor.cast());
                None
            }
            _ if !wanted.value() => {
                // Its publisher is one step from putting it in the old entry's place; no user code is in between.
                yield_now();
                None
            }
            _ if self.core.is_fresh(next) => Some(Role::Hit(next, Outcome::Hit)),
            _ => {
                // Published, not yet swapped in, and over already.
                self.clear_away(shard, old);
                None
            }
        }
    }

    /// Whether a leader has held its lease for longer than this caller would wait for it.
    fn overdue(&self, node: &Node<K, V>, lease: u32, wanted: Intent<'_>) -> bool {
        let limits = if let Intent::Value(limits) = wanted { limits } else { &self.core.config.limits };
        self.core.noted_end(node, lease, limits.lead_timeout).is_some_and(|end| self.core.config.has_come(end))
    }

    /// Takes a flight over from a leader that has held this lease for too long. None: something has
    /// happened to it, look again.
    ///
    /// (It may have been removed since it was found: what this caller loads is then its own alone.)
    fn relieve<'s>(&'s self, flight: Flight<K, V>, lease: u32) -> Option<Role<'s, K, V>> {
        if !self.inc_refs(flight) {
            return None;
        }
        // SAFETY: we have a share of it.
        let node = unsafe { flight.node.as_ref() };
        // Asked before: if the lease is taken over it was still in force then, and this was noted
        // before the flight could be found.
        let counted = node.is_counted(lease);
        if let Some(number) = node.word.take_over(lease, false) {
            self.core.counters.count(Event::TakeOver);
            self.core.lease_moves(counted);
            return Some(self.leads(flight, number, LoadKind::TakenOver, true));
        }
        // SAFETY: the shares taken above.
        unsafe { self.release_flight(flight) };
        None
    }

    fn claim<'s>(&'s self, flight: Flight<K, V>) -> Option<Role<'s, K, V>> {
        if !self.inc_refs(flight) {
            return None;
        }
        // SAFETY: we have a share.
        if let Some(lease) = unsafe { flight.node.as_ref() }.word.claim() {
            self.core.counters.count(Event::Handover);
            // Of a load that was counted before: it is never refused.
            self.core.lease_begins(usize::MAX);
            return Some(self.leads(flight, lease, LoadKind::TakenOver, true));
        }
        // SAFETY: the shares taken above.
        unsafe { self.release_flight(flight) };
        None
    }

    pub(crate) fn join<'s>(&'s self, flight: Flight<K, V>, wanted: Intent<'_>) -> Option<Role<'s, K, V>> {
        // Registered first, counted in second: see `Bells::ring`.
        // SAFETY: it goes into a `Waiter`, which refers to the core, or is dropped here.
        let listen = || unsafe { self.core.bells.listen(flight.node.addr().get()) };
        let early = (!mutant("listens too late")).then(listen);
        if !self.inc_refs(flight) {
            return None;
        }
        // SAFETY: found under this scope's pin.
        let node: &'s Node<K, V> = unsafe { flight.node.as_ref() };
        let most = match wanted {
            Intent::Value(Limits { waits_on: false, .. }) => self.core.config.max_waiters,
            _ => u32::MAX,
        };
        let joined = node.word.join(most);
        match joined {
            Joined::Counted(_) | Joined::Publishing => {
                if wanted.value() {
                    self.count_of(node, Event::Coalesced);
                }
                let lease = if let Joined::Counted(lease) = joined { Some(lease) } else { None };
                let listening = early.unwrap_or_else(listen);
                return Some(Role::Wait { flight, lease, listening });
            }
            Joined::Full | Joined::Moved(_) => {
                // SAFETY: the shares taken above; the node is used under the pin from here on.
                unsafe { self.release_flight(flight) };
            }
        }
        // SAFETY: found under this scope's pin.
        let old = flight.old.map(|old| unsafe { &*old.as_ptr() });
        match joined {
            Joined::Full => {
                let stale = old.and_then(|old| self.serve_stale(old, wanted, |l| l.stale_if_error));
                stale.or(Some(Role::Full))
            }
            // (Not if a tag of it is invalidated: that may have been before we came.)
            Joined::Moved(word)
                if word.has_value()
                    && wanted.value()
                    && (!self.core.tag_invalidated(node) || mutant("outdated on board")) =>
            {
                // It was in flight as we came by: its value is ours, whatever became of the entry since.
                Some(Role::Hit(node, Outcome::Coalesced))
            }
            _ => None,
        }
    }
}
