//! The state word's values, decoded.
//!
//! Layout, low bits first: three bits of tag, one bit GONE, then the payload: for COMPUTING and EMPTY half lease
//! number, half waiter count; for REFRESHING the address of the successor; for FAILED the address of the error, or 0.
//! Pointers keep their provenance: the word is a pointer, and nodes are aligned to 16.

use core::ptr::{self, NonNull};

const TAG: usize = 0b0111;
pub(super) const REMOVED: usize = 0b1000;
const PAYLOAD_SHIFT: u32 = 4;
/// Half of the payload each: 30 bits on 64-bit targets, 14 on 32-bit ones.
const HALF: u32 = (usize::BITS - PAYLOAD_SHIFT) / 2;
/// The largest lease number, and the largest count of waiters. Neither wraps: at the last lease a flight that is given
/// up ends instead of being handed over, and the waiter that would be one too many is turned away.
pub(crate) const MOST: u32 = (1 << HALF) - 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Tag {
    // The two that a hit looks for are told by two zero bits.
    Ready,
    Refreshing,
    Empty,
    Computing,
    Publishing,
    Failed,
    Dead,
    Closed,
}

impl Tag {
    const ALL: [Tag; 8] =
        [Tag::Ready, Tag::Refreshing, Tag::Empty, Tag::Computing, Tag::Publishing, Tag::Failed, Tag::Dead, Tag::Closed];
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
pub(crate) struct Snapshot(pub(super) *mut ());

impl Snapshot {
    pub(super) fn number(tag: Tag, lease: u32, waiters: u32) -> Self {
        debug_assert!(lease <= MOST && waiters <= MOST);
        let payload = (lease as usize) << HALF | waiters as usize;
        Self(ptr::without_provenance_mut(payload << PAYLOAD_SHIFT | tag as usize))
    }

    pub(super) fn plain(tag: Tag) -> Self {
        Self(ptr::without_provenance_mut(tag as usize))
    }

    pub(super) fn pointer(tag: Tag, to: *mut ()) -> Self {
        debug_assert_eq!(to.addr() & (TAG | REMOVED), 0);
        Self(to.map_addr(|a| a | tag as usize))
    }

    pub(super) fn tag(self) -> Tag {
        Tag::ALL[self.0.addr() & TAG]
    }

    pub(super) fn halves(self) -> (u32, u32) {
        let payload = self.0.addr() >> PAYLOAD_SHIFT;
        ((payload >> HALF) as u32, payload as u32 & MOST)
    }

    pub(super) fn target(self) -> *mut () {
        self.0.map_addr(|a| a & !(TAG | REMOVED))
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
    pub(crate) fn removed(self) -> bool {
        self.0.addr() & REMOVED != 0
    }

    /// Whether the node's value may be read.
    #[inline]
    pub(crate) fn has_value(self) -> bool {
        matches!(self.tag(), Tag::Ready | Tag::Refreshing | Tag::Closed)
    }

    /// Whether the node's weight is accounted for, if it has one: a value, or a failure that is kept.
    pub(crate) fn weighs(self) -> bool {
        self.has_value() || self.tag() == Tag::Failed
    }

    /// Whether the node is an entry in service.
    #[inline]
    pub(crate) fn is_entry(self) -> bool {
        // Not by `tag`, whose table the compiler does not see through: every hit asks.
        const { assert!(Tag::Ready as usize == 0 && Tag::Refreshing as usize == 1) };
        self.0.addr() & TAG & !1 == 0
    }

    /// Whether the node is an entry in service that no load is refreshing.
    #[inline]
    pub(crate) fn rests(self) -> bool {
        const { assert!(Tag::Ready as usize == 0) };
        self.0.addr() & TAG == 0
    }

    /// Whether the hand or a sweep has closed the entry: it is being removed.
    pub(crate) fn closed(self) -> bool {
        self.tag() == Tag::Closed
    }

    /// Whether the flight that the node was has ended, however.
    pub(crate) fn is_settled(self) -> bool {
        self.has_value() || matches!(self.tag(), Tag::Failed | Tag::Dead)
    }

    /// Whether the node is a flight in progress, its own or its successor's.
    pub(crate) fn in_flight(self) -> bool {
        matches!(self.tag(), Tag::Empty | Tag::Computing | Tag::Publishing | Tag::Refreshing)
    }
}

// SAFETY: the pointers in the word are only numbers to it; who dereferences them answers for that.
unsafe impl Send for Snapshot {}
