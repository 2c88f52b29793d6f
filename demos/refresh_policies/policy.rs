//! When a reader may begin a refresh: the policies, in seconds since the value was stored.

use crate::simulation::TTL;
use std::fmt;

/// Decides when a value is refreshed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Policy {
    /// The first read after the expiry loads.
    AtExpiry,
    /// Each read rolls dice, and none refreshes before `earliest`, a share of the TTL.
    XFetch { beta: f64, earliest: f64 },
    /// The first read past a mark refreshes.
    Mark(Mark),
    /// Knows all reads and how long the next load takes. It refreshes at the last read from which
    /// that load ends before the value expires.
    Clairvoyant,
}

/// A mark that lies a lead before the expiry.
///
/// Each load gives a sample, `loads` · its duration + `delays` · the time from the mark to the read
/// that began it. The lead is what `smoothing` makes of the samples, and the mark stays within
/// `earliest` and `latest`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Mark {
    pub(crate) loads: f64,
    pub(crate) delays: f64,
    pub(crate) smoothing: Smoothing,
    /// As a share of the TTL; 0 sets no bound.
    pub(crate) earliest: f64,
    /// As a share of the TTL; 1 sets no bound.
    pub(crate) latest: f64,
}

/// A later read shows that the key is read too rarely for a lead to help; it counts as no delay.
const LONGEST_DELAY: f64 = TTL / 4.0;

impl Mark {
    /// `loads` times the duration of the last load.
    pub(crate) const fn lead(loads: f64) -> Self {
        Self { loads, delays: 0.0, smoothing: Smoothing::Last, earliest: 0.0, latest: 1.0 }
    }

    /// A share of the TTL.
    pub(crate) const fn share(share: f64) -> Self {
        Self { latest: share, ..Self::lead(0.0) }
    }

    pub(crate) const fn delays(self, delays: f64) -> Self {
        Self { delays, ..self }
    }

    pub(crate) const fn smoothed(self, smoothing: Smoothing) -> Self {
        Self { smoothing, ..self }
    }

    pub(crate) const fn not_before(self, earliest: f64) -> Self {
        Self { earliest, ..self }
    }

    pub(crate) const fn not_after(self, latest: f64) -> Self {
        Self { latest, ..self }
    }

    /// What a load adds to the samples; `delay` is the time from the mark to the read that began
    /// it.
    pub(crate) fn sample(&self, load: f64, delay: f64) -> f64 {
        let delay = if delay <= LONGEST_DELAY { delay } else { 0.0 };
        self.loads * load + self.delays * delay
    }

    /// Seconds from the store of the value to its mark.
    pub(crate) fn at(&self, lead: f64) -> f64 {
        (TTL - lead).clamp(self.earliest * TTL, self.latest * TTL)
    }
}

/// How samples become a lead.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Smoothing {
    Last,
    LargerOfTwo,
    /// Moves by this part of the difference.
    Average(f64),
    /// Rises at once, and falls by this part of the difference.
    Peak(f64),
}

/// A lead that learns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    smoothing: Smoothing,
    value: f64,
    last: f64,
}

impl Lead {
    pub(crate) fn new(smoothing: Smoothing, sample: f64) -> Self {
        Self { smoothing, value: sample, last: sample }
    }

    pub(crate) fn get(&self) -> f64 {
        self.value
    }

    pub(crate) fn learn(&mut self, sample: f64) {
        let moved = |part: f64| self.value + (sample - self.value) * part;
        self.value = match self.smoothing {
            Smoothing::Last => sample,
            Smoothing::LargerOfTwo => sample.max(self.last),
            Smoothing::Average(part) => moved(part),
            Smoothing::Peak(part) => moved(part).max(sample),
        };
        self.last = sample;
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AtExpiry => f.write_str("none"),
            Self::XFetch { beta, earliest: 0.0 } => write!(f, "XFetch β {beta}"),
            Self::XFetch { beta, earliest } => write!(f, "XFetch β {beta}, not before {}", percent(earliest)),
            Self::Mark(mark) => mark.fmt(f),
            Self::Clairvoyant => f.write_str("clairvoyant"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loads, delays, smoothing, earliest, latest } = *self;
        if loads == 0.0 {
            return write!(f, "share {}", percent(latest));
        }
        write!(f, "lead {loads} δ")?;
        if delays != 0.0 {
            write!(f, " + {delays} w")?;
        }
        match smoothing {
            Smoothing::Last => (),
            Smoothing::LargerOfTwo => f.write_str(", larger of two")?,
            Smoothing::Average(part) => write!(f, ", average 1/{}", 1.0 / part)?,
            Smoothing::Peak(part) => write!(f, ", peak 1/{}", 1.0 / part)?,
        }
        if earliest > 0.0 {
            write!(f, ", not before {}", percent(earliest))?;
        }
        if latest < 1.0 {
            write!(f, ", not after {}", percent(latest))?;
        }
        Ok(())
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
