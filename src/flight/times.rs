//! The times of a node: a flight's beginning, a value's creation and expiry; and its uses.
//!
//! The use counter shares its word with the creation time because that never changes once READY: two plain stores that race can lose
//! a use, and nothing else.

use super::expiry::{ExpiryWord, Timestamps};
use super::node::{Node, Nodes};
use crate::reclaim::{EXPIRY, Extra, TAG_SEQUENCE};
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::Ordering;
use core::ptr::NonNull;

/// Of uses, how many more are counted: none is left of one that is warm.
const USES: u64 = 0b11;
const USE_BITS: u32 = 2;
/// Of a flight: its first lease does not count for `max_loads`.
const UNCOUNTED: u64 = 1 << USE_BITS;
/// A flight's beginning is above that bit.
const BEGUN_SHIFT: u32 = USE_BITS + 1;

/// In the place of a flight's times.
const CONFIRMED: u64 = 0;

/// How a time of expiry is kept, and what is meant by what is kept: never is zero.
fn kept(expires: u64) -> u64 {
    !expires
}

impl<K, V> Node<K, V> {
    /// Notes when the first lease began of a flight that no other thread can reach yet, and whether
    /// that lease counts for `max_loads`. (Until the value is moved in: then the word has the time
    /// when that was made.)
    pub(crate) fn set_begun(&self, at: u64, counted: bool) {
        let uncounted = if counted { 0 } else { UNCOUNTED };
        self.born.store(Self::beginning(1, at) | uncounted, Ordering::Relaxed);
    }

    /// Whether the lease `lease` of a flight, which is in force, counts for `max_loads`. Only the
    /// first one can be without, in a bulk load, whose leases count as one.
    pub(crate) fn is_counted(&self, lease: u32) -> bool {
        lease != 1 || self.born.load(Ordering::Relaxed) & UNCOUNTED == 0
    }

    /// The same for a later lease, by who was just given it.
    pub(crate) fn set_begun_again(&self, lease: u32, at: u64) {
        let was = self.born.load(Ordering::Relaxed);
        // If it is another's by now there may be a value, of which `was` or what it has become tells.
        if self.word.led_by(lease) {
            let new = Self::beginning(lease, at);
            let _ = self.born.compare_exchange(was, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Where an entry counts its uses, a flight tells its leases apart.
    fn beginning(lease: u32, at: u64) -> u64 {
        at << BEGUN_SHIFT | u64::from(lease) & USES
    }

    /// When a flight's present lease began; None: that is not noted yet.
    pub(crate) fn begun(&self, lease: u32) -> Option<u64> {
        let word = self.born.load(Ordering::Relaxed);
        (word & USES == u64::from(lease) & USES).then_some(word >> BEGUN_SHIFT)
    }

    // Relaxed, here and in the getters: stamps are written before READY is (or before the node is linked), and read
    // after READY was seen; the word's Release/Acquire orders them. Later changes (renewal) need no order with
    // anything: each is one word, and a reader that misses it acts as if it had come earlier.
    pub(crate) fn stamp(&self, nodes: &Nodes<K, V>, weight: u32, stamps: Timestamps) {
        self.set_weight(weight);
        self.born.store(stamps.born << USE_BITS | USES, Ordering::Relaxed);
        match stamps.expires {
            NEVER => self.extra(nodes).map_or((), |expires| expires.store(kept(NEVER), Ordering::Relaxed)),
            at => self.extra_or_grow(nodes).store(kept(at), Ordering::Relaxed),
        }
        self.set_tag_start(nodes, &stamps);
        self.hot.store(stamps.hot.0, Ordering::Relaxed);
    }

    fn set_tag_start(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        if stamps.hot.tagged() {
            // SAFETY: as in `extra`.
            let start = unsafe { nodes.extra_or_grow(TAG_SEQUENCE, NonNull::from(self)) };
            start.store(stamps.tag_sequence, Ordering::Relaxed);
        }
    }

    /// The number from which the load of a value began, if that has tags.
    ///
    /// A renewal writes this and `hot` one after the other. A reader between the two compares the
    /// older number, and looks the value up anew at worst.
    pub(crate) fn tag_sequence(&self, nodes: &Nodes<K, V>) -> Option<u64> {
        if !self.hot().tagged() {
            return None;
        }
        // SAFETY: as in `extra`.
        let start = unsafe { nodes.extra(TAG_SEQUENCE, NonNull::from(self)) };
        Some(start.map_or(0, |start| start.load(Ordering::Relaxed)))
    }

    #[inline]
    pub(crate) fn hot(&self) -> ExpiryWord {
        ExpiryWord(self.hot.load(Ordering::Relaxed))
    }

    /// Of a node that no other thread can reach yet.
    pub(crate) fn set_hot(&self, hot: ExpiryWord) {
        self.hot.store(hot.0, Ordering::Relaxed);
    }

    /// Replaces quiet-until if it is still what it was.
    pub(crate) fn set_quiet(&self, was: ExpiryWord, quiet: u64) {
        let new = was.with_quiet(quiet).0;
        let _ = self.hot.compare_exchange(was.0, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes of a flight, before it ends, that its load has confirmed the old value. (It has no times of its own, and will have none.)
    pub(crate) fn set_confirmed(&self) {
        self.hot.store(CONFIRMED, Ordering::Relaxed);
    }

    /// Whether a flight that has ended without a value has confirmed the old one.
    pub(crate) fn confirmed(&self) -> bool {
        self.hot.load(Ordering::Relaxed) == CONFIRMED
    }

    /// When a value's time to live is over.
    pub(crate) fn expires(&self, nodes: &Nodes<K, V>) -> u64 {
        self.extra(nodes).map_or(NEVER, |expires| kept(expires.load(Ordering::Relaxed)))
    }

    #[inline]
    fn extra<'n>(&self, nodes: &'n Nodes<K, V>) -> Option<&'n Extra> {
        // SAFETY: a cache's nodes are all from its one arena, and this one is alive.
        unsafe { nodes.extra(EXPIRY, NonNull::from(self)) }
    }

    fn extra_or_grow<'n>(&self, nodes: &'n Nodes<K, V>) -> &'n Extra {
        // SAFETY: as in `extra`.
        unsafe { nodes.extra_or_grow(EXPIRY, NonNull::from(self)) }
    }

    /// Makes sure that there is memory for these times: the publisher sets them where nothing may
    /// fail.
    pub(crate) fn reserve(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        if stamps.expires != NEVER {
            self.extra_or_grow(nodes);
        }
        if stamps.hot.tagged() {
            // SAFETY: as in `extra`.
            unsafe { nodes.extra_or_grow(TAG_SEQUENCE, NonNull::from(self)) };
        }
    }

    /// The same for a [renewal](Self::renew), which always writes a time of expiry.
    pub(crate) fn reserve_renewal(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        self.extra_or_grow(nodes);
        self.reserve(nodes, stamps);
    }

    /// A longer life. Meets [`Self::end_time`]: each of the two begins where the other ends, so that one of them wins, or
    /// the entry is looked at early; never is it quiet and over. SeqCst, as no weaker order forbids that of two stores each.
    pub(crate) fn renew(&self, nodes: &Nodes<K, V>, stamps: Timestamps) {
        self.set_tag_start(nodes, &stamps);
        self.hot.store(stamps.hot.0, Ordering::SeqCst);
        self.extra_or_grow(nodes).store(kept(stamps.expires), Ordering::SeqCst);
    }

    /// The end of it, now.
    pub(crate) fn end_time(&self, nodes: &Nodes<K, V>, now: u64) {
        self.extra_or_grow(nodes).store(kept(now), Ordering::SeqCst);
        self.hot.store(self.hot().with_quiet(now).0, Ordering::SeqCst);
    }

    /// Notes that a refresh of it has failed, past its time to live.
    pub(crate) fn cool_down(&self, was: ExpiryWord, now: u64) {
        let _ = self.hot.compare_exchange(was.0, was.cooled(now).0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a failure is kept in this node, which is FAILED, at this time.
    pub(crate) fn kept_failure(&self, nodes: &Nodes<K, V>, now: u64) -> bool {
        self.stored_weight() != 0 && now < self.expires(nodes)
    }

    pub(crate) fn born(&self) -> u64 {
        self.born.load(Ordering::Relaxed) >> USE_BITS
    }

    /// Counts a use, up to three: then it is warm, and a hit writes nothing.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        let word = self.born.load(Ordering::Relaxed);
        if word & USES != 0 {
            self.born.store(word - 1, Ordering::Relaxed);
        }
    }

    /// Uses counted, up to three.
    pub(crate) fn uses(&self) -> u32 {
        (!self.born.load(Ordering::Relaxed) & USES) as u32
    }

    pub(crate) fn set_uses(&self, uses: u32) {
        let word = self.born.load(Ordering::Relaxed);
        self.born.store(word & !USES | !u64::from(uses) & USES, Ordering::Relaxed);
    }
}
