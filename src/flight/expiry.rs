//! A time to live, and the word that a hit reads: until when the entry is quiet, and how long its
//! load took.

use crate::runtime::xfetch::{NEVER, nanos};
use alloc::boxed::Box;
use core::num::NonZeroU64;
use core::time::Duration;

/// A time to live of one value, with a flag in the lowest bit: whether the cache's jitter shortens
/// it, as it does the cache's own time to live. (In one word, that is not zero, because each future
/// of a lookup holds one that may be absent.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(NonZeroU64);

/// The longest time to live that ends, in ns: 292 years. One more means that it never ends.
const LONGEST: u64 = (u64::MAX >> 1) - 2;

impl Ttl {
    fn new(ttl: Duration, jittered: bool) -> Self {
        let ns = match nanos(ttl) {
            NEVER => LONGEST + 1,
            ns => ns.min(LONGEST),
        };
        Self(NonZeroU64::MIN.saturating_add(ns << 1 | u64::from(jittered)))
    }

    pub(crate) fn jittered(ttl: Duration) -> Self {
        Self::new(ttl, true)
    }

    pub(crate) fn exactly(ttl: Duration) -> Self {
        Self::new(ttl, false)
    }

    pub(crate) fn is_jittered(self) -> bool {
        (self.0.get() - 1) & 1 != 0
    }

    /// Returns the time in ns, before any jitter.
    pub(crate) fn nanos(self) -> u64 {
        let ns = (self.0.get() - 1) >> 1;
        if ns > LONGEST { NEVER } else { ns }
    }

    /// Returns whether the value is not to be stored at all.
    pub(crate) fn is_zero(self) -> bool {
        self.nanos() == 0
    }
}

/// The times of a value, fixed when it is published.
#[derive(Clone, Debug)]
pub(crate) struct Timestamps {
    pub(crate) born: u64,
    pub(crate) expires: u64,
    pub(crate) hot: ExpiryWord,
    /// The tag sequence number with which the load began. Without tags it has no meaning.
    pub(crate) tag_sequence: u64,
    /// Terms of the value's own, if it has such; then `hot` says so, too.
    pub(crate) own: Option<Box<OwnStamps>>,
    /// Whether the number is to be kept even if the value has no tags.
    pub(crate) numbered: bool,
}

/// What few values need of their [`Timestamps`].
pub(super) struct RareStamps<'s> {
    /// Whether the number must be stored.
    pub(super) numbered: bool,
    pub(super) tag_sequence: u64,
    pub(super) own: Option<&'s OwnStamps>,
}

impl Timestamps {
    /// Returns whether the sequence number must be stored.
    #[inline(always)]
    pub(super) fn needs_sequence(&self) -> bool {
        self.numbered || self.hot.tagged()
    }

    /// Returns what few values need.
    #[inline(always)]
    pub(super) fn rare(&self) -> RareStamps<'_> {
        RareStamps { numbered: self.needs_sequence(), tag_sequence: self.tag_sequence, own: self.own.as_deref() }
    }
}

/// What a call meets that [fences](super::node::Node::fence) a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fenced {
    /// The load is in flight. Its value will be over as it is stored.
    Load,
    /// The load has stored its value, whose time ended here.
    Value,
    /// The load confirms the old value.
    Renewal,
}

/// Terms of a value of its own, in ns. See [`OwnTerms`](crate::reclaim::OwnTerms).
#[derive(Clone, Debug)]
pub(crate) struct OwnStamps {
    pub(crate) while_refresh: u64,
    pub(crate) if_error: u64,
    pub(crate) mark: u64,
    pub(crate) beta: f64,
    pub(crate) before: u64,
}

/// The expiry word of an entry, which a hit reads: a bit that says "for ever", 48 bits of quiet
/// time in µs (8 years), three flags, 12 bits of δ. Until its quiet time an entry needs only plain
/// hits.
///
/// *Tagged*: the entry has tags, and a hit must ask whether one of them was invalidated. The
/// sequence number to compare is stored beside the entry's expiry. So a tagged entry has a quiet
/// time, a δ and a cooldown like any other.
///
/// *Own*: the value has terms of its own, beside the entry's expiry. They matter past the quiet
/// time alone.
///
/// *Cooling*: a refresh has failed after the entry expired. Then the word has no δ, and its quiet
/// time is the time of that failure. That is not later than now, so hits look closer, as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ExpiryWord(pub(crate) u64);

const LOW_BITS: u32 = 15;
const OWN: u64 = 1 << 14;
const TAGGED: u64 = 1 << 13;
const COOLING: u64 = 1 << 12;
const CODE: u64 = COOLING - 1;
const MANTISSA: u32 = 6;
/// The quiet time of an entry that is quiet for ever: the highest bit alone, which a hit tests by
/// one instruction.
const QUIET_NEVER: u64 = 1 << (63 - LOW_BITS);

impl ExpiryWord {
    /// The word of an entry that is quiet for ever and has no δ.
    pub(crate) const NEVER_EXPIRES: ExpiryWord = ExpiryWord(QUIET_NEVER << LOW_BITS);

    /// The word of a flight whose value's time a call has ended, and of that value once it is
    /// stored, but for its flags: its quiet time is 0, and its δ is one ns.
    pub(crate) const FENCED: ExpiryWord = ExpiryWord(1);

    /// Returns the word of a value whose time was ended before it was stored.
    pub(crate) fn fenced(self) -> Self {
        Self(Self::FENCED.0 | self.0 & (TAGGED | OWN))
    }

    /// Returns whether the value's time was ended before the value was stored.
    pub(crate) fn is_fenced(self) -> bool {
        self.0 & !(TAGGED | OWN) == Self::FENCED.0
    }

    /// Packs a quiet time and a δ, both in ns. `quiet` is rounded down to µs (looking a little
    /// early is harmless), and `delta` to a mantissa of 6 bits (an error below 1.6 %).
    #[inline]
    pub(crate) fn new(quiet: u64, delta: u64) -> Self {
        if quiet == NEVER {
            return Self(Self::NEVER_EXPIRES.0 | encode(delta));
        }
        Self((quiet / 1000).min(QUIET_NEVER - 1) << LOW_BITS | encode(delta))
    }

    /// Adds the tagged flag. The entry is then never one that [never expires](Self::never_expires),
    /// because each hit has to ask about its tags.
    pub(crate) fn with_tags(self) -> Self {
        let quiet = (self.0 >> LOW_BITS).min(QUIET_NEVER - 1);
        Self(quiet << LOW_BITS | TAGGED | self.0 & (OWN | COOLING | CODE))
    }

    /// Adds the flag that the value has terms of its own.
    pub(crate) fn with_own_terms(self) -> Self {
        Self(self.0 | OWN)
    }

    /// Returns whether the value has terms of its own.
    #[inline]
    pub(crate) fn has_own_terms(self) -> bool {
        self.0 & OWN != 0
    }

    /// Returns whether every hit is a plain hit for ever. Then no clock need be read.
    #[inline]
    pub(crate) fn never_expires(self) -> bool {
        self.0 >= Self::NEVER_EXPIRES.0
    }

    /// The flags of a word whose quiet time a hit cannot rely on. Tags can be invalidated at any
    /// time. After a failed refresh the quiet time is the time of that failure.
    pub(crate) const RESTLESS: u64 = TAGGED | COOLING;
    /// All bits. In a cache with a time to idle no hit may rely on the quiet time, which holds the
    /// idle deadline there. (Only the word 0 is free of all bits, and it is never quiet.)
    pub(crate) const ANY: u64 = u64::MAX;

    /// Returns whether the word has none of these flags.
    #[inline]
    pub(crate) fn is_free_of(self, flags: u64) -> bool {
        self.0 & flags == 0
    }

    /// Returns whether the entry has tags.
    #[inline]
    pub(crate) fn tagged(self) -> bool {
        self.0 & TAGGED != 0
    }

    /// Returns the earliest time at which a hit may not be a plain one, in ns. Tags are not
    /// considered.
    #[inline]
    pub(crate) fn quiet_until(self) -> u64 {
        if self.never_expires() { NEVER } else { (self.0 >> LOW_BITS) * 1000 }
    }

    /// Returns whether the quiet time is the last one that the word can hold, 8 years from the
    /// clock's start. Then the true one may be later.
    pub(crate) fn quiet_is_last(self) -> bool {
        self.0 >> LOW_BITS == QUIET_NEVER - 1
    }

    /// Returns how long the load took, in ns.
    pub(crate) fn delta(self) -> u64 {
        if self.0 & COOLING != 0 { 0 } else { decode(self.0 & CODE) }
    }

    /// Returns a word with the same δ, tags and terms, and another quiet time.
    pub(crate) fn with_quiet(self, quiet: u64) -> Self {
        Self::new(quiet, self.delta()).flagged_as(self)
    }

    /// Returns the word of the same entry after a refresh has failed at the time `now`.
    pub(crate) fn cooled(self, now: u64) -> Self {
        Self(Self::new(now.min(NEVER - 1), 0).flagged_as(self).0 | COOLING)
    }

    /// Returns whether a refresh has failed less than `cooldown` before `now`.
    pub(crate) fn in_cooldown(self, now: u64, cooldown: u64) -> bool {
        self.0 & COOLING != 0 && now < self.quiet_until().saturating_add(cooldown)
    }

    /// Adds the flags of `other` that say what the value has.
    pub(crate) fn flagged_as(self, other: Self) -> Self {
        let own = Self(self.0 | other.0 & OWN);
        if other.tagged() { own.with_tags() } else { own }
    }
}

/// Encodes a number as a float with 6 bits of exponent and 6 bits of mantissa, rounded down. Exact
/// below 128.
#[inline]
fn encode(v: u64) -> u64 {
    if v < 1 << MANTISSA { v } else { encode_long(v) }
}

fn encode_long(v: u64) -> u64 {
    let shift = 63 - MANTISSA - v.leading_zeros();
    u64::from(shift + 1) << MANTISSA | (v >> shift & ((1 << MANTISSA) - 1))
}

fn decode(code: u64) -> u64 {
    let (exponent, mantissa) = (code >> MANTISSA, code & ((1 << MANTISSA) - 1));
    match exponent {
        0 => mantissa,
        e => (1 << MANTISSA | mantissa) << (e - 1),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn delta_code_is_within_two_percent_and_never_above() {
        for v in (0..64).flat_map(|s| [(1u64 << s) - 1, 1 << s, (1 << s) + (1 << s) / 3]) {
            let back = decode(encode(v));
            assert!(back <= v && v - back <= v / 64, "{v} became {back}");
            assert!(encode(v) <= CODE);
        }
        assert!(decode(encode(u64::MAX)) > u64::MAX - u64::MAX / 64);
    }

    #[test]
    fn a_time_to_live_in_one_word() {
        let nanos = Duration::from_nanos;
        for (ttl, ns) in [(nanos(0), 0), (nanos(1), 1), (nanos(7_000_000_000), 7_000_000_000)] {
            let (jittered, exact) = (Ttl::jittered(ttl), Ttl::exactly(ttl));
            assert_eq!((jittered.nanos(), jittered.is_jittered()), (ns, true));
            assert_eq!((exact.nanos(), exact.is_jittered(), exact.is_zero()), (ns, false, ns == 0));
        }
        for forever in [Duration::MAX, nanos(u64::MAX)] {
            assert_eq!((Ttl::jittered(forever).nanos(), Ttl::exactly(forever).nanos()), (NEVER, NEVER));
        }
        assert_eq!(Ttl::jittered(nanos(u64::MAX - 1)).nanos(), LONGEST);
        assert_eq!(size_of::<Option<Ttl>>(), 8);
    }

    #[test]
    fn quiet_until_survives_extremes() {
        assert!(ExpiryWord::new(NEVER, 5).never_expires());
        assert_eq!(ExpiryWord::new(NEVER, 5).quiet_until(), NEVER);
        assert!(!ExpiryWord::new(NEVER - 1, 5).never_expires());
        assert_eq!(ExpiryWord::new(5_999, 7).quiet_until(), 5_000);
        assert_eq!(ExpiryWord::new(5_999, 7).delta(), 7);
    }

    #[test]
    fn tags_change_neither_quiet_time_nor_delta_nor_cooldown() {
        let second = 1_000_000_000;
        for quiet in [0, 5_000, 9_000_000, NEVER] {
            let plain = ExpiryWord::new(quiet, 7);
            let tagged = plain.with_tags();
            assert!(tagged.tagged() && !plain.tagged() && !tagged.never_expires());
            assert_eq!(tagged.delta(), 7);
            if quiet != NEVER {
                assert_eq!(tagged.quiet_until(), plain.quiet_until());
            }
            assert_eq!(tagged.with_quiet(8_000), plain.with_quiet(8_000).with_tags());
            for failed in [0, 6_000, 7 * second] {
                assert_eq!(tagged.cooled(failed), plain.cooled(failed).with_tags());
            }
        }
    }

    #[test]
    fn own_terms_change_nothing_else_and_stay() {
        for word in [ExpiryWord::NEVER_EXPIRES, ExpiryWord::new(5_000, 7), ExpiryWord::new(5_000, 7).with_tags()] {
            let own = word.with_own_terms();
            assert!(own.has_own_terms() && !word.has_own_terms());
            let told = |w: ExpiryWord| (w.never_expires(), w.quiet_until(), w.delta(), w.tagged());
            assert_eq!(told(own), told(word));
            assert!(own.with_quiet(9_000).has_own_terms() && own.cooled(8_000).has_own_terms());
            assert!(own.with_tags().has_own_terms());
            assert!(own.is_free_of(ExpiryWord::RESTLESS) == word.is_free_of(ExpiryWord::RESTLESS));
        }
    }

    #[test]
    fn a_cooldown_lasts_as_long_as_it_says_and_does_not_come_back() {
        let second = 1_000_000_000;
        for hot in [ExpiryWord::new(5_000, 7), ExpiryWord::new(5_000, 7).with_tags()] {
            assert!(!hot.in_cooldown(0, second));
            for failed in [0, 6_000, 7 * second] {
                let cooled = hot.cooled(failed);
                assert_eq!((cooled.tagged(), cooled.delta()), (hot.tagged(), 0));
                assert!(cooled.quiet_until() <= failed);
                assert!(cooled.in_cooldown(failed, second) && cooled.in_cooldown(failed + second - 1_000, second));
                assert!((1..1000).all(|n| !cooled.in_cooldown(failed + n * second, second)));
                assert!(!cooled.in_cooldown(failed, 0));
            }
        }
    }
}
