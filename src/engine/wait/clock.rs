//! The clock that waits are measured by: the cache's, precisely. Under a custom clock without a timer nobody could tell when a
//! time has come: then, by the system's.

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
    /// Whether a thread that waits can do so by the system's clock alone.
    #[cfg(feature = "std")]
    pub(crate) fn waits_by_system(&self) -> bool {
        !self.time.is_users() || self.timer.is_none()
    }

    /// Whether nothing can tell when a time has come.
    pub(crate) fn timeless(&self) -> bool {
        cfg!(not(feature = "std")) && self.timer.is_none()
    }

    /// The time that waits are measured by, in ns.
    pub(crate) fn wait_now(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.time.is_users() && self.timer.is_none() {
            return CoarseClock::new().precise();
        }
        self.time.now_precisely()
    }

    /// The end of a wait of this length.
    pub(crate) fn wait_end(&self, timeout: u64) -> u64 {
        if timeout == NEVER || self.timeless() { NEVER } else { self.wait_now().saturating_add(timeout) }
    }

    /// Whether a time of [`wait_now`](Self::wait_now) has come, by the coarse clock: later than it
    /// has by its grain, at most.
    pub(crate) fn has_come_coarsely(&self, at: u64) -> bool {
        #[cfg(feature = "std")]
        if self.time.is_users() && self.timer.is_none() {
            return CoarseClock::new().now() >= at;
        }
        self.time.now() >= at
    }

    /// Whether a time of [`wait_now`](Self::wait_now) has come.
    pub(crate) fn has_come(&self, at: u64) -> bool {
        at != NEVER && self.wait_now() >= at
    }

    /// Has a waker woken at a time of [`wait_now`](Self::wait_now).
    pub(crate) fn wake_at(&self, at: u64, waker: Waker) {
        #[cfg(feature = "std")]
        if self.timer.is_none() {
            let at = if self.time.is_users() { at } else { self.time.to_clock(at) };
            return ThreadTimer::new().wake_at(at, waker);
        }
        // `wait_end` gives no time that nothing could tell of.
        if let Some(timer) = &self.timer {
            timer.wake_at(self.time.to_clock(at), waker);
        }
    }
}
