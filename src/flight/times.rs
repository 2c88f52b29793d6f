//! The times of a node: when a flight began, when a value was made and when it expires. The use
//! counter is here, too.
//!
//! The use counter shares a word with the creation time, because the creation time does not change
//! once the node is READY. Two plain stores that race can lose a use, and nothing else.

use super::expiry::{ExpiryWord, Fenced, OwnStamps, RareStamps, Timestamps};
use super::node::{Node, Nodes};
use crate::reclaim::{Extra, OwnTerms};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;
use core::ptr::NonNull;

/// The bits of an entry's use counter: how many more uses are counted. 0 means warm.
const USES: u64 = 0b11;
const USE_BITS: u32 = 2;
/// The bit of a flight whose first lease does not count for `max_loads`.
const UNCOUNTED: u64 = 1 << USE_BITS;
/// The time at which a flight's lease began lies above that bit.
const BEGUN_SHIFT: u32 = USE_BITS + 1;

/// The word that a flight's `hot` holds once its load has confirmed the old value.
const CONFIRMED: u64 = 0;
/// The word that a flight's `hot` holds once a call has [fenced](Node::fence) its load.
const FENCED: u64 = ExpiryWord::FENCED.0;

/// Converts a time of expiry to the number that is stored, and back. `NEVER` is stored as 0.
fn kept(expires: u64) -> u64 {
    !expires
}

impl<K, V> Node<K, V> {
    /// Stores when the first lease of a flight began, and whether that lease counts for
    /// `max_loads`. No other thread can reach the flight yet. Once the value is moved in, the word
    /// holds the creation time of the value instead.
    pub(crate) fn set_begun(&self, at: u64, counted: bool) {
        let uncounted = if counted { 0 } else { UNCOUNTED };
        self.born.store(Self::beginning(1, at) | uncounted, Ordering::Relaxed);
    }

    /// Returns whether a lease that is in force counts for `max_loads`. Only a first lease can be
    /// exempt: the flights of a bulk load count as one load.
    pub(crate) fn is_counted(&self, lease: u32) -> bool {
        lease != 1 || self.born.load(Ordering::Relaxed) & UNCOUNTED == 0
    }

    /// Stores when a later lease began. The caller was just given that lease.
    pub(crate) fn set_begun_again(&self, lease: u32, at: u64) {
        let was = self.born.load(Ordering::Relaxed);
        // If the lease has ended or was taken over, the word may hold the beginning of another
        // lease, or the creation time of a value. `was` was read before `led_by`, so it is from
        // before the end of this lease, and the CAS fails if the word has changed since.
        if self.word.led_by(lease) {
            let new = Self::beginning(lease, at);
            let _ = self.born.compare_exchange(was, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Packs the time at which a lease began with the low bits of its number. They lie where an
    /// entry has its use counter.
    fn beginning(lease: u32, at: u64) -> u64 {
        at << BEGUN_SHIFT | u64::from(lease) & USES
    }

    /// Returns when the flight's present lease began, or None if that is not stored yet.
    pub(crate) fn begun(&self, lease: u32) -> Option<u64> {
        let word = self.born.load(Ordering::Relaxed);
        (word & USES == u64::from(lease) & USES).then_some(word >> BEGUN_SHIFT)
    }

    // Relaxed, here and in the getters. The times are written before READY is (or before the node
    // is linked), and read after READY was seen: the word's Release and Acquire order them. Later
    // changes (renewal) need no order with anything: each changes one word, and a reader that
    // misses it acts as if the reader had come earlier.
    #[inline]
    pub(crate) fn stamp(&self, nodes: &Nodes<K, V>, weight: u32, stamps: &Timestamps) {
        self.stamp_all_but_hot(nodes, weight, stamps);
        self.hot.store(stamps.hot.0, Ordering::Relaxed);
    }

    /// Does the same for a successor, which a call may have [fenced](Self::fence) since its flight
    /// began, or may be fencing now: then the value is over as it is stored. (No call fences a
    /// flight that is in the list: it removes that.)
    ///
    /// Each of the two changes `hot` by an RMW. If the caller's is first, this publisher finds the
    /// flag. If the publisher's is first, it has stored the time of expiry before, and the caller
    /// overwrites that afterwards.
    pub(crate) fn stamp_successor(&self, nodes: &Nodes<K, V>, weight: u32, stamps: &Timestamps) {
        self.stamp_all_but_hot(nodes, weight, stamps);
        let mut hot = stamps.hot;
        // Acquire: partner of the Release in `fence`. Release: the times above.
        let flagged = |now: u64| now == FENCED && !mutant("fence not seen");
        while let Err(now) = self.swap_hot(ExpiryWord::NEVER_EXPIRES.0, hot.0) {
            if !flagged(now) {
                self.hot.store(hot.0, Ordering::Release);
                return;
            }
            // `fence` has allocated this word.
            self.extra_or_grow(nodes).store(kept(stamps.born), Ordering::Relaxed);
            hot = stamps.hot.fenced();
            if self.swap_hot(now, hot.0).is_ok() {
                return;
            }
        }
    }

    fn swap_hot(&self, was: u64, new: u64) -> Result<u64, u64> {
        self.hot.compare_exchange(was, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Ends the time of the value that this flight loads, from before it is stored: a call has
    /// expired the key. Returns what the call met.
    pub(crate) fn fence(&self, nodes: &Nodes<K, V>, now: u64) -> Fenced {
        let expires = self.extra_or_grow(nodes);
        let met = match mutant("fence by a store") {
            true => {
                self.hot.store(FENCED, Ordering::Relaxed);
                return Fenced::Load;
            }
            // Release: the word above was allocated. Acquire: the publisher's times.
            false => self.swap_hot(ExpiryWord::NEVER_EXPIRES.0, FENCED),
        };
        match met {
            Err(CONFIRMED) => Fenced::Renewal,
            // The load may have stored a value that never expires, and then it is ended here.
            Ok(_) | Err(FENCED) => {
                expires.store(kept(now), Ordering::SeqCst);
                Fenced::Load
            }
            Err(stamped) => {
                // As in `end_time`. The flag tells those that come while the value is published.
                expires.store(kept(now), Ordering::SeqCst);
                self.hot.store(ExpiryWord(stamped).fenced().0, Ordering::SeqCst);
                Fenced::Value
            }
        }
    }

    /// Returns whether a call has ended the time of this flight's value before the value was
    /// stored.
    pub(crate) fn was_fenced(&self) -> bool {
        self.hot().is_fenced() && !mutant("fence seen no more")
    }

    #[inline]
    fn stamp_all_but_hot(&self, nodes: &Nodes<K, V>, weight: u32, stamps: &Timestamps) {
        self.set_weight(weight);
        self.born.store(stamps.born << USE_BITS | USES, Ordering::Relaxed);
        if stamps.expires != NEVER || stamps.needs_sequence() || stamps.own.is_some() || nodes.has_any_extras() {
            self.stamp_extras(nodes, stamps.expires, stamps.rare());
        }
    }

    /// Stores what most nodes do not have. If any has had it, this node may hold what an earlier
    /// one has left.
    #[inline(never)]
    fn stamp_extras(&self, nodes: &Nodes<K, V>, expires: u64, rare: RareStamps<'_>) {
        match expires {
            NEVER => self.extra(nodes).map_or((), |expires| expires.store(kept(NEVER), Ordering::Relaxed)),
            at => self.extra_or_grow(nodes).store(kept(at), Ordering::Relaxed),
        }
        self.set_rare(nodes, rare);
        // SAFETY: as in `extra`.
        let confirmed = unsafe { nodes.renewal(NonNull::from(self)) };
        confirmed.into_iter().for_each(|confirmed| confirmed.store(0, Ordering::Relaxed));
    }

    /// Stores the sequence number and the value's own terms, where they are needed.
    fn set_rare(&self, nodes: &Nodes<K, V>, rare: RareStamps<'_>) {
        let start = match rare.numbered {
            // SAFETY: as in `extra`.
            true => Some(unsafe { nodes.tag_sequence_or_grow(NonNull::from(self)) }),
            // SAFETY: as in `extra`.
            false => unsafe { nodes.tag_sequence(NonNull::from(self)) },
        };
        start.into_iter().for_each(|start| start.store(rare.tag_sequence, Ordering::Relaxed));
        if let Some(own) = rare.own {
            self.set_own_terms(nodes, own);
        }
    }

    #[cold]
    fn set_own_terms(&self, nodes: &Nodes<K, V>, own: &OwnStamps) {
        // SAFETY: as in `extra`.
        let terms = unsafe { nodes.terms_or_grow(NonNull::from(self)) };
        let OwnTerms { while_refresh, if_error, mark, beta, before } = terms;
        while_refresh.store(own.while_refresh, Ordering::Relaxed);
        if_error.store(own.if_error, Ordering::Relaxed);
        mark.store(own.mark, Ordering::Relaxed);
        beta.store(own.beta.to_bits(), Ordering::Relaxed);
        before.store(own.before, Ordering::Relaxed);
    }

    /// Returns the value's own terms, if it has such.
    ///
    /// A renewal writes them, and then `hot`, one word after the other. A reader in between finds a
    /// part of the older ones, as if it had come earlier.
    pub(crate) fn own_terms(&self, nodes: &Nodes<K, V>) -> Option<OwnStamps> {
        if !self.hot().has_own_terms() {
            return None;
        }
        // SAFETY: as in `extra`.
        let terms = unsafe { nodes.terms(NonNull::from(self)) }?;
        Some(OwnStamps {
            while_refresh: terms.while_refresh.load(Ordering::Relaxed),
            if_error: terms.if_error.load(Ordering::Relaxed),
            mark: terms.mark.load(Ordering::Relaxed),
            beta: f64::from_bits(terms.beta.load(Ordering::Relaxed)),
            before: terms.before.load(Ordering::Relaxed),
        })
    }

    /// Returns the tag sequence number with which the load of the value began, if the value has
    /// tags.
    ///
    /// A renewal writes this number and `hot` one after the other. A reader between the two writes
    /// compares the older number, and at worst loads the value anew.
    pub(crate) fn tag_sequence(&self, nodes: &Nodes<K, V>) -> Option<u64> {
        self.hot().tagged().then(|| self.sequence(nodes))
    }

    /// Returns the sequence number with which the load of the value began; 0 if the value has none.
    pub(crate) fn sequence(&self, nodes: &Nodes<K, V>) -> u64 {
        // SAFETY: as in `extra`.
        let start = unsafe { nodes.tag_sequence(NonNull::from(self)) };
        start.map_or(0, |start| start.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn hot(&self) -> ExpiryWord {
        ExpiryWord(self.hot.load(Ordering::Relaxed))
    }

    /// Sets the expiry word of a node that no other thread can reach yet.
    pub(crate) fn set_hot(&self, hot: ExpiryWord) {
        self.hot.store(hot.0, Ordering::Relaxed);
    }

    /// Replaces the quiet time, if the word is still `was`.
    pub(crate) fn set_quiet(&self, was: ExpiryWord, quiet: u64) {
        let new = was.with_quiet(quiet).0;
        let _ = self.hot.compare_exchange(was.0, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records in a flight, before it ends, that its load has confirmed the old value. The flight
    /// has no expiry of its own, and will have none, so its `hot` is free for this.
    ///
    /// Returns whether a call has fenced the load before. If the call comes later, it finds this
    /// note, and ends the old value's time once that is renewed.
    pub(crate) fn set_confirmed(&self) -> bool {
        self.hot.swap(CONFIRMED, Ordering::AcqRel) == FENCED
    }

    /// Returns whether a flight that ended without a value has confirmed the old value.
    pub(crate) fn confirmed(&self) -> bool {
        self.hot.load(Ordering::Relaxed) == CONFIRMED
    }

    /// Returns when the value expires, by its time to live.
    pub(crate) fn expires(&self, nodes: &Nodes<K, V>) -> u64 {
        self.extra(nodes).map_or(NEVER, |expires| kept(expires.load(Ordering::Relaxed)))
    }

    #[inline]
    fn extra<'n>(&self, nodes: &'n Nodes<K, V>) -> Option<&'n Extra> {
        // SAFETY: all nodes of a cache are from its one arena, and this node is alive.
        unsafe { nodes.expiry(NonNull::from(self)) }
    }

    fn confirmed_at<'n>(&self, nodes: &'n Nodes<K, V>) -> &'n Extra {
        // SAFETY: as in `extra`.
        unsafe { nodes.renewal_or_grow(NonNull::from(self)) }
    }

    /// Returns how long ago, at the time `now`, the value was made, or confirmed by a renewal
    /// since.
    pub(crate) fn confirmed_ago(&self, nodes: &Nodes<K, V>, now: u64) -> u64 {
        // SAFETY: as in `extra`.
        let confirmed = unsafe { nodes.renewal(NonNull::from(self)) };
        match confirmed.map_or(0, |at| at.load(Ordering::Relaxed)) {
            0 => self.made_ago(nodes, now),
            at => now.saturating_sub(at),
        }
    }

    /// Returns how long ago, at the time `now`, the value was made.
    pub(crate) fn made_ago(&self, nodes: &Nodes<K, V>, now: u64) -> u64 {
        let before = self.own_terms(nodes).map_or(0, |own| own.before);
        now.saturating_sub(self.born()).saturating_add(before)
    }

    fn extra_or_grow<'n>(&self, nodes: &'n Nodes<K, V>) -> &'n Extra {
        // SAFETY: as in `extra`.
        unsafe { nodes.expiry_or_grow(NonNull::from(self)) }
    }

    /// Allocates the memory for these times. The publisher sets them later, at a point where
    /// nothing may fail.
    #[inline]
    pub(crate) fn reserve(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        if stamps.expires != NEVER || stamps.needs_sequence() || stamps.own.is_some() {
            self.reserve_extras(nodes, stamps);
        }
    }

    #[inline(never)]
    fn reserve_extras(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        if stamps.expires != NEVER {
            self.extra_or_grow(nodes);
        }
        if stamps.needs_sequence() {
            // SAFETY: as in `extra`.
            unsafe { nodes.tag_sequence_or_grow(NonNull::from(self)) };
        }
        if stamps.own.is_some() {
            // SAFETY: as in `extra`.
            unsafe { nodes.terms_or_grow(NonNull::from(self)) };
        }
    }

    /// Allocates the memory for a [renewal](Self::renew), which always writes a time of expiry.
    pub(crate) fn reserve_renewal(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        self.extra_or_grow(nodes);
        self.confirmed_at(nodes);
        self.reserve(nodes, stamps);
    }

    /// Prolongs the life of the entry.
    ///
    /// It may race with [`Self::end_time`]. Each of the two begins with the word that the other one
    /// writes last. So one of the two wins, or a hit looks closer at the entry earlier than it
    /// must. The entry is never both quiet and expired. SeqCst, because each of the two makes two
    /// stores, and no weaker order forbids that outcome.
    pub(crate) fn renew(&self, nodes: &Nodes<K, V>, stamps: &Timestamps) {
        self.set_rare(nodes, stamps.rare());
        self.confirmed_at(nodes).store(stamps.born, Ordering::Relaxed);
        self.hot.store(stamps.hot.0, Ordering::SeqCst);
        self.extra_or_grow(nodes).store(kept(stamps.expires), Ordering::SeqCst);
    }

    /// Moves the expiry, unless it is `was` no more: then the entry was renewed, or its life was
    /// ended, and that counts. Returns whether it was moved.
    pub(crate) fn move_expiry(&self, nodes: &Nodes<K, V>, was: u64, expires: u64) -> bool {
        let word = self.extra_or_grow(nodes);
        // Relaxed: a change of one word, which orders nothing.
        word.compare_exchange(kept(was), kept(expires), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Ends the life of the entry now.
    pub(crate) fn end_time(&self, nodes: &Nodes<K, V>, now: u64) {
        self.extra_or_grow(nodes).store(kept(now), Ordering::SeqCst);
        self.hot.store(self.hot().with_quiet(now).0, Ordering::SeqCst);
    }

    /// Records that a refresh of the entry has failed after the entry expired.
    pub(crate) fn cool_down(&self, was: ExpiryWord, now: u64) {
        let _ = self.hot.compare_exchange(was.0, was.cooled(now).0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether this node, which is FAILED, keeps its failure at the time `now`.
    pub(crate) fn kept_failure(&self, nodes: &Nodes<K, V>, now: u64) -> bool {
        self.stored_weight() != 0 && now < self.expires(nodes)
    }

    pub(crate) fn born(&self) -> u64 {
        self.born.load(Ordering::Relaxed) >> USE_BITS
    }

    /// Counts a use, up to three. Then the entry is warm, and a hit writes nothing.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        let word = self.born.load(Ordering::Relaxed);
        if word & USES != 0 {
            self.born.store(word - 1, Ordering::Relaxed);
        }
    }

    /// Returns the number of uses counted, up to three.
    pub(crate) fn uses(&self) -> u32 {
        (!self.born.load(Ordering::Relaxed) & USES) as u32
    }

    pub(crate) fn set_uses(&self, uses: u32) {
        let word = self.born.load(Ordering::Relaxed);
        self.born.store(word & !USES | !u64::from(uses) & USES, Ordering::Relaxed);
    }
}
