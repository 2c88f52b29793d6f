//! When a thread stops waiting, and how it sleeps until then.

use crate::engine::Core;
use crate::expiry::nanos;
use alloc::{sync::Arc, task::Wake};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use event_listener::{EventListener, Listener};
use std::thread::{self, Thread};
use std::time::Instant;

/// When a thread stops waiting.
#[derive(Clone, Copy)]
pub(crate) enum Deadline {
    Never,
    /// By the system's clock.
    At(Instant),
    /// By the cache's own clock and timer.
    AtClock(u64),
}

impl Deadline {
    pub(crate) fn after<K, V>(core: &Core<K, V>, timeout: Duration) -> Self {
        let time = &core.config.time;
        if time.is_custom() && core.config.timer.is_some() {
            return match time.now().saturating_add(nanos(timeout)) {
                u64::MAX => Self::Never,
                at => Self::AtClock(at),
            };
        }
        Instant::now().checked_add(timeout).map_or(Self::Never, Self::At)
    }

    /// Sleeps until the listener is notified; false if the deadline came first.
    pub(crate) fn sleep<K, V>(self, core: &Core<K, V>, mut listener: EventListener) -> bool {
        let at = match self {
            Self::Never => {
                listener.wait();
                return true;
            }
            Self::At(at) => return listener.wait_deadline(at).is_some(),
            Self::AtClock(at) => at,
        };
        loop {
            // Anew each time: the clock may have stepped back since it was woken.
            let waker = wake_at(core, at);
            if Pin::new(&mut listener).poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            if self.is_over(core) {
                return false;
            }
            thread::park();
        }
    }

    pub(crate) fn is_over<K, V>(self, core: &Core<K, V>) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => Instant::now() >= at,
            Self::AtClock(at) => core.config.time.now() >= at,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Has the cache's timer unpark this thread; gives the waker.
fn wake_at<K, V>(core: &Core<K, V>, at: u64) -> Waker {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    if let Some(timer) = &core.config.timer {
        timer.wake_at(core.config.time.to_clock(at), waker.clone());
    }
    waker
}

/// Parks this thread until a deadline, or until it is unparked. By a deadline of the cache's clock only the timer wakes it.
pub(crate) struct Nap(Deadline);

impl Nap {
    pub(crate) fn until<K, V>(core: &Core<K, V>, deadline: Deadline) -> Self {
        if let Deadline::AtClock(at) = deadline {
            wake_at(core, at);
        }
        Self(deadline)
    }

    /// May return early.
    pub(crate) fn park(&self) {
        match self.0 {
            Deadline::At(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
            Deadline::Never | Deadline::AtClock(_) => thread::park(),
        }
    }
}
