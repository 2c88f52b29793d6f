//! The values of the state word, decoded.
//!
//! Layout, low bits first: three bits of tag, the bit REMOVED, then the payload. The payload of
//! COMPUTING and EMPTY is the lease number in the upper half and the count of waiters in the lower
//! half. The payload of REFRESHING is the address of the successor. The payload of FAILED is the
//! address of the error, or 0. The word is a pointer, so that these pointers keep their provenance.
//! Nodes and errors are aligned to 16, which leaves the four low bits free.

use core::ptr::{self, NonNull};

const TAG: usize = 0b0111;
pub(super) const REMOVED: usize = 0b1000;
const PAYLOAD_SHIFT: u32 = 4;
/// The width of each half of the payload: 30 bits on 64-bit targets, 14 bits on 32-bit targets.
const HALF: u32 = (usize::BITS - PAYLOAD_SHIFT) / 2;
/// The largest lease number, and the largest count of waiters. Neither wraps: at the last lease, a
/// flight that is given up ends instead of being handed over, and a waiter beyond the largest count
/// is turned away.
pub(crate) const MOST: u32 = (1 << HALF) - 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Tag {
    // A hit looks for the first two, which two zero bits tell from all others.
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
    /// The tags of words that have a value.
    const WITH_VALUE: u32 = Tag::Ready.bit() | Tag::Refreshing.bit() | Tag::Closed.bit();

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The decoded state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// A leader gave the flight up, and there are waiters. The first caller to claim it leads.
    Empty { lease: u32, waiters: u32 },
    /// A leader is loading.
    Computing { lease: u32, waiters: u32 },
    /// The leader is moving the value in. No user code runs.
    Publishing,
    /// The node is an entry.
    Ready,
    /// The node is an entry, whose replacement this successor loads.
    Refreshing(NonNull<()>),
    /// The flight ended with this error (None: it was abandoned).
    Failed(Option<NonNull<()>>),
    /// The flight ended without a value. Its waiters look again.
    Dead,
    /// The node is an entry that is being evicted.
    Closed,
}

/// One value of the word, as one atomic access has read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot(pub(super) *mut ());

impl Snapshot {
    /// The word of an entry that is being evicted.
    pub(crate) const CLOSED: Self = Self(ptr::without_provenance_mut(Tag::Closed as usize));

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

    /// Returns whether the tag is one of a set, which has a bit for each. (This does not use `tag`,
    /// because the compiler does not see through its table.)
    #[inline(always)]
    fn is_one_of(self, tags: u32) -> bool {
        tags >> (self.0.addr() & TAG) & 1 != 0
    }

    pub(super) fn halves(self) -> (u32, u32) {
        let payload = self.0.addr() >> PAYLOAD_SHIFT;
        ((payload >> HALF) as u32, payload as u32 & MOST)
    }

    /// Returns whether the leader of this lease is loading.
    #[inline]
    pub(super) fn is_led_by(self, lease: u32) -> bool {
        self.0.addr() >> (PAYLOAD_SHIFT + HALF) == lease as usize && self.is_one_of(Tag::Computing.bit())
    }

    pub(super) fn target(self) -> *mut () {
        self.0.map_addr(|a| a & !(TAG | REMOVED))
    }

    /// Decodes the state.
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

    /// Returns whether the winner of the mark has set REMOVED. (A node may be marked a little
    /// before. A node that was READY or CLOSED then is never REMOVED.)
    pub(crate) fn removed(self) -> bool {
        self.0.addr() & REMOVED != 0
    }

    /// Returns whether the node's value may be read.
    #[inline]
    pub(crate) fn has_value(self) -> bool {
        self.is_one_of(Tag::WITH_VALUE)
    }

    /// Returns whether the leader is moving the value in, or confirms the old one.
    pub(crate) fn is_publishing(self) -> bool {
        self.is_one_of(Tag::Publishing.bit())
    }

    /// Returns whether the node's weight, if it has one, is counted in the cache's total. True of a
    /// node with a value, and of a failure that is kept.
    pub(crate) fn weighs(self) -> bool {
        self.is_one_of(Tag::WITH_VALUE | Tag::Failed.bit())
    }

    /// Returns whether the node is an entry in service.
    #[inline]
    pub(crate) fn is_entry(self) -> bool {
        const { assert!(Tag::Ready as usize == 0 && Tag::Refreshing as usize == 1) };
        self.0.addr() & TAG & !1 == 0
    }

    /// Returns whether the node is an entry in service that no load is refreshing.
    #[inline]
    pub(crate) fn rests(self) -> bool {
        const { assert!(Tag::Ready as usize == 0) };
        self.0.addr() & TAG == 0
    }

    /// Returns whether the entry was evicted by the very call that brought it. (A hand that has
    /// merely closed it may have lost the mark to a caller that replaced the entry.)
    pub(crate) fn turned_away(self) -> bool {
        self.closed() && self.removed()
    }

    /// Returns whether the hand or a sweep has closed the entry, and is removing it.
    pub(crate) fn closed(self) -> bool {
        self.is_one_of(Tag::Closed.bit())
    }

    /// Returns whether the node is an entry that no load is refreshing, in service or closed.
    #[inline]
    pub(crate) fn is_stored(self) -> bool {
        self.is_one_of(Tag::Ready.bit() | Tag::Closed.bit())
    }

    /// Returns whether the node's flight has ended with a failure.
    pub(crate) fn failed(self) -> bool {
        self.is_one_of(Tag::Failed.bit())
    }

    /// Returns whether the node's own flight has ended, with or without a value.
    pub(crate) fn is_settled(self) -> bool {
        self.is_one_of(Tag::WITH_VALUE | Tag::Failed.bit() | Tag::Dead.bit())
    }

    /// Returns whether a load is in progress, in this node or in its successor.
    pub(crate) fn in_flight(self) -> bool {
        let own = Tag::Empty.bit() | Tag::Computing.bit() | Tag::Publishing.bit();
        self.is_one_of(own | Tag::Refreshing.bit())
    }
}

// SAFETY: a snapshot never dereferences the pointers in it. The code that does so has to show that
// it may do so on its thread.
unsafe impl Send for Snapshot {}
