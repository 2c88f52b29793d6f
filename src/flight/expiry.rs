//! A time to live, and the word that a hit looks at: until when it is quiet, and how long the load took.

use crate::runtime::xfetch::{NEVER, nanos};
use core::time::Duration;

/// A time to live of one value alone, in ns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ttl {
    /// Shortened by the cache's jitter, like any other.
    Jittered(u64),
    Exactly(u64),
}

impl Ttl {
    pub(crate) fn jittered(ttl: Duration) -> Self {
        Self::Jittered(nanos(ttl))
    }

    /// Whether the value is not to be kept at all.
    pub(crate) fn is_zero(self) -> bool {
        matches!(self, Self::Jittered(0) | Self::Exactly(0))
    }

    pub(crate) fn exactly(ttl: Duration) -> Self {
        Self::Exactly(nanos(ttl))
    }
}

/// The times of a value, fixed when it is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamps {
    pub(crate) born: u64,
    pub(crate) expires: u64,
    pub(crate) hot: ExpiryWord,
    /// The number among the invalidations of tags that the load began with; of no meaning
    /// without tags.
    pub(crate) tag_sequence: u64,
}

/// What a hit of an entry looks at, in one word: 50 bits of quiet-until in µs (35 years), two
/// flags, 12 bits of δ.
///
/// *Tagged*: the entry has tags, and a hit must ask whether one of them was invalidated. The
/// sequence number that they are compared with lies beside the entry's expiry, so a tagged entry
/// has a quiet time, a δ and a cooldown as any other.
///
/// *Cooling*: a refresh has failed past the entry's expiry. The word has no δ then, and quiet-until
/// is the time of that failure: not later than now, so that hits look closer as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ExpiryWord(pub(crate) u64);

const LOW_BITS: u32 = 14;
const TAGGED: u64 = 1 << 13;
const COOLING: u64 = 1 << 12;
const CODE: u64 = COOLING - 1;
const MANTISSA: u32 = 6;
const QUIET_NEVER: u64 = NEVER >> LOW_BITS;

impl ExpiryWord {
    /// No expiry: quiet for good.
    pub(crate) const NEVER_EXPIRES: ExpiryWord = ExpiryWord(QUIET_NEVER << LOW_BITS);

    /// `quiet` is rounded down to µs (looking a little early is harmless); `delta` to 6 significant bits (1.6 %).
    pub(crate) fn new(quiet: u64, delta: u64) -> Self {
        if quiet == NEVER {
            return Self(Self::NEVER_EXPIRES.0 | encode(delta));
        }
        Self((quiet / 1000).min(QUIET_NEVER - 1) << LOW_BITS | encode(delta))
    }

    /// The same of an entry with tags. It is never eternal: each hit has to ask about its tags.
    pub(crate) fn with_tags(self) -> Self {
        let quiet = (self.0 >> LOW_BITS).min(QUIET_NEVER - 1);
        Self(quiet << LOW_BITS | TAGGED | self.0 & (COOLING | CODE))
    }

    /// Whether anything but a plain hit can ever happen: if not, no clock need be read.
    #[inline]
    pub(crate) fn never_expires(self) -> bool {
        self.0 >= Self::NEVER_EXPIRES.0
    }

    /// What has no quiet time that a hit could go by: tags can be invalidated at any time, and after a
    /// failed refresh the time of that is in its place.
    pub(crate) const RESTLESS: u64 = TAGGED | COOLING;
    /// With a time to idle, nothing has: the idle deadline is in its place.
    pub(crate) const ANY: u64 = u64::MAX;

    /// Whether it has none of these flags.
    #[inline]
    pub(crate) fn is_free_of(self, flags: u64) -> bool {
        self.0 & flags == 0
    }

    /// Whether the entry has tags.
    #[inline]
    pub(crate) fn tagged(self) -> bool {
        self.0 & TAGGED != 0
    }

    /// The earliest instant at which anything but a plain hit can happen, but for what tags say.
    #[inline]
    pub(crate) fn quiet_until(self) -> u64 {
        if self.never_expires() { NEVER } else { (self.0 >> LOW_BITS) * 1000 }
    }

    /// How long the load took, in ns.
    pub(crate) fn delta(self) -> u64 {
        if self.0 & COOLING != 0 { 0 } else { decode(self.0 & CODE) }
    }

    /// The same δ and tags, quiet until another time.
    pub(crate) fn with_quiet(self, quiet: u64) -> Self {
        Self::new(quiet, self.delta()).tagged_as(self)
    }

    /// A refresh has failed now.
    pub(crate) fn cooled(self, now: u64) -> Self {
        Self(Self::new(now.min(NEVER - 1), 0).tagged_as(self).0 | COOLING)
    }

    /// Whether a refresh has failed, and the cooldown since then is not over.
    pub(crate) fn in_cooldown(self, now: u64, cooldown: u64) -> bool {
        self.0 & COOLING != 0 && now < self.quiet_until().saturating_add(cooldown)
    }

    fn tagged_as(self, other: Self) -> Self {
        if other.tagged() { self.with_tags() } else { self }
    }
}

/// A float of 6 bits of exponent and 6 of mantissa, rounded down; exact below 128.
fn encode(v: u64) -> u64 {
    if v < 1 << MANTISSA {
        return v;
    }
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
