//! Waiting for the process that loads.

use super::Source;
use crate::flights::Flight;
use crate::wire::Token;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A wait for another process.
pub(super) struct Waiting {
    longest: Duration,
    probe: Duration,
    timeout: Option<Duration>,
    until: Option<Instant>,
    pub(super) token: Option<Token>,
}

impl Waiting {
    pub(super) fn new(longest: Duration, timeout: Option<Duration>) -> Self {
        Self { longest, probe: longest / 5, until: None, timeout, token: None }
    }

    pub(super) fn source(&self) -> Source {
        if self.token.is_some() { Source::Waited } else { Source::Shared }
    }

    /// Sleeps until a push, the next probe, or the end of the lease. Returns whether there was a
    /// push. Calls `overdue` once, when the caller's time is over. The wait goes on then: it is
    /// dropped with the caller, unless it is in the background.
    pub(super) async fn sleep(
        &mut self,
        flight: &Flight,
        before: u64,
        (left, token): (Duration, Token),
        mut overdue: impl FnMut(),
    ) -> bool {
        self.token = Some(token);
        if let Some(timeout) = self.timeout.take() {
            self.until = Instant::now().checked_add(timeout);
        }
        let nap = Instant::now() + self.probe.min(left).max(Duration::from_millis(1));
        self.probe = (self.probe * 2).min(self.longest);
        loop {
            let deadline = async {
                match self.until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = flight.pushed_since(before) => return true,
                () = deadline => {
                    self.until = None;
                    overdue();
                }
                () = sleep_until(nap) => return false,
            }
        }
    }
}
