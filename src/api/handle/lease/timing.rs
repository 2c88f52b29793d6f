//! How long a load takes: the run of its loader, and the time that it waited to be run.

use crate::runtime::xfetch::NEVER;

/// The times of a lease, in ns of the cache's precise clock.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// `NEVER`: it does not matter.
    given: u64,
    started: u64,
    /// `NEVER`: it has not.
    ended: u64,
}

impl Timing {
    /// Of a lease that is given now. None: it is not timed.
    ///
    /// A load that its caller runs at once begins with its lease. A load that is run later, by a
    /// spawner, [begins](Self::begin) then.
    pub(super) fn given(now: Option<u64>) -> Self {
        let at = now.unwrap_or(NEVER);
        Self { given: at, started: at, ended: NEVER }
    }

    /// The loader begins to run.
    pub(super) fn begin(&mut self, now: impl FnOnce() -> u64) {
        if self.given != NEVER {
            self.started = now();
        }
    }

    /// The loader has run to its end; what follows is not its time.
    pub(super) fn end(&mut self, now: impl FnOnce() -> u64) {
        if self.given != NEVER {
            self.ended = now();
        }
    }

    /// How long the loader has run.
    pub(super) fn took(&self, now: impl FnOnce() -> u64) -> u64 {
        if self.given == NEVER {
            return 0;
        }
        let ended = if self.ended == NEVER { now() } else { self.ended };
        ended.saturating_sub(self.started)
    }

    /// How long it was before the loader ran.
    pub(super) fn waited(&self) -> u64 {
        self.started.saturating_sub(self.given)
    }
}
