//! How a thread sleeps until its wait is over.
//!
//! Times are ns of [`Config::wait_now`](crate::engine::config::Config::wait_now).

use crate::engine::Core;
use crate::flight::bell::Subscription;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::thread;
use crate::sys::unpark::Unpark;
use core::task::{Context, Waker};
use core::time::Duration;

/// Sleeps until the bell has rung, or until the time `at`. May return early.
pub(crate) fn sleep<K, V>(core: &Core<K, V>, subscription: &mut Subscription, at: u64) {
    if at == NEVER {
        subscription.sleep(None);
    } else if core.config.waits_by_system() {
        subscription.sleep(Some(left(core, at)));
    } else if !core.config.has_come(at) {
        // The timer is asked for each sleep anew: the clock may have stepped back since the timer
        // woke this thread.
        let waker = alarm(core, at);
        while subscription.poll(&Context::from_waker(&waker)).is_pending() && !core.config.has_come(at) {
            thread::park();
        }
    }
}

fn left<K, V>(core: &Core<K, V>, at: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(core.config.wait_now()))
}

/// Has the cache's timer unpark this thread at the time `at`. Returns the waker.
fn alarm<K, V>(core: &Core<K, V>, at: u64) -> Waker {
    let waker = Waker::from(Unpark::this_thread());
    core.config.wake_at(at, waker.clone());
    waker
}

/// Parks this thread until a time, or until it is unparked. Under a custom clock only its timer
/// ends the time.
pub(crate) struct ParkUntil(Option<Duration>);

impl ParkUntil {
    pub(crate) fn until<K, V>(core: &Core<K, V>, at: u64) -> Self {
        if at == NEVER {
            return Self(None);
        }
        if core.config.waits_by_system() {
            return Self(Some(left(core, at)));
        }
        alarm(core, at);
        Self(None)
    }

    /// Parks the thread. May return early.
    pub(crate) fn park(&self) {
        match self.0 {
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}
