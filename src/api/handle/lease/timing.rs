//! How long a load takes: the time its loader runs, and the time before that.

use crate::runtime::xfetch::NEVER;

/// The times of a lease, in ns of the cache's precise clock.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// When the lease was given. `NEVER`: the lease is not timed.
    given: u64,
    started: u64,
    /// When the loader ended. `NEVER`: it has not.
    ended: u64,
}

impl Timing {
    /// Starts the times of a lease that is given `now`. None: the lease is not timed.
    ///
    /// A load that its caller runs at once begins with its lease. A load that a spawner runs later
    /// [begins](Self::begin) then.
    pub(super) fn given(now: Option<u64>) -> Self {
        let at = now.unwrap_or(NEVER);
        Self { given: at, started: at, ended: NEVER }
    }

    /// Notes that the loader begins to run.
    pub(super) fn begin(&mut self, now: impl FnOnce() -> u64) {
        if self.given != NEVER {
            self.started = now();
        }
    }

    /// Notes that the loader has run to its end; later work does not count as load time.
    pub(super) fn end(&mut self, now: impl FnOnce() -> u64) {
        if self.given != NEVER {
            self.ended = now();
        }
    }

    /// Returns how long the loader has run; 0 if the lease is not timed.
    pub(super) fn took(&self, now: impl FnOnce() -> u64) -> u64 {
        if self.given == NEVER {
            return 0;
        }
        let ended = if self.ended == NEVER { now() } else { self.ended };
        ended.saturating_sub(self.started)
    }

    /// Returns how long the lease waited until the loader ran.
    pub(super) fn waited(&self) -> u64 {
        self.started.saturating_sub(self.given)
    }
}
