//! A cache's clock, and its time.

use super::clock::Clock;
#[cfg(feature = "std")]
use super::clock::CoarseClock;
#[cfg(feature = "std")]
use super::ticker::TickerClock;
use alloc::boxed::Box;

/// The clocks that a cache can have; our own without a virtual call.
pub(crate) enum Source {
    #[cfg(feature = "std")]
    Coarse(CoarseClock),
    #[cfg(feature = "std")]
    Ticker(TickerClock),
    Custom(Box<dyn Clock>),
    /// None was given, and without std there is no default: nothing in such a cache asks for the time.
    #[cfg(not(feature = "std"))]
    None,
}

impl Source {
    /// The user's clock.
    pub(crate) fn of<C: Clock + 'static>(clock: C) -> Self {
        #[cfg(feature = "std")]
        if let Some(ticker) = (&clock as &dyn core::any::Any).downcast_ref::<TickerClock>() {
            return Self::Ticker(ticker.clone());
        }
        Self::Custom(Box::new(clock))
    }
}

/// A cache's time: ns since it was built.
pub(crate) struct Time {
    source: Source,
    origin: u64,
}

impl Time {
    pub(crate) fn new(source: Source) -> Self {
        let mut time = Self { source, origin: 0 };
        time.origin = time.now();
        time
    }

    /// A clock that steps back before the cache's origin reads as the origin.
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

    /// The same, if it is to be had without a call.
    #[inline]
    pub(crate) fn at_hand(&self) -> Option<u64> {
        match &self.source {
            #[cfg(feature = "std")]
            Source::Ticker(clock) => Some(clock.now().saturating_sub(self.origin)),
            _ => None,
        }
    }

    /// The same, precisely.
    pub(crate) fn now_precisely(&self) -> u64 {
        self.precise().saturating_sub(self.origin)
    }

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

    /// Whether to read it runs user code.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self.source, Source::Custom(_))
    }

    /// A time of this cache in terms of its clock.
    pub(crate) fn to_clock(&self, at: u64) -> u64 {
        self.origin.saturating_add(at)
    }
}
