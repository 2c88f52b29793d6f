//! What wakes a task when its wait is over.

use crate::engine::config::Config;
use crate::expiry::NEVER;
use crate::sync::untracked::{AtomicBool, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use atomic_waker::AtomicWaker;
use core::mem;
use core::task::{Context, Waker};

/// Has the task that was polled last woken at a time. Dropping it lets go of the task. (Boxed: most
/// waits need none.)
pub(crate) struct Alert(Option<Box<Set>>);

struct Set {
    alarm: Arc<Alarm>,
    /// When the alarm goes off.
    at: u64,
    /// The waker that the alarm has.
    task: Waker,
}

/// Wakes the task that was polled last, once. Timers keep an alarm until its time, so it lets go of
/// the task before that if nobody waits any more.
#[derive(Default)]
struct Alarm {
    task: AtomicWaker,
    gone_off: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        // Relaxed: `AtomicWaker` orders this before what `register` does after `take`. So a task
        // that registers too late for this wake-up sees afterwards that the alarm is of no use any
        // more.
        self.gone_off.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}

impl Alert {
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
        // One alarm for all polls: timers keep them until their time. Another if it has gone off
        // and the clock has stepped back since.
        if let Some(set) = self.0.as_deref_mut().filter(|set| set.at == at) {
            set.is_for(cx.waker());
            if !set.alarm.gone_off.load(Ordering::Relaxed) {
                return false;
            }
        }
        let set = Box::new(Set::new(at, cx.waker()));
        // The timer has it before the one before it is dropped, which may panic.
        config.wake_at(at, Waker::from(set.alarm.clone()));
        self.0 = Some(set);
        // The timer may fire before it has been told.
        config.has_come(at)
    }
}

impl Set {
    fn new(at: u64, task: &Waker) -> Self {
        let set = Self { alarm: Arc::default(), at, task: task.clone() };
        set.alarm.task.register(task);
        set
    }

    /// From now on the task is woken by this waker.
    ///
    /// `AtomicWaker` clones a waker, and drops the one before it, in the middle of `register`. It
    /// wakes no task any more if one of them panics there. So the one before it is taken out first;
    /// and if the clone panics, no poll finds this alarm any more (its time is never asked for),
    /// and the next one sets another.
    fn is_for(&mut self, task: &Waker) {
        if self.task.will_wake(task) {
            return;
        }
        let task = task.clone();
        let at = mem::replace(&mut self.at, NEVER);
        let before = self.alarm.task.take();
        self.alarm.task.register(&task);
        self.at = at;
        // Dropped last: that may panic, too.
        let _old = (before, mem::replace(&mut self.task, task));
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        drop(self.alarm.task.take());
    }
}
