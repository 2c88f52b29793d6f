//! What wakes a task when its wait is over.

use crate::engine::config::Config;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::untracked::{AtomicBool, AtomicPtr, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::ptr;
use core::task::{Context, Waker};

/// Has the task that was polled last woken at a time. Dropping it lets go of the task. (Boxed: most waits need none.)
pub(crate) struct TaskDeadline(Option<Box<Set>>);

struct Set {
    alarm: Arc<Alarm>,
    /// When the alarm goes off.
    at: u64,
    /// The waker that the alarm has.
    task: Waker,
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

impl TaskDeadline {
    /// No time yet.
    pub(crate) const NONE: Self = Self(None);

    /// Whether this time has come. If not, the task is woken then.
    pub(crate) fn is_over<K, V>(&mut self, config: &Config<K, V>, at: u64, cx: &Context<'_>) -> bool {
        if at == NEVER {
            return false;
        }
        if config.has_come(at) {
            return true;
        }
        // One alarm for all polls: timers keep them until their time. Another if it has gone off and the clock has stepped
        // back since.
        if let Some(set) = self.0.as_deref_mut().filter(|set| set.at == at) {
            if !set.task.will_wake(cx.waker()) {
                // Both places have the new one before an old one is dropped, which may panic.
                let (alarms, task) = (cx.waker().clone(), cx.waker().clone());
                let _old = (set.alarm.swap(Some(alarms)), core::mem::replace(&mut set.task, task));
            }
            if !set.alarm.gone_off.load(Ordering::Relaxed) {
                return false;
            }
        }
        let (alarm, task) = (Alarm::new(), cx.waker().clone());
        drop(alarm.swap(Some(task.clone())));
        // The timer has it before the one before it is dropped, which may panic.
        config.wake_at(at, Waker::from(alarm.clone()));
        self.0 = Some(Box::new(Set { alarm, at, task }));
        // The timer may fire before it has been told.
        config.has_come(at)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        drop(self.alarm.swap(None));
    }
}
