//! How a flight ends without a value: with an error, for nothing, or with the old value confirmed.

use super::flight_ref::Flight;
use super::stats::Event;
use super::{Core, Operation, RemovalCause};
use crate::flight::expiry::ExpiryWord;
use crate::flight::expiry::Timestamps;
use crate::flight::failure::Failure;
use crate::flight::failure::SharedError;
use crate::flight::node::Node;
use crate::flight::word::GaveUp;
use crate::runtime::xfetch::{self, NEVER};
use crate::sys::mutants::mutant;

/// An error that did not get into its flight, because the lease was taken over. Freed as it is dropped.
pub(crate) struct RejectedError {
    error: *mut (),
    fenced: bool,
}

impl RejectedError {
    /// Whether the lease was taken over.
    pub(crate) fn fenced(&self) -> bool {
        self.fenced
    }
}

impl Drop for RejectedError {
    fn drop(&mut self) {
        // SAFETY: it came from `Failure::into_raw`, and did not get into a word.
        unsafe { Failure::free(self.error) };
    }
}

impl<K, V> Core<K, V> {
    /// For how long the failure of a flight is kept in the place of a value; None: not at all. Not where there is an old value
    /// that may be served for `window` past its time. Asks the user's `tags_with`.
    pub(crate) fn negative_stamps(&self, old: Option<&Node<K, V>>, window: u64) -> Option<Timestamps> {
        let ttl = self.config.negative_ttl;
        if ttl == 0 || old.is_some_and(|old| self.servable_stale(old, window)) || Operation::rejects(self, 1).is_some()
        {
            return None;
        }
        let born = self.config.time.now();
        let expires = xfetch::expires_at(born, ttl);
        Some(Timestamps { born, expires, hot: ExpiryWord::new(expires, 0), tag_sequence: 0 })
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Ends a flight with an error (none: abandoned) for all who wait.
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
        // SAFETY: the caller has a share.
        let node = unsafe { flight.node.as_ref() };
        self.core.counters.count(Event::LoadFailure);
        self.cool_down(flight, lease);
        let stamps = kept.filter(|_| error.is_some()).inspect(|stamps| node.reserve(self.core.nodes(), stamps));
        let error = Failure::into_raw(error);
        let failed = match stamps {
            Some(stamps) if node.word.begin_publish(lease) => {
                self.keep_failure(flight, error, stamps);
                true
            }
            Some(_) => false,
            None => node.word.fail(lease, error).then(|| self.ended(flight)).is_some(),
        };
        let error = if failed || mutant("fenced error lost") { core::ptr::null_mut() } else { error };
        RejectedError { error, fenced: !failed }
    }

    /// PUBLISHING to FAILED, and the node stays, in the place of the old value if there was one: it weighs 1 and has a slot, as a
    /// value has, until its time is over. If it was removed meanwhile it is only told to those who wait.
    ///
    /// The old entry goes *before* the node is FAILED: whoever met that through the entry would take the refresh for ended,
    /// and hang another successor, whose value could not be put in its place then.
    fn keep_failure(&self, flight: Flight<K, V>, error: *mut (), stamps: Timestamps) {
        // SAFETY: the caller of `fail` has shares of both.
        let (node, old) = unsafe { (flight.node.as_ref(), flight.old.map(|o| o.as_ref())) };
        let shard = self.core.shard_of_order(node.link().order());
        node.stamp(self.core.nodes(), 1, stamps);
        let first = mutant("failed before the swap").then(|| node.word.publish_failure(error));
        let weighed = self.reserve_weight(shard, 1, old);
        let listed = match old {
            None => !node.link().is_marked(),
            Some(old) => self.put_in_place(shard, node, old, &weighed),
        };
        if !listed {
            self.undo_weight(shard, &weighed);
            node.set_weight(0);
        }
        let gone = first.unwrap_or_else(|| node.word.publish_failure(error)).removed();
        match (listed, old) {
            // Its remover found neither value nor failure yet, and is done with the weight. (Which stays as it is in the node:
            // that may be in a slot, until its remover comes to that.)
            (true, _) if gone => {
                if !mutant("failure's weight left") {
                    self.release_weight(shard, 1);
                }
                if mutant("weightless in its slot") {
                    node.set_weight(0);
                }
            }
            (true, None) => {
                // The slot's share. It cannot fail: the lease has one.
                let shared = node.inc_ref();
                debug_assert!(shared);
                self.assign_slot(shard, node, None);
            }
            (false, Some(old)) => old.word.refresh_ended(flight.node.cast()),
            _ => {}
        }
        self.core.note_end(node);
        self.make_room_anew(shard);
        self.ring(flight.node);
    }

    /// Gives a flight up: to those who wait, if it is still worth anything, or for good. True: the
    /// lease was taken over, and nothing is done.
    ///
    /// # Safety
    /// As for [`Self::publish`].
    pub(crate) unsafe fn give_up(&self, flight: Flight<K, V>, lease: u32) -> bool {
        // SAFETY: the caller has shares of both.
        let (node, listed) = unsafe { (flight.node.as_ref(), flight.listed().as_ref()) };
        let gave_up = node.word.give_up(lease, !listed.link().is_marked());
        match gave_up {
            // All are woken: the first to claim leads. (Waking one would lose the flight to a task never polled.)
            GaveUp::Handed if mutant("handed in silence") => {}
            GaveUp::Handed => self.ring(flight.node),
            GaveUp::Ended => self.ended(flight),
            GaveUp::Fenced => {}
        }
        gave_up == GaveUp::Fenced
    }

    /// The entry being refreshed is good for longer; those who wait get it. False: the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::publish`]; and the flight has an old entry.
    pub(crate) unsafe fn renew(&self, flight: Flight<K, V>, lease: u32, stamps: Timestamps) -> bool {
        let nodes = self.core.nodes();
        // SAFETY: the caller has a share.
        let old = flight.old.map(|old| unsafe { old.as_ref() });
        // It has a time of expiry from now on, even if that is never.
        old.into_iter().for_each(|old| old.reserve_renewal(nodes, &stamps));
        // SAFETY: as for this function.
        let renewed = unsafe {
            self.end_by(flight, lease, |node, old| {
                node.set_confirmed();
                if stamps.expires == stamps.born {
                    // For no time: handed to those who wait, as a new value would be, and not kept.
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

    /// The entry being refreshed is removed, and the flight ends with it. False: the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::renew`].
    #[cfg(feature = "std")]
    pub(crate) unsafe fn remove_refreshed(&self, flight: Flight<K, V>, lease: u32) -> bool {
        let remove = |_: &Node<K, V>, old: &Node<K, V>| {
            self.remove(self.core.shard_of_order(old.link().order()), old, RemovalCause::Explicit);
        };
        // SAFETY: as for this function.
        unsafe { self.end_by(flight, lease, remove) }
    }

    /// Ends a flight by what is done to its old entry, through PUBLISHING: meanwhile nobody takes over, who might decide
    /// otherwise. False, and nothing is done: the lease was taken over.
    ///
    /// # Safety
    /// As for [`Self::renew`].
    unsafe fn end_by(&self, flight: Flight<K, V>, lease: u32, change: impl FnOnce(&Node<K, V>, &Node<K, V>)) -> bool {
        // SAFETY: the caller has shares of both.
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
        let (hot, cooldown) = (old.hot(), self.core.config.cooldown);
        if cooldown == 0 || hot.never_expires() || self.core.config.idle != NEVER {
            return;
        }
        // The flight is to be ended, whatever becomes of the user's clock.
        let Some(now) = self.ask(|| self.core.config.time.now()) else { return };
        let expires = old.expires(self.core.nodes());
        if now >= expires {
            return old.cool_down(hot, now);
        }
        let until = now.saturating_add(cooldown).min(expires);
        if until > hot.quiet_until() {
            old.set_quiet(hot, until);
        }
    }
}
