//! The state word: one atomic, named transitions, each a single read-modify-write. No other code touches the bits.
//!
//! Every transition is AcqRel (Acquire when it fails). Release: what was written before (the value before READY, the
//! error before FAILED, the successor before REFRESHING, a waiter's registration before it is counted in) is seen by
//! whoever reads the state. Acquire: the other side of the same, and a leader that takes over or is handed the flight
//! sees all that its predecessor did.

pub(crate) use super::state::{MOST, Snapshot, State};
use super::state::{REMOVED, Tag};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, Ordering};
use core::ptr::NonNull;

/// How a leader's giving up went.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// Somebody waits, who will claim the flight.
    Handed,
    /// Nobody does, or the flight is not worth handing on: it has ended.
    Ended,
    /// The lease was taken over: the flight is another's.
    Fenced,
}

/// How joining a flight went.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Counted in; the lease number that is being waited for.
    Counted(u32),
    /// The value is being moved in: wait uncounted.
    Publishing,
    /// The state has moved on: look again.
    Moved(Snapshot),
    /// No more waiters can be counted.
    Full,
}

/// What a waiter that was woken finds.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rechecked {
    /// Still in flight: park again. The lease that is being waited for; None while the value is being moved in.
    Parked(Option<u32>),
    /// It claimed the flight that was given up, under this lease number.
    Leads(u32),
    /// It ended the flight, which was given up and is not worth anything.
    Ends,
    /// The flight has ended.
    Ended(Snapshot),
}

/// How leaving a flight went.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Counted out.
    Out,
    /// Counted out as the last of a flight that was given up: it has ended.
    Ended,
    /// The flight has ended, or is about to: there is no count any more.
    Moved,
}

/// How closing went.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// An entry, now CLOSED.
    Entry,
    /// A flight that had been given up, now DEAD.
    Flight,
    /// Neither: leave it alone.
    Refused,
}

/// The state word of a node.
pub(crate) struct Word(AtomicPtr<()>);

impl Word {
    /// A flight with its first leader.
    pub(crate) fn computing() -> Self {
        Self(AtomicPtr::new(Snapshot::number(Tag::Computing, 1, 0).0))
    }

    /// An entry.
    pub(crate) fn ready() -> Self {
        Self(AtomicPtr::new(Snapshot::plain(Tag::Ready).0))
    }

    /// The word now. Acquire: pairs with the Release of every transition, so a value seen is a value written.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(weakened("word load relaxed", Ordering::Acquire)))
    }

    /// One RMW from `now` to `next(now)`; the GONE bit is kept. `Err` has the word that `next` declined.
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

    /// COMPUTING to `next`, by the holder of this lease; None if it was taken over.
    fn by_leader(&self, lease: u32, mut next: impl FnMut(u32) -> Snapshot) -> Option<Snapshot> {
        let led = self.update(|s| match s.state() {
            State::Computing { lease: l, waiters } if l == lease || mutant("no fence") => Some(next(waiters)),
            _ => None,
        });
        led.ok().map(|(_, now)| now)
    }

    /// The leader moves the value in: COMPUTING to PUBLISHING. False: the lease was taken over, and the node is another's.
    #[must_use]
    pub(crate) fn begin_publish(&self, lease: u32) -> bool {
        self.by_leader(lease, |_| Snapshot::plain(Tag::Publishing)).is_some()
    }

    /// COMPUTING under `lease` to COMPUTING under the next, by a waiter that was counted in, or by a
    /// caller who has come by, and who finds that this lease was held for too long; the lease number
    /// won. None: it is no longer that lease, or there is none after it.
    ///
    /// The caller names the lease: another leader has not held its own for too long.
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

    /// Whether this lease is in force: it was not taken over, and has not ended.
    pub(crate) fn led_by(&self, lease: u32) -> bool {
        matches!(self.load().state(), State::Computing { lease: l, .. } if l == lease)
    }

    /// PUBLISHING to READY; the word that was left tells whether the node is GONE.
    pub(crate) fn publish(&self) -> Snapshot {
        self.leave_publishing(Snapshot::plain(Tag::Ready))
    }

    /// PUBLISHING to FAILED: the failure is kept. Gives the word that was left, as [`publish`](Self::publish) does.
    pub(crate) fn publish_failure(&self, error: *mut ()) -> Snapshot {
        self.leave_publishing(Snapshot::pointer(Tag::Failed, error))
    }

    /// PUBLISHING to DEAD: there is no new value; what becomes of the old one is settled.
    pub(crate) fn renewed(&self) {
        self.leave_publishing(Snapshot::plain(Tag::Dead));
    }

    fn leave_publishing(&self, to: Snapshot) -> Snapshot {
        let done = self.update(|s| {
            debug_assert_eq!(s.tag(), Tag::Publishing);
            Some(to)
        });
        match done {
            Ok((old, _)) | Err(old) => old,
        }
    }

    /// COMPUTING to FAILED. `error` points at something that the node's disposal frees, aligned to 16. False: the lease was
    /// taken over, and `error` is still the caller's.
    #[must_use]
    pub(crate) fn fail(&self, lease: u32, error: *mut ()) -> bool {
        self.by_leader(lease, |_| Snapshot::pointer(Tag::Failed, error)).is_some()
    }

    /// COMPUTING to EMPTY if somebody waits and `worth_it`, else to DEAD.
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

    /// EMPTY to COMPUTING, by a caller who has just come by; the lease number won.
    pub(crate) fn claim(&self) -> Option<u32> {
        self.update(|s| Self::claimed(s, 0)).ok().map(|(_, new)| new.halves().0)
    }

    fn claimed(s: Snapshot, counted: u32) -> Option<Snapshot> {
        match s.state() {
            State::Empty { lease, waiters } => Some(Snapshot::number(Tag::Computing, lease + 1, waiters - counted)),
            _ => None,
        }
    }

    /// Counts a waiter in. An RMW even where nothing changes: it orders this waiter's registration before the
    /// leader's next transition, whose RMW therefore sees somebody to wake.
    /// Refused if `most` wait already.
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

    /// What a woken waiter does, after it has registered anew: claims an EMPTY flight if it is `worth_it`, or ends it; parks
    /// on one in progress (by an RMW, as in [`Self::join`]); or learns how it ended.
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

    /// Counts a waiter out; the last one of an EMPTY flight ends it.
    pub(crate) fn leave(&self) -> Left {
        let left = self.update(|s| match s.state() {
            State::Computing { lease, waiters } => Some(Snapshot::number(Tag::Computing, lease, waiters - 1)),
            State::Empty { waiters: 1, .. } if !mutant("last leaver leaves it") => Some(Snapshot::plain(Tag::Dead)),
            State::Empty { lease, waiters } => Some(Snapshot::number(Tag::Empty, lease, waiters - 1)),
            _ => None,
        });
        match left {
            Ok((_, new)) if new.tag() == Tag::Dead => Left::Ended,
            Ok(_) => Left::Out,
            Err(_) => Left::Moved,
        }
    }

    /// READY to REFRESHING, unless GONE.
    pub(crate) fn refresh(&self, successor: NonNull<()>) -> bool {
        let new = Snapshot::pointer(Tag::Refreshing, successor.as_ptr());
        let ready = |s: Snapshot| s.tag() == Tag::Ready || mutant("second refresh") && s.is_entry();
        self.update(|s| (ready(s) && !s.removed()).then_some(new)).is_ok()
    }

    /// REFRESHING (this successor) back to READY: it has ended without a value.
    pub(crate) fn refresh_ended(&self, successor: NonNull<()>) {
        let of = |s: Snapshot| {
            (s.tag() == Tag::Refreshing && (s.target() == successor.as_ptr() || mutant("any refresh ends")))
                .then(|| Snapshot::plain(Tag::Ready))
        };
        // Whoever meets the ended successor may have been faster.
        let _ = self.update(of);
    }

    /// READY to CLOSED, unless GONE; EMPTY to DEAD. The hand's and the sweep's first step.
    pub(crate) fn close(&self) -> Closing {
        let closed = self.update(|s| match s.state() {
            State::Ready if !s.removed() => Some(Snapshot::plain(Tag::Closed)),
            State::Refreshing(_) if mutant("hand evicts a refresh") => Some(Snapshot::plain(Tag::Closed)),
            State::Empty { .. } => Some(Snapshot::plain(Tag::Dead)),
            _ => None,
        });
        match closed.map(|(_, new)| new.tag()) {
            Ok(Tag::Closed) => Closing::Entry,
            Ok(_) => Closing::Flight,
            Err(_) => Closing::Refused,
        }
    }

    /// EMPTY to DEAD: the sweep ends a successor whose waiters have not come back.
    pub(crate) fn end_empty(&self) -> bool {
        self.update(|s| (s.tag() == Tag::Empty).then(|| Snapshot::plain(Tag::Dead))).is_ok()
    }

    /// Sets GONE, once, by the winner of the mark; the word before tells whether there was a value.
    pub(crate) fn set_removed(&self) -> Snapshot {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            debug_assert_eq!(now.addr() & REMOVED, 0, "GONE is set once");
            let new = now.map_addr(|a| a | REMOVED);
            match self.0.compare_exchange_weak(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Snapshot(now),
                Err(other) => now = other,
            }
        }
    }
}
