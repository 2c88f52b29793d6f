//! When an entry is refreshed before it expires: the policy, and its code in one word.

use crate::runtime::xfetch::{self, NEVER};
use core::time::Duration;

/// When read-through refreshes an entry that has not expired yet.
///
/// A policy sets a *mark* in the life of each entry. Before the mark no caller refreshes the entry.
/// At the first read-through past the mark, one caller does, and all others keep the value. So
/// loads need no dice to keep apart: the cache coordinates them. With a background load
/// ([`detached`](crate::Cache::detached), a `LoadAsync` loader) no caller waits for it. If a
/// refresh fails, the next one begins after the [`error_cooldown`](crate::Builder::error_cooldown).
///
/// | policy | the mark | it suits |
/// |---|---|---|
/// | [`lead(k)`](Self::lead) | `k` times δ before the expiry, where δ is what the key's last load took | loads whose length varies from key to key |
/// | [`at(share)`](Self::at) | at this share of the time to live | a fixed safety margin (FusionCache's eager refresh) |
/// | [`after(age)`](Self::after) | at this age | values that need no expiry at all (Caffeine's `refreshAfterWrite`) |
/// | [`xfetch(beta)`](Self::xfetch) | none: each read-through rolls dice | processes that share a source and no cache |
/// | [`never()`](Self::never) | at the expiry | loads that are cheaper than a needless one |
///
/// [`not_before(share)`](Self::not_before) moves the mark to this share of the time to live, if it
/// would come earlier. [`not_after(share)`](Self::not_after) moves it there, if it would come
/// later.
///
/// The [default](Self::default) is `lead(3.0).not_before(0.5).not_after(0.93)`: an entry is
/// refreshed three load times before it expires, in the second half of its life, and in its last
/// 7 % at the latest. The page [refresh](crate::refresh) has the simulation that chose it.
///
/// ```
/// use bellwether::{Cache, ManualClock, Outcome, Refresh};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let cache: Cache<String, u32> = Cache::builder()
///     .max_capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .refresh(Refresh::at(0.75))
///     .clock(clock.clone())
///     .build()?;
/// cache.get_with("rate", || 1);
/// clock.advance(Duration::from_secs(44));
/// assert_eq!(cache.entry("rate").get_with(|| 2).1, Outcome::Hit);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.entry("rate").get_with(|| 2).1, Outcome::Refreshed);
/// # Ok::<(), bellwether::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refresh {
    pub(crate) mark: Mark,
    /// The share of the time to live before which no refresh begins.
    pub(crate) not_before: f64,
    /// The share of the time to live at which the mark is at the latest.
    pub(crate) not_after: f64,
}

/// Where the mark of a policy is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mark {
    Never,
    /// XFetch's β.
    Dice(f64),
    /// A multiple of δ before the expiry.
    Lead(f64),
    /// A share of the time to live.
    Share(f64),
    /// An age, in ns.
    Age(u64),
}

impl Refresh {
    const fn of(mark: Mark) -> Self {
        Self { mark, not_before: 0.0, not_after: 1.0 }
    }

    /// No entry is refreshed before it expires.
    pub const fn never() -> Self {
        Self::of(Mark::Never)
    }

    /// Rolls dice at each read-through: the caller refreshes if `now − δ·beta·ln(U) ≥ expiry`, with
    /// U uniform in (0, 1]. 1.0 is the paper's optimum for callers that cannot coordinate; larger
    /// is earlier. (Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache Stampede
    /// Prevention*, VLDB 2015, section 4.)
    pub const fn xfetch(beta: f64) -> Self {
        Self::of(Mark::Dice(beta))
    }

    /// Begins so early that a load of up to `factor` times the key's last one ends before the entry
    /// does: the mark is `factor`·δ before the expiry.
    ///
    /// Two kinds of entries have no mark, whatever the bounds: one that never expires, and one
    /// whose δ is zero. δ is zero for a value that was inserted with a
    /// [cost](crate::Cache::insert_with_cost) of zero, or before the cache has measured any load.
    /// It is zero, too, if the cache's clock stood still during the load, as a
    /// [`ManualClock`](crate::ManualClock) does.
    pub const fn lead(factor: f64) -> Self {
        Self::of(Mark::Lead(factor))
    }

    /// The mark is at this share of the time to live, from 0.0 to 1.0. An entry that never expires
    /// has no mark.
    pub const fn at(share: f64) -> Self {
        Self::of(Mark::Share(share))
    }

    /// The mark is at this age, whether or not the entry expires. What is later than the expiry has
    /// no effect.
    pub const fn after(age: Duration) -> Self {
        let ns = age.as_nanos();
        Self::of(Mark::Age(if ns > NEVER as u128 { NEVER } else { ns as u64 }))
    }

    /// Lets no refresh begin before this share of the time to live, from 0.0 to 1.0. Long loads in
    /// a short life are the reason: XFetch, and a lead, would refresh such an entry all the time.
    pub const fn not_before(mut self, share: f64) -> Self {
        self.not_before = share;
        self
    }

    /// Has the mark at this share of the time to live at the latest, from 0.0 to 1.0. Short loads
    /// of a key that is rarely read are the reason: no reader may come by within a lead of
    /// milliseconds. Where it is less than [`not_before`](Self::not_before), it counts. With
    /// [`never`](Self::never) it is the mark. Past it XFetch's dice still decide. It gives no mark
    /// to an entry that has none by [`lead`](Self::lead).
    pub const fn not_after(mut self, share: f64) -> Self {
        self.not_after = share;
        self
    }

    /// Returns whether all numbers are within their bounds.
    pub(crate) fn is_valid(&self) -> bool {
        let share = |s: f64| (0.0..=1.0).contains(&s);
        share(self.not_before)
            && share(self.not_after)
            && match self.mark {
                Mark::Never | Mark::Age(_) => true,
                Mark::Dice(number) | Mark::Lead(number) => number.is_finite() && number >= 0.0,
                Mark::Share(s) => share(s),
            }
    }

    /// Returns the earliest time at which a caller may refresh an entry that was loaded at `born`,
    /// expires at `expires`, and took `delta` to load. Past it, dice decide with XFetch.
    #[inline]
    pub(crate) fn earliest(&self, born: u64, expires: u64, delta: u64) -> u64 {
        match self.mark {
            _ if expires != NEVER => self.earliest_of_life(born, expires, delta),
            Mark::Age(age) => born.saturating_add(age),
            _ => NEVER,
        }
    }

    /// The same for an entry that expires. (Out of line: an insert without a time to live has no
    /// use for it.)
    #[inline(never)]
    fn earliest_of_life(&self, born: u64, expires: u64, delta: u64) -> u64 {
        let share = |share: f64| born.saturating_add((expires.saturating_sub(born) as f64 * share) as u64);
        let mark = match self.mark {
            Mark::Never => expires,
            Mark::Dice(beta) => xfetch::quiet_until(expires, delta, beta),
            // How long a load takes is not known, nor whether there is a loader at all.
            Mark::Lead(_) if delta == 0 => return expires,
            Mark::Lead(factor) => expires.saturating_sub((factor * delta as f64) as u64),
            Mark::Share(s) => share(s),
            Mark::Age(age) => born.saturating_add(age),
        };
        let bounded_below = if self.not_before > 0.0 { share(self.not_before) } else { born };
        let bounded_above = if self.not_after < 1.0 { share(self.not_after) } else { expires };
        mark.max(bounded_below).min(bounded_above).min(expires)
    }

    /// Returns whether the mark may come in a life that never ends.
    pub(crate) fn needs_no_expiry(&self) -> bool {
        matches!(self.mark, Mark::Age(_))
    }

    /// Returns XFetch's β, if dice decide.
    pub(crate) fn dice(&self) -> Option<f64> {
        if let Mark::Dice(beta) = self.mark { Some(beta) } else { None }
    }
}

/// The policy of a cache that is given none: `lead(3.0).not_before(0.5).not_after(0.93)`. Of all
/// leads with such bounds it needs the fewest loads such that hardly any reader waits
/// ([simulation](crate::refresh)).
impl Default for Refresh {
    fn default() -> Self {
        Self::lead(3.0).not_before(0.5).not_after(0.93)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn marks_are_where_they_say() {
        let earliest = |refresh: Refresh| refresh.earliest(100 * SECOND, 160 * SECOND, 2 * SECOND) / SECOND;
        assert_eq!(earliest(Refresh::never()), 160);
        assert_eq!(earliest(Refresh::lead(1.5)), 157);
        assert_eq!(earliest(Refresh::lead(100.0)), 100, "not before it was loaded");
        assert_eq!(earliest(Refresh::at(0.75)), 145);
        assert_eq!(earliest(Refresh::after(Duration::from_secs(7))), 107);
        assert_eq!(earliest(Refresh::after(Duration::MAX)), 160);
        assert_eq!(earliest(Refresh::xfetch(1.0)), 100, "44.4 times 2 s before the expiry");
        assert_eq!(earliest(Refresh::xfetch(1.0).not_before(0.9)), 154);
        assert_eq!(earliest(Refresh::lead(2.0).not_before(0.95)), 157);
        assert_eq!(earliest(Refresh::lead(0.5).not_before(0.95)), 159);
        assert_eq!(earliest(Refresh::lead(0.5).not_after(0.95)), 157);
        assert_eq!(earliest(Refresh::lead(100.0).not_before(0.5).not_after(0.95)), 130);
        assert_eq!(earliest(Refresh::never().not_after(0.5)), 130);
    }

    #[test]
    fn a_lead_of_what_took_no_time_is_no_mark() {
        for refresh in [Refresh::lead(9.0), Refresh::lead(9.0).not_before(0.1).not_after(0.5), Refresh::default()] {
            assert_eq!(refresh.earliest(100, 160, 0), 160, "{refresh:?}");
        }
        assert_eq!(Refresh::at(0.5).earliest(100, 160, 0), 130, "a share is one all the same");
    }

    #[test]
    fn the_default_stays_within_its_bounds() {
        let earliest = |delta| Refresh::default().earliest(0, 100 * SECOND, delta) / SECOND;
        assert_eq!([1, SECOND, 10 * SECOND, 50 * SECOND].map(earliest), [93, 93, 70, 50]);
    }

    #[test]
    fn what_never_expires_has_a_mark_by_its_age_alone() {
        for refresh in [Refresh::never(), Refresh::lead(9.0), Refresh::at(0.1), Refresh::xfetch(9.0)] {
            assert_eq!(refresh.not_before(0.5).earliest(7, NEVER, SECOND), NEVER, "{refresh:?}");
        }
        assert_eq!(Refresh::after(Duration::from_nanos(5)).not_before(0.5).earliest(7, NEVER, SECOND), 12);
        assert_eq!(Refresh::after(Duration::MAX).earliest(7, NEVER, SECOND), NEVER);
    }

    #[test]
    fn numbers_out_of_their_bounds_are_seen() {
        for wrong in [f64::NAN, f64::INFINITY, -0.1] {
            let all = [
                Refresh::xfetch(wrong),
                Refresh::lead(wrong),
                Refresh::at(wrong),
                Refresh::never().not_before(wrong),
                Refresh::never().not_after(wrong),
            ];
            assert!(all.iter().all(|refresh| !refresh.is_valid()), "{wrong}");
        }
        assert!(!Refresh::at(1.1).is_valid() && Refresh::at(1.0).is_valid() && Refresh::at(0.0).is_valid());
    }
}
