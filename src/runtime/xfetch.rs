//! Times as numbers, and early refresh as pure functions of them. Times are nanoseconds since the
//! cache was built.
//!
//! XFetch is from Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache Stampede
//! Prevention*, VLDB 2015, section 4: a reader recomputes early if `now − δ·β·ln(U) ≥ expiry`. U is
//! uniform in (0, 1], and δ is how long the last load took.
//!
//! For U a multiple of 2⁻⁶⁴, `−ln U ≤ 64·ln 2 < 44.4`. So no reader refreshes before
//! `expiry − 44.4·β·δ`. This instant is called *quiet until*; a hit before it draws no random
//! number.

use core::time::Duration;

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Upper bound of −ln U for U ≥ 2⁻⁶⁴ (64·ln 2 = 44.3614…).
const WORST: f64 = 44.4;

/// Returns a duration in nanoseconds, or [`NEVER`] for one that does not fit (584 years).
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(NEVER)
}

/// Returns `now + ttl`, saturating. So a `ttl` of [`NEVER`] gives [`NEVER`].
pub(crate) fn expires_at(now: u64, ttl: u64) -> u64 {
    now.saturating_add(ttl)
}

/// Returns the earliest time at which an entry can be refreshed that expires at `expires` and took
/// `delta` to load.
pub(crate) fn quiet_until(expires: u64, delta: u64, beta: f64) -> u64 {
    if expires == NEVER {
        return NEVER;
    }
    // A cast from float to integer saturates, so the largest product means "from the start".
    expires.saturating_sub((WORST * beta * delta as f64) as u64)
}

/// Rolls XFetch's dice: returns whether a reader at `now` refreshes the entry early. `random` is 64
/// uniform bits.
pub(crate) fn roll(now: u64, expires: u64, delta: u64, beta: f64, random: u64) -> bool {
    if expires == NEVER {
        return false;
    }
    // U = (random + 1) / 2⁶⁴ lies in (0, 1]. Both steps round, and neither can give 0.
    let u = (random as f64 + 1.0) * (1.0 / 18_446_744_073_709_551_616.0);
    let ahead = beta * delta as f64 * -ln(u);
    ahead > 0.0 && ahead >= expires.saturating_sub(now) as f64
}

/// Returns a time to live shortened by a random part of itself, up to the fraction `jitter`.
/// `random` is 64 uniform bits.
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
    fn no_roll_wins_before_quiet_until() {
        for delta in [1, 1000, 1_000_000_000] {
            let expires = 1_000_000_000_000;
            let quiet = quiet_until(expires, delta, 1.0);
            assert!(!roll(quiet - 1, expires, delta, 1.0, 0), "the smallest U is the worst");
        }
    }

    #[test]
    fn quiet_until_survives_extremes() {
        assert_eq!(quiet_until(NEVER, u64::MAX, f64::MAX), NEVER);
        assert_eq!(quiet_until(1000, u64::MAX, f64::MAX), 0);
        assert_eq!(quiet_until(1000, 0, f64::MAX), 1000);
        assert_eq!(quiet_until(100_000, 1000, 0.0), 100_000);
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
