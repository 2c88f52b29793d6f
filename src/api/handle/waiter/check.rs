//! What a waiter finds as it looks at its flight.

use super::waited::Woken;
use super::{Waiter, WaiterState};
use crate::api::handle::entry::Entry;
use crate::api::handle::lease::Lease;
use crate::engine::Operation;
use crate::engine::events::{CacheEvent, LoadKind, WaitEnding};
use crate::engine::flight_ref::Flight;
use crate::engine::observe::KeyOf;
use crate::engine::role::LATE;
use crate::engine::stats::Event;
use crate::flight::failure::Failure;
use crate::flight::node::Node;
use crate::flight::word::{Rechecked, Snapshot, State};
use crate::sys::mutants::mutant;

impl<'c, K, V> Waiter<'c, K, V> {
    /// Checks the flight after a wake-up. Returns None if the flight goes on; the waiter is
    /// registered anew then.
    ///
    /// # Panics
    /// If the waiter has been answered already.
    pub(crate) fn check(&mut self) -> Option<Woken<'c, K, V>> {
        let core = self.core.get();
        let (flight, taken, ended) = match &mut self.place {
            WaiterState::Overloaded => {
                self.place = WaiterState::Done;
                return Some(Woken::Overloaded);
            }
            WaiterState::Queued(queued) => {
                if !queued.is_over(core) {
                    return None;
                }
                self.place = WaiterState::Done;
                return Some(Woken::Again);
            }
            WaiterState::Done => panic!("a Waiter was polled after it was answered"),
            WaiterState::Parked(parked) => parked.recheck(core, self.lead_timeout)?,
        };
        // SAFETY: the waiter's reference keeps the node alive; it is given back or handed over only
        // below.
        let key = core.key_of(unsafe { flight.node.as_ref() });
        // In each case below the waiter is no longer counted in, and the arm takes over its
        // references.
        let parked = core::mem::replace(&mut self.place, WaiterState::Done);
        let woken = match ended {
            Rechecked::Leads(number) => {
                core.counters.count(if taken { Event::TakeOver } else { Event::Handover });
                core.counters.count(Event::Load);
                if !taken {
                    // The load of a flight that was given up was counted before, so it is never
                    // refused. (For a lease that was taken over, `recheck` has moved the count
                    // already.)
                    core.lease_begins(usize::MAX);
                }
                let (timed, counted) = (true, true);
                // SAFETY: the waiter just won the lease `number`. It hands over its references, and
                // the count that was begun above or moved by `recheck`.
                let lease =
                    unsafe { Lease::new(self.core.clone(), flight, (number, LoadKind::TakenOver, timed, counted)) };
                Woken::Lead(lease)
            }
            Rechecked::Ends => {
                let operation = core.operation(core.limbo().enter());
                operation.ended(flight);
                // SAFETY: the references are the waiter's, and are given back once; the nodes are
                // not used afterwards.
                unsafe { operation.release_flight(flight) };
                Woken::Again
            }
            // SAFETY: the waiter's references are handed over.
            Rechecked::Ended(word) => unsafe { self.ended(flight, word) },
            Rechecked::Parked(_) => unreachable!("returned above"),
        };
        // The drop may drop the task's waker, which is user code. If that panics, unwinding drops
        // `woken`, and with it a lease.
        drop(parked);
        self.tell(&woken, key);
        Some(woken)
    }

    /// Reports to the observer how the wait has ended.
    fn tell(&self, woken: &Woken<'c, K, V>, key: Option<KeyOf<'_, K, V>>) {
        let core = self.core.get();
        if !core.observed() {
            return;
        }
        let ending = match woken {
            Woken::Ready(_) => WaitEnding::Ready,
            Woken::Lead(_) => WaitEnding::TookOver,
            Woken::Failed(..) => WaitEnding::Failed,
            Woken::Again | Woken::Overloaded => WaitEnding::Abandoned,
        };
        let ended = self.end_event(ending);
        match woken {
            Woken::Lead(lease) => {
                let began = CacheEvent::LoadStarted { kind: LoadKind::TakenOver };
                lease.guarded(|core| core.observe_of(key.as_ref(), ended.into_iter().chain([began])));
            }
            _ => core.observe_of(key.as_ref(), ended),
        }
    }

    /// Returns whether this waiter joined a load after a call had ended or invalidated the load's
    /// value, so that the value is not for it. The load had begun before the call.
    ///
    /// The answer is also true if another tag was invalidated before the waiter joined, and the
    /// value's tag only afterwards. That costs one load too many.
    fn late(&self, operation: &Operation<'_, K, V>, flight: Flight<K, V>, value: &Node<K, V>) -> bool {
        value.sequence(self.core.get().nodes()) < self.tag_sequence && {
            let shares = References(operation, flight);
            let outdated = self.tag_sequence == LATE || self.core.get().is_outdated(value);
            core::mem::forget(shares);
            outdated && !mutant("outdated for a waiter")
        }
    }

    /// # Safety
    /// The caller hands over its references to the flight's nodes.
    unsafe fn ended(&self, flight: Flight<K, V>, word: Snapshot) -> Woken<'c, K, V> {
        let core = self.core.get();
        // SAFETY: we own a reference to the node, which keeps it alive.
        let node = unsafe { flight.node.as_ref() };
        let plain = self.tag_sequence != LATE && !core.all_ended() && !node.hot().tagged();
        if plain && word.has_value() && flight.old.is_none() {
            // The usual case. No reference is given back, so nothing is freed, and no pin is
            // needed.
            // SAFETY: our reference is handed over; `word` is the node's, and has a value.
            return Woken::Ready(unsafe { Entry::new(self.core.clone(), flight.node) });
        }
        // References given back below may retire nodes. Their values are dropped, and other user
        // code runs, only when the operation ends and all is settled.
        let operation = core.operation(core.limbo().enter());
        // The old entry, if the flight has ended by confirming it. The waiter's value is the
        // flight's own, or that of `renewed`.
        let renewed = match word.state() {
            State::Failed(_) => None,
            _ => flight.old.filter(|_| !word.has_value() && node.confirmed()),
        };
        // SAFETY: we own a reference to the old entry, which keeps it alive.
        let value = if word.has_value() { Some(node) } else { renewed.as_ref().map(|old| unsafe { old.as_ref() }) };
        let late = value.is_some_and(|value| self.late(&operation, flight, value))
            && !(renewed.is_some() && mutant("renewed for a waiter"));
        let entry = |with_value, other: Option<_>| {
            // SAFETY: `other` is the flight's other node. Our reference to it is given back once,
            // and it is not used afterwards.
            other.into_iter().for_each(|other| unsafe { operation.release(other) });
            // SAFETY: our reference is handed over, to a node whose word has a value: the flight's,
            // if `word` says so, or the old entry.
            Woken::Ready(unsafe { Entry::new(self.core.clone(), with_value) })
        };
        // SAFETY: the references are ours, and are given back once: exactly one arm below disposes
        // of them. The nodes are used only under the operation's pin afterwards.
        let leave = || unsafe { operation.release_flight(flight) };
        let woken = match word.state() {
            _ if late => {
                leave();
                Woken::Again
            }
            _ if word.has_value() => entry(flight.node, flight.old),
            State::Failed(error) => {
                // SAFETY: we own a reference to the node, which keeps it alive, and its error with
                // it.
                let error = unsafe { Failure::shared(error) };
                // SAFETY: our reference to the old entry is handed over; an entry that had a
                // successor has its value.
                let old = flight.old.map(|old| unsafe { Entry::new(self.core.clone(), old) });
                // SAFETY: our reference is given back once, and the node is not used afterwards.
                unsafe { operation.release(flight.node) };
                Woken::Failed(error, old)
            }
            // A renewal ends the flight without a value of its own: the load's result is the old
            // value.
            _ => match renewed {
                Some(old) => entry(old, Some(flight.node)),
                None => {
                    leave();
                    Woken::Again
                }
            },
        };
        drop(operation);
        woken
    }
}

/// Holds a waiter's references while user code runs. If that code panics, unwinding gives them
/// back; otherwise the guard is forgotten.
pub(super) struct References<'s, 'c, K, V>(pub(super) &'s Operation<'c, K, V>, pub(super) Flight<K, V>);

impl<K, V> Drop for References<'_, '_, K, V> {
    fn drop(&mut self) {
        // SAFETY: the references are the waiter's. The guard is dropped only by a panic, after
        // which the waiter does not use them again.
        unsafe { self.0.release_flight(self.1) };
    }
}
