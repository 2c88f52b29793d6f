//! Waiting for the load of another.

use crate::engine::board::Flight;
use crate::entry::{CoreRef, Entry};
use crate::error::SharedError;
use crate::flight::bell::Listening;
use crate::flight::node::{Failure, Node};
use crate::flight::word::{Left, Rechecked, Snapshot, State};
use crate::lease::Lease;
use crate::observer::{CacheEvent, LoadKind, WaitEnding};
use crate::stats::Event;
use crate::sync::mutant;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

/// How waiting for a load ended.
#[non_exhaustive]
#[derive(Debug)]
pub enum Waited<'c, K, V> {
    /// With its value: even if the entry was removed, evicted or over the moment it was published.
    Ready(Entry<'c, K, V>),
    /// Its leader gave up, and this waiter takes the load on.
    Lead(Lease<'c, K, V>),
    /// With its leader's error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// Without value or error: its leader called [`Lease::fail`], or it was removed and then given up. Look again.
    Abandoned,
    /// No more may wait for this key, or load, or too much retired memory waits to be freed.
    Overloaded,
    /// The deadline passed first. The load goes on.
    TimedOut,
}

/// The same, with the two sorts of `Abandoned` apart.
pub(crate) enum Woken<'c, K, V> {
    Ready(Entry<'c, K, V>),
    Lead(Lease<'c, K, V>),
    Failed(Option<SharedError>),
    Again,
    Overloaded,
}

impl<'c, K, V> From<Woken<'c, K, V>> for Waited<'c, K, V> {
    fn from(woken: Woken<'c, K, V>) -> Self {
        match woken {
            Woken::Ready(entry) => Self::Ready(entry),
            Woken::Lead(lease) => Self::Lead(lease),
            Woken::Failed(Some(error)) => Self::Failed(error),
            Woken::Failed(None) | Woken::Again => Self::Abandoned,
            Woken::Overloaded => Self::Overloaded,
        }
    }
}

/// A place among those who wait for a load.
///
/// Wait on it as a thread ([`wait`](Self::wait), with std) or as a task (`.await`). Dropping it leaves the flight, at
/// once; if its leader had given up and nobody else waits, the flight ends. It holds no pin: a parked thread or a
/// stored future holds up no memory but its own.
///
/// The wakers of tasks are called under a lock of `event-listener`: like that crate, this one asks of a waker that it only
/// schedules its task, and neither panics nor polls or drops a `Waiter` on the spot. Executors' wakers do just that.
pub struct Waiter<'c, K, V> {
    /// Before `core`: a registration is dropped before the bells may be.
    place: Place<K, V>,
    core: CoreRef<'c, K, V>,
    /// By the stopwatch.
    since: u64,
}

enum Place<K, V> {
    Parked { flight: Flight<K, V>, counted: bool, listening: Listening },
    Overloaded,
    Done,
}

impl<'c, K, V> Waiter<'c, K, V> {
    /// # Safety
    /// The caller hands over its place among the waiters (`counted` or not), its shares of the flight, and a
    /// registration with a bell of `core`.
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        counted: bool,
        listening: Listening,
    ) -> Self {
        let since = core.get().stopwatch();
        Self { core, place: Place::Parked { flight, counted, listening }, since }
    }

    pub(crate) fn overloaded(core: CoreRef<'c, K, V>) -> Self {
        Self { core, place: Place::Overloaded, since: 0 }
    }

    /// The flight, to compare.
    pub(crate) fn flight(&self) -> *const () {
        match &self.place {
            Place::Parked { flight, .. } => flight.node.as_ptr().cast(),
            _ => core::ptr::null(),
        }
    }

    /// The registration to sleep on; None: do not sleep, [`check`](Self::check) has the answer.
    pub(crate) fn listening(&mut self) -> Option<&mut Listening> {
        match &mut self.place {
            Place::Parked { listening, .. } => Some(listening),
            _ => None,
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn core(&self) -> &crate::engine::Core<K, V> {
        self.core.get()
    }

    /// As a future.
    pub(crate) fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Woken<'c, K, V>> {
        loop {
            if let Some(listener) = self.listening().and_then(|l| l.listener.as_mut()) {
                ready!(Pin::new(listener).poll(cx));
            }
            if let Some(woken) = self.check() {
                return Poll::Ready(woken);
            }
        }
    }

    /// After a wake-up: how the flight stands. None: it goes on, and this waiter is registered anew.
    ///
    /// # Panics
    /// If the waiter has been answered already.
    pub(crate) fn check(&mut self) -> Option<Woken<'c, K, V>> {
        let (flight, ended) = match &mut self.place {
            Place::Overloaded => {
                self.place = Place::Done;
                return Some(Woken::Overloaded);
            }
            Place::Done => panic!("a Waiter was polled after it was answered"),
            Place::Parked { flight, listening, .. } => {
                // Registered first, then looked again, by an RMW: see `Bells::ring`.
                if !mutant("looks before it listens") {
                    listening.renew();
                }
                // SAFETY: the waiter owns a share.
                match unsafe { flight.node.as_ref() }.word.recheck() {
                    Rechecked::Parked if mutant("looks before it listens") => {
                        listening.renew();
                        return None;
                    }
                    Rechecked::Parked => return None,
                    ended => (*flight, ended),
                }
            }
        };
        // Whatever it was, this waiter is no longer counted, and its shares are what follows's.
        self.place = Place::Done;
        let woken = match ended {
            Rechecked::Leads(number) => {
                let counters = &self.core.get().counters;
                counters.count(Event::Handover);
                counters.count(Event::Load);
                // Of a load that was counted before: it is never refused.
                self.core.get().lease_begins(usize::MAX);
                // SAFETY: the claim just won, with the waiter's shares.
                Woken::Lead(unsafe { Lease::new(self.core.clone(), flight, number, LoadKind::TakenOver) })
            }
            // SAFETY: the waiter's shares are handed over.
            Rechecked::Ended(word) => unsafe { self.ended(flight, word) },
            Rechecked::Parked => unreachable!("returned above"),
        };
        self.tell(&woken);
        Some(woken)
    }

    fn told(&self, ending: WaitEnding) -> CacheEvent {
        let took = self.core.get().stopwatch().saturating_sub(self.since);
        CacheEvent::WaitEnded { ending, took: Duration::from_nanos(took) }
    }

    /// Tells the observer how the wait has ended.
    fn tell(&self, woken: &Woken<'c, K, V>) {
        let core = self.core.get();
        if !core.observed() {
            return;
        }
        let ending = match woken {
            Woken::Ready(_) => WaitEnding::Ready,
            Woken::Lead(_) => WaitEnding::TookOver,
            Woken::Failed(_) => WaitEnding::Failed,
            Woken::Again | Woken::Overloaded => WaitEnding::Abandoned,
        };
        let ended = self.told(ending);
        match woken {
            Woken::Lead(lease) => {
                let began = CacheEvent::LoadStarted { kind: LoadKind::TakenOver };
                lease.guarded(|core| core.observe([ended, began]));
            }
            _ => core.observe([ended]),
        }
    }

    /// # Safety
    /// Takes over the shares of the flight.
    unsafe fn ended(&self, flight: Flight<K, V>, word: Snapshot) -> Woken<'c, K, V> {
        let core = self.core.get();
        // SAFETY: we own a share of each.
        let old = unsafe { flight.old.map(|old| old.as_ref()) };
        // What is given back is freed when the scope ends, and user code runs then: when all is settled.
        let scope = core.scope(core.limbo().enter());
        let entry = |node, other: Option<_>| {
            // SAFETY: our share of the other node, given back once.
            other.into_iter().for_each(|other| unsafe { scope.release(other) });
            // SAFETY: our share of a node whose word is valued.
            Woken::Ready(unsafe { Entry::new(self.core.clone(), node) })
        };
        // SAFETY: our shares, given back once: by one of the arms below.
        let leave = || unsafe { scope.disembark(flight) };
        let woken = match word.state() {
            _ if word.valued() => entry(flight.node, flight.old),
            State::Failed(error) => {
                // SAFETY: the error lives as long as the node, of which we own a share.
                let error = error.map(|e| unsafe { e.cast::<Failure>().as_ref() }.0.clone());
                leave();
                Woken::Failed(error)
            }
            // Renewed: the old value is what the load has found.
            _ => match flight.old {
                Some(node) if old.is_some_and(|old| !core.over(old)) => entry(node, Some(flight.node)),
                _ => {
                    leave();
                    Woken::Again
                }
            },
        };
        drop(scope);
        woken
    }
}

impl<K, V> Drop for Waiter<'_, K, V> {
    fn drop(&mut self) {
        let Place::Parked { flight, counted, .. } = self.place else { return };
        let core = self.core.get();
        let scope = core.scope(core.limbo().enter());
        // SAFETY: the waiter owns a share.
        let node: &Node<K, V> = unsafe { flight.node.as_ref() };
        scope.observe(|| self.told(WaitEnding::Left));
        if counted && node.word.leave() == Left::Ended {
            scope.ended(flight);
        }
        // SAFETY: the waiter's shares, given back once.
        unsafe { scope.disembark(flight) };
    }
}

impl<'c, K, V> Future for Waiter<'c, K, V> {
    type Output = Waited<'c, K, V>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_woken(cx).map(Waited::from)
    }
}

impl<K, V> Unpin for Waiter<'_, K, V> {}

impl<K: fmt::Debug, V> fmt::Debug for Waiter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Waiter");
        if let Place::Parked { flight, .. } = &self.place {
            // SAFETY: the waiter owns a share.
            out.field("key", unsafe { flight.node.as_ref() }.key());
        }
        out.finish_non_exhaustive()
    }
}

// SAFETY: a waiter is counted references to nodes, a registration that may be sent, and a `CoreRef`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Waiter<'_, K, V> {}
// SAFETY: `&Waiter` gives nothing but Debug, which reads the key.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Waiter<'_, K, V> {}
