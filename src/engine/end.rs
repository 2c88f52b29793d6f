//! How a flight ends without a new value: it fails, is given up, or confirms the old value.

use super::config::StaleWindow;
use super::flight_ref::Flight;
use super::stats::Event;
use super::weight::Displaced;
use super::{Core, Operation, RemovalCause};
use crate::flight::expiry::{ExpiryWord, Timestamps};
use crate::flight::failure::{Failure, NotFound, SharedError};
use crate::flight::node::Node;
use crate::flight::word::GaveUp;
use crate::runtime::xfetch::{self, NEVER};
use crate::sys::mutants::mutant;
use crate::sys::unwind;
use alloc::sync::Arc;
use core::time::Duration;

/// An error that did not get into its flight, because the lease was taken over. It is freed when
/// this is dropped.
pub(crate) struct RejectedError {
    error: *mut (),
    fenced: bool,
}

impl RejectedError {
    /// Returns whether the lease was taken over.
    pub(crate) fn fenced(&self) -> bool {
        self.fenced
    }
}

impl Drop for RejectedError {
    fn drop(&mut self) {
        // SAFETY: the error came from `Failure::into_raw`, and no word holds it.
        unsafe { Failure::free(self.error) };
    }
}

/// How an entry is left alone for a while.
#[derive(Clone, Copy)]
pub(crate) enum Quiet {
    /// If it still has this word, it is not refreshed early until this time.
    Until(ExpiryWord, u64),
    /// If it still has this word, it is in a cooldown that began at this time.
    CoolsFrom(ExpiryWord, u64),
    Not,
}

impl<K, V> Core<K, V> {
    /// Returns how an entry is left alone for so many ns. Calls user code: the clock, `tags_with`.
    pub(crate) fn quiet_for(&self, old: &Node<K, V>, length: u64) -> Quiet {
        let (hot, now, over_since) = (old.hot(), self.config.time.now(), self.over_since(old));
        let (until, cooldown) = (now.saturating_add(length), self.config.cooldown);
        if self.config.idle != NEVER {
            Quiet::Not
        } else if now < over_since {
            match until.min(over_since) {
                until if until > hot.quiet_until() => Quiet::Until(hot, until),
                _ => Quiet::Not,
            }
        } else if cooldown == 0 || length == 0 {
            Quiet::Not
        } else {
            // A cooldown has one length. One that began earlier ends earlier.
            Quiet::CoolsFrom(hot, now.saturating_sub(cooldown.saturating_sub(length)))
        }
    }

    /// Returns the times with which the failure of a flight is kept in place of a value. `None` if
    /// the failure is not kept: the cache keeps no such failures, nothing new is kept at present,
    /// or there is an old value that may be served until `window` past its time to live. Asks the
    /// user's `tags_with`, and, if there is an `error`, `negative_ttl_with`. `start` is the tag
    /// sequence with which the load began.
    pub(crate) fn negative_stamps(
        &self,
        key: &K,
        error: Option<&SharedError>,
        (old, window): (Option<&Node<K, V>>, StaleWindow),
        start: u64,
    ) -> Option<Timestamps> {
        if old.is_some_and(|old| self.servable_stale(old, window)) {
            return None;
        }
        let own = || error.zip(self.config.negative_ttl_with.as_ref()).and_then(|(error, with)| with(key, &**error));
        self.negative_stamps_for(own().unwrap_or(self.config.negative_ttl), start)
    }

    /// Returns the times with which the answer "not found" is kept, for its own time if it has one.
    pub(crate) fn absence_stamps(&self, own: Option<Duration>, start: u64) -> Option<Timestamps> {
        self.negative_stamps_for(own.map_or(self.config.negative_ttl, xfetch::nanos), start)
    }

    /// `tag_sequence` is that of the beginning of the load: calls that ended all values since have
    /// ended this answer, too.
    fn negative_stamps_for(&self, ttl: u64, tag_sequence: u64) -> Option<Timestamps> {
        if ttl == 0 || Operation::rejects(self, 1).is_some() {
            return None;
        }
        let born = self.config.time.now();
        let expires = xfetch::expires_at(born, ttl);
        let hot = ExpiryWord::new(expires, 0);
        Some(Timestamps { born, expires, hot, tag_sequence, numbered: self.all_ended(), own: None })
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Ends a flight for all waiters with an error, or without one if the load was abandoned.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    #[must_use = "what did not get into the flight is freed when the scope is gone"]
    pub(crate) unsafe fn fail(
        &self,
        flight: Flight<K, V>,
        lease: u32,
        error: Option<SharedError>,
        kept: Option<Timestamps>,
    ) -> RejectedError {
        // SAFETY: the caller owns a reference.
        let node = unsafe { flight.node.as_ref() };
        self.core.counters.count(Event::LoadFailure);
        self.cool_down(flight, lease);
        let stamps = kept.filter(|_| error.is_some()).inspect(|stamps| node.reserve(self.core.nodes(), stamps));
        let error = Failure::into_raw(error);
        let failed = match stamps {
            Some(stamps) if node.word.begin_publish(lease) => {
                self.keep_failure(flight, error, &stamps);
                true
            }
            Some(_) => false,
            None => node.word.fail(lease, error).then(|| self.ended(flight)).is_some(),
        };
        let error = if failed || mutant("fenced error lost") { core::ptr::null_mut() } else { error };
        RejectedError { error, fenced: !failed }
    }

    /// Ends a flight for all waiters with the answer that there is no value. The old value is
    /// removed. The answer is kept in its place if there are times for it.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    #[must_use = "what did not get into the flight is freed when the scope is gone"]
    pub(crate) unsafe fn absent(&self, flight: Flight<K, V>, lease: u32, kept: Option<Timestamps>) -> RejectedError {
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        kept.iter().for_each(|stamps| node.reserve(self.core.nodes(), stamps));
        let error = Failure::into_raw(Some(Arc::new(NotFound)));
        let told = match (kept, old) {
            (None, None) => node.word.fail(lease, error).then(|| self.ended(flight)).is_some(),
            (Some(stamps), _) => {
                node.word.begin_publish(lease).then(|| self.keep_failure(flight, error, &stamps)).is_some()
            }
            // The old value goes *before* the flight has ended. Otherwise a finder might take the
            // refresh for ended and begin another, whose value this removal would lose.
            (None, Some(old)) => {
                let begun = node.word.begin_publish(lease);
                if begun {
                    let first = mutant("told before the old value goes").then(|| node.word.publish_failure(error));
                    self.remove(shard, old, RemovalCause::Replaced);
                    first.unwrap_or_else(|| node.word.publish_failure(error));
                    self.ended(flight);
                }
                begun
            }
        };
        RejectedError { error: if told { core::ptr::null_mut() } else { error }, fenced: !told }
    }

    /// Makes a PUBLISHING node FAILED and keeps it, in place of the old value if there was one.
    /// Until its time is over it weighs 1 and has a slot, as a value has. If the flight was removed
    /// meanwhile, only its waiters are told of the failure.
    ///
    /// The node replaces the old entry *before* it becomes FAILED. Otherwise a finder that met it
    /// through the entry would take the refresh for ended and hang another successor, whose value
    /// could not be put in the entry's place then.
    fn keep_failure(&self, flight: Flight<K, V>, error: *mut (), stamps: &Timestamps) {
        // SAFETY: the caller of `fail` owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        // (A call that has expired the key since the load began has ended this answer, too.)
        match old {
            None => node.stamp(self.core.nodes(), 1, stamps),
            Some(_) => node.stamp_successor(self.core.nodes(), 1, stamps),
        }
        let first = mutant("failed before the swap").then(|| node.word.publish_failure(error));
        let weighed = self.reserve_weight(shard, 1, old, Displaced::NOTHING);
        let listed = match old {
            None => !node.link().is_marked(),
            Some(old) => self.put_in_place(shard, (node, old), 2, &weighed),
        };
        if !listed {
            self.undo_weight(shard, &weighed);
            node.set_weight(0);
        }
        let removed = first.unwrap_or_else(|| node.word.publish_failure(error)).removed();
        match (listed, old) {
            // The remover of the node found neither value nor failure in the word, so it left the
            // weight to this publisher. The weight in the node stays: the node may be in a slot
            // until the remover clears that, and the weight of an entry in a slot is fixed.
            (true, _) if removed => {
                if !mutant("failure's weight left") {
                    self.release_weight(|| shard, 1);
                }
                if mutant("weightless in its slot") {
                    node.set_weight(0);
                }
            }
            (true, None) => {
                // The slot's reference, beside the lease's.
                node.add_refs(1);
                self.assign_slot(shard, node);
            }
            (false, Some(old)) => old.word.refresh_ended(flight.node.cast()),
            _ => {}
        }
        self.core.note_end(node);
        self.make_room_anew(shard);
        self.ring(flight.node);
    }

    /// Gives a flight up: hands it to the waiters if there are any and its node was not removed,
    /// else ends it. Returns whether the lease was taken over; then this does nothing.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn give_up(&self, flight: Flight<K, V>, lease: u32) -> bool {
        // SAFETY: the caller owns references to both.
        let (node, listed) = unsafe { (flight.node.as_ref(), flight.listed().as_ref()) };
        let gave_up = node.word.give_up(lease, !listed.link().is_marked());
        match gave_up {
            // All waiters are woken, and the first to claim leads. Were one waiter woken, the
            // flight would be lost to a task that is never polled.
            GaveUp::Handed if mutant("handed in silence") => {}
            GaveUp::Handed => self.ring(flight.node),
            GaveUp::Ended => self.ended(flight),
            GaveUp::Fenced => {}
        }
        gave_up == GaveUp::Fenced
    }

    /// Renews the entry that is being refreshed; the waiters get it. Returns false if the lease was
    /// taken over.
    ///
    /// # Safety
    /// As for [`Self::publish`]; and the flight has an old entry.
    pub(crate) unsafe fn renew(&self, flight: Flight<K, V>, lease: u32, stamps: &Timestamps) -> bool {
        let nodes = self.core.nodes();
        // SAFETY: the caller owns a reference.
        let old = flight.old.map(|old| unsafe { old.as_ref() });
        // A renewal always writes a time of expiry, even `NEVER`. Its memory is reserved here,
        // where a failure does no harm.
        old.into_iter().for_each(|old| old.reserve_renewal(nodes, stamps));
        // SAFETY: as for this function.
        let renewed = unsafe {
            self.end_by(flight, lease, |node, old| {
                if node.set_confirmed() && !mutant("a fenced load renews") {
                    // A call has ended the old value's time since the load began. So the load hands
                    // the old value to the waiters, and its time does not begin anew.
                } else if stamps.expires == stamps.born {
                    // A time to live of zero: the old value is handed to the waiters, as a new one
                    // would be, and not kept.
                    self.remove(self.core.shard_of_order(old.link().order()), old, RemovalCause::Expired);
                } else {
                    old.renew(nodes, stamps);
                    self.core.note_end(old);
                }
            })
        };
        if !renewed && mutant("fenced renewal") {
            old.into_iter().for_each(|old| old.renew(nodes, stamps));
        }
        renewed
    }

    /// Removes the entry that is being refreshed, and ends the flight. Returns whether this call
    /// has removed the entry. None: the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::renew`].
    pub(crate) unsafe fn remove_refreshed(&self, flight: Flight<K, V>, lease: u32) -> Option<bool> {
        let mut removed = false;
        let remove = |_: &Node<K, V>, old: &Node<K, V>| {
            removed = self.remove(self.core.shard_of_order(old.link().order()), old, RemovalCause::Explicit);
        };
        // SAFETY: as for this function.
        unsafe { self.end_by(flight, lease, remove) }.then_some(removed)
    }

    /// Ends a flight without a value: another actor loads it. The old entry is left alone for a
    /// while. Returns false if the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn stand_down(&self, flight: Flight<K, V>, lease: u32, quiet: Option<Quiet>) -> bool {
        let leave = |_: &Node<K, V>, old: &Node<K, V>| match quiet {
            Some(Quiet::Until(hot, until)) => old.set_quiet(hot, until),
            Some(Quiet::CoolsFrom(hot, from)) => old.cool_down(hot, from),
            Some(Quiet::Not) | None => {}
        };
        // SAFETY: as for this function.
        unsafe { self.end_by(flight, lease, leave) }
    }

    /// Ends a flight by a `change` of its old entry. Goes through PUBLISHING, so that no other
    /// caller takes the flight over meanwhile and decides otherwise. Returns false, and changes
    /// nothing, if the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::renew`].
    unsafe fn end_by(&self, flight: Flight<K, V>, lease: u32, change: impl FnOnce(&Node<K, V>, &Node<K, V>)) -> bool {
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        if !node.word.begin_publish(lease) {
            return false;
        }
        if mutant("renewed too early") {
            node.word.renewed();
        }
        if let Some(old) = old {
            change(node, old);
        }
        if !mutant("renewed too early") {
            node.word.renewed();
        }
        self.ended(flight);
        true
    }

    /// Completes the end of a flight whose word the caller's own RMW took to FAILED or DEAD:
    /// updates the table, and wakes the waiters.
    pub(crate) fn ended(&self, flight: Flight<K, V>) {
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        match old {
            None => {
                self.remove(shard, node, RemovalCause::Expired);
            }
            Some(_) if mutant("refresh never ends") => {}
            Some(old) => {
                old.word.refresh_ended(flight.node.cast());
                // The hand could not evict the entry while it was being refreshed.
                if !mutant("no room after a refresh") {
                    self.make_room_anew(shard);
                }
            }
        }
        self.ring(flight.node);
    }

    /// Begins the cooldown of an entry whose refresh has failed. If the entry is fresh, no reader
    /// refreshes it until the cooldown is over. If it has expired, no caller refreshes it
    /// until then, as long as it may be served stale.
    ///
    /// Call this before the flight ends: a finder that meets the ended flight must find the
    /// cooldown. A load that was taken over begins none, as the new leader's may succeed.
    pub(crate) fn cool_down(&self, flight: Flight<K, V>, lease: u32) {
        let Some(old) = flight.old else { return };
        // SAFETY: the caller owns references to both.
        let (node, old) = unsafe { (flight.node.as_ref(), old.as_ref()) };
        if !node.word.led_by(lease) {
            return;
        }
        let (hot, cooldown) = (old.hot(), self.core.config.cooldown);
        if cooldown == 0 || self.core.never_ends(old) || self.core.config.idle != NEVER {
            return;
        }
        // The flight must be ended even if the user's clock panics.
        let Some(now) = self.ask(|| self.core.config.time.now()) else { return };
        // The tags of the value are not asked while the thread unwinds.
        let since = |core: &Core<K, V>| match unwind::panicking() {
            true => old.expires(core.nodes()).min(core.end_with_all(old)),
            false => core.over_since(old),
        };
        let Some(expires) = self.ask(|| since(self.core)) else { return };
        if now >= expires {
            return old.cool_down(hot, now);
        }
        let until = now.saturating_add(cooldown).min(expires);
        if until > hot.quiet_until() {
            old.set_quiet(hot, until);
        }
    }
}
