//! How a flight ends: with a value, an error, neither, or the old value confirmed.

use super::board::Flight;
use super::{Core, RemovalCause, Scope, Shard};
use crate::error::SharedError;
use crate::expiry::{self, Hot, NEVER};
use crate::flight::node::{Failure, Node, Stamps};
use crate::flight::word::GaveUp;
use crate::stats::Event;
use crate::sync::mutant;
use core::ptr::NonNull;
use core::time::Duration;

/// On which terms a value is kept: what user code has to say about it, asked before the flight is touched.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// 0: handed over only.
    pub(crate) weight: u32,
    pub(crate) stamps: Stamps,
}

/// What became of a leader's value.
#[must_use]
pub(crate) enum Published<V> {
    Stored,
    HandedOver,
    /// The lease was taken over: nobody has got it.
    Fenced(V),
}

impl<K, V> Core<K, V> {
    /// Runs the weigher and `ttl_with`. `explicit` is a time to live of this value alone; `delta` how long it took to
    /// load, in ns (0: it was not loaded).
    pub(crate) fn terms(&self, key: &K, value: &V, explicit: Option<Duration>, delta: u64) -> Terms {
        let weight = self.config.weigher.as_ref().map_or(1, |weigh| weigh(key, value).max(1));
        let asked = explicit.or_else(|| self.config.ttl_with.as_ref().and_then(|f| f(key, value)));
        let ttl = match asked {
            Some(ttl) if explicit.is_some() => expiry::nanos(ttl),
            Some(ttl) => expiry::jittered(expiry::nanos(ttl), self.config.jitter, self.random()),
            None if self.config.ttl == NEVER => NEVER,
            None => expiry::jittered(self.config.ttl, self.config.jitter, self.random()),
        };
        let stamps = self.stamps(ttl, delta);
        let kept = ttl != 0 && Scope::keeps(self, weight);
        Terms { weight: if kept { weight } else { 0 }, stamps }
    }

    fn stamps(&self, ttl: u64, delta: u64) -> Stamps {
        let born = self.config.time.now();
        let expires = expiry::expires_at(born, ttl);
        let quiet = match self.config.idle {
            NEVER => expiry::quiet_until(expires, delta, self.config.beta),
            _ => self.idle_deadline(born),
        };
        Stamps { born, expires, hot: Hot::new(quiet, delta) }
    }
}

impl<K, V> Scope<'_, K, V> {
    /// The leader's value becomes the entry, or is handed to those who wait and no more.
    ///
    /// # Safety
    /// The caller holds this lease of this flight, with its shares; the lease ends here.
    pub(crate) unsafe fn publish(&self, flight: Flight<K, V>, lease: u32, value: V, terms: Terms) -> Published<V> {
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        if !node.word.begin_publish(lease) {
            return Published::Fenced(value);
        }
        // SAFETY: the transition into PUBLISHING was just won.
        unsafe { node.write(value, terms.stamps) };
        let stored = match old {
            None => self.publish_cold(shard, node, terms.weight),
            Some(old) => self.publish_successor(shard, node, old, terms.weight),
        };
        if stored && old.is_none() {
            self.seat(shard, node, None);
        }
        self.make_room(shard, terms.weight);
        self.ring(flight.node);
        if stored { Published::Stored } else { Published::HandedOver }
    }

    fn publish_cold(&self, shard: &Shard<K, V>, node: &Node<K, V>, weight: u32) -> bool {
        // A flight that was removed is not stored. If the mark comes after this look, the remover finds READY, or
        // leaves GONE behind for us to find; the two RMWs on the word decide which, so the weight is taken out once.
        let weight = if node.link().is_marked() { 0 } else { weight };
        node.set_weight(weight);
        if weight == 0 {
            // Nobody finds it any more, before it can be taken for an entry.
            self.remove(shard, node, RemovalCause::Expired);
            node.word.publish();
            return false;
        }
        let weighed = self.weigh_in(shard, weight, None);
        let gone = node.word.publish().gone();
        if gone && !mutant("weight left behind") {
            self.weigh_back(shard, &weighed);
            // Its remover found no value yet, and is done with the weight.
            node.set_weight(0);
        }
        !gone
    }

    fn publish_successor(&self, shard: &Shard<K, V>, node: &Node<K, V>, old: &Node<K, V>, weight: u32) -> bool {
        node.set_weight(weight);
        if weight == 0 {
            node.word.publish();
            self.remove(shard, old, RemovalCause::Replaced);
            return false;
        }
        let weighed = self.weigh_in(shard, weight, Some(old));
        node.word.publish();
        // The list's share. It cannot fail: the lease has one.
        let shared = node.share();
        debug_assert!(shared);
        if shard.table.replace(old.link(), Node::as_link(NonNull::from(node))) {
            self.replaced(shard, old, node, &weighed);
            return true;
        }
        if mutant("lost swap stays") {
            return true;
        }
        // The old entry was removed meanwhile, and with it the right to be stored.
        self.weigh_back(shard, &weighed);
        node.set_weight(0);
        // SAFETY: the share taken above; the lease's is still there.
        unsafe { self.release(NonNull::from(node)) };
        false
    }

    /// Ends a flight with an error (none: abandoned) for all who wait.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn fail(&self, flight: Flight<K, V>, lease: u32, error: Option<SharedError>) {
        // SAFETY: the caller has a share.
        let node = unsafe { flight.node.as_ref() };
        self.core.counters.count(Event::LoadFailure);
        self.cool_down(flight, lease);
        let error = Failure::into_raw(error);
        if node.word.fail(lease, error) {
            self.ended(flight);
        } else {
            // SAFETY: it did not get into the word.
            unsafe { Failure::free(error) };
        }
    }

    /// Gives a flight up: to those who wait, if it is still worth anything, or for good.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn give_up(&self, flight: Flight<K, V>, lease: u32) {
        // SAFETY: the caller has shares of both.
        let (node, listed) = unsafe { (flight.node.as_ref(), flight.old.unwrap_or(flight.node).as_ref()) };
        match node.word.give_up(lease, !listed.link().is_marked()) {
            // All are woken: the first to claim leads. (Waking one would lose the flight to a task never polled.)
            GaveUp::Handed if mutant("handed in silence") => {}
            GaveUp::Handed => self.ring(flight.node),
            GaveUp::Ended => self.ended(flight),
            GaveUp::Fenced => {}
        }
    }

    /// The entry being refreshed is good for longer; those who wait get it.
    ///
    /// # Safety
    /// As for [`Self::publish`]; and the flight has an old entry.
    pub(crate) unsafe fn renew(&self, flight: Flight<K, V>, lease: u32, stamps: Stamps) {
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        if !node.word.begin_publish(lease) {
            return;
        }
        if mutant("renewed too early") {
            node.word.renewed();
        }
        node.set_confirmed();
        match old {
            // For no time: handed to those who wait, as a new value would be, and not kept.
            Some(old) if stamps.expires == stamps.born => {
                self.remove(self.core.shard_of_order(old.link().order()), old, RemovalCause::Expired);
            }
            Some(old) => old.renew(stamps.expires, stamps.hot),
            None => {}
        }
        if !mutant("renewed too early") {
            node.word.renewed();
        }
        self.ended(flight);
    }

    /// The entry being refreshed is removed, and the flight ends with it.
    ///
    /// # Safety
    /// As for [`Self::renew`].
    #[cfg(feature = "std")]
    pub(crate) unsafe fn retract(&self, flight: Flight<K, V>, lease: u32) {
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        // From here on nobody takes over, who might decide otherwise.
        if !node.word.begin_publish(lease) {
            return;
        }
        if let Some(old) = old {
            self.remove(self.core.shard_of_order(old.link().order()), old, RemovalCause::Explicit);
        }
        node.word.renewed();
        self.ended(flight);
    }

    /// The flight's word was taken to FAILED or DEAD by the caller's own RMW: what follows for the table and for those
    /// who wait.
    pub(crate) fn ended(&self, flight: Flight<K, V>) {
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        match old {
            None => {
                self.remove(shard, node, RemovalCause::Expired);
            }
            Some(_) if mutant("refresh never ends") => {}
            Some(old) => {
                old.word.refresh_ended(flight.node.cast());
                // While it was being refreshed the hand could not take it.
                if !mutant("no room after a refresh") {
                    self.make_room_anew(shard);
                }
            }
        }
        self.ring(flight.node);
    }

    /// A refresh has failed: of a good entry, so that no dice are rolled for it until the cooldown is over; of one that is
    /// not, so that it is served for so long as if it were being refreshed.
    ///
    /// Before the flight ends, or who finds it ended would find no cooldown. Not of a load that was taken over: the other may
    /// do better.
    pub(crate) fn cool_down(&self, flight: Flight<K, V>, lease: u32) {
        let Some(old) = flight.old else { return };
        // SAFETY: the caller has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), old.as_ref()) };
        if !node.word.led_by(lease) {
            return;
        }
        let (hot, now) = (old.hot(), self.core.config.time.now());
        if hot.eternal() || self.core.config.idle != NEVER {
            return;
        }
        let cooldown = self.core.config.cooldown;
        if now >= old.expires() {
            return old.cool_down(hot, now, cooldown);
        }
        let until = now.saturating_add(cooldown).min(old.expires());
        if hot.start().is_none() && until > hot.quiet_until() {
            old.set_quiet(hot, until);
        }
    }
}
