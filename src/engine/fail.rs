//! How a flight ends without a value: with an error, for nothing, or with the old value confirmed.

use super::board::Flight;
use super::{RemovalCause, Scope};
use crate::error::SharedError;
use crate::expiry::{self, Hot, NEVER};
use crate::flight::node::{Failure, Stamps};
use crate::flight::word::GaveUp;
use crate::stats::Event;
use crate::sync::mutant;

impl<K, V> Scope<'_, K, V> {
    /// Ends a flight with an error (none: abandoned) for all who wait.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn fail(&self, flight: Flight<K, V>, lease: u32, error: Option<SharedError>) {
        // SAFETY: the caller has a share.
        let node = unsafe { flight.node.as_ref() };
        self.core.counters.count(Event::LoadFailure);
        self.cool_down(flight);
        let stamps = error.as_ref().and_then(|_| self.negative_stamps(flight));
        let error = Failure::into_raw(error);
        let failed = match stamps {
            Some(stamps) if node.word.begin_publish(lease) => {
                self.keep_failure(flight, error, stamps);
                true
            }
            Some(_) => false,
            None => node.word.fail(lease, error).then(|| self.ended(flight)).is_some(),
        };
        if !failed {
            // SAFETY: it did not get into the word.
            unsafe { Failure::free(error) };
        }
    }

    /// For how long the failure of a flight is kept in the place of a value; None: not at all. Not where there is an old value
    /// that may be served.
    fn negative_stamps(&self, flight: Flight<K, V>) -> Option<Stamps> {
        let config = &self.core.config;
        // SAFETY: the caller has shares of both.
        let old = flight.old.map(|old| unsafe { old.as_ref() });
        if config.negative_ttl == 0 || old.is_some_and(|old| self.core.fallback(old, config.limits.if_error)) {
            return None;
        }
        let born = config.time.now();
        let expires = expiry::expires_at(born, config.negative_ttl);
        Some(Stamps { born, expires, hot: Hot::new(expires, 0) })
    }

    /// PUBLISHING to FAILED, and the node stays, in the place of the old value if there was one: it weighs 1 and has a slot, as a
    /// value has, until its time is over. If it was removed meanwhile it is only told to those who wait.
    ///
    /// The old entry goes *before* the node is FAILED: whoever met that through the entry would take the refresh for ended,
    /// and hang another successor, whose value could not be put in its place then.
    fn keep_failure(&self, flight: Flight<K, V>, error: *mut (), stamps: Stamps) {
        // SAFETY: the caller of `fail` has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        node.stamp(1, stamps);
        let first = mutant("failed before the swap").then(|| node.word.publish_failure(error));
        let weighed = self.weigh_in(shard, 1, old);
        let listed = match old {
            None => !node.link().is_marked(),
            Some(old) => self.put_in_place(shard, node, old, &weighed),
        };
        if !listed {
            self.weigh_back(shard, &weighed);
            node.set_weight(0);
        }
        let gone = first.unwrap_or_else(|| node.word.publish_failure(error)).gone();
        match (listed, old) {
            // Its remover found neither value nor failure yet, and is done with the weight. (Which stays as it is in the node:
            // that may be in a slot, until its remover comes to that.)
            (true, _) if gone => {
                if !mutant("failure's weight left") {
                    self.weigh_out(shard, 1);
                }
                if mutant("weightless in its slot") {
                    node.set_weight(0);
                }
            }
            (true, None) => self.seat(shard, node, None),
            (false, Some(old)) => old.word.refresh_ended(flight.node.cast()),
            _ => {}
        }
        self.make_room_anew(shard);
        self.ring(flight.node);
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

    /// The entry being refreshed is good for longer; those who wait look again and find it.
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
        if let Some(old) = old {
            old.renew(stamps.expires, stamps.hot);
        }
        if !mutant("renewed too early") {
            node.word.renewed();
        }
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
    pub(crate) fn cool_down(&self, flight: Flight<K, V>) {
        let Some(old) = flight.old else { return };
        // SAFETY: the caller has shares of both.
        let old = unsafe { old.as_ref() };
        let (hot, now) = (old.hot(), self.core.config.time.now());
        if hot.eternal() || self.core.config.idle != NEVER {
            return;
        }
        let cooldown = self.core.config.cooldown;
        // (A good one with tags has no quiet time; without its δ no dice are rolled for it any more.)
        if now >= old.expires() || hot.start().is_some() {
            return old.cool_down(hot, now, cooldown);
        }
        let until = now.saturating_add(cooldown).min(old.expires());
        if until > hot.quiet_until() {
            old.set_quiet(hot, until);
        }
    }
}
