//! The state word: one atomic, named transitions, each a single read-modify-write. No other code touches the bits.
//!
//! Layout, low bits first: three bits of tag, one bit GONE, then the payload: for COMPUTING and EMPTY half lease
//! number, half waiter count; for REFRESHING the address of the successor; for FAILED the address of the error, or 0.
//! Pointers keep their provenance: the word is an `AtomicPtr`, and nodes are aligned to 16.
//!
//! Every transition is AcqRel (Acquire when it fails). Release: what was written before (the value before READY, the
//! error before FAILED, the successor before REFRESHING, a waiter's registration before it is counted in) is seen by
//! whoever reads the state. Acquire: the other side of the same, and a leader that takes over or is handed the flight
//! sees all that its predecessor did.

use crate::sync::{AtomicPtr, Ordering, mutant, order};
use core::ptr::{self, NonNull};

const TAG: usize = 0b0111;
const GONE: usize = 0b1000;
const PAYLOAD_SHIFT: u32 = 4;
/// Half of the payload each: 30 bits on 64-bit targets, 14 on 32-bit ones.
const HALF: u32 = (usize::BITS - PAYLOAD_SHIFT) / 2;
/// The largest lease number, and the largest count of waiters. Neither wraps: at the last lease a flight that is given
/// up ends instead of being handed over, and the waiter that would be one too many is turned away.
pub(crate) const MOST: u32 = (1 << HALF) - 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum Tag {
    Empty,
    Computing,
    Publishing,
    Ready,
    Refreshing,
    Failed,
    Dead,
    Closed,
}

impl Tag {
    const ALL: [Tag; 8] = [
        Tag::Empty,
        Tag::Computing,
        Tag::Publishing,
        Tag::Ready,
        Tag::Refreshing,
        Tag::Failed,
        Tag::Dead,
        Tag::Closed,
    ];
}

/// What a word says, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Given up, and somebody waits: the first to claim leads.
    Empty { lease: u32, waiters: u32 },
    /// A leader is loading.
    Computing { lease: u32, waiters: u32 },
    /// The value is being moved in; no user code runs.
    Publishing,
    /// An entry.
    Ready,
    /// An entry whose replacement is being loaded by the successor.
    Refreshing(NonNull<()>),
    /// Ended with an error (none: abandoned).
    Failed(Option<NonNull<()>>),
    /// Ended without a value: look again.
    Dead,
    /// An entry that is being evicted.
    Closed,
}

/// A value of the word, as read by one atomic access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot(*mut ());

impl Snapshot {
    fn number(tag: Tag, lease: u32, waiters: u32) -> Self {
        debug_assert!(lease <= MOST && waiters <= MOST);
        let payload = (lease as usize) << HALF | waiters as usize;
        Self(ptr::without_provenance_mut(payload << PAYLOAD_SHIFT | tag as usize))
    }

    fn plain(tag: Tag) -> Self {
        Self(ptr::without_provenance_mut(tag as usize))
    }

    fn pointer(tag: Tag, to: *mut ()) -> Self {
        debug_assert_eq!(to.addr() & (TAG | GONE), 0);
        Self(to.map_addr(|a| a | tag as usize))
    }

    fn tag(self) -> Tag {
        Tag::ALL[self.0.addr() & TAG]
    }

    fn halves(self) -> (u32, u32) {
        let payload = self.0.addr() >> PAYLOAD_SHIFT;
        ((payload >> HALF) as u32, payload as u32 & MOST)
    }

    fn target(self) -> *mut () {
        self.0.map_addr(|a| a & !(TAG | GONE))
    }

    /// The state that this is.
    pub(crate) fn state(self) -> State {
        let (lease, waiters) = self.halves();
        match self.tag() {
            Tag::Empty => State::Empty { lease, waiters },
            Tag::Computing => State::Computing { lease, waiters },
            Tag::Publishing => State::Publishing,
            Tag::Ready => State::Ready,
            // SAFETY: a REFRESHING word is only ever made from a `NonNull` (`Word::refresh`).
            Tag::Refreshing => State::Refreshing(unsafe { NonNull::new_unchecked(self.target()) }),
            Tag::Failed => State::Failed(NonNull::new(self.target())),
            Tag::Dead => State::Dead,
            Tag::Closed => State::Closed,
        }
    }

    /// Whether the node has been removed from the list by somebody who got as far as to say so.
    pub(crate) fn gone(self) -> bool {
        self.0.addr() & GONE != 0
    }

    /// Whether the node's value may be read.
    #[inline]
    pub(crate) fn valued(self) -> bool {
        matches!(self.tag(), Tag::Ready | Tag::Refreshing | Tag::Closed)
    }

    /// Whether the node is an entry in service.
    #[inline]
    pub(crate) fn serves(self) -> bool {
        matches!(self.tag(), Tag::Ready | Tag::Refreshing)
    }

    /// Whether the node is a flight in progress, its own or its successor's.
    pub(crate) fn loading(self) -> bool {
        matches!(self.tag(), Tag::Empty | Tag::Computing | Tag::Publishing | Tag::Refreshing)
    }
}

/// How a leader's giving up went.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// Somebody waits, who will claim the flight.
    Handed,
    /// Nobody does, or the flight is not worth handing on: it has ended.
    Ended,
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
    /// Still in flight: park again.
    Parked,
    /// It claimed the flight that was given up, under this lease number.
    Leads(u32),
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
        Snapshot(self.0.load(order("word load relaxed", Ordering::Acquire)))
    }

    /// One RMW from `now` to `next(now)`; the GONE bit is kept. `Err` has the word that `next` declined.
    fn update(
        &self,
        mut next: impl FnMut(Snapshot) -> Option<Snapshot>,
    ) -> Result<(Snapshot, Snapshot), Snapshot> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let Some(new) = next(Snapshot(now)) else { return Err(Snapshot(now)) };
            let new = Snapshot(new.0.map_addr(|a| a | now.addr() & GONE));
            let released = order("word release", Ordering::AcqRel);
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

    /// COMPUTING to `next`, by the holder of this lease. There is one at a time: a lease ends only by its holder.
    fn by_leader(&self, lease: u32, mut next: impl FnMut(u32) -> Snapshot) -> Snapshot {
        let led = self.update(|s| match s.state() {
            State::Computing { lease: l, waiters } if l == lease => Some(next(waiters)),
            _ => None,
        });
        debug_assert!(led.is_ok(), "lease {lease} ended by somebody else: {led:?}");
        match led {
            Ok((_, now)) | Err(now) => now,
        }
    }

    /// The leader moves the value in: COMPUTING to PUBLISHING.
    pub(crate) fn begin_publish(&self, lease: u32) {
        self.by_leader(lease, |_| Snapshot::plain(Tag::Publishing));
    }

    /// PUBLISHING to READY; the word that was left tells whether the node is GONE.
    pub(crate) fn publish(&self) -> Snapshot {
        self.leave_publishing(Tag::Ready)
    }

    /// PUBLISHING to DEAD: the old value is good for longer, and there is no new one.
    pub(crate) fn renewed(&self) {
        self.leave_publishing(Tag::Dead);
    }

    fn leave_publishing(&self, to: Tag) -> Snapshot {
        let done = self.update(|s| {
            debug_assert_eq!(s.tag(), Tag::Publishing);
            Some(Snapshot::plain(to))
        });
        match done {
            Ok((old, _)) | Err(old) => old,
        }
    }

    /// COMPUTING to FAILED. `error` points at something that the node's disposal frees, aligned to 16.
    pub(crate) fn fail(&self, lease: u32, error: *mut ()) {
        self.by_leader(lease, |_| Snapshot::pointer(Tag::Failed, error));
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
        if new.tag() == Tag::Empty { GaveUp::Handed } else { GaveUp::Ended }
    }

    /// EMPTY to COMPUTING, by a caller who has just come by; the lease number won.
    pub(crate) fn claim(&self) -> Option<u32> {
        self.update(|s| Self::claimed(s, 0)).ok().map(|(_, new)| new.halves().0)
    }

    fn claimed(s: Snapshot, counted: u32) -> Option<Snapshot> {
        match s.state() {
            State::Empty { lease, waiters } => {
                Some(Snapshot::number(Tag::Computing, lease + 1, waiters - counted))
            }
            _ => None,
        }
    }

    /// Counts a waiter in. An RMW even where nothing changes: it orders this waiter's registration before the
    /// leader's next transition, whose RMW therefore sees somebody to wake.
    pub(crate) fn join(&self) -> Joined {
        let joined = self.update(|s| match s.state() {
            State::Computing { lease, waiters } if waiters < MOST => {
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

    /// What a woken waiter does, after it has registered anew: claims an EMPTY flight, parks on one in progress (by
    /// an RMW, as in [`Self::join`]), or learns how it ended.
    pub(crate) fn recheck(&self) -> Rechecked {
        let checked = self.update(|s| match s.state() {
            State::Empty { .. } => Self::claimed(s, 1),
            State::Computing { .. } | State::Publishing => Some(s),
            _ => None,
        });
        match checked {
            Ok((old, new)) if old.tag() == Tag::Empty => Rechecked::Leads(new.halves().0),
            Ok(_) => Rechecked::Parked,
            Err(s) if s.loading() && s.tag() != Tag::Refreshing => Rechecked::Parked,
            Err(s) => Rechecked::Ended(s),
        }
    }

    /// Counts a waiter out; the last one of an EMPTY flight ends it.
    pub(crate) fn leave(&self) -> Left {
        let left = self.update(|s| match s.state() {
            State::Computing { lease, waiters } => {
                Some(Snapshot::number(Tag::Computing, lease, waiters - 1))
            }
            State::Empty { waiters: 1, .. } if !mutant("last leaver leaves it") => {
                Some(Snapshot::plain(Tag::Dead))
            }
            State::Empty { lease, waiters } => {
                Some(Snapshot::number(Tag::Empty, lease, waiters - 1))
            }
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
        let ready = |s: Snapshot| s.tag() == Tag::Ready || mutant("second refresh") && s.serves();
        self.update(|s| (ready(s) && !s.gone()).then_some(new)).is_ok()
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
            State::Ready if !s.gone() => Some(Snapshot::plain(Tag::Closed)),
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
    pub(crate) fn set_gone(&self) -> Snapshot {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            debug_assert_eq!(now.addr() & GONE, 0, "GONE is set once");
            let new = now.map_addr(|a| a | GONE);
            match self.0.compare_exchange_weak(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Snapshot(now),
                Err(other) => now = other,
            }
        }
    }
}

// SAFETY: the pointers in the word are only numbers to it; who dereferences them answers for that.
unsafe impl Send for Snapshot {}
