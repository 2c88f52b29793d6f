//! Expiry and early refresh as pure functions of numbers. Times are ns since the cache was built.
//!
//! XFetch is Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015,
//! section 4: a reader recomputes early if `now − δ·β·ln(U) ≥ expiry`, U uniform in (0, 1], δ the time that the last
//! load took. Since `−ln U ≤ 64·ln 2 < 44.4` for U a multiple of 2⁻⁶⁴, nothing can happen earlier than
//! `expiry − 44.4·β·δ`: the instant called *quiet until*. A hit before it rolls no dice.

use core::time::Duration;

/// The time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Upper bound of −ln U for U ≥ 2⁻⁶⁴ (64·ln 2 = 44.3614…).
const WORST: f64 = 44.4;

/// A duration in ns; what does not fit (584 years) is [`NEVER`].
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(NEVER)
}

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

/// `now + ttl`; never overflows, and a `ttl` of [`NEVER`] gives [`NEVER`].
pub(crate) fn expires_at(now: u64, ttl: u64) -> u64 {
    now.saturating_add(ttl)
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
pub(crate) struct Hot(pub(crate) u64);

const LOW_BITS: u32 = 14;
const TAGGED: u64 = 1 << 13;
const COOLING: u64 = 1 << 12;
const CODE: u64 = COOLING - 1;
const MANTISSA: u32 = 6;
const QUIET_NEVER: u64 = NEVER >> LOW_BITS;

impl Hot {
    /// No expiry: quiet for good.
    pub(crate) const ETERNAL: Hot = Hot(QUIET_NEVER << LOW_BITS);

    /// `quiet` is rounded down to µs (looking a little early is harmless); `delta` to 6 significant bits (1.6 %).
    pub(crate) fn new(quiet: u64, delta: u64) -> Self {
        if quiet == NEVER {
            return Self(Self::ETERNAL.0 | encode(delta));
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
    pub(crate) fn eternal(self) -> bool {
        self.0 >= Self::ETERNAL.0
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
        if self.eternal() { NEVER } else { (self.0 >> LOW_BITS) * 1000 }
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
    pub(crate) fn cooling(self, now: u64, cooldown: u64) -> bool {
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

/// When an entry that expires at `expires`, and took `delta` to load, can first be refreshed.
pub(crate) fn quiet_until(expires: u64, delta: u64, beta: f64) -> u64 {
    if expires == NEVER {
        return NEVER;
    }
    // A float-to-integer cast saturates, so the worst product is merely "from the start".
    expires.saturating_sub((WORST * beta * delta as f64) as u64)
}

/// XFetch's dice: whether a reader at `now` refreshes an entry early. `random` is 64 uniform bits.
pub(crate) fn roll(now: u64, expires: u64, delta: u64, beta: f64, random: u64) -> bool {
    if expires == NEVER {
        return false;
    }
    // U = (random + 1) / 2⁶⁴ lies in (0, 1]; both steps round, and neither can reach 0.
    let u = (random as f64 + 1.0) * (1.0 / 18_446_744_073_709_551_616.0);
    let ahead = beta * delta as f64 * -ln(u);
    ahead > 0.0 && ahead >= expires.saturating_sub(now) as f64
}

/// A time to live shortened by up to the share `jitter` of itself. `random` is 64 uniform bits.
pub(crate) fn jittered(ttl: u64, jitter: f64, random: u64) -> u64 {
    if ttl == NEVER || jitter == 0.0 {
        return ttl;
    }
    let share = random as f64 * (1.0 / 18_446_744_073_709_551_616.0);
    ttl - ((ttl as f64 * jitter * share) as u64).min(ttl)
}

fn ln(x: f64) -> f64 {
    #[cfg(feature = "std")]
    return x.ln();
    #[cfg(not(feature = "std"))]
    return libm::log(x);
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
        assert_eq!(quiet_until(NEVER, u64::MAX, f64::MAX), NEVER);
        assert_eq!(quiet_until(1000, u64::MAX, f64::MAX), 0);
        assert_eq!(quiet_until(1000, 0, f64::MAX), 1000);
        assert_eq!(quiet_until(100_000, 1000, 0.0), 100_000);
        assert!(Hot::new(NEVER, 5).eternal());
        assert_eq!(Hot::new(NEVER, 5).quiet_until(), NEVER);
        assert!(!Hot::new(NEVER - 1, 5).eternal());
        assert_eq!(Hot::new(5_999, 7).quiet_until(), 5_000);
        assert_eq!(Hot::new(5_999, 7).delta(), 7);
    }

    #[test]
    fn tags_change_neither_quiet_time_nor_delta_nor_cooldown() {
        let second = 1_000_000_000;
        for quiet in [0, 5_000, 9_000_000, NEVER] {
            let plain = Hot::new(quiet, 7);
            let tagged = plain.with_tags();
            assert!(tagged.tagged() && !plain.tagged() && !tagged.eternal());
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
        for hot in [Hot::new(5_000, 7), Hot::new(5_000, 7).with_tags()] {
            assert!(!hot.cooling(0, second));
            for failed in [0, 6_000, 7 * second] {
                let cooled = hot.cooled(failed);
                assert_eq!((cooled.tagged(), cooled.delta()), (hot.tagged(), 0));
                assert!(cooled.quiet_until() <= failed);
                assert!(cooled.cooling(failed, second) && cooled.cooling(failed + second - 1_000, second));
                assert!((1..1000).all(|n| !cooled.cooling(failed + n * second, second)));
                assert!(!cooled.cooling(failed, 0));
            }
        }
    }

    #[test]
    fn no_roll_wins_before_quiet_until() {
        for delta in [1, 1000, 1_000_000_000] {
            let expires = 1_000_000_000_000;
            let quiet = quiet_until(expires, delta, 1.0);
            assert!(!roll(quiet - 1, expires, delta, 1.0, 0), "the smallest U is the worst");
        }
    }

    #[test]
    fn dice_extremes() {
        assert!(!roll(0, NEVER, u64::MAX, f64::MAX, 0));
        assert!(!roll(10, 10, 1000, 0.0, 0), "beta 0 never refreshes early");
        assert!(!roll(10, 10, 0, 1.0, 0), "an inserted value never refreshes early");
        assert!(!roll(0, 10, 1000, 1.0, u64::MAX), "U = 1 is no time ahead");
        assert!(roll(0, u64::MAX - 1, u64::MAX, f64::MAX, 0));
    }

    #[test]
    fn jitter_only_shortens() {
        assert_eq!(jittered(NEVER, 0.5, 7), NEVER);
        assert_eq!(jittered(1000, 0.0, u64::MAX), 1000);
        assert_eq!(jittered(1000, 0.5, 0), 1000);
        assert!((500..=502).contains(&jittered(1000, 0.5, u64::MAX)));
        assert!(jittered(u64::MAX - 1, 0.999, u64::MAX) < u64::MAX);
    }
}
