//! Joining or leading: the role that a caller gets at a key. It gets a hit, leads a flight, or
//! waits for one.

use super::config::Limits;
use super::events::LoadKind;
use super::flight_ref::Flight;
use super::key::ToKey;
use super::missing::Place;
use super::outcome::Outcome;
use super::role::{Intent, LATE, Manner, Role};
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
use core::ptr::NonNull;
use equivalent::Equivalent;

impl<K, V> Core<K, V> {
    /// Returns when a leader will have held its lease for longer than `lead_timeout`, and no
    /// earlier: late by as much as the note may be early. (Only first leases are noted coarsely,
    /// and only where plain loads are not timed.) `None`: never, or the beginning of the lease is
    /// not noted yet.
    pub(crate) fn noted_end(&self, node: &Node<K, V>, lease: u32, lead_timeout: u64) -> Option<u64> {
        if lead_timeout == NEVER || self.config.timeless() {
            return None;
        }
        // (With no time at all the caller takes over at once, whenever the lease began.)
        let precise = lead_timeout == 0 || lease != 1 || self.config.times_plain_loads;
        let late = if precise { 0 } else { self.config.behind() };
        Some(node.begun(lease)?.saturating_add(lead_timeout).saturating_add(late))
    }
}

impl<'c, K, V> Operation<'c, K, V> {
    /// Gives the caller a role at the key `q`, from what the caller has met there at first.
    pub(crate) fn join_or_lead<'s, Q>(
        &'s self,
        mut place: Place<K, V>,
        (hash, q): (u64, &Q),
        intent: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
    ) -> Role<'s, K, V>
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        loop {
            match place {
                Place::Led(node) => {
                    let (kind, counted) = (intent.or(LoadKind::Missing), intent.counted());
                    return Role::Lead { flight: Flight { node, old: None }, lease: 1, kind, counted };
                }
                Place::Found(found) => {
                    let begin = |spare: &mut PendingNode<'c, K, V>| self.begin(spare, || q.to_key(), (hash, intent), 1);
                    if let Some(role) = self.join_at(self.core.shard(hash), self.node(found), intent, spare, begin) {
                        return role;
                    }
                }
                Place::Changed => {}
                Place::Full => return Role::Full,
            }
            place = self.lead_if_missing(hash, q, intent, spare);
        }
    }

    /// Returns the bound on leases for this caller. There is none for `compute`, which must have
    /// its turn, and none for a lease that is not counted.
    pub(super) fn most_leases(&self, intent: Intent<'_>) -> usize {
        let unbounded = matches!(intent, Intent::Lease) || !intent.counted();
        if unbounded { usize::MAX } else { self.core.config.max_loads }
    }

    /// Counts the lease of a new flight. Returns false if there are too many leases.
    fn lease_begins(&self, intent: Intent<'_>) -> bool {
        !intent.counted() || self.core.lease_begins(self.most_leases(intent))
    }

    /// Counts out a lease whose flight did not come about.
    fn lease_unused(&self, intent: Intent<'_>) {
        if intent.counted() {
            self.core.lease_ends();
        }
    }

    fn leads<'s>(&'s self, flight: Flight<K, V>, lease: u32, kind: LoadKind, counted: bool) -> Role<'s, K, V> {
        // SAFETY: the lease that the caller is given owns a reference.
        self.note_lead(unsafe { flight.node.as_ref() }, kind);
        Role::Lead { flight, lease, kind, counted }
    }

    /// Gives the caller a role at a node that was found by key. `None`: look again.
    fn join_at<'s>(
        &'s self,
        shard: &Shard<K, V>,
        node: &'s Node<K, V>,
        intent: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
        begin: impl FnOnce(&mut PendingNode<'c, K, V>) -> Ptr<K, V>,
    ) -> Option<Role<'s, K, V>> {
        let flight = Flight { node: NonNull::from(node), old: None };
        match node.word.load().state() {
            State::Computing { lease, .. } if self.overdue(node, lease, intent) => self.relieve(flight, lease),
            State::Computing { .. } | State::Publishing => self.join(flight, intent),
            State::Empty { .. } => self.claim(flight),
            State::Ready => {
                let (hot, freshness) = (node.hot(), self.core.freshness_for(node, intent.demand()));
                let hit = || Some(Role::Hit(node, intent.demand().outcome_of_hit()));
                if intent.value() && freshness == Freshness::Fresh {
                    return hit();
                }
                if freshness == Freshness::Expired && !intent.demand().refuses() && self.core.in_cooldown(node) {
                    if let Some(stale) = self.serve_stale(node, intent, Limits::if_error) {
                        return Some(stale);
                    }
                }
                match self.refresh(node, (hot, freshness), intent, spare, begin) {
                    // Another caller refreshes the entry, or no more loads may begin. The value is
                    // fresh all the same.
                    None | Some(Role::Full) if intent.value() && freshness == Freshness::Early => hit(),
                    Some(Role::Full) => {
                        let stale = self.serve_stale(node, intent, Limits::max_stale);
                        stale.or(Some(Role::Full))
                    }
                    refreshing => refreshing,
                }
            }
            State::Refreshing(next) => self.join_successor(shard, node, next.cast(), intent),
            State::Failed(error) if self.is_kept_failure(node, intent) => {
                // SAFETY: the node was found under this operation's pin, which keeps it alive.
                Some(Role::Failed(unsafe { Failure::shared(error) }))
            }
            State::Failed(_) | State::Dead | State::Closed => {
                self.clear_away(shard, node);
                None
            }
        }
    }

    /// Hangs a successor from an entry.
    fn refresh<'s>(
        &'s self,
        old: &'s Node<K, V>,
        (hot, freshness): (ExpiryWord, Freshness),
        intent: Intent<'_>,
        spare: &mut PendingNode<'c, K, V>,
        begin: impl FnOnce(&mut PendingNode<'c, K, V>) -> Ptr<K, V>,
    ) -> Option<Role<'s, K, V>> {
        if self.core.leases_full(self.most_leases(intent)) {
            return Some(Role::Full);
        }
        let next = begin(spare);
        if !self.lease_begins(intent) {
            return Some(Role::Full);
        }
        if !old.inc_ref() {
            self.lease_unused(intent);
            return None;
        }
        let this = NonNull::from(old);
        if !old.word.refresh(next.cast()) {
            self.lease_unused(intent);
            // SAFETY: the reference was taken above; the node is used only under this operation's
            // pin.
            unsafe { self.release(this) };
            return None;
        }
        spare.used();
        let flight = Flight { node: next, old: Some(this) };
        // With a time to idle, the expiry word of a fresh entry says nothing: each use may change
        // it.
        let telling = freshness == Freshness::Expired || self.core.config.idle == NEVER;
        if intent.value() && telling && old.hot() != hot {
            // Since this caller looked at the entry, another refreshed it, and failed or confirmed
            // it. Look again.
            self.lease_unused(intent);
            // SAFETY: the lease and its references are this caller's own, and end here.
            unsafe {
                if next.as_ref().word.give_up(1, false) == GaveUp::Ended {
                    self.ended(flight);
                }
                self.release_flight(flight);
            }
            return None;
        }
        if freshness == Freshness::Early && intent.value() {
            self.core.counters.count(Event::EarlyRefresh);
        }
        let kind = match freshness {
            Freshness::Expired => LoadKind::Expired,
            Freshness::TooOld => LoadKind::Forced,
            Freshness::Fresh | Freshness::Early => LoadKind::Early,
        };
        Some(self.leads(flight, 1, intent.or(kind), intent.counted()))
    }

    /// Gives the caller a role at an entry that has a successor.
    fn join_successor<'s>(
        &'s self,
        shard: &Shard<K, V>,
        old: &'s Node<K, V>,
        successor: Ptr<K, V>,
        intent: Intent<'_>,
    ) -> Option<Role<'s, K, V>> {
        // SAFETY: read from an entry that was found unmarked under the present pin, which keeps the
        // successor alive (see `Core::serving_successor`).
        let next: &'s Node<K, V> = unsafe { successor.as_ref() };
        let flight = Flight { node: successor, old: Some(NonNull::from(old)) };
        match next.word.load().state() {
            // The first caller that meets a leader that hangs replaces it, even if the old value
            // may be served.
            State::Computing { lease, .. } if self.overdue(next, lease, intent) => self.relieve(flight, lease),
            _ if intent.value() && self.serves(old, intent) => Some(Role::Hit(old, intent.demand().outcome_of_hit())),
            State::Computing { .. } | State::Publishing => {
                // A caller that demands a new value waits for it, even if it takes an old one
                // where the load fails.
                let stale = || self.serve_stale(old, intent, Limits::while_refresh);
                (!intent.demand().refuses()).then(stale).flatten().or_else(|| self.join(flight, intent))
            }
            State::Empty { .. } => self.claim(flight),
            State::Failed(_) | State::Dead => {
                old.word.refresh_ended(successor.cast());
                None
            }
            _ if !intent.value() => {
                // The publisher is one step from putting the successor in the old entry's place. No
                // user code runs in between.
                yield_now();
                None
            }
            _ if self.serves(next, intent) => Some(Role::Hit(next, intent.demand().outcome_of_hit())),
            _ if self.core.is_fresh(next) => {
                // It is not new enough for this caller, which refreshes it as soon as it is in the
                // old entry's place. No user code runs before that.
                yield_now();
                None
            }
            _ => {
                // The successor is published, not yet in the old entry's place, and has expired
                // already.
                self.clear_away(shard, old);
                None
            }
        }
    }

    /// Returns whether a leader has held its lease for longer than this caller would wait for it.
    fn overdue(&self, node: &Node<K, V>, lease: u32, intent: Intent<'_>) -> bool {
        let limits = intent.limits(&self.core.config.limits);
        self.core.noted_end(node, lease, limits.lead_timeout).is_some_and(|end| self.core.config.has_come(end))
    }

    /// Takes a flight over from a leader that has held this lease for too long. `None`: the flight
    /// has changed, look again.
    ///
    /// The flight may have been removed since it was found. Then the value that this caller loads
    /// is not stored, and only handed over.
    fn relieve<'s>(&'s self, flight: Flight<K, V>, lease: u32) -> Option<Role<'s, K, V>> {
        if !self.inc_refs(flight) {
            return None;
        }
        // SAFETY: `inc_refs` took a reference to it.
        let node = unsafe { flight.node.as_ref() };
        // Asked before the take-over: if that succeeds, the lease was still in force here, and this
        // note was written before the flight could be found.
        let counted = node.is_counted(lease);
        if let Some(number) = node.word.take_over(lease, false) {
            self.core.counters.count(Event::TakeOver);
            self.core.lease_moves(counted);
            return Some(self.leads(flight, number, LoadKind::TakenOver, true));
        }
        // SAFETY: the references were taken above; the nodes are used only under this operation's
        // pin.
        unsafe { self.release_flight(flight) };
        None
    }

    fn claim<'s>(&'s self, flight: Flight<K, V>) -> Option<Role<'s, K, V>> {
        if !self.inc_refs(flight) {
            return None;
        }
        // SAFETY: `inc_refs` took a reference to it.
        if let Some(lease) = unsafe { flight.node.as_ref() }.word.claim() {
            self.core.counters.count(Event::Handover);
            // The load was admitted before, so its next lease is never refused.
            self.core.lease_begins(usize::MAX);
            return Some(self.leads(flight, lease, LoadKind::TakenOver, true));
        }
        // SAFETY: the references were taken above; the nodes are used only under this operation's
        // pin.
        unsafe { self.release_flight(flight) };
        None
    }

    /// Joins a flight that this operation has found. Returns None if the key is to be looked up
    /// again: the flight has ended, or was removed.
    pub(crate) fn join<'s>(&'s self, flight: Flight<K, V>, intent: Intent<'_>) -> Option<Role<'s, K, V>> {
        self.join_with(flight, intent, || self.inc_refs(flight))
    }

    /// Joins a flight of which the caller holds references, so also one that was removed. Returns
    /// None if the flight has ended, or has another leader.
    pub(crate) fn join_own<'s>(&'s self, flight: Flight<K, V>, intent: Intent<'_>) -> Option<Role<'s, K, V>> {
        let share = || {
            self.add_refs(flight);
            true
        };
        self.join_with(flight, intent, share)
    }

    fn join_with<'s>(
        &'s self,
        flight: Flight<K, V>,
        intent: Intent<'_>,
        share: impl FnOnce() -> bool,
    ) -> Option<Role<'s, K, V>> {
        // Register with the bell first, then be counted in: see `Bells::ring`.
        // SAFETY: the registration goes into a `Waiter`, which keeps the core and its bells alive,
        // or is dropped in this function.
        let listen = || unsafe { self.core.bells.listen(flight.node.addr().get()) };
        let early = (!mutant("listens too late")).then(listen);
        if !share() {
            return None;
        }
        // SAFETY: the node was found under this operation's pin, which keeps it alive, or the
        // caller's reference does.
        let node: &'s Node<K, V> = unsafe { flight.node.as_ref() };
        let most = match intent {
            Intent::Value(asker) if !asker.manner.has(Manner::WAITS_ON) => self.core.config.max_waiters,
            _ => u32::MAX,
        };
        let joined = node.word.join(most);
        match joined {
            Joined::Counted(_) | Joined::Publishing => {
                let late = intent.value() && node.was_fenced();
                let came = match late && !mutant("a fenced load for a late caller") {
                    true => LATE,
                    false => self.core.tag_sequence(),
                };
                if intent.value() {
                    self.count_of(node, Event::Coalesced);
                }
                let lease = if let Joined::Counted(lease) = joined { Some(lease) } else { None };
                let subscription = early.unwrap_or_else(listen);
                return Some(Role::Wait { flight, lease, subscription, came });
            }
            Joined::Full | Joined::Moved(_) => {
                // SAFETY: the references were taken above; from here on the nodes are used only
                // under the pin.
                unsafe { self.release_flight(flight) };
            }
        }
        // SAFETY: the node was found under this operation's pin, which keeps it alive.
        let old = flight.old.map(|old| unsafe { &*old.as_ptr() });
        match joined {
            Joined::Full => {
                let stale = old.and_then(|old| self.serve_stale(old, intent, Limits::if_error));
                stale.or(Some(Role::Full))
            }
            // Not if one of its tags was invalidated: that may have happened before this caller
            // came.
            Joined::Moved(word)
                if word.has_value()
                    && intent.value()
                    && self.core.is_new_enough(node, intent.demand())
                    && (!self.core.is_outdated(node) && !node.was_fenced() || mutant("outdated on board")) =>
            {
                // The load was in flight when this caller came. So its value answers the caller,
                // even if the entry was removed since.
                Some(Role::Hit(node, Outcome::Coalesced))
            }
            _ => None,
        }
    }
}
