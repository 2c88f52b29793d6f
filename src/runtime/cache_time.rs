//! A cache's clock, and the time that the cache counts by it.

use super::clock::Clock;
#[cfg(feature = "std")]
use super::clock::CoarseClock;
#[cfg(feature = "std")]
use super::ticker::TickerClock;
use alloc::boxed::Box;

/// The clock of a cache. The crate's own clocks are variants, so that reading them takes no virtual
/// call.
pub(crate) enum Source {
    #[cfg(feature = "std")]
    Coarse(CoarseClock),
    #[cfg(feature = "std")]
    Ticker(TickerClock),
    Custom(Box<dyn Clock>),
    /// No clock: the builder was given none, and without std there is no default. Nothing in such a
    /// cache depends on the time, which reads as zero.
    #[cfg(not(feature = "std"))]
    None,
}

impl Source {
    /// Returns the source for a clock that the user gave.
    pub(crate) fn of<C: Clock + 'static>(clock: C) -> Self {
        #[cfg(feature = "std")]
        if let Some(ticker) = (&clock as &dyn core::any::Any).downcast_ref::<TickerClock>() {
            return Self::Ticker(ticker.clone());
        }
        Self::Custom(Box::new(clock))
    }
}

/// The time of a cache: nanoseconds since the cache was built.
pub(crate) struct Time {
    source: Source,
    /// The clock's reading when the cache was built.
    origin: u64,
}

impl Time {
    pub(crate) fn new(source: Source) -> Self {
        let mut time = Self { source, origin: 0 };
        time.origin = time.now();
        time
    }

    /// Returns the time, as coarse as the clock's `now`. A clock that steps back before the origin
    /// reads as the origin.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let now = match &self.source {
            #[cfg(feature = "std")]
            Source::Coarse(clock) => clock.now(),
            #[cfg(feature = "std")]
            Source::Ticker(clock) => clock.now(),
            Source::Custom(clock) => clock.now(),
            #[cfg(not(feature = "std"))]
            Source::None => 0,
        };
        now.saturating_sub(self.origin)
    }

    /// Returns the time if reading the clock takes one load and no call, as with the ticker; else
    /// None.
    #[inline]
    pub(crate) fn at_hand(&self) -> Option<u64> {
        match &self.source {
            #[cfg(feature = "std")]
            Source::Ticker(clock) => Some(clock.now().saturating_sub(self.origin)),
            _ => None,
        }
    }

    /// Returns the time, as precise as the clock can tell it.
    pub(crate) fn now_precisely(&self) -> u64 {
        self.precise().saturating_sub(self.origin)
    }

    /// Returns the clock's own precise reading, counted from the clock's origin.
    pub(crate) fn precise(&self) -> u64 {
        match &self.source {
            #[cfg(feature = "std")]
            Source::Coarse(clock) => clock.precise(),
            #[cfg(feature = "std")]
            Source::Ticker(clock) => clock.precise(),
            Source::Custom(clock) => clock.precise(),
            #[cfg(not(feature = "std"))]
            Source::None => 0,
        }
    }

    /// Returns the time, read precisely from a user's clock and coarsely from the system's. (A
    /// ticker may be late by more than the system's clock is coarse, so it is not asked.)
    #[inline]
    pub(crate) fn now_nearly(&self) -> u64 {
        #[cfg(feature = "std")]
        if !self.is_users() {
            return CoarseClock::new().now().saturating_sub(self.origin);
        }
        self.now_precisely()
    }

    /// Returns whether reading the clock runs user code.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self.source, Source::Custom(_))
    }

    /// Converts a time of this cache into a time of its clock.
    pub(crate) fn to_clock(&self, at: u64) -> u64 {
        self.origin.saturating_add(at)
    }
}
