//! What a caller who wants a value meets at a key, and how it gets on board: a hit, the lead of a flight, or a wait.

use super::removal::Unlinked;
use super::{Freshness, Ptr, Scope, Shard};
use crate::flight::bell::Listening;
use crate::flight::node::Node;
use crate::flight::word::{Joined, State};
use crate::key::ToKey;
use crate::link::Link;
use crate::observer::{CacheEvent, LoadKind};
use crate::stats::Event;
use crate::sync::mutant;
use crate::table::order_of;
use core::ptr::NonNull;
use equivalent::Equivalent;

/// What the caller came for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A value that may be served.
    Value,
    /// The key's lease, whatever value there is.
    Lease,
}

impl Wanted {
    /// What a load is for that would be `kind` if it were one.
    fn or(self, kind: LoadKind) -> LoadKind {
        if self == Self::Lease { LoadKind::Compute } else { kind }
    }
}

/// A flight, with the entry that it refreshes. Whoever holds this owns a share of each.
pub(crate) struct Flight<K, V> {
    pub(crate) node: Ptr<K, V>,
    pub(crate) old: Option<Ptr<K, V>>,
}

impl<K, V> Clone for Flight<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Flight<K, V> {}

/// How it went.
pub(crate) enum Boarded<'s, K, V> {
    /// This value may be served.
    Hit(&'s Node<K, V>),
    /// The caller leads.
    Lead { flight: Flight<K, V>, lease: u32, kind: LoadKind },
    /// Somebody else leads: wait. `counted`: the flight counts this waiter.
    Wait { flight: Flight<K, V>, counted: bool, listening: Listening },
    /// The flight can count no more waiters.
    Full,
}

/// A node for a flight that this caller might begin, kept over attempts. Declared outside of the scope, so that an
/// unused key is not dropped under the pin.
pub(crate) struct Spare<K, V>(Option<Unlinked<K, V>>);

impl<K, V> Spare<K, V> {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    fn ready(&mut self, key: impl FnOnce() -> K, order: u32, shares: u32) -> Ptr<K, V> {
        let node = self.0.get_or_insert_with(|| Unlinked(Node::flight(key(), order))).0;
        // SAFETY: our own node, not yet shared.
        unsafe { node.as_ref() }.set_shares(shares);
        node
    }

    fn used(&mut self) {
        if let Some(node) = self.0.take() {
            node.linked();
        }
    }
}

impl<'c, K, V> Scope<'c, K, V> {
    /// Gets on board at `q`.
    pub(crate) fn board<'s, Q>(&'s self, hash: u64, q: &Q, wanted: Wanted, spare: &mut Spare<K, V>) -> Boarded<'s, K, V>
    where
        Q: ?Sized + Equivalent<K> + ToKey<K>,
    {
        let shard = self.core.shard(hash);
        loop {
            let hit = |link: NonNull<Link>| q.equivalent(self.node(link).key());
            let place = shard.table.search(self.pin(), hash, hit);
            let Some(found) = place.found else {
                // One share for the list, one for the lease.
                let node = spare.ready(|| q.to_key(), order_of(hash), 2);
                if !self.core.lease_begins(self.most_leases(wanted)) {
                    return Boarded::Full;
                }
                if shard.table.insert(&place, Node::as_link(node)) {
                    spare.used();
                    return self.leads(Flight { node, old: None }, 1, wanted.or(LoadKind::Missing));
                }
                self.core.lease_ends();
                continue;
            };
            let begin = |spare: &mut Spare<K, V>| spare.ready(|| q.to_key(), order_of(hash), 1);
            if let Some(boarded) = self.meet(shard, self.node(found), wanted, spare, begin) {
                return boarded;
            }
        }
    }

    /// `compute` has to have its turn.
    fn most_leases(&self, wanted: Wanted) -> usize {
        if wanted == Wanted::Lease { usize::MAX } else { self.core.config.max_loads }
    }

    /// A value that is over, for one who need not wait for the next.
    fn serve_stale<'s>(&self, node: &'s Node<K, V>, wanted: Wanted) -> Option<Boarded<'s, K, V>> {
        (wanted == Wanted::Value && self.core.stale(node)).then(|| {
            self.count(Event::StaleServe);
            Boarded::Hit(node)
        })
    }

    fn leads<'s>(&'s self, flight: Flight<K, V>, lease: u32, kind: LoadKind) -> Boarded<'s, K, V> {
        self.count(Event::Load);
        self.observe(|| CacheEvent::LoadStarted { kind });
        Boarded::Lead { flight, lease, kind }
    }

    /// At a node found by key; None: look again.
    fn meet<'s>(
        &'s self,
        shard: &Shard<K, V>,
        node: &'s Node<K, V>,
        wanted: Wanted,
        spare: &mut Spare<K, V>,
        begin: impl FnOnce(&mut Spare<K, V>) -> Ptr<K, V>,
    ) -> Option<Boarded<'s, K, V>> {
        let flight = Flight { node: NonNull::from(node), old: None };
        match node.word.load().state() {
            State::Computing { .. } | State::Publishing => self.join(flight, wanted),
            State::Empty { .. } => self.claim(flight),
            State::Ready => {
                let freshness = self.core.freshness(node);
                if wanted == Wanted::Value && freshness == Freshness::Good {
                    return Some(Boarded::Hit(node));
                }
                match self.refresh(node, freshness, wanted, spare, begin) {
                    // Somebody else refreshes it, or nobody more may load: the value is good.
                    None | Some(Boarded::Full) if wanted == Wanted::Value && freshness == Freshness::Early => {
                        Some(Boarded::Hit(node))
                    }
                    Some(Boarded::Full) => self.serve_stale(node, wanted).or(Some(Boarded::Full)),
                    refreshing => refreshing,
                }
            }
            State::Refreshing(_) if wanted == Wanted::Value && self.core.good(node) => Some(Boarded::Hit(node)),
            State::Refreshing(next) => self.meet_successor(shard, node, next.cast(), wanted),
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
        freshness: Freshness,
        wanted: Wanted,
        spare: &mut Spare<K, V>,
        begin: impl FnOnce(&mut Spare<K, V>) -> Ptr<K, V>,
    ) -> Option<Boarded<'s, K, V>> {
        let next = begin(spare);
        if !self.core.lease_begins(self.most_leases(wanted)) {
            return Some(Boarded::Full);
        }
        if !old.share() {
            self.core.lease_ends();
            return None;
        }
        let this = NonNull::from(old);
        if !old.word.refresh(next.cast()) {
            self.core.lease_ends();
            // SAFETY: the share taken above.
            unsafe { self.release(this) };
            return None;
        }
        spare.used();
        if freshness == Freshness::Early {
            self.count(Event::EarlyRefresh);
        }
        let kind = if freshness == Freshness::Over { LoadKind::Expired } else { LoadKind::Early };
        Some(self.leads(Flight { node: next, old: Some(this) }, 1, wanted.or(kind)))
    }

    /// At the successor of an entry that does not do for this caller.
    fn meet_successor<'s>(
        &'s self,
        shard: &Shard<K, V>,
        old: &'s Node<K, V>,
        successor: Ptr<K, V>,
        wanted: Wanted,
    ) -> Option<Boarded<'s, K, V>> {
        // SAFETY: read from an entry found unmarked under the present pin: alive under it (see `Core::serving`).
        let next: &'s Node<K, V> = unsafe { successor.as_ref() };
        let flight = Flight { node: successor, old: Some(NonNull::from(old)) };
        match next.word.load().state() {
            State::Computing { .. } | State::Publishing => {
                self.serve_stale(old, wanted).or_else(|| self.join(flight, wanted))
            }
            State::Empty { .. } => self.claim(flight),
            State::Failed(_) | State::Dead => {
                old.word.refresh_ended(successor.cast());
                None
            }
            _ if wanted == Wanted::Lease => {
                // Its publisher is one step from putting it in the old entry's place; no user code is in between.
                core::hint::spin_loop();
                #[cfg(all(feature = "std", not(loom)))]
                std::thread::yield_now();
                #[cfg(loom)]
                loom::thread::yield_now();
                None
            }
            _ if self.core.good(next) => Some(Boarded::Hit(next)),
            _ => {
                // Published, not yet swapped in, and over already.
                self.clear_away(shard, old);
                None
            }
        }
    }

    /// Shares of both nodes of a flight; false (and none taken) if either has none left.
    fn share(&self, flight: Flight<K, V>) -> bool {
        // SAFETY: both were found under this scope's pin.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        if !node.share() {
            return false;
        }
        if old.is_none_or(Node::share) {
            return true;
        }
        // SAFETY: the share taken above.
        unsafe { self.release(flight.node) };
        false
    }

    /// Gives back the shares of a flight.
    ///
    /// # Safety
    /// The caller owns them, and from now on uses the nodes only under this scope's pin.
    pub(crate) unsafe fn disembark(&self, flight: Flight<K, V>) {
        // SAFETY: as for this function.
        unsafe { self.release(flight.node) };
        if let Some(old) = flight.old {
            // SAFETY: as for this function.
            unsafe { self.release(old) };
        }
    }

    fn claim<'s>(&'s self, flight: Flight<K, V>) -> Option<Boarded<'s, K, V>> {
        if !self.share(flight) {
            return None;
        }
        // SAFETY: we have a share.
        if let Some(lease) = unsafe { flight.node.as_ref() }.word.claim() {
            self.count(Event::Handover);
            // Of a load that was counted before: it is never refused.
            self.core.lease_begins(usize::MAX);
            return Some(self.leads(flight, lease, LoadKind::TakenOver));
        }
        // SAFETY: the shares taken above.
        unsafe { self.disembark(flight) };
        None
    }

    fn join<'s>(&'s self, flight: Flight<K, V>, wanted: Wanted) -> Option<Boarded<'s, K, V>> {
        // Registered first, counted in second: see `Bells::ring`.
        // SAFETY: it goes into a `Waiter`, which refers to the core, or is dropped here.
        let listening = unsafe { self.core.bells.listen(flight.node.addr().get()) };
        if !self.share(flight) {
            return None;
        }
        // SAFETY: found under this scope's pin.
        let node: &'s Node<K, V> = unsafe { flight.node.as_ref() };
        let most = if wanted == Wanted::Lease { u32::MAX } else { self.core.config.max_waiters };
        let joined = node.word.join(most);
        match joined {
            Joined::Counted(_) | Joined::Publishing => {
                self.count(Event::Coalesced);
                let counted = joined != Joined::Publishing;
                let listening = if mutant("listens too late") {
                    drop(listening);
                    // SAFETY: as above.
                    unsafe { self.core.bells.listen(flight.node.addr().get()) }
                } else {
                    listening
                };
                return Some(Boarded::Wait { flight, counted, listening });
            }
            Joined::Full | Joined::Moved(_) => {
                // SAFETY: the shares taken above; the node is used under the pin from here on.
                unsafe { self.disembark(flight) };
            }
        }
        match joined {
            Joined::Full => Some(Boarded::Full),
            Joined::Moved(word) if word.valued() && wanted == Wanted::Value => {
                // It was in flight as we came by: its value is ours, whatever became of the entry since.
                Some(Boarded::Hit(node))
            }
            _ => None,
        }
    }
}
