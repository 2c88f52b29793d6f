//! Waiting for the load of another.

mod parked;
mod waited;

pub use waited::Waited;
pub(crate) use waited::Woken;

use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
#[cfg(feature = "std")]
use crate::engine::Core;
use crate::engine::Operation;
use crate::engine::events::{CacheEvent, LoadKind, WaitEnding};
use crate::engine::flight_ref::Flight;
use crate::engine::observe::KeyOf;
use crate::engine::role::{Intent, Role};
use crate::engine::stats::Event;
use crate::flight::bell::Listening;
use crate::flight::failure::Failure;
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::flight::word::{Left, Rechecked, Snapshot, State};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use parked::{Parked, Queued};

/// A place among those who wait for a load.
///
/// Wait on it as a thread ([`wait`](Self::wait), with std) or as a task (`.await`). Dropping it leaves the flight, at
/// once; if its leader had given up and nobody else waits, the flight ends. It holds no pin: a parked thread or a
/// stored future holds up no memory but its own.
pub struct Waiter<'c, K, V> {
    /// Before `core`: a registration is dropped before the bells may be.
    place: WaiterState<K, V>,
    /// How long a leader may hold its lease.
    lead_timeout: u64,
    /// Tags that were invalidated before it came are not to be served to it.
    tag_sequence: u64,
    /// When it began, by the stopwatch; None: the observer is not told.
    since: Option<u64>,
    core: CoreRef<'c, K, V>,
}

enum WaiterState<K, V> {
    Parked(Parked<K, V>),
    /// At no flight: as many loads as may be are in flight.
    Queued(Queued),
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
        // SAFETY: as for this function.
        let place = WaiterState::Parked(unsafe { Parked::new(flight, lease, listening) });
        let (tag_sequence, since) = (core.get().tag_sequence(), None);
        // Whole before the clock is asked, so that it leaves the flight if that panics.
        let mut this = Self { core, lead_timeout, tag_sequence, since, place };
        if let WaiterState::Parked(parked) = &mut this.place {
            parked.note_due(this.core.get(), lead_timeout);
        }
        this
    }

    /// A place among those who wait for this lease's load; None if it has ended, by one who took it over.
    pub(crate) fn of(lease: &Lease<'c, K, V>) -> Option<Self> {
        let core = lease.core.get();
        let operation = core.operation(core.limbo().enter());
        let Role::Wait { flight, lease: counted, listening } = operation.join(lease.flight, Intent::Lease)? else {
            return None;
        };
        // SAFETY: as in `acquire_role`. Its own load is nobody's to take over for this caller: it has no other loader.
        let waiter = unsafe { Self::new(lease.core.clone(), flight, counted, listening, NEVER) };
        // May run user code: if that panics, the waiter is a local still, and goes as it should.
        drop(operation);
        // It came when the load began, whatever tags were invalidated since.
        Some(waiter.since_tag(lease.tag_sequence))
    }

    /// As one that came at this sequence number of its tags.
    pub(crate) fn since_tag(mut self, tag_sequence: u64) -> Self {
        self.tag_sequence = tag_sequence;
        self
    }

    pub(crate) fn overloaded(core: CoreRef<'c, K, V>) -> Self {
        Self { core, lead_timeout: NEVER, tag_sequence: 0, since: None, place: WaiterState::Overloaded }
    }

    /// One who waits until another load may begin.
    pub(crate) fn queued(core: CoreRef<'c, K, V>) -> Self {
        // SAFETY: the registration goes into this waiter, whose handle of the core is dropped after it.
        let place = WaiterState::Queued(unsafe { Queued::new(core.get()) });
        Self { core, lead_timeout: NEVER, tag_sequence: 0, since: None, place }
    }

    /// The value that the load will replace, if there is one: to go on with while it may be served.
    pub fn stale(&self) -> Option<&V> {
        // SAFETY: an entry that a successor hangs from has its value; the waiter owns a share of it.
        self.old().map(|old| unsafe { old.value() })
    }

    fn old(&self) -> Option<&Node<K, V>> {
        let WaiterState::Parked(Parked { flight, .. }) = &self.place else { return None };
        // SAFETY: the waiter owns a share.
        flight.old.map(|old| unsafe { old.as_ref() })
    }

    /// A handle of the old value, if it may be served for want of another: up to `window` past its time to live.
    pub(crate) fn servable_stale(&self, window: u64) -> Option<Entry<'c, K, V>> {
        Entry::servable_stale(&self.core, self.old()?, window)
    }

    /// Whether it would wait for a load that this thread is in the middle of, beside those of a bulk
    /// call that leads them, and ends them before it waits (`led`).
    ///
    /// A waiter that is not counted joined while the value was moved in: that is no user code, and
    /// waits for no other thread.
    pub(crate) fn is_reentrant(&self, led: &[FlightId]) -> bool {
        let WaiterState::Parked(Parked { flight, lease: Some(lease), .. }) = &self.place else { return false };
        // SAFETY: the waiter owns a share.
        let flight = FlightId::of(unsafe { flight.node.as_ref() }, *lease);
        reentry::loading(flight) && !led.contains(&flight)
    }

    /// The registration to sleep on, and when the leader that is waited for has held its lease for too long; None: do not
    /// sleep, [`check`](Self::check) has the answer.
    #[cfg(feature = "std")]
    pub(crate) fn parked(&mut self) -> Option<(&Core<K, V>, &mut Listening, u64)> {
        match &mut self.place {
            WaiterState::Parked(parked) => Some((self.core.get(), &mut parked.listening, parked.due)),
            WaiterState::Queued(queued) if !queued.over => Some((self.core.get(), &mut queued.listening, NEVER)),
            WaiterState::Queued(_) | WaiterState::Overloaded | WaiterState::Done => None,
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn core(&self) -> &Core<K, V> {
        self.core.get()
    }

    /// As a future, until a time; None: that has come.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, at: u64) -> Poll<Option<Woken<'c, K, V>>> {
        loop {
            let config = &self.core.get().config;
            let sleeper = match &mut self.place {
                WaiterState::Parked(Parked { listening, due, alert, .. }) => Some((listening, at.min(*due), alert)),
                WaiterState::Queued(Queued { over: false, listening, alert }) => Some((listening, at, alert)),
                WaiterState::Queued(_) | WaiterState::Overloaded | WaiterState::Done => None,
            };
            if let Some((listening, at, alert)) = sleeper {
                // In this order: a waiter that is overdue already leaves no trace at the bell.
                if !alert.is_over(config, at, cx) && listening.poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            // The flight may have ended in the same moment.
            let over = config.has_come(at);
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
            WaiterState::Overloaded => {
                self.place = WaiterState::Done;
                return Some(Woken::Overloaded);
            }
            WaiterState::Queued(queued) => {
                if !queued.is_over(core) {
                    return None;
                }
                self.place = WaiterState::Done;
                return Some(Woken::Again);
            }
            WaiterState::Done => panic!("a Waiter was polled after it was answered"),
            WaiterState::Parked(parked) => parked.recheck(core, self.lead_timeout)?,
        };
        // SAFETY: the waiter's share, which is what follows's.
        let key = core.key_of(unsafe { flight.node.as_ref() });
        // Whatever it was, this waiter is no longer counted, and its shares are what follows's.
        let parked = core::mem::replace(&mut self.place, WaiterState::Done);
        let woken = match ended {
            Rechecked::Leads(number) => {
                core.counters.count(if taken { Event::TakeOver } else { Event::Handover });
                core.counters.count(Event::Load);
                if !taken {
                    // Of a load that was counted before: it is never refused. (The count of a lease that
                    // was taken over is this one's already.)
                    core.lease_begins(usize::MAX);
                }
                let timed_and_counted = (true, true);
                // SAFETY: the claim just won, with the waiter's shares.
                let lease =
                    unsafe { Lease::new(self.core.clone(), flight, number, LoadKind::TakenOver, timed_and_counted) };
                Woken::Lead(lease)
            }
            Rechecked::Ends => {
                let operation = core.operation(core.limbo().enter());
                operation.ended(flight);
                // SAFETY: the waiter's shares, given back once.
                unsafe { operation.release_flight(flight) };
                Woken::Again
            }
            // SAFETY: the waiter's shares are handed over.
            Rechecked::Ended(word) => unsafe { self.ended(flight, word) },
            Rechecked::Parked(_) => unreachable!("returned above"),
        };
        // May run wakers: if one panics, `woken` (a lease, perhaps) goes as it should.
        drop(parked);
        self.tell(&woken, key);
        Some(woken)
    }

    /// As one whose beginning the observer was told of.
    pub(crate) fn observed(mut self) -> Self {
        self.since = Some(self.core.get().stopwatch());
        self
    }

    /// The end of it, for the observer.
    fn end_event(&self, ending: WaitEnding) -> Option<CacheEvent> {
        let took = self.core.get().stopwatch().saturating_sub(self.since?);
        Some(CacheEvent::WaitEnded { ending, took: Duration::from_nanos(took) })
    }

    /// Tells the observer how the wait has ended.
    fn tell(&self, woken: &Woken<'c, K, V>, key: Option<KeyOf<'_, K, V>>) {
        let core = self.core.get();
        if !core.observed() {
            return;
        }
        let ending = match woken {
            Woken::Ready(_) => WaitEnding::Ready,
            Woken::Lead(_) => WaitEnding::TookOver,
            Woken::Failed(..) => WaitEnding::Failed,
            Woken::Again | Woken::Overloaded => WaitEnding::Abandoned,
        };
        let ended = self.end_event(ending);
        match woken {
            Woken::Lead(lease) => {
                let began = CacheEvent::LoadStarted { kind: LoadKind::TakenOver };
                lease.guarded(|core| core.observe_of(key.as_ref(), ended.into_iter().chain([began])));
            }
            _ => core.observe_of(key.as_ref(), ended),
        }
    }

    /// Whether this waiter came after the invalidation of a tag, to a load that had begun before: what that has come to is not for
    /// it. (Or the other way round, if there were several: one load too many.)
    fn late(&self, operation: &Operation<'_, K, V>, flight: Flight<K, V>, value: &Node<K, V>) -> bool {
        value.tag_sequence(self.core.get().nodes()).is_some_and(|start| start < self.tag_sequence) && {
            let shares = Shares(operation, flight);
            let outdated = self.core.get().tag_invalidated(value);
            core::mem::forget(shares);
            outdated && !mutant("outdated for a waiter")
        }
    }

    /// # Safety
    /// Takes over the shares of the flight.
    unsafe fn ended(&self, flight: Flight<K, V>, word: Snapshot) -> Woken<'c, K, V> {
        let core = self.core.get();
        // SAFETY: we own a share.
        let node = unsafe { flight.node.as_ref() };
        if word.has_value() && flight.old.is_none() && !node.hot().tagged() {
            // Most often. Nothing is given back, and so nothing freed: it needs no pin.
            // SAFETY: our share of a node whose word is valued.
            return Woken::Ready(unsafe { Entry::new(self.core.clone(), flight.node) });
        }
        // What is given back is freed when the scope ends, and user code runs then: when all is settled.
        let operation = core.operation(core.limbo().enter());
        // What it would be given: the flight's value, or the old one, which the flight has confirmed.
        let renewed = match word.state() {
            State::Failed(_) => None,
            _ => flight.old.filter(|_| !word.has_value() && node.confirmed()),
        };
        // SAFETY: a share of the old entry is ours.
        let value = if word.has_value() { Some(node) } else { renewed.as_ref().map(|old| unsafe { old.as_ref() }) };
        let late = value.is_some_and(|value| self.late(&operation, flight, value))
            && !(renewed.is_some() && mutant("renewed for a waiter"));
        let entry = |valued, other: Option<_>| {
            // SAFETY: our share of the other node, given back once.
            other.into_iter().for_each(|other| unsafe { operation.release(other) });
            // SAFETY: our share of a node whose word is valued.
            Woken::Ready(unsafe { Entry::new(self.core.clone(), valued) })
        };
        // SAFETY: our shares, given back once: by one of the arms below.
        let leave = || unsafe { operation.release_flight(flight) };
        let woken = match word.state() {
            _ if late => {
                leave();
                Woken::Again
            }
            _ if word.has_value() => entry(flight.node, flight.old),
            State::Failed(error) => {
                // SAFETY: we own a share of the node.
                let error = unsafe { Failure::shared(error) };
                // SAFETY: our share of the old entry, whose word is valued.
                let old = flight.old.map(|old| unsafe { Entry::new(self.core.clone(), old) });
                // SAFETY: our share, given back once.
                unsafe { operation.release(flight.node) };
                Woken::Failed(error, old)
            }
            // Renewed: the old value is what the load has found.
            _ => match renewed {
                Some(old) => entry(old, Some(flight.node)),
                None => {
                    leave();
                    Woken::Again
                }
            },
        };
        drop(operation);
        woken
    }
}

/// A waiter's shares, while user code runs that may panic.
struct Shares<'s, 'c, K, V>(&'s Operation<'c, K, V>, Flight<K, V>);

impl<K, V> Drop for Shares<'_, '_, K, V> {
    fn drop(&mut self) {
        // SAFETY: the shares are the waiter's, which has no other use for them when this is dropped.
        unsafe { self.0.release_flight(self.1) };
    }
}

impl<K, V> Drop for Waiter<'_, K, V> {
    fn drop(&mut self) {
        let WaiterState::Parked(Parked { flight, lease, .. }) = self.place else { return };
        let core = self.core.get();
        let operation = core.operation(core.limbo().enter());
        // SAFETY: the waiter owns a share.
        let node: &Node<K, V> = unsafe { flight.node.as_ref() };
        if self.since.is_some() {
            // The flight is to be left, whatever becomes of the user's clock.
            let told = operation.ask(|| self.end_event(WaitEnding::Left)).flatten();
            let untimed = CacheEvent::WaitEnded { ending: WaitEnding::Left, took: Duration::ZERO };
            operation.observe_of(node, || told.unwrap_or(untimed));
        }
        if lease.is_some() && node.word.leave() == Left::Ended {
            operation.ended(flight);
        }
        // SAFETY: the waiter's shares, given back once.
        unsafe { operation.release_flight(flight) };
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
        if let WaiterState::Parked(Parked { flight, .. }) = &self.place {
            // SAFETY: the waiter owns a share.
            out.field("key", unsafe { flight.node.as_ref() }.key());
        }
        out.finish_non_exhaustive()
    }
}

// SAFETY: a waiter is counted references to nodes, a registration that may be sent, and a `CoreRef`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Waiter<'_, K, V> {}
// SAFETY: `&Waiter` gives `&K` (Debug) and `&V` only.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Waiter<'_, K, V> {}
