//! For how long one value is kept, where that is not as the cache was built.

use super::refresh::Refresh;
use crate::flight::expiry::Ttl;
use crate::runtime::xfetch::{NEVER, nanos};
use core::time::Duration;

/// The terms of one value: how long it is fresh, when it is refreshed, and how long past its expiry
/// it may be served.
///
/// Each part that is not given is as the cache was built. A value gets its terms from
///
/// * [`Builder::expiry_with`](crate::Builder::expiry_with), which is asked about each value;
/// * the loader: [`Loaded::With`](crate::Loaded::With),
///   [`Lease::fulfil_with`](crate::Lease::fulfil_with);
/// * the request that loads it: [`Request::expiry`](crate::Request::expiry);
/// * [`Cache::insert_with`](crate::Cache::insert_with).
///
/// Where several of these give a part, the loader's counts before the request's, and that before
/// the builder's. A value that is confirmed ([`Loaded::NotModified`](crate::Loaded::NotModified))
/// gets its terms anew, as a new value would.
///
/// Cost: an entry with a [`refresh`](Self::refresh) or windows of its own takes 40 bytes more. An
/// entry with none of these takes none. A hit costs the same.
///
/// With a [`time_to_idle`](crate::Builder::time_to_idle) no value is served past its time, so the
/// two windows have no effect there.
///
/// ```
/// use bellwether::{Cache, Expiry, Outcome, Refresh};
/// use std::time::Duration;
/// # let clock = bellwether::ManualClock::new();
/// let seconds = Duration::from_secs;
/// let pages: Cache<String, String> = Cache::builder()
///     .max_capacity(1000)
///     .time_to_live(seconds(60))
///     # .clock(clock.clone())
///     .build()?;
/// // From `Cache-Control: max-age=5, stale-while-revalidate=30`, `Age: 2`.
/// let terms = Expiry::new().ttl(seconds(5)).age(seconds(2)).stale_while_refresh(seconds(30));
/// pages.insert_with("/".to_owned(), "<html>".to_owned(), terms.refresh(Refresh::never()));
/// # clock.advance(seconds(2));
/// assert!(pages.get("/").is_some());
/// # clock.advance(seconds(2));
/// // Four seconds later it has expired. One caller loads it; all others get the old one meanwhile.
/// assert!(pages.get("/").is_none());
/// # Ok::<(), bellwether::BuildError>(())
/// ```
#[doc(alias = "expire_after")]
#[doc(alias = "Terms")]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expiry {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) while_refresh: Option<u64>,
    pub(crate) if_error: Option<u64>,
    pub(crate) age: u64,
    pub(crate) cost: Option<u64>,
    pub(crate) from_tier: bool,
}

/// A policy in here has no NaN: [`Expiry::refresh`] takes none.
impl Eq for Expiry {}

impl Expiry {
    /// No part is given.
    pub const fn new() -> Self {
        Self { ttl: None, refresh: None, while_refresh: None, if_error: None, age: 0, cost: None, from_tier: false }
    }

    /// No part is given, by reference.
    pub(crate) const NONE: &'static Self = &Self::new();

    /// How long the value is fresh. `Duration::MAX` means that it never expires. With zero the
    /// value is handed over to those who wait for it, and not stored. The cache's
    /// [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Ttl::jittered(ttl));
        self
    }

    /// As [`ttl`](Self::ttl), without the cache's jitter. If both are set, the last one counts.
    pub fn exact_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Ttl::exactly(ttl));
        self
    }

    /// When the value is refreshed before it expires.
    ///
    /// # Panics
    /// If a number of the policy is out of its bounds, where
    /// [`Builder::build`](crate::Builder::build) would give an error.
    pub fn refresh(mut self, refresh: Refresh) -> Self {
        assert!(refresh.is_valid(), "a number is out of its bounds: {refresh:?}");
        self.refresh = Some(refresh);
        self
    }

    /// How long past its expiry the value is served while one caller loads the next one, in place
    /// of the cache's [`stale_while_refresh`](crate::Builder::stale_while_refresh). A caller's own
    /// [`max_stale`](crate::Request::max_stale) counts before it.
    #[doc(alias = "stale_while_revalidate")]
    pub fn stale_while_refresh(mut self, stale: Duration) -> Self {
        self.while_refresh = Some(nanos(stale));
        self
    }

    /// How long past its expiry the value stands in for an error, in place of the cache's
    /// [`stale_if_error`](crate::Builder::stale_if_error). A caller's own
    /// [`max_stale`](crate::Request::max_stale) counts before it.
    pub fn stale_if_error(mut self, stale: Duration) -> Self {
        self.if_error = Some(nanos(stale));
        self
    }

    /// How old the value is already, because it comes from another store: its time to live counts
    /// from that long ago. A value whose time to live is over is stored if a window lets it be
    /// served still; if not, it is handed over only.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = nanos(age);
        self
    }

    /// How long a load of the value takes, in place of the time that this load took. A value that
    /// was read from another store in 0.1 ms may have taken 2 s to compute; [`Refresh::lead`] and
    /// [`Refresh::xfetch`] must go by the 2 s. With zero the cost is not known.
    pub fn cost(mut self, cost: Duration) -> Self {
        self.cost = Some(nanos(cost));
        self
    }

    /// Says that the loader has read the value from another tier (a shared cache, say), and not
    /// from the source. The caller that ran the load is told so
    /// ([`Outcome::FromTier`](crate::Outcome::FromTier)), the observer, too
    /// ([`LoadEnded`](crate::CacheEvent::LoadEnded)), and
    /// [`Stats::tier_reads`](crate::Stats::tier_reads) counts it. It has no meaning at an insert.
    pub fn from_tier(mut self) -> Self {
        self.from_tier = true;
        self
    }

    /// Returns the parts, for code that keeps the value in another store, too.
    ///
    /// ```
    /// use bellwether::Expiry;
    /// use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// let parts = Expiry::new().exact_ttl(minute).age(minute / 2).parts();
    /// assert_eq!((parts.ttl, parts.is_exact, parts.age), (Some(minute), true, minute / 2));
    /// assert_eq!((parts.stale_if_error, parts.cost), (None, None));
    /// ```
    pub fn parts(&self) -> ExpiryParts {
        let time = |ns: u64| if ns == NEVER { Duration::MAX } else { Duration::from_nanos(ns) };
        ExpiryParts {
            ttl: self.ttl.map(|ttl| time(ttl.nanos())),
            is_exact: self.ttl.is_some_and(|ttl| !ttl.is_jittered()),
            refresh: self.refresh,
            stale_while_refresh: self.while_refresh.map(time),
            stale_if_error: self.if_error.map(time),
            age: time(self.age),
            cost: self.cost.map(time),
            from_tier: self.from_tier,
        }
    }

    /// Takes each part that is not given from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            ttl: self.ttl.or(other.ttl),
            refresh: self.refresh.or(other.refresh),
            while_refresh: self.while_refresh.or(other.while_refresh),
            if_error: self.if_error.or(other.if_error),
            age: if self.age == 0 { other.age } else { self.age },
            cost: self.cost.or(other.cost),
            from_tier: self.from_tier || other.from_tier,
        }
    }

    /// Returns whether the value is not to be stored at all.
    pub(crate) fn is_zero(&self) -> bool {
        self.ttl.is_some_and(Ttl::is_zero)
    }

    /// Returns whether no part is given that says how the value is kept.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ttl.is_none() && self.cost.is_none() && self.age == 0 && !self.has_own_terms()
    }

    /// Returns whether a part is given that is kept with the entry.
    #[inline]
    pub(crate) fn has_own_terms(&self) -> bool {
        self.refresh.is_some() || self.while_refresh.is_some() || self.if_error.is_some()
    }
}

/// What an [`Expiry`] says, part by part; `None`: the part is not given. From [`Expiry::parts`].
///
/// Times longer than 292 years (a time to live) or 584 years (all others) are `Duration::MAX`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpiryParts {
    /// How long the value is fresh, before any jitter.
    pub ttl: Option<Duration>,
    /// Whether the time to live was given as exact ([`Expiry::exact_ttl`]).
    pub is_exact: bool,
    /// When the value is refreshed before it expires.
    pub refresh: Option<Refresh>,
    /// How long past its expiry the value is served while it is refreshed.
    pub stale_while_refresh: Option<Duration>,
    /// How long past its expiry the value stands in for an error.
    pub stale_if_error: Option<Duration>,
    /// How old the value is already. Zero: it is new, or its age was not given.
    pub age: Duration,
    /// How long a load of the value takes.
    pub cost: Option<Duration>,
    /// Whether the value was read from another tier.
    pub from_tier: bool,
}
