//! The default timer: one thread for the whole process, which the first alarm starts.

use super::clock::{Clock, CoarseClock};
use super::timer::{Pending, Timer};
use crate::sys::unwind;
use alloc::collections::BinaryHeap;
use core::cmp::{Ordering, Reverse};
use core::task::Waker;
use core::time::Duration;
use std::sync::OnceLock;
use std::thread::{self, Thread};

/// A [`Timer`] for the default clock ([`CoarseClock`]): a thread that sleeps until the next alarm.
/// A cache uses it if it was given neither a clock nor a timer.
///
/// All caches of the process share one thread. The first alarm starts it, and it never ends. In a
/// child process after a `fork` the thread does not exist, and no alarm goes off: give the caches
/// that are built there a timer of their own.
///
/// An alarm costs an allocation and a wake-up of the thread. It goes off after its time by at most
/// the clock's grain (some milliseconds), provided that the system lets the thread run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadTimer(());

struct Shared {
    pending: Pending,
    thread: Thread,
}

/// The shortest sleep of the thread: alarms are as coarse as the clock.
const GRAIN: Duration = Duration::from_millis(1);

impl ThreadTimer {
    /// Returns the process's timer.
    pub const fn new() -> Self {
        Self(())
    }
}

/// Returns the shared timer; the first call starts its thread.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let started = thread::Builder::new().name("bellwether timer".into()).spawn(|| {
            // Each alarm unparks this thread. `park` may return before `SHARED` is initialised;
            // then `shared()` waits for that.
            thread::park();
            run(shared());
        });
        let thread = started.expect("the system has no room for the timer's thread").thread().clone();
        Shared { pending: Pending::new(), thread }
    })
}

struct Alarm {
    at: u64,
    waker: Waker,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Alarm {}
impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

fn run(shared: &Shared) -> ! {
    let clock = CoarseClock::new();
    let (mut alarms, mut fired) = (BinaryHeap::new(), false);
    loop {
        alarms.extend(shared.pending.take().map(|(at, waker)| Reverse(Alarm { at, waker })));
        let now = clock.now();
        while alarms.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(due)) = alarms.pop() else { break };
            // A panic of one waker must not end the timer of all others.
            if let Err(panic) = unwind::caught(|| due.waker.wake()) {
                unwind::discard(panic);
            }
            // The waker may have parked this thread itself, and so consumed the unpark token of an
            // alarm. So look at `pending` again before parking.
            fired = true;
        }
        if core::mem::take(&mut fired) {
            continue;
        }
        match alarms.peek() {
            None => thread::park(),
            Some(Reverse(next)) => thread::park_timeout(Duration::from_nanos(next.at - now).max(GRAIN)),
        }
    }
}

impl Timer for ThreadTimer {
    /// # Panics
    /// If this is the first alarm, and the system refuses the thread.
    fn wake_at(&self, ns: u64, waker: Waker) {
        let shared = shared();
        shared.pending.push(ns, waker);
        shared.thread.unpark();
    }
}
