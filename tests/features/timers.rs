//! Timers whose wakers panic: everyone else who is due is woken all the same, and none that is not due is lost.

use crate::common::quietly;
use bellwether::{Cache, Clock, CoarseClock, Lookup, ManualClock, ThreadTimer, Timer};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANOS: u64 = 1_000_000_000;

/// Panics as it is woken, with something that panics as it is dropped.
struct Bomb;

struct Shrapnel;

impl Drop for Shrapnel {
    fn drop(&mut self) {
        panic!("what a waker panicked with panics, as it was told to");
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new(Shrapnel));
    }
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Count {
    fn woken(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

fn bomb() -> Waker {
    Waker::from(Arc::new(Bomb))
}

/// That this panics; what it panics with is not dropped.
fn panics(what: &str, f: impl FnOnce()) {
    let panic = quietly(|| catch_unwind(AssertUnwindSafe(f))).expect_err(what);
    std::mem::forget(panic);
}

/// Moves a clock, at which are due a bomb, two who count, and a bomb, and later another who counts.
fn moved(name: &str, go: impl Fn(&ManualClock)) {
    let (clock, counts) = (ManualClock::new(), [(); 3].map(|()| Arc::new(Count::default())));
    let waker = |n: usize| Waker::from(counts[n].clone());
    clock.wake_at(NANOS, bomb());
    clock.wake_at(NANOS, waker(0));
    clock.wake_at(2 * NANOS, waker(2));
    clock.wake_at(NANOS, waker(1));
    clock.wake_at(NANOS, bomb());
    panics("the panic goes on", || go(&clock));
    let woken = || counts.each_ref().map(|count| count.woken());
    assert_eq!(woken(), [1, 1, 0], "{name}: all who are due, and no other");
    clock.advance(SECOND);
    assert_eq!(woken(), [1, 1, 1], "{name}: what was not due is not lost");
}

#[test]
fn a_manual_clock_wakes_all_who_are_due_where_a_waker_panics() {
    moved("advance", |clock| clock.advance(SECOND));
    moved("set", |clock| clock.set(NANOS));
}

#[test]
fn an_alarm_that_is_set_too_late_panics_alone() {
    let (clock, count) = (ManualClock::new(), Arc::new(Count::default()));
    clock.wake_at(2 * NANOS, Waker::from(count.clone()));
    clock.advance(SECOND);
    panics("at once", || clock.wake_at(NANOS, bomb()));
    clock.advance(SECOND);
    assert_eq!(count.woken(), 1);
}

/// A waker that moves the clock on: what has become due meanwhile is woken by the same call, past a panic.
#[test]
fn a_round_within_a_round_loses_nobody() {
    struct Moves(ManualClock);
    impl Wake for Moves {
        fn wake(self: Arc<Self>) {
            self.0.advance(SECOND);
            panic!("a waker panics, as it was told to");
        }
    }
    let (clock, count) = (ManualClock::new(), Arc::new(Count::default()));
    clock.wake_at(2 * NANOS, Waker::from(count.clone()));
    clock.wake_at(NANOS, Waker::from(Arc::new(Moves(clock.clone()))));
    clock.wake_at(2 * NANOS, Waker::from(count.clone()));
    panics("the panic goes on", || clock.advance(SECOND));
    assert_eq!((clock.now(), count.woken()), (2 * NANOS, 2));
}

#[test]
fn a_deadline_comes_though_the_waker_of_another_panics() {
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = Cache::builder()
        .max_capacity(4)
        .clock(clock.clone())
        .timer(clock.clone())
        .wait_timeout(10 * SECOND)
        .build()
        .unwrap();
    let Lookup::Lead(_lease) = cache.lease(&1) else { panic!() };
    let count = Arc::new(Count::default());
    let load = || cache.try_get_with_async(&1, || async { Ok::<_, ()>(1) });
    let (mut early, mut bad, mut late) = (pin!(load()), pin!(load()), pin!(load()));
    let waker = Waker::from(count.clone());
    assert!(early.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(bad.as_mut().poll(&mut Context::from_waker(&bomb())).is_pending());
    assert!(late.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    panics("the panic goes on", || clock.advance(10 * SECOND));
    assert_eq!(count.woken(), 2);
}

#[test]
fn the_thread_timer_wakes_all_who_are_due_where_a_waker_panics() {
    let timer = ThreadTimer::new();
    let at = CoarseClock::new().now() + 20_000_000;
    let count = Arc::new(Count::default());
    for _ in 0..4 {
        timer.wake_at(at, bomb());
        timer.wake_at(at, Waker::from(count.clone()));
    }
    timer.wake_at(at + 20_000_000, Waker::from(count.clone()));
    quietly(|| crate::common::until("all are woken", || count.woken() == 5));
}
