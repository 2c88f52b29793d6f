//! Bells: where the waiters of a flight sleep, and how a ringer wakes them.
//!
//! A cache has a small array of bells. A node's address picks its bell, so nodes carry no event. A
//! ring may wake waiters of another flight. They look at their own flight's word and sleep again.
//!
//! A bell is a word and an event. The word counts the rings and tells whether a waiter has
//! subscribed to the present round. On Linux threads sleep on the word itself, and one system call
//! wakes them all ([`futex`](crate::sys::futex)). They take no lock. Tasks wait on the event, whose
//! list of listeners has a lock ([`wakers`]). Threads of other systems sleep as tasks whose wakers
//! unpark them.
//!
//! A ringer touches the event only if the word says that a task listens. So a ring takes no lock
//! unless tasks sleep. A woken waiter leaves the event's list as it subscribes anew, or as it is
//! dropped.
//!
//! Threads on Linux do not wait on the event: it would wake them one by one, by a system call each,
//! under the lock that each of them then takes (benches/README.md has the figures).

use crate::sys::futex::Futex;
use crate::sys::mutants::{mutant, sized};
use crate::sys::sync::{CachePadded, Ordering};
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::task::{Context, Poll};
#[cfg(feature = "std")]
use core::time::Duration;
use wakers::{WakerSlot, Wakers};

mod wakers;

/// Models have one bell. With several, a schedule would depend on the addresses of nodes.
const BELLS: usize = sized(64, 1, 1);

/// A waiter has subscribed to this round.
const SUBSCRIBED: u64 = 0b001;
/// A thread sleeps on the word, or is about to. Set after `SUBSCRIBED`, once a round.
const THREAD: u64 = 0b010;
/// A task listens to the event. Set after `SUBSCRIBED`, by each task anew.
const TASK: u64 = 0b100;
const SLEEPERS: u64 = THREAD | TASK;
const FLAGS: u64 = SUBSCRIBED | SLEEPERS;

struct Bell {
    /// The round, from bit 3 up, and the flags. 61 bits of a round never wrap, however long a
    /// `Waiter` is kept before it is polled. The kernel compares 29 of them: see
    /// [`Subscription::sleep`].
    word: Futex,
    tasks: Wakers,
}

/// The bells of a cache, and one more: callers that may not load yet wait at the last.
pub(crate) struct Bells(Box<[CachePadded<Bell>]>);

/// A waiter's registration with a bell. Its drop takes the registration back.
pub(crate) struct Subscription {
    bell: NonNull<Bell>,
    /// The bell's word as the waiter subscribed, without `SLEEPERS`. If the word differs, the bell
    /// has rung since.
    round: u64,
    /// The task's place among the event's listeners.
    slot: Option<WakerSlot>,
}

// SAFETY: a subscription has a shared reference to a bell, which is made of atomics, an event and a
// list that may be shared. Its place among the event's listeners may be sent.
unsafe impl Send for Subscription {}
// SAFETY: as above. A shared subscription gives shared access only.
unsafe impl Sync for Subscription {}

impl Bells {
    pub(crate) fn new() -> Self {
        let bell = || CachePadded(Bell { word: Futex::new(0), tasks: Wakers::new() });
        Self((0..=BELLS).map(|_| bell()).collect())
    }

    #[allow(clippy::modulo_one, reason = "models have one bell")]
    #[inline]
    fn of(&self, address: usize) -> &Bell {
        // Nodes are at least 16 bytes apart. A multiplicative hash spreads them.
        let hash = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
        &self.0[(hash >> (usize::BITS - 8)) % BELLS]
    }

    /// Subscribes to the bell of the flight at `address`. The caller must then look at the flight's
    /// word once more, by an RMW, before it sleeps.
    ///
    /// # Safety
    /// The subscription is dropped before these bells are.
    pub(crate) unsafe fn listen(&self, address: usize) -> Subscription {
        self.of(address).subscription()
    }

    /// Subscribes a caller that may not load yet. It must look at the number of loads once more, by
    /// an RMW, before it sleeps.
    ///
    /// # Safety
    /// As for [`listen`](Self::listen).
    pub(crate) unsafe fn queue_up(&self) -> Subscription {
        self.0[BELLS].subscription()
    }

    /// Wakes all callers that wait until they may load. Called after the number of loads changed.
    pub(crate) fn ring_queue(&self) {
        if !mutant("queue not rung") {
            self.0[BELLS].ring();
        }
    }

    /// Returns whether [`ring`](Self::ring) has any waiters to wake. Called as `ring` is.
    #[inline]
    pub(crate) fn has_waiters(&self, address: usize) -> bool {
        self.of(address).word.load(Ordering::Relaxed) & SUBSCRIBED != 0
    }

    /// Wakes all waiters of the flight at `address`. Called after a transition of its word.
    ///
    /// No waiter is missed. A waiter subscribes (the bell's word has `SUBSCRIBED`) before its RMW
    /// of the flight's word. The ringer changes the flight's word by an RMW before it reads the
    /// bell's. The two RMWs are ordered. If the waiter's is first, the ringer's acquires from it,
    /// and the ringer sees the round of the subscription or a later one. If the ringer's is first,
    /// the waiter sees the new state and does not sleep.
    pub(crate) fn ring(&self, address: usize) {
        if !mutant("silent bell") {
            self.of(address).ring();
        }
    }
}

impl Bell {
    fn subscription(&self) -> Subscription {
        Subscription { bell: NonNull::from(self), round: self.subscribe(), slot: None }
    }

    /// Has this round's ring wake the caller, too. Returns the word without `SLEEPERS`.
    fn subscribe(&self) -> u64 {
        // Relaxed suffices: see `Bells::ring`. A flag that another waiter has set is as good, and
        // this load writes nothing.
        let word = self.word.load(Ordering::Relaxed);
        if word & SUBSCRIBED != 0 {
            return word & !SLEEPERS;
        }
        (self.word.fetch_or(SUBSCRIBED, Ordering::Relaxed) | SUBSCRIBED) & !SLEEPERS
    }

    /// Returns whether the bell has rung since this round. Acquire: pairs with the Release of
    /// `ring`, whose transition of the flight came before.
    fn has_rung(&self, round: u64) -> bool {
        self.word.load(Ordering::Acquire) & !SLEEPERS != round
    }

    /// Notes that a thread is about to sleep on the word. Returns the word then, or `None` if the
    /// bell has rung.
    #[cfg(feature = "std")]
    fn note_thread(&self, round: u64) -> Option<u64> {
        let mut now = self.word.load(Ordering::Relaxed);
        while now & !SLEEPERS == round {
            if now & THREAD != 0 {
                return Some(now);
            }
            // Relaxed: the ringer changes the word by an RMW, and a sleeper has compared it.
            match self.word.compare_exchange_weak(now, now | THREAD, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(now | THREAD),
                Err(other) => now = other,
            }
        }
        None
    }

    /// Notes that a task listens to the event. Returns false if the bell has rung.
    fn note_task(&self, round: u64) -> bool {
        let noted = |now: u64| (now & !SLEEPERS == round).then_some(now | TASK);
        // Release: pairs with the Acquire of `ring`, so that the task listens before the ringer
        // notifies. It is an RMW even if the flag is set: so the ringer acquires from this task,
        // too (the RMWs of other tasks in between carry it on). The event promises nothing about a
        // listener that is not ordered with `notify`. (The event's lock orders more than this, so
        // no model sees these two orderings.) Acquire: see `has_rung`.
        self.word.fetch_update(Ordering::Release, Ordering::Acquire, noted).is_ok()
    }

    fn ring(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & SUBSCRIBED == 0 {
                // No waiter has subscribed, or another ringer has begun this round and wakes them.
                return;
            }
            // The next round has no flags. Release: see `has_rung`. Acquire: see `note_task`.
            let next = (word | FLAGS) + 1;
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(_) if mutant("round skipped") => return,
                Err(now) => word = now,
            }
        }
        // All threads are woken at once, before any user code runs.
        if word & THREAD != 0 {
            self.word.wake_all();
        }
        if word & TASK != 0 {
            self.tasks.wake_all();
        }
    }
}

impl Subscription {
    fn bell(&self) -> &Bell {
        // SAFETY: the bells outlive the subscription, by the contract of `listen`.
        unsafe { self.bell.as_ref() }
    }

    /// Subscribes anew, if the bell has rung.
    pub(crate) fn resubscribe(&mut self) {
        let round = self.bell().subscribe();
        if round != self.round {
            self.round = round;
            self.slot = None;
        }
    }

    /// Is ready once the bell has rung. Until then the ring wakes the task.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bell().has_rung(self.round) {
            return Poll::Ready(());
        }
        if self.slot.as_ref().is_some_and(|slot| slot.is_of(cx.waker())) {
            return Poll::Pending;
        }
        // The waker is not that of the last poll, or the ringer of an earlier round has woken the
        // task only now.
        let task = cx.waker().clone();
        let early = mutant("notes before it listens") && self.bell().note_task(self.round);
        // SAFETY: the bell outlives this subscription, by the contract of `listen`, and does not
        // move: it is in a box.
        let slot = unsafe { self.bell().tasks.listen(task) };
        // The old slot is dropped at the end: that may drop a user's waker, which may panic.
        let _old = self.slot.replace(slot);
        // A ringer changes the word and then notifies the event. If its change comes after the
        // note, the ringer has acquired from the note and finds the listener in the event's list.
        // If the change comes before, the note is refused.
        if !early && !self.bell().note_task(self.round) && !mutant("sleeps through the ring") {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Sleeps as a thread until the bell has rung, at most for `longest`. May return early.
    #[cfg(feature = "std")]
    pub(crate) fn sleep(&mut self, longest: Option<Duration>) {
        if !Futex::NATIVE {
            return self.sleep_as_task(longest);
        }
        if let Some(word) = self.bell().note_thread(self.round) {
            // If the bell rings, or a task is noted, before the kernel compares, the kernel sees
            // another word and returns. It does not if this thread is held up here for an exact
            // multiple of 2^29 rounds. Even then the thread has subscribed to the present round in
            // effect: a waiter sleeps in it, and its ring wakes both.
            self.bell().word.wait(word, longest);
        }
    }

    /// Sleeps where threads cannot sleep on the word.
    #[cfg(feature = "std")]
    fn sleep_as_task(&mut self, longest: Option<Duration>) {
        let waker = core::task::Waker::from(crate::sys::unpark::Unpark::this_thread());
        if self.poll(&Context::from_waker(&waker)).is_pending() {
            match longest {
                Some(longest) => crate::sys::sync::thread::park_timeout(longest),
                None => crate::sys::sync::thread::park(),
            }
        }
    }
}

#[cfg(all(test, feature = "std", not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sys::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::thread;

    /// Sleeps by `sleep` until the flight has ended, as waiters do. One ring wakes all of them.
    fn all_are_woken(sleep: fn(&mut Subscription, Option<Duration>), longest: Option<Duration>) {
        const HERD: usize = 8;
        let (bells, ended, slot) = (Bells::new(), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..HERD {
                scope.spawn(|| {
                    // SAFETY: dropped before the bells are.
                    let mut subscription = unsafe { bells.listen(64) };
                    slot.fetch_add(1, SeqCst);
                    // An RMW, as on a flight's word.
                    while !ended.fetch_or(false, SeqCst) {
                        sleep(&mut subscription, longest);
                        subscription.resubscribe();
                    }
                });
            }
            while slot.load(SeqCst) < HERD {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(10));
            assert!(!ended.swap(true, SeqCst));
            bells.ring(64);
        });
    }

    #[test]
    fn threads_are_woken() {
        all_are_woken(Subscription::sleep, None);
        all_are_woken(Subscription::sleep, Some(Duration::MAX));
    }

    #[test]
    fn threads_are_woken_where_there_is_no_futex() {
        all_are_woken(Subscription::sleep_as_task, None);
        all_are_woken(Subscription::sleep_as_task, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_time_ends_the_sleep() {
        let bells = Bells::new();
        for sleep in [Subscription::sleep, Subscription::sleep_as_task] {
            // SAFETY: dropped before the bells are.
            let mut subscription = unsafe { bells.listen(64) };
            sleep(&mut subscription, Some(Duration::from_millis(1)));
            assert!(!subscription.bell().has_rung(subscription.round));
        }
    }
}
