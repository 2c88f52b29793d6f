//! What wakes a task when its wait is over.

use crate::engine::config::Config;
use crate::expiry::NEVER;
use crate::sync::untracked::{AtomicBool, AtomicPtr, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::ptr;
use core::task::{Context, Waker};

/// Has the task that was polled last woken at a time. Dropping it lets go of the task.
pub(crate) struct Alert {
    alarm: Option<Arc<Alarm>>,
    /// When the alarm goes off.
    at: u64,
    /// The waker that the alarm has.
    task: Option<Waker>,
}

/// Wakes the task that was polled last, once. Timers keep an alarm until its time, so it lets go of the task before that if
/// nobody waits any more.
struct Alarm {
    task: AtomicPtr<Waker>,
    gone_off: AtomicBool,
}

impl Alarm {
    fn new() -> Arc<Self> {
        Arc::new(Self { task: AtomicPtr::new(ptr::null_mut()), gone_off: AtomicBool::new(false) })
    }

    /// Gives it another task to wake, or none; the one that it had.
    fn swap(&self, task: Option<Waker>) -> Option<Waker> {
        let new = task.map_or(ptr::null_mut(), |task| Box::into_raw(Box::new(task)));
        // AcqRel: the waker goes with its pointer, both ways; and `gone_off` is seen by who comes after `wake`.
        let old = self.task.swap(new, Ordering::AcqRel);
        // SAFETY: what is not null came from `Box::into_raw` above, and each swap hands it to one owner.
        (!old.is_null()).then(|| *unsafe { Box::from_raw(old) })
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        // Before the swap, which publishes it: whoever gives it another task afterwards sees that it is of no use any more.
        self.gone_off.store(true, Ordering::Relaxed);
        if let Some(task) = self.swap(None) {
            task.wake();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

impl Alert {
    /// No time yet.
    pub(crate) const NONE: Self = Self { alarm: None, at: NEVER, task: None };

    /// Whether this time has come. If not, the task is woken then.
    pub(crate) fn is_over<K, V>(&mut self, config: &Config<K, V>, at: u64, cx: &Context<'_>) -> bool {
        if at == NEVER || config.wait_now() >= at {
            return at != NEVER;
        }
        if self.at != at {
            *self = Self { alarm: None, at, task: None };
        }
        let same = self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if !same {
            self.task = Some(cx.waker().clone());
        }
        // One alarm for all polls: timers keep them until their time. Another if it has gone off and the clock has stepped
        // back since.
        if let Some(alarm) = &self.alarm {
            if !same {
                drop(alarm.swap(self.task.clone()));
            }
            if !alarm.gone_off.load(Ordering::Relaxed) {
                return false;
            }
        }
        let alarm = Alarm::new();
        drop(alarm.swap(self.task.clone()));
        self.alarm = Some(alarm.clone());
        config.wake_at(at, Waker::from(alarm));
        // The timer may fire before it has been told.
        config.wait_now() >= at
    }
}

impl Drop for Alert {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            drop(alarm.swap(None));
        }
    }
}
