//! Bells: where those who wait for a flight sleep, and how they are woken.
//!
//! A cache has a small array of bells, and a node's address picks one, so nodes carry no event. A bell may wake
//! waiters of another flight; they look at their own flight's word and park again.
//!
//! A bell has no lock. It is a word, which counts the rounds that were rung and tells whether anybody listens in this one,
//! and a stack of the tasks that sleep. Threads sleep on the word itself where the system can do that, and one call wakes
//! them all (`futex`); elsewhere they sleep as tasks, whose wakers unpark them. Whoever is woken has nothing to take
//! back: the ring has emptied the stack, and the round it listened in is over.
//!
//! Measured against a list of listeners behind a mutex, as `event-listener` has it: that wakes threads one by one, by a
//! system call each, under the mutex that each of them then asks for, too.

use crate::sys::futex::Futex;
use crate::sys::mutants::{mutant, sized};
use crate::sys::sync::{CachePadded, Ordering};
use crate::sys::unwind;
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};
#[cfg(feature = "std")]
use core::time::Duration;
use wakers::{Sleeper, Sleepers};

mod wakers;

/// (One for models: which of several it is depends on where the allocator puts nodes, and nothing else of a schedule does.)
const BELLS: usize = sized(64, 1, 1);

/// Somebody listens in this round.
const HEARD: u64 = 0b01;
/// A thread sleeps on the word, or is about to. Set after `HEARD`, and once a round.
const ASLEEP: u64 = 0b10;
const FLAGS: u64 = HEARD | ASLEEP;

struct Bell {
    /// The round, from bit 2 up, and the flags. 62 bits of a round never come around (a `Waiter` may lie about for hours before
    /// it is polled); of those the kernel compares 30: see [`Listening::sleep`].
    word: Futex,
    tasks: Sleepers,
}

/// The bells of a cache, and the one at which callers wait who may not load yet.
pub(crate) struct Bells(Box<[CachePadded<Bell>]>);

/// Registered to be woken. Dropping it takes the registration back.
pub(crate) struct Listening {
    bell: NonNull<Bell>,
    /// The bell's word as it was heard, without `ASLEEP`. Another: it has rung since.
    heard: u64,
    /// The task's place in the bell's stack.
    asleep: Option<Sleeper>,
}

// SAFETY: a shared reference to a bell, which is made of atomics and a stack that may be shared, and a place in that.
unsafe impl Send for Listening {}
// SAFETY: as above.
unsafe impl Sync for Listening {}

impl Bells {
    pub(crate) fn new() -> Self {
        let bell = || CachePadded(Bell { word: Futex::new(0), tasks: Sleepers::new() });
        Self((0..=BELLS).map(|_| bell()).collect())
    }

    #[allow(clippy::modulo_one, reason = "models have one bell")]
    fn of(&self, address: usize) -> &Bell {
        // Nodes are 16 bytes apart at least; a multiplicative hash spreads them.
        let hash = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
        &self.0[(hash >> (usize::BITS - 8)) % BELLS]
    }

    /// Registers for the flight at `address`. The caller must then look at the flight's word once more, by an RMW,
    /// before it sleeps.
    ///
    /// # Safety
    /// The registration is dropped before these bells are.
    pub(crate) unsafe fn listen(&self, address: usize) -> Listening {
        self.of(address).listening()
    }

    /// Registers a caller who may not load yet. As for [`listen`](Self::listen), where the number of
    /// loads is what it must look at once more.
    ///
    /// # Safety
    /// As for [`listen`](Self::listen).
    pub(crate) unsafe fn queue_up(&self) -> Listening {
        self.0[BELLS].listening()
    }

    /// Wakes everyone who waits until it may load, after the number of loads was changed.
    pub(crate) fn ring_queue(&self) {
        if !mutant("queue not rung") {
            self.0[BELLS].ring();
        }
    }

    /// Wakes everyone who waits for the flight at `address`, after a transition of its word.
    ///
    /// Nobody is missed. A waiter hears the bell (its word has `HEARD`) before its RMW on the flight's word; the ringer
    /// changes that by an RMW before it reads the bell's. The two RMWs are ordered: if the waiter's is first, the ringer's
    /// acquires from it and sees the round that the waiter has heard, or one that has begun since; if the ringer's is first,
    /// the waiter sees the new state and does not sleep.
    pub(crate) fn ring(&self, address: usize) {
        if !mutant("silent bell") {
            self.of(address).ring();
        }
    }
}

impl Bell {
    fn listening(&self) -> Listening {
        Listening { bell: NonNull::from(self), heard: self.hear(), asleep: None }
    }

    /// Has this round's ring wake the caller, too; the word without `ASLEEP`.
    fn hear(&self) -> u64 {
        // Relaxed suffices: see `Bells::ring`. If another has set the flag that is as good, and writes nothing.
        let word = self.word.load(Ordering::Relaxed);
        if word & HEARD != 0 {
            return word & !ASLEEP;
        }
        (self.word.fetch_or(HEARD, Ordering::Relaxed) | HEARD) & !ASLEEP
    }

    /// Whether it has rung since this was heard. Acquire: pairs with the Release of `ring`, whose transition of the flight
    /// came before.
    fn has_rung(&self, heard: u64) -> bool {
        self.word.load(Ordering::Acquire) & !ASLEEP != heard
    }

    fn ring(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & HEARD == 0 {
                // Nobody listens; or those who did are being woken by another, who has begun this round.
                return;
            }
            // The next round, without flags. Release: see `has_rung`.
            let next = (word | FLAGS) + 1;
            match self.word.compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(_) if mutant("round skipped") => return,
                Err(now) => word = now,
            }
        }
        // All of them at once, before any user code.
        if word & ASLEEP != 0 {
            self.word.wake_all();
        }
        // After the round has begun: see `Listening::poll`.
        let mut tasks = self.tasks.take();
        if mutant("a task is left asleep") {
            drop(tasks.next());
        }
        unwind::each(tasks, Waker::wake);
    }
}

impl Listening {
    fn bell(&self) -> &Bell {
        // SAFETY: the bells outlive the registration, by the contract of `listen`.
        unsafe { self.bell.as_ref() }
    }

    /// Registers anew, if the bell has rung.
    pub(crate) fn renew(&mut self) {
        let heard = self.bell().hear();
        if heard != self.heard {
            self.heard = heard;
            self.rise();
        }
    }

    /// Ready once the bell has rung (or as if it had); until then the task is woken when it does.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bell().has_rung(self.heard) {
            return Poll::Ready(());
        }
        if self.asleep.as_ref().is_some_and(|asleep| asleep.is_of(cx.waker())) {
            return Poll::Pending;
        }
        if !self.rise() {
            // Whoever ended the last round took it for one of that.
            return Poll::Ready(());
        }
        self.asleep = Some(self.bell().tasks.push(cx.waker().clone()));
        // A ringer begins a new round and then takes the stack. If this was pushed in time for that, it is woken; if not, the
        // push has acquired from the taking, and sees the new round.
        if self.bell().has_rung(self.heard) && !mutant("sleeps through the ring") {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// The same as a thread: sleeps until the bell has rung, for that long at most; may return early.
    #[cfg(feature = "std")]
    pub(crate) fn sleep(&mut self, longest: Option<Duration>) {
        if !Futex::NATIVE {
            return self.sleep_as_task(longest);
        }
        let (word, asleep) = (&self.bell().word, self.heard | ASLEEP);
        let mut now = word.load(Ordering::Relaxed);
        while now == self.heard {
            // Relaxed: the ringer changes the word by an RMW, and whoever sleeps has compared it.
            match word.compare_exchange_weak(now, asleep, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => now = asleep,
                Err(other) => now = other,
            }
        }
        if now == asleep {
            // If it rings before the kernel compares, that sees another word, but for one who is held up here for a multiple of
            // 2^30 rounds, to the round. Even then somebody sleeps in this round, and is woken together with it.
            word.wait(asleep, longest);
        }
    }

    /// The same where threads cannot sleep on the word.
    #[cfg(feature = "std")]
    fn sleep_as_task(&mut self, longest: Option<Duration>) {
        let waker = Waker::from(crate::sys::unpark::Unpark::this_thread());
        if self.poll(&Context::from_waker(&waker)).is_pending() {
            match longest {
                Some(longest) => crate::sys::sync::thread::park_timeout(longest),
                None => crate::sys::sync::thread::park(),
            }
        }
    }

    /// Takes the task's place back. False: it had one, and was woken.
    fn rise(&mut self) -> bool {
        let Some(asleep) = self.asleep.take() else { return true };
        let Some(_waker) = asleep.rise() else { return false };
        if self.bell().tasks.left() {
            // What it left behind goes with the next ring. Those who sleep are woken for it: fewer than have left since the last.
            self.bell().ring();
        }
        true
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.rise();
    }
}

#[cfg(all(test, feature = "std", not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sys::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::thread;

    /// Sleeps by `sleep` until the flight has ended, as waiters do, and is woken by one ring.
    fn all_are_woken(sleep: fn(&mut Listening, Option<Duration>), longest: Option<Duration>) {
        const HERD: usize = 8;
        let (bells, ended, asleep) = (Bells::new(), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..HERD {
                scope.spawn(|| {
                    // SAFETY: dropped before the bells are.
                    let mut listening = unsafe { bells.listen(64) };
                    asleep.fetch_add(1, SeqCst);
                    // An RMW, as on a flight's word.
                    while !ended.fetch_or(false, SeqCst) {
                        sleep(&mut listening, longest);
                        listening.renew();
                    }
                });
            }
            while asleep.load(SeqCst) < HERD {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(10));
            assert!(!ended.swap(true, SeqCst));
            bells.ring(64);
        });
    }

    #[test]
    fn threads_are_woken() {
        all_are_woken(Listening::sleep, None);
        all_are_woken(Listening::sleep, Some(Duration::MAX));
    }

    #[test]
    fn threads_are_woken_where_there_is_no_futex() {
        all_are_woken(Listening::sleep_as_task, None);
        all_are_woken(Listening::sleep_as_task, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_time_ends_the_sleep() {
        let bells = Bells::new();
        for sleep in [Listening::sleep, Listening::sleep_as_task] {
            // SAFETY: dropped before the bells are.
            let mut listening = unsafe { bells.listen(64) };
            sleep(&mut listening, Some(Duration::from_millis(1)));
            assert!(!listening.bell().has_rung(listening.heard));
        }
    }
}
