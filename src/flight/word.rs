//! The state word of a node: one atomic, with named transitions. Each transition is one
//! read-modify-write. No other code touches the bits.
//!
//! Every transition is AcqRel (Acquire when it fails). The two halves are partners:
//!
//! * Release: a thread that reads the new state sees all that was written before the transition:
//!   the value before READY, the error before FAILED, the successor before REFRESHING, the
//!   registration of a waiter before it is counted in.
//! * Acquire: a thread that makes a transition sees what the other threads wrote before theirs. So
//!   a leader that takes over a flight, or is handed one, sees all that its predecessor did.

pub(crate) use super::state::{MOST, Snapshot, State};
use super::state::{REMOVED, Tag};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, Ordering};
use core::ptr::NonNull;

/// The result of [`Word::give_up`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// There are waiters. The first of them to claim the flight leads it.
    Handed,
    /// The flight has ended: it has no waiters, or is not worth handing over.
    Ended,
    /// The lease was taken over. Another leader has the flight.
    Fenced,
}

/// The result of [`Word::join`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The waiter was counted in. It waits for the leader of this lease number.
    Counted(u32),
    /// The leader is moving the value in. The waiter waits without being counted.
    Publishing,
    /// The flight has moved on. The caller looks at the new state.
    Moved(Snapshot),
    /// No more waiters can be counted.
    Full,
}

/// The result of [`Word::recheck`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rechecked {
    /// The flight is still in progress, and the waiter parks again. The payload is the lease number
    /// that it waits for, or None while the value is being moved in.
    Parked(Option<u32>),
    /// The waiter claimed the flight, which was given up, under this lease number.
    Leads(u32),
    /// The waiter ended the flight, which was given up and is not worth handing over.
    Ends,
    /// The flight has ended.
    Ended(Snapshot),
}

/// The result of [`Word::leave`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The waiter was counted out.
    Out,
    /// The waiter was counted out as the last one of a load that goes on.
    Last,
    /// The waiter was counted out as the last one of a flight that was given up. The flight has
    /// ended.
    Ended,
    /// The flight has ended, or is about to. It has no count of waiters any more.
    Moved,
}

/// The result of [`Word::close`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The node was an entry, and is CLOSED now.
    Entry,
    /// The node was a flight that was given up, and is DEAD now.
    Flight,
    /// The node was neither. The caller leaves it alone.
    Refused,
}

/// The state word of a node.
pub(crate) struct Word(AtomicPtr<()>);

impl Word {
    /// Makes the word of a flight with its first leader.
    pub(crate) fn computing() -> Self {
        Self(AtomicPtr::new(Snapshot::number(Tag::Computing, 1, 0).0))
    }

    /// Makes the word of an entry.
    #[inline]
    pub(crate) fn ready() -> Self {
        Self(AtomicPtr::new(Snapshot::plain(Tag::Ready).0))
    }

    /// Reads the word. Acquire: pairs with the Release of every transition, so a reader that sees
    /// READY sees the value that was written before it.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(weakened("word load relaxed", Ordering::Acquire)))
    }

    /// Changes the word from `now` to `next(now)` by one RMW that keeps the REMOVED bit. Returns
    /// the old and the new word, or in `Err` the word that `next` declined.
    #[inline]
    fn update(&self, mut next: impl FnMut(Snapshot) -> Option<Snapshot>) -> Result<(Snapshot, Snapshot), Snapshot> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let Some(new) = next(Snapshot(now)) else { return Err(Snapshot(now)) };
            let new = Snapshot(new.0.map_addr(|a| a | now.addr() & REMOVED));
            let released = weakened("word release", Ordering::AcqRel);
            if mutant("torn update") {
                self.0.store(new.0, released);
                return Ok((Snapshot(now), new));
            }
            match self.0.compare_exchange_weak(now, new.0, released, Ordering::Acquire) {
                Ok(_) => return Ok((Snapshot(now), new)),
                Err(other) => now = other,
            }
        }
    }

    /// Changes COMPUTING to `next(waiters)`, if `lease` is the present lease. Returns None if the
    /// lease was taken over.
    #[inline]
    fn by_leader(&self, lease: u32, mut next: impl FnMut(u32) -> Snapshot) -> Option<Snapshot> {
        let led = self.update(|s| {
            let led = s.is_led_by(lease) || mutant("no fence") && s.tag() == Tag::Computing;
            led.then(|| next(s.halves().1))
        });
        led.ok().map(|(_, now)| now)
    }

    /// Changes COMPUTING to PUBLISHING: the leader begins to move the value in. Returns false if
    /// the lease was taken over. Then the node belongs to another leader.
    #[must_use]
    #[inline]
    pub(crate) fn begin_publish(&self, lease: u32) -> bool {
        self.by_leader(lease, |_| Snapshot::plain(Tag::Publishing)).is_some()
    }

    /// Changes COMPUTING under `lease` to COMPUTING under the next lease: the caller takes the
    /// flight over from a leader that has held `lease` for too long. The caller is a waiter
    /// (`counted`), or a caller that is not counted in. Returns the new lease number, or None if
    /// the flight is no longer under `lease` or there is no lease number left.
    ///
    /// The caller names the lease, because the leader of another lease has not held that one for
    /// too long.
    pub(crate) fn take_over(&self, lease: u32, counted: bool) -> Option<u32> {
        let taken = self.update(|s| match s.state() {
            State::Computing { lease: l, waiters } if l < MOST && (l == lease || mutant("any lease is taken over")) => {
                let counted = counted || mutant("taken over in passing and counted");
                let counted = u32::from(counted && !mutant("taken over and counted"));
                Some(Snapshot::number(Tag::Computing, l + 1, waiters - counted))
            }
            _ => None,
        });
        taken.ok().map(|(_, new)| new.halves().0)
    }

    /// Returns whether this lease is in force: it was not taken over, and has not ended.
    #[inline]
    pub(crate) fn led_by(&self, lease: u32) -> bool {
        self.load().is_led_by(lease)
    }

    /// Returns how many waiters this lease has, or None if it is not in force. By an RMW that
    /// changes nothing: it orders a leader's registration with the bell before the last waiter's
    /// [`leave`](Self::leave), which then rings for the leader.
    pub(crate) fn waiters_of(&self, lease: u32) -> Option<u32> {
        match self.update(Some).ok()?.1.state() {
            State::Computing { lease: l, waiters } if l == lease => Some(waiters),
            _ => None,
        }
    }

    /// Changes PUBLISHING to READY. Returns the word before, which tells whether the node was
    /// REMOVED.
    #[inline]
    pub(crate) fn publish(&self) -> Snapshot {
        self.leave_publishing(Snapshot::plain(Tag::Ready))
    }

    /// Changes PUBLISHING to FAILED, for a failure that is kept. Returns the word before, as
    /// [`publish`](Self::publish) does.
    pub(crate) fn publish_failure(&self, error: *mut ()) -> Snapshot {
        self.leave_publishing(Snapshot::pointer(Tag::Failed, error))
    }

    /// Changes PUBLISHING to DEAD: the flight has no new value. The caller has dealt with the old
    /// value before.
    pub(crate) fn renewed(&self) {
        self.leave_publishing(Snapshot::plain(Tag::Dead));
    }

    #[inline]
    fn leave_publishing(&self, to: Snapshot) -> Snapshot {
        let done = self.update(|s| {
            debug_assert_eq!(s.tag(), Tag::Publishing);
            Some(to)
        });
        match done {
            Ok((old, _)) | Err(old) => old,
        }
    }

    /// Changes COMPUTING to FAILED. `error` points to an allocation that the node's disposal frees,
    /// aligned to 16, or is null. Returns false if the lease was taken over. Then the caller still
    /// owns `error`.
    #[must_use]
    pub(crate) fn fail(&self, lease: u32, error: *mut ()) -> bool {
        self.by_leader(lease, |_| Snapshot::pointer(Tag::Failed, error)).is_some()
    }

    /// Changes COMPUTING to EMPTY if there are waiters and `worth_it`, else to DEAD.
    pub(crate) fn give_up(&self, lease: u32, worth_it: bool) -> GaveUp {
        let new = self.by_leader(lease, |waiters| {
            if waiters > 0 && worth_it && lease < MOST && !mutant("never handed") {
                Snapshot::number(Tag::Empty, lease, waiters)
            } else {
                Snapshot::plain(Tag::Dead)
            }
        });
        match new.map(Snapshot::tag) {
            None => GaveUp::Fenced,
            Some(Tag::Empty) => GaveUp::Handed,
            Some(_) => GaveUp::Ended,
        }
    }

    /// Changes EMPTY to COMPUTING, for a caller that is not counted in. Returns its lease number.
    pub(crate) fn claim(&self) -> Option<u32> {
        self.update(|s| Self::claimed(s, 0)).ok().map(|(_, new)| new.halves().0)
    }

    fn claimed(s: Snapshot, counted: u32) -> Option<Snapshot> {
        match s.state() {
            State::Empty { lease, waiters } => Some(Snapshot::number(Tag::Computing, lease + 1, waiters - counted)),
            _ => None,
        }
    }

    /// Counts a waiter in. Refused if `most` waiters are counted already.
    ///
    /// This is an RMW even where it changes nothing. It orders the waiter's registration with the
    /// bell before the leader's next transition. So that transition, an RMW too, sees that there is
    /// a waiter to wake.
    pub(crate) fn join(&self, most: u32) -> Joined {
        let joined = self.update(|s| match s.state() {
            State::Computing { lease, waiters } if waiters < most.min(MOST) => {
                Some(Snapshot::number(Tag::Computing, lease, waiters + 1))
            }
            State::Publishing => Some(Snapshot::plain(Tag::Publishing)),
            _ => None,
        });
        match joined.map(|(_, new)| new.state()) {
            Ok(State::Computing { lease, .. }) => Joined::Counted(lease),
            Ok(_) => Joined::Publishing,
            Err(s) if matches!(s.state(), State::Computing { .. }) => Joined::Full,
            Err(s) => Joined::Moved(s),
        }
    }

    /// Looks again for a woken waiter, which has registered anew. The waiter claims an EMPTY flight
    /// if that is `worth_it`, or else ends it. It parks on a flight in progress (by an RMW, for the
    /// reason in [`Self::join`]). Otherwise it learns how the flight ended.
    pub(crate) fn recheck(&self, worth_it: bool) -> Rechecked {
        let checked = self.update(|s| match s.state() {
            State::Empty { .. } if !worth_it => Some(Snapshot::plain(Tag::Dead)),
            State::Empty { .. } => Self::claimed(s, 1),
            State::Computing { .. } | State::Publishing => Some(s),
            _ => None,
        });
        match checked {
            Ok((_, new)) if new.tag() == Tag::Dead => Rechecked::Ends,
            Ok((old, new)) if old.tag() == Tag::Empty => Rechecked::Leads(new.halves().0),
            Ok((_, new)) if new.tag() == Tag::Computing => Rechecked::Parked(Some(new.halves().0)),
            Ok(_) => Rechecked::Parked(None),
            Err(s) => Rechecked::Ended(s),
        }
    }

    /// Counts a waiter out. The last waiter of an EMPTY flight ends it.
    pub(crate) fn leave(&self) -> Left {
        let left = self.update(|s| match s.state() {
            State::Computing { lease, waiters } => Some(Snapshot::number(Tag::Computing, lease, waiters - 1)),
            State::Empty { waiters: 1, .. } if !mutant("last leaver leaves it") => Some(Snapshot::plain(Tag::Dead)),
            State::Empty { lease, waiters } => Some(Snapshot::number(Tag::Empty, lease, waiters - 1)),
            _ => None,
        });
        match left {
            Ok((_, new)) if new.tag() == Tag::Dead => Left::Ended,
            Ok((_, new)) if new.halves().1 == 0 => Left::Last,
            Ok(_) => Left::Out,
            Err(_) => Left::Moved,
        }
    }

    /// Changes READY to REFRESHING, unless the node is REMOVED.
    pub(crate) fn refresh(&self, successor: NonNull<()>) -> bool {
        let new = Snapshot::pointer(Tag::Refreshing, successor.as_ptr());
        let ready = |s: Snapshot| s.tag() == Tag::Ready || mutant("second refresh") && s.is_entry();
        self.update(|s| (ready(s) && !s.removed()).then_some(new)).is_ok()
    }

    /// Changes REFRESHING (this successor) back to READY: the successor has ended without a value.
    pub(crate) fn refresh_ended(&self, successor: NonNull<()>) {
        let of = |s: Snapshot| {
            (s.tag() == Tag::Refreshing && (s.target() == successor.as_ptr() || mutant("any refresh ends")))
                .then(|| Snapshot::plain(Tag::Ready))
        };
        // A caller that met the ended successor may have done it already.
        let _ = self.update(of);
    }

    /// Changes READY to CLOSED, unless the node is REMOVED, and EMPTY to DEAD. It is the first step
    /// of the hand and of the sweep.
    #[inline]
    pub(crate) fn close(&self) -> Closing {
        let closed = self.update(|s| match s.rests() {
            true => (!s.removed()).then(|| Snapshot::plain(Tag::Closed)),
            false if s.is_entry() && mutant("hand evicts a refresh") => Some(Snapshot::plain(Tag::Closed)),
            false => (s.tag() == Tag::Empty).then(|| Snapshot::plain(Tag::Dead)),
        });
        match closed {
            Ok((_, new)) if new.closed() => Closing::Entry,
            Ok(_) => Closing::Flight,
            Err(_) => Closing::Refused,
        }
    }

    /// Changes EMPTY to DEAD: the sweep ends a successor whose waiters have not come back.
    pub(crate) fn end_empty(&self) -> bool {
        self.update(|s| (s.tag() == Tag::Empty).then(|| Snapshot::plain(Tag::Dead))).is_ok()
    }

    /// Notes that this caller has evicted its own newcomer, whose mark it has won: sets REMOVED in
    /// the CLOSED word, which no other caller changes any more.
    #[cold]
    pub(crate) fn note_turned_away(&self) {
        let _ = self.update(|s| s.closed().then(|| Snapshot(s.0.map_addr(|a| a | REMOVED))));
    }

    /// Sets REMOVED, once, for the winner of the mark. Returns the word before, which tells whether
    /// the node had a value.
    ///
    /// A word that is READY or CLOSED stays as it is. The node has its value, the value's weight
    /// counts, and the mark alone says who subtracts it. (A caller that found the node before the
    /// mark may still begin a refresh, as it might have a moment before. The value of that load is
    /// handed over only. A hand may still close the node, and finds it marked.)
    #[inline]
    pub(crate) fn set_removed(&self) -> Snapshot {
        // Acquire: the value of a READY node.
        let mut now = self.0.load(weakened("remover's look", Ordering::Acquire));
        loop {
            debug_assert_eq!(now.addr() & REMOVED, 0, "REMOVED is set once");
            if Snapshot(now).is_stored() || mutant("never REMOVED") {
                return Snapshot(now);
            }
            let new = now.map_addr(|a| a | REMOVED);
            match self.0.compare_exchange_weak(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Snapshot(now),
                Err(other) => now = other,
            }
        }
    }
}
