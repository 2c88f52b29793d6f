//! Bells: where those who wait for a flight sleep, and how they are woken.
//!
//! A cache has a small array of bells, and a node's address picks one, so nodes carry no event. A
//! bell may wake waiters of another flight; they look at their own flight's word and park again.
//!
//! A bell is a word and an event. The word counts the rounds that were rung, and tells whether
//! anybody listens in this one. Threads sleep on the word itself where the system can do that
//! (Linux), and one call wakes them all (`futex`): they take no lock. Tasks wait on the event,
//! whose list of listeners has a lock (`wakers`). Threads of other systems sleep as tasks, whose
//! wakers unpark them.
//!
//! A ringer touches the event only if a task is noted on the word, so a ring takes no lock unless
//! tasks sleep. A woken task leaves the event's list when it listens for the next round, or when
//! its waiter is dropped.
//!
//! Threads do not wait on the event, because it wakes them one by one, by a system call each, under
//! the lock that each of them then asks for (benches/README.md has the figures).

use crate::futex::Futex;
use crate::sync::{Ordering, Padded, mutant, sized};
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::task::{Context, Poll};
#[cfg(feature = "std")]
use core::time::Duration;
use wakers::{Asleep, Wakers};

mod wakers;

/// (One for models: which of several it is depends on where the allocator puts nodes, and nothing
/// else of a schedule does.)
const BELLS: usize = sized(64, 1, 1);

/// Somebody listens in this round.
const HEARD: u64 = 0b001;
/// A thread sleeps on the word, or is about to. Set after `HEARD`, and once a round.
const THREAD: u64 = 0b010;
/// A task listens to the event. Set after `HEARD`, and by each task anew.
const TASK: u64 = 0b100;
const SLEEPERS: u64 = THREAD | TASK;
const FLAGS: u64 = HEARD | SLEEPERS;

struct Bell {
    /// The round, from bit 3 up, and the flags. 61 bits of a round never come around (a `Waiter`
    /// may lie about for hours before it is polled); of those the kernel compares 29: see
    /// [`Listening::sleep`].
    word: Futex,
    tasks: Wakers,
}

/// The bells of a cache, and the one at which callers wait who may not load yet.
pub(crate) struct Bells(Box<[Padded<Bell>]>);

/// Registered to be woken. Dropping it takes the registration back.
pub(crate) struct Listening {
    bell: NonNull<Bell>,
    /// The bell's word as it was heard, without `SLEEPERS`. Another: it has rung since.
    heard: u64,
    /// The task's place among the bell's listeners.
    asleep: Option<Asleep>,
}

// SAFETY: a shared reference to a bell, which is made of atomics, an event and a list that may be
// shared; and a place among the event's listeners, which may be sent.
unsafe impl Send for Listening {}
// SAFETY: as above.
unsafe impl Sync for Listening {}

impl Bells {
    pub(crate) fn new() -> Self {
        let bell = || Padded(Bell { word: Futex::new(0), tasks: Wakers::new() });
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
    /// Nobody is missed. A waiter hears the bell (its word has `HEARD`) before its RMW on the
    /// flight's word; the ringer changes that by an RMW before it reads the bell's. The two RMWs
    /// are ordered: if the waiter's is first, the ringer's acquires from it and sees the round that
    /// the waiter has heard, or one that has begun since; if the ringer's is first, the waiter sees
    /// the new state and does not sleep.
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

    /// Has this round's ring wake the caller, too; the word without `SLEEPERS`.
    fn hear(&self) -> u64 {
        // Relaxed suffices: see `Bells::ring`. If another has set the flag that is as good, and
        // writes nothing.
        let word = self.word.load(Ordering::Relaxed);
        if word & HEARD != 0 {
            return word & !SLEEPERS;
        }
        (self.word.fetch_or(HEARD, Ordering::Relaxed) | HEARD) & !SLEEPERS
    }

    /// Whether it has rung since this was heard. Acquire: pairs with the Release of `ring`, whose
    /// transition of the flight came before.
    fn has_rung(&self, heard: u64) -> bool {
        self.word.load(Ordering::Acquire) & !SLEEPERS != heard
    }

    /// Notes that a thread is about to sleep on the word: what that is then. None: the bell has
    /// rung.
    #[cfg(feature = "std")]
    fn note_thread(&self, heard: u64) -> Option<u64> {
        let mut now = self.word.load(Ordering::Relaxed);
        while now & !SLEEPERS == heard {
            if now & THREAD != 0 {
                return Some(now);
            }
            // Relaxed: the ringer changes the word by an RMW, and whoever sleeps has compared it.
            match self.word.compare_exchange_weak(now, now | THREAD, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(now | THREAD),
                Err(other) => now = other,
            }
        }
        None
    }

    /// Notes that a task listens to the event. False: the bell has rung.
    fn note_task(&self, heard: u64) -> bool {
        let noted = |now: u64| (now & !SLEEPERS == heard).then_some(now | TASK);
        // Release: pairs with the Acquire of `ring`, so that the task listens before the ringer
        // notifies. Always an RMW, even if the flag is set: the ringer acquires from this task, too
        // (the RMWs of others in between carry it on). (The event's lock orders more than that, so
        // no model sees these orderings. The event promises nothing of a listener that has no order
        // with `notify`.) Acquire: see `has_rung`.
        self.word.fetch_update(Ordering::Release, Ordering::Acquire, noted).is_ok()
    }

    fn ring(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & HEARD == 0 {
                // Nobody listens; or those who did are being woken by another, who has begun this
                // round.
                return;
            }
            // The next round, without flags. Release: see `has_rung`. Acquire: see `note_task`.
            let next = (word | FLAGS) + 1;
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(_) if mutant("round skipped") => return,
                Err(now) => word = now,
            }
        }
        // All of them at once, before any user code.
        if word & THREAD != 0 {
            self.word.wake_all();
        }
        if word & TASK != 0 {
            // The event has no step that shuttle knows. Others may come in between the change and
            // the waking.
            #[cfg(shuttle)]
            let _ = self.word.load(Ordering::Relaxed);
            self.tasks.wake_all();
        }
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
            self.asleep = None;
        }
    }

    /// Ready once the bell has rung; until then the task is woken when it does.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bell().has_rung(self.heard) {
            return Poll::Ready(());
        }
        if self.asleep.as_ref().is_some_and(|asleep| asleep.is_of(cx.waker())) {
            return Poll::Pending;
        }
        // Another waker than the last time; or the ringer of an earlier round has woken the task
        // only now.
        let task = cx.waker().clone();
        let early = mutant("notes before it listens") && self.bell().note_task(self.heard);
        // SAFETY: the bell outlives this registration, and does not move: by the contract of
        // `listen`.
        let asleep = unsafe { self.bell().tasks.listen(task) };
        // The old one is dropped at the end: that may drop a user's waker, which may panic.
        let _old = self.asleep.replace(asleep);
        // A ringer changes the word and then notifies the event. If its change comes after the
        // note, it has acquired from that, and the listener is in the event's list for it; if
        // before, the note is refused.
        if !early && !self.bell().note_task(self.heard) && !mutant("sleeps through the ring") {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// The same as a thread: sleeps until the bell has rung, for that long at most; may return
    /// early.
    #[cfg(feature = "std")]
    pub(crate) fn sleep(&mut self, longest: Option<Duration>) {
        if !Futex::NATIVE {
            return self.sleep_as_task(longest);
        }
        if let Some(word) = self.bell().note_thread(self.heard) {
            // If it rings, or a task is noted, before the kernel compares, that sees another word,
            // but for one who is held up here for a multiple of 2^29 rounds, to the round. Even
            // then somebody sleeps in this round, and is woken together with it.
            self.bell().word.wait(word, longest);
        }
    }

    /// The same where threads cannot sleep on the word.
    #[cfg(feature = "std")]
    fn sleep_as_task(&mut self, longest: Option<Duration>) {
        let waker = core::task::Waker::from(crate::unpark::Unpark::this_thread());
        if self.poll(&Context::from_waker(&waker)).is_pending() {
            match longest {
                Some(longest) => crate::sync::thread::park_timeout(longest),
                None => crate::sync::thread::park(),
            }
        }
    }
}

#[cfg(all(test, feature = "std", not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};
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
