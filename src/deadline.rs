//! How a thread sleeps until its wait is over.
//!
//! Times are ns of [`Config::wait_now`](crate::engine::config::Config::wait_now).

use crate::engine::Core;
use crate::expiry::NEVER;
use crate::unpark::Unpark;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use event_listener::{EventListener, Listener};
use std::thread;

/// Sleeps until the listener is notified, or until this time.
pub(crate) fn sleep<K, V>(core: &Core<K, V>, mut listener: EventListener, at: u64) {
    if at == NEVER {
        listener.wait();
    } else if core.config.waits_by_system() {
        listener.wait_timeout(left(core, at));
    } else {
        // Anew each time: the clock may have stepped back since it was woken.
        let waker = alarm(core, at);
        while Pin::new(&mut listener).poll(&mut Context::from_waker(&waker)).is_pending() && !core.config.has_come(at) {
            thread::park();
        }
    }
}

fn left<K, V>(core: &Core<K, V>, at: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(core.config.wait_now()))
}

/// Has the cache's timer unpark this thread; gives the waker.
fn alarm<K, V>(core: &Core<K, V>, at: u64) -> Waker {
    let waker = Waker::from(Unpark::this_thread());
    core.config.wake_at(at, waker.clone());
    waker
}

/// Parks this thread until a time, or until it is unparked. By a clock of the user's only the timer wakes it.
pub(crate) struct Nap(Option<Duration>);

impl Nap {
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

    /// May return early.
    pub(crate) fn park(&self) {
        match self.0 {
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}
