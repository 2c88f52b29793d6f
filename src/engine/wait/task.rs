//! The deadline of a task: what wakes it when its wait is over.

use crate::engine::config::Config;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::untracked::{AtomicBool, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use atomic_waker::AtomicWaker;
use core::mem;
use core::task::{Context, Waker};

/// Has the task that was polled last woken at a time. Its drop releases the task's waker. (Boxed:
/// most waits need none.)
pub(crate) struct TaskDeadline(Option<Box<Armed>>);

struct Armed {
    waker: Arc<TimerWaker>,
    /// When the timer wakes it.
    at: u64,
    /// The task's waker that `waker` has.
    task: Waker,
}

/// Wakes the task that was polled last, once. A timer keeps this until its time. So `Armed` takes
/// the task's waker out before that if the task waits no longer.
struct TimerWaker {
    task: AtomicWaker,
    gone_off: AtomicBool,
}

impl TimerWaker {
    fn new() -> Arc<Self> {
        Arc::new(Self { task: AtomicWaker::new(), gone_off: AtomicBool::new(false) })
    }
}

impl Wake for TimerWaker {
    fn wake(self: Arc<Self>) {
        // Relaxed: `AtomicWaker` orders this before what `register` does after `take`. So a task
        // that registers too late for this wake-up sees afterwards that the timer has fired.
        self.gone_off.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}

impl TaskDeadline {
    /// No time yet.
    pub(crate) const NONE: Self = Self(None);

    /// Returns whether this time has come. If not, the task is woken then.
    pub(crate) fn is_over<K, V>(&mut self, config: &Config<K, V>, at: u64, cx: &Context<'_>) -> bool {
        if at == NEVER {
            return false;
        }
        if config.has_come(at) {
            return true;
        }
        // All polls share one waker, as timers keep wakers until their time. Another one is armed
        // if this one was woken and the clock has stepped back since.
        if let Some(armed) = self.0.as_deref_mut().filter(|armed| armed.at == at) {
            armed.is_for(cx.waker());
            if !armed.waker.gone_off.load(Ordering::Relaxed) {
                return false;
            }
        }
        let armed = Box::new(Armed::new(at, cx.waker()));
        // The timer has the new waker before the old one is dropped, which may panic.
        config.wake_at(at, Waker::from(armed.waker.clone()));
        self.0 = Some(armed);
        // The timer may have fired before it got the waker.
        config.has_come(at)
    }
}

impl Armed {
    fn new(at: u64, task: &Waker) -> Self {
        let armed = Self { waker: TimerWaker::new(), at, task: task.clone() };
        armed.waker.task.register(task);
        armed
    }

    /// Has the task woken by this waker from now on.
    ///
    /// `AtomicWaker` clones the new waker, and drops the old one, in the middle of `register`. If
    /// one of these panics there, it never wakes a task again. So the old waker is taken out first.
    /// If the clone panics, `at` is a time that no poll asks for, and the next poll arms another.
    fn is_for(&mut self, task: &Waker) {
        if self.task.will_wake(task) {
            return;
        }
        let task = task.clone();
        let at = mem::replace(&mut self.at, NEVER);
        let before = self.waker.task.take();
        self.waker.task.register(&task);
        self.at = at;
        // The old wakers are dropped last: that may panic, too.
        let _old = (before, mem::replace(&mut self.task, task));
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        drop(self.waker.task.take());
    }
}
