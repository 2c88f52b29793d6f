//! How long a load takes: the run of its loader, and the time that it waited to be run.

/// The times of a lease, in ns of the cache's precise clock.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// Whether it matters: if not, all of these are zero.
    timed: bool,
    given: u64,
    started: u64,
    ended: Option<u64>,
}

impl Timing {
    /// Of a lease that is given now. None: it is not timed.
    ///
    /// A load that its caller runs at once begins with its lease. A load that is run later, by a
    /// spawner, [begins](Self::begin) then.
    pub(super) fn given(now: Option<u64>) -> Self {
        let at = now.unwrap_or(0);
        Self { timed: now.is_some(), given: at, started: at, ended: None }
    }

    /// The loader begins to run.
    pub(super) fn begin(&mut self, now: impl FnOnce() -> u64) {
        if self.timed {
            self.started = now();
        }
    }

    /// The loader has run to its end; what follows is not its time.
    pub(super) fn end(&mut self, now: impl FnOnce() -> u64) {
        if self.timed {
            self.ended = Some(now());
        }
    }

    /// How long the loader has run.
    pub(super) fn took(&self, now: impl FnOnce() -> u64) -> u64 {
        if !self.timed {
            return 0;
        }
        self.ended.unwrap_or_else(now).saturating_sub(self.started)
    }

    /// How long it was before the loader ran.
    pub(super) fn waited(&self) -> u64 {
        self.started.saturating_sub(self.given)
    }
}
