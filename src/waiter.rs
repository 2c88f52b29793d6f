//! Waiting for the load of another.

use crate::alert::Alert;
use crate::engine::board::Flight;
use crate::entry::{CoreRef, Entry};
use crate::error::SharedError;
use crate::expiry::NEVER;
use crate::flight::bell::Listening;
use crate::flight::node::{Failure, Node};
use crate::flight::word::{Left, MOST, Rechecked, Snapshot, State, Word};
use crate::lease::Lease;
use crate::stats::Event;
use crate::sync::mutant;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// How waiting for a load ended.
#[non_exhaustive]
#[derive(Debug)]
pub enum Waited<'c, K, V> {
    /// With its value: even if the entry was removed, evicted or over the moment it was published.
    Ready(Entry<'c, K, V>),
    /// Its leader gave up, or has held its lease for longer than the `lead_timeout`: this waiter takes the load on.
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
    /// With the value that was to be refreshed, if there was one.
    Failed(Option<SharedError>, Option<Entry<'c, K, V>>),
    Again,
    Overloaded,
}

impl<'c, K, V> From<Woken<'c, K, V>> for Waited<'c, K, V> {
    fn from(woken: Woken<'c, K, V>) -> Self {
        match woken {
            Woken::Ready(entry) => Self::Ready(entry),
            Woken::Lead(lease) => Self::Lead(lease),
            Woken::Failed(Some(error), _) => Self::Failed(error),
            Woken::Failed(None, _) | Woken::Again => Self::Abandoned,
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
    /// How long a leader may hold its lease.
    lead_timeout: u64,
    /// Tags that were invalidated before it came are not to be served to it.
    tag_start: u64,
    core: CoreRef<'c, K, V>,
}

enum Place<K, V> {
    Parked {
        flight: Flight<K, V>,
        listening: Listening,
        /// The lease that is waited for; None: this waiter is not counted, for the value was being moved in.
        lease: Option<u32>,
        /// When that lease may be taken over.
        due: u64,
        alert: Alert,
    },
    Overloaded,
    Done,
}

impl<'c, K, V> Waiter<'c, K, V> {
    /// # Safety
    /// The caller hands over its place among the waiters (counted in under `lease`, or not), its shares of the flight, and a
    /// registration with a bell of `core`.
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        lease: Option<u32>,
        listening: Listening,
        lead_timeout: u64,
    ) -> Self {
        // The first lease began when the flight did. (Later ones count from when this waiter meets them.)
        // SAFETY: the share that is handed over.
        let first = || unsafe { flight.node.as_ref() }.born().saturating_add(lead_timeout);
        let due = match lease {
            Some(1) if lead_timeout != NEVER && !core.get().config.timeless() => first(),
            Some(_) => core.get().config.wait_end(lead_timeout),
            None => NEVER,
        };
        let tag_start = core.get().tag_start();
        Self {
            core,
            lead_timeout,
            tag_start,
            place: Place::Parked { flight, listening, lease, due, alert: Alert::NONE },
        }
    }

    pub(crate) fn overloaded(core: CoreRef<'c, K, V>) -> Self {
        Self { core, lead_timeout: NEVER, tag_start: 0, place: Place::Overloaded }
    }

    /// The value that the load will replace, if there is one: to go on with while it may be served.
    pub fn stale(&self) -> Option<&V> {
        // SAFETY: an entry that a successor hangs from has its value; the waiter owns a share of it.
        self.old().map(|old| unsafe { old.value() })
    }

    fn old(&self) -> Option<&Node<K, V>> {
        let Place::Parked { flight, .. } = &self.place else { return None };
        // SAFETY: the waiter owns a share.
        flight.old.map(|old| unsafe { old.as_ref() })
    }

    /// A handle of the old value, if it may be served for want of another: up to `window` past its time to live.
    pub(crate) fn fallback(&self, window: u64) -> Option<Entry<'c, K, V>> {
        Entry::fallback(&self.core, self.old()?, window)
    }

    /// The flight, to compare.
    pub(crate) fn flight(&self) -> usize {
        match &self.place {
            Place::Parked { flight, .. } => flight.node.addr().get(),
            _ => 0,
        }
    }

    /// The registration to sleep on; None: do not sleep, [`check`](Self::check) has the answer.
    #[cfg(feature = "std")]
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

    /// When the leader that is waited for has held its lease for too long.
    #[cfg(feature = "std")]
    pub(crate) fn due(&self) -> u64 {
        if let Place::Parked { due, .. } = &self.place { *due } else { NEVER }
    }

    /// As a future, until a time; None: that has come.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, at: u64) -> Poll<Option<Woken<'c, K, V>>> {
        loop {
            let config = &self.core.get().config;
            if let Place::Parked { listening, due, alert, .. } = &mut self.place {
                let asleep = listening.listener.as_mut().is_some_and(|l| Pin::new(l).poll(cx).is_pending());
                if asleep && !alert.is_over(config, at.min(*due), cx) {
                    return Poll::Pending;
                }
            }
            // The flight may have ended in the same moment.
            let over = at != NEVER && config.wait_now() >= at;
            match self.check() {
                Some(woken) => return Poll::Ready(Some(woken)),
                None if over => return Poll::Ready(None),
                None => {}
            }
        }
    }

    /// After a wake-up: how the flight stands. None: it goes on, and this waiter is registered anew.
    ///
    /// # Panics
    /// If the waiter has been answered already.
    pub(crate) fn check(&mut self) -> Option<Woken<'c, K, V>> {
        let core = self.core.get();
        let (flight, taken, ended) = match &mut self.place {
            Place::Overloaded => {
                self.place = Place::Done;
                return Some(Woken::Overloaded);
            }
            Place::Done => panic!("a Waiter was polled after it was answered"),
            Place::Parked { flight, listening, lease, due, .. } => {
                // SAFETY: the waiter owns a share.
                let word = &unsafe { flight.node.as_ref() }.word;
                // Registered first, then looked again, by an RMW: see `Bells::ring`. (Not if there is nothing more to wait for.)
                if !word.load().landed() && !mutant("looks before it listens") {
                    listening.renew();
                }
                match word.recheck() {
                    Rechecked::Parked(number) => {
                        if mutant("looks before it listens") {
                            listening.renew();
                        }
                        let wait = || core.config.wait_end(self.lead_timeout);
                        let number = overdue(word, number, (lease, due), wait, core.config.wait_now())?;
                        (*flight, true, Rechecked::Leads(number))
                    }
                    ended => (*flight, false, ended),
                }
            }
        };
        // Whatever it was, this waiter is no longer counted, and its shares are what follows's.
        self.place = Place::Done;
        Some(match ended {
            Rechecked::Leads(number) => {
                core.counters.count(if taken { Event::TakeOver } else { Event::Handover });
                core.counters.count(Event::Load);
                // Of a load that was counted before: it is never refused.
                core.lease_begins(usize::MAX);
                // SAFETY: the claim just won, with the waiter's shares.
                Woken::Lead(unsafe { Lease::new(self.core.clone(), flight, number, false) })
            }
            // SAFETY: the waiter's shares are handed over.
            Rechecked::Ended(word) => unsafe { self.ended(flight, word) },
            Rechecked::Parked(_) => unreachable!("returned above"),
        })
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
        // SAFETY: we own a share.
        let node = unsafe { flight.node.as_ref() };
        let woken = match word.state() {
            // It came after the invalidation of a tag, to a load that had begun before: that is not for it. (Or the other way
            // round, if there were several: one load too many.)
            _ if word.valued()
                && node.hot().start().is_some_and(|s| s < self.tag_start)
                && core.outdated(node)
                && !mutant("outdated for a waiter") =>
            {
                leave();
                Woken::Again
            }
            _ if word.valued() => entry(flight.node, flight.old),
            State::Failed(error) => {
                // SAFETY: we own a share of the node.
                let error = unsafe { Failure::shared(error) };
                // SAFETY: our share of the old entry, whose word is valued.
                let old = flight.old.map(|old| unsafe { Entry::new(self.core.clone(), old) });
                // SAFETY: our share, given back once.
                unsafe { scope.release(flight.node) };
                Woken::Failed(error, old)
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

/// A waiter finds the flight led under `number`: the lease to lead by, if it has waited for that one for too long.
fn overdue(
    word: &Word,
    number: Option<u32>,
    (lease, due): (&mut Option<u32>, &mut u64),
    wait: impl FnOnce() -> u64,
    now: u64,
) -> Option<u32> {
    let number = number?;
    if *lease != Some(number) {
        // Another leads: it has a time of its own.
        (*lease, *due) = (Some(number), wait());
        return None;
    }
    if *due == NEVER || now < *due {
        return None;
    }
    // Refused: something has happened to the flight, and whoever did it rings; or another waiter was faster, and the next
    // look finds its number; or there is no number left.
    let taken = word.take_over(number);
    if taken.is_none() && number == MOST {
        *due = NEVER;
    }
    taken
}

impl<K, V> Drop for Waiter<'_, K, V> {
    fn drop(&mut self) {
        let Place::Parked { flight, lease, .. } = self.place else { return };
        let core = self.core.get();
        let scope = core.scope(core.limbo().enter());
        // SAFETY: the waiter owns a share.
        let node: &Node<K, V> = unsafe { flight.node.as_ref() };
        if lease.is_some() && node.word.leave() == Left::Ended {
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
        self.poll_until(cx, NEVER).map(|woken| woken.map_or(Waited::TimedOut, Waited::from))
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
