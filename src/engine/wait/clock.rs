//! The clock that measures waits: the cache's clock, read precisely. A custom clock without a timer
//! could not wake a waiter. Under such a clock the system's clock measures waits.

use crate::engine::config::Config;
use crate::runtime::xfetch::NEVER;
#[cfg(feature = "std")]
use crate::runtime::{
    clock::{Clock, CoarseClock},
    thread_timer::ThreadTimer,
    timer::Timer,
};
use core::task::Waker;

impl<K, V> Config<K, V> {
    /// Returns whether a waiting thread can sleep by the system's clock alone.
    #[cfg(feature = "std")]
    pub(crate) fn waits_by_system(&self) -> bool {
        !self.time.is_users() || self.timer.is_none()
    }

    /// Returns whether neither a timer nor the system can wake a waiter at a given time.
    pub(crate) fn timeless(&self) -> bool {
        cfg!(not(feature = "std")) && self.timer.is_none()
    }

    /// Returns the present time of the clock that measures waits, in ns.
    pub(crate) fn wait_now(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.time.is_users() && self.timer.is_none() {
            return CoarseClock::new().precise();
        }
        self.time.now_precisely()
    }

    /// Returns the time to note for a lease that is given now. If a wait may depend on it, or the
    /// load is `timed`, it is [`wait_now`](Self::wait_now). If not, only a caller that brings a
    /// `lead_timeout` of its own may come to ask for it, and it is as coarse as the system's clock
    /// ([`behind`](Self::behind)).
    #[inline]
    pub(crate) fn lease_now(&self, timed: bool) -> u64 {
        if timed || self.limits.lead_timeout != NEVER {
            return self.wait_now();
        }
        #[cfg(feature = "std")]
        if self.time.is_users() && self.timer.is_none() {
            return CoarseClock::new().now();
        }
        self.time.now_nearly()
    }

    /// Returns by how much [`lease_now`](Self::lease_now) may be behind.
    pub(crate) fn behind(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.limits.lead_timeout == NEVER && self.waits_by_system() {
            return CoarseClock::BEHIND;
        }
        0
    }

    /// Returns when a wait of this length ends.
    pub(crate) fn wait_end(&self, timeout: u64) -> u64 {
        if timeout == NEVER || self.timeless() { NEVER } else { self.wait_now().saturating_add(timeout) }
    }

    /// Returns whether a time of [`wait_now`](Self::wait_now) has come, by the coarse clock. The
    /// answer may be late by the resolution of that clock.
    pub(crate) fn has_come_coarsely(&self, at: u64) -> bool {
        #[cfg(feature = "std")]
        if self.time.is_users() && self.timer.is_none() {
            return CoarseClock::new().now() >= at;
        }
        self.time.now() >= at
    }

    /// Returns whether a time of [`wait_now`](Self::wait_now) has come.
    pub(crate) fn has_come(&self, at: u64) -> bool {
        at != NEVER && self.wait_now() >= at
    }

    /// Has this waker woken at a time of [`wait_now`](Self::wait_now).
    pub(crate) fn wake_at(&self, at: u64, waker: Waker) {
        #[cfg(feature = "std")]
        if self.timer.is_none() {
            let at = if self.time.is_users() { at } else { self.time.to_clock(at) };
            return ThreadTimer::new().wake_at(at, waker);
        }
        // Without a timer no caller comes here: `wait_end` gives `NEVER` then.
        if let Some(timer) = &self.timer {
            timer.wake_at(self.time.to_clock(at), waker);
        }
    }
}
