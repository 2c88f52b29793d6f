//! For how long a value is kept: what was asked for, and what comes of it.

use bellwether::{Expiry, Refresh};
use std::time::Duration;

/// Returns whole milliseconds, at least 1, as scripts take them.
pub(crate) fn millis(time: Duration) -> u64 {
    // Bounded, so that sums in Lua stay exact, and within what PX takes.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).clamp(1, MOST_MILLIS)
}

/// Returns whole milliseconds, rounded down.
pub(crate) fn signed_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(MOST_MILLIS as i64)
}

/// The longest time that the server is told: a hundred years, in ms.
const MOST_MILLIS: u64 = 100 * 366 * 24 * 3600 * 1000;

/// How long past its time a value may be served, where the value has windows of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Windows {
    pub(crate) while_refresh: Option<Duration>,
    pub(crate) if_error: Option<Duration>,
}

impl Windows {
    /// Adds the windows to the terms of a value in memory.
    pub(crate) fn given_to(self, mut expiry: Expiry) -> Expiry {
        if let Some(window) = self.while_refresh {
            expiry = expiry.stale_while_refresh(window);
        }
        if let Some(window) = self.if_error {
            expiry = expiry.stale_if_error(window);
        }
        expiry
    }

    /// Takes each window that is not given from `other`.
    fn or(self, other: Self) -> Self {
        Self { while_refresh: self.while_refresh.or(other.while_refresh), if_error: self.if_error.or(other.if_error) }
    }
}

/// The terms that a caller or a loader asks for. What is not given is as the tier was built.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// A time to live, and whether it is exact.
    ttl: Option<(Duration, bool)>,
    age: Duration,
    cost: Option<Duration>,
    windows: Windows,
    refresh: Option<Refresh>,
}

impl From<Expiry> for Asked {
    fn from(expiry: Expiry) -> Self {
        let parts = expiry.parts();
        Self {
            ttl: parts.ttl.map(|ttl| (ttl, parts.is_exact)),
            age: parts.age,
            cost: parts.cost,
            windows: Windows { while_refresh: parts.stale_while_refresh, if_error: parts.stale_if_error },
            refresh: parts.refresh,
        }
    }
}

impl Asked {
    /// Takes each part that is not given from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            ttl: self.ttl.or(other.ttl),
            age: if self.age.is_zero() { other.age } else { self.age },
            cost: self.cost.or(other.cost),
            windows: self.windows.or(other.windows),
            refresh: self.refresh.or(other.refresh),
        }
    }

    /// Settles the terms. `ttl` is for a value without a time to live of its own; `jittered`
    /// shortens a time that is not exact.
    pub(crate) fn settled(self, ttl: Duration, jittered: impl FnOnce(Duration) -> Duration) -> Terms {
        let ttl = match self.ttl {
            Some((ttl, true)) => ttl,
            Some((ttl, false)) => jittered(ttl),
            None => jittered(ttl),
        };
        Terms { ttl, age: self.age, cost: self.cost, windows: self.windows, refresh: self.refresh }
    }
}

/// The terms of one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    /// How old the value was when it was written.
    pub(crate) age: Duration,
    pub(crate) cost: Option<Duration>,
    pub(crate) windows: Windows,
    pub(crate) refresh: Option<Refresh>,
}

/// The times of a value as scripts take them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// How long the value is fresh, in ms; below zero: how long it is over.
    pub(crate) left: i64,
    /// How long the server keeps it after that, in ms.
    pub(crate) keep: u64,
    pub(crate) cost: Duration,
    /// In ms.
    pub(crate) age: u64,
}

impl Times {
    /// Returns whether the server would drop the value at once.
    pub(crate) fn is_over(&self) -> bool {
        self.left.saturating_add(self.keep as i64) <= 0
    }
}

impl Terms {
    /// Returns the times for the server. `keep` is the longest window of the value; `cost` is what
    /// the load has taken, if the value does not say; `since` is how long ago the terms were given.
    pub(crate) fn times(&self, keep: Duration, cost: Duration, since: Duration) -> Times {
        let age = self.age.saturating_add(since);
        Times {
            left: if self.ttl.is_zero() { i64::MIN } else { millis(self.ttl) as i64 - signed_millis(age) },
            keep: if keep.is_zero() { 0 } else { millis(keep) },
            cost: self.cost.unwrap_or(cost),
            age: signed_millis(age) as u64,
        }
    }
}
