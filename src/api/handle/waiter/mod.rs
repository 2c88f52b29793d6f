//! Waiting for another caller's load.

mod check;
mod parked;
mod waited;

pub use waited::Waited;
pub(crate) use waited::Woken;

use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
#[cfg(feature = "std")]
use crate::engine::Core;
use crate::engine::config::StaleWindow;
use crate::engine::events::{CacheEvent, WaitEnding};
use crate::engine::flight_ref::Flight;
use crate::engine::role::{Intent, Role};
use crate::flight::bell::Subscription;
use crate::flight::node::Node;
use crate::flight::reentry::{self, FlightId};
use crate::flight::word::Left;
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use parked::{Parked, Queued};

/// A caller's place among the waiters of a load.
///
/// Wait on it as a thread ([`wait`](Self::wait), with std) or as a task (`.await`). Dropping it
/// leaves the flight, at once. If the flight's leader had given up and this was the last waiter,
/// the flight ends. A waiter holds no pin: a parked thread or a stored future holds up no memory
/// but its own.
pub struct Waiter<'c, K, V> {
    /// Declared before `core`, and so dropped before it: the registration must not outlive the
    /// bells.
    place: WaiterState<K, V>,
    /// How long a leader may hold its lease.
    lead_timeout: u64,
    /// The sequence number when the waiter came, or [`LATE`](crate::engine::role::LATE). A value
    /// that a call had ended or invalidated before that is not served to it.
    tag_sequence: u64,
    /// When the wait began, by the stopwatch. None: the wait is not reported to the observer.
    since: Option<u64>,
    core: CoreRef<'c, K, V>,
}

enum WaiterState<K, V> {
    Parked(Parked<K, V>),
    /// At no flight: `max_loads` loads are in flight.
    Queued(Queued),
    Overloaded,
    Done,
}

impl<'c, K, V> Waiter<'c, K, V> {
    /// # Safety
    /// The caller hands over its place among the waiters (counted in under `lease`, or not
    /// counted), its references to the flight's nodes, and a registration with a bell of `core`.
    pub(crate) unsafe fn new(
        core: CoreRef<'c, K, V>,
        flight: Flight<K, V>,
        lease: Option<u32>,
        (subscription, came): (Subscription, u64),
        lead_timeout: u64,
    ) -> Self {
        // SAFETY: by this function's contract, which hands over the same.
        let place = WaiterState::Parked(unsafe { Parked::new(flight, lease, subscription) });
        let (tag_sequence, since) = (came, None);
        // The waiter is complete before the clock is read: if the clock panics, the waiter's drop
        // leaves the flight.
        let mut this = Self { core, lead_timeout, tag_sequence, since, place };
        if let WaiterState::Parked(parked) = &mut this.place {
            parked.note_due(this.core.get(), lead_timeout);
        }
        this
    }

    /// Returns a waiter for this lease's own load. Returns None if that has ended, under another
    /// leader that took it over.
    pub(crate) fn of(lease: &Lease<'c, K, V>) -> Option<Self> {
        let core = lease.core.get();
        let operation = core.operation(core.limbo().enter());
        let Role::Wait { flight, lease: counted, subscription, came } =
            operation.join_own(lease.flight, Intent::Lease)?
        else {
            return None;
        };
        // SAFETY: `join` just gave us the place among the waiters and the references; the
        // registration is with a bell of the core that `lease.core` refers to. (`NEVER`: this
        // caller must not take over its own load, as it has no other loader.)
        let waiter = unsafe { Self::new(lease.core.clone(), flight, counted, (subscription, came), NEVER) };
        // The drop may run user code. If that panics, the waiter is still in a local, which
        // unwinding drops.
        drop(operation);
        // The waiter counts as having come when the load began, so tags invalidated since then do
        // not deny it the value.
        Some(waiter.since_tag(lease.tag_sequence))
    }

    /// Sets the tag sequence number at which the waiter is taken to have come.
    pub(crate) fn since_tag(mut self, tag_sequence: u64) -> Self {
        self.tag_sequence = tag_sequence;
        self
    }

    pub(crate) fn overloaded(core: CoreRef<'c, K, V>) -> Self {
        Self { core, lead_timeout: NEVER, tag_sequence: 0, since: None, place: WaiterState::Overloaded }
    }

    /// Returns a waiter that waits until another load may begin.
    pub(crate) fn queued(core: CoreRef<'c, K, V>) -> Self {
        // SAFETY: the registration goes into this waiter, which drops it before its reference to
        // the core, and so before the bells.
        let place = WaiterState::Queued(unsafe { Queued::new(core.get()) });
        Self { core, lead_timeout: NEVER, tag_sequence: 0, since: None, place }
    }

    /// Returns the value that the load will replace, if there is one. The caller can go on with it
    /// while it may be served.
    pub fn stale(&self) -> Option<&V> {
        // SAFETY: an entry that a successor hangs from has its value, and the waiter owns a
        // reference to the entry.
        self.old().map(|old| unsafe { old.value() })
    }

    fn old(&self) -> Option<&Node<K, V>> {
        let WaiterState::Parked(Parked { flight, .. }) = &self.place else { return None };
        // SAFETY: the waiter owns a reference to the old entry, which keeps it alive.
        flight.old.map(|old| unsafe { old.as_ref() })
    }

    /// Returns the old value, if it may be served instead of a new one: up to `window` past its
    /// time to live.
    pub(crate) fn servable_stale(&self, window: StaleWindow) -> Option<Entry<'c, K, V>> {
        Entry::servable_stale(&self.core, self.old()?, window)
    }

    /// Returns whether this waiter would wait for a load that its own thread is running. The
    /// flights in `led` do not count: a bulk call leads them, and ends them before it waits.
    ///
    /// A waiter that is not counted joined while the leader moved the value in. In that state the
    /// leader runs no user code and waits for no other thread, so the wait ends.
    pub(crate) fn is_reentrant(&self, led: &[FlightId]) -> bool {
        let WaiterState::Parked(Parked { flight, lease: Some(lease), .. }) = &self.place else { return false };
        // SAFETY: the waiter owns a reference to the node, which keeps it alive.
        let flight = FlightId::of(unsafe { flight.node.as_ref() }, *lease);
        reentry::loading(flight) && !led.contains(&flight)
    }

    /// Returns the registration to sleep on, and the time when the present leader has held its
    /// lease for too long. Returns None if the thread must not sleep, because
    /// [`check`](Self::check) has the answer.
    #[cfg(feature = "std")]
    pub(crate) fn parked(&mut self) -> Option<(&Core<K, V>, &mut Subscription, u64)> {
        match &mut self.place {
            WaiterState::Parked(parked) => Some((self.core.get(), &mut parked.subscription, parked.due)),
            WaiterState::Queued(queued) if !queued.over => Some((self.core.get(), &mut queued.subscription, NEVER)),
            WaiterState::Queued(_) | WaiterState::Overloaded | WaiterState::Done => None,
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn core(&self) -> &Core<K, V> {
        self.core.get()
    }

    /// Waits as a future, until the time `at`. Ready with None: that time has come.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, at: u64) -> Poll<Option<Woken<'c, K, V>>> {
        loop {
            let config = &self.core.get().config;
            let sleeper = match &mut self.place {
                WaiterState::Parked(Parked { subscription, due, alert, .. }) => {
                    Some((subscription, at.min(*due), alert))
                }
                WaiterState::Queued(Queued { over: false, subscription, alert }) => Some((subscription, at, alert)),
                WaiterState::Queued(_) | WaiterState::Overloaded | WaiterState::Done => None,
            };
            if let Some((subscription, at, alert)) = sleeper {
                // The deadline is checked first: a waiter that is overdue already then does not
                // register its waker with the bell.
                if !alert.is_over(config, at, cx) && subscription.poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            // Read before the check: the flight may have ended in the same moment, and then its
            // result counts.
            let over = config.has_come(at);
            match self.check() {
                Some(woken) => return Poll::Ready(Some(woken)),
                None if over => return Poll::Ready(None),
                None => {}
            }
        }
    }

    /// Marks the wait as reported to the observer, and starts its stopwatch.
    pub(crate) fn observed(mut self) -> Self {
        self.since = Some(self.core.get().stopwatch());
        self
    }

    /// Returns the observer's event for the end of the wait, if its beginning was reported.
    fn end_event(&self, ending: WaitEnding) -> Option<CacheEvent> {
        let took = self.core.get().stopwatch().saturating_sub(self.since?);
        Some(CacheEvent::WaitEnded { ending, took: Duration::from_nanos(took) })
    }
}

impl<K, V> Drop for Waiter<'_, K, V> {
    fn drop(&mut self) {
        let WaiterState::Parked(Parked { flight, lease, .. }) = self.place else { return };
        let core = self.core.get();
        let operation = core.operation(core.limbo().enter());
        // SAFETY: the waiter owns a reference to the node, which keeps it alive.
        let node: &Node<K, V> = unsafe { flight.node.as_ref() };
        if self.since.is_some() {
            // A panic of the user's clock must not keep the waiter from leaving the flight.
            let told = operation.ask(|| self.end_event(WaitEnding::Left)).flatten();
            let untimed = CacheEvent::WaitEnded { ending: WaitEnding::Left, took: Duration::ZERO };
            operation.observe_of(node, || told.unwrap_or(untimed));
        }
        match lease.map(|_| node.word.leave()) {
            Some(Left::Ended) => operation.ended(flight),
            // The leader may want to know that no caller waits any more.
            Some(Left::Last) if !mutant("last leaver is silent") => operation.ring(flight.node),
            _ => {}
        }
        // SAFETY: the references are the waiter's, and are given back once; the nodes are not used
        // afterwards.
        unsafe { operation.release_flight(flight) };
    }
}

impl<'c, K, V> Future for Waiter<'c, K, V> {
    type Output = Waited<'c, K, V>;

    /// Ready when the flight has ended, or this waiter leads the load.
    ///
    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_until(cx, NEVER).map(|woken| woken.map_or(Waited::TimedOut, Waited::from))
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Waiter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Waiter");
        if let WaiterState::Parked(Parked { flight, .. }) = &self.place {
            // SAFETY: the waiter owns a reference to the node, which keeps it alive.
            out.field("key", unsafe { flight.node.as_ref() }.key());
        }
        out.finish_non_exhaustive()
    }
}

// SAFETY: a waiter consists of counted references to nodes, a registration that may be sent, and a
// `CoreRef`. The nodes may be sent because their keys and values are `Send + Sync`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Waiter<'_, K, V> {}
// SAFETY: `&Waiter` gives access to `&K` (by `Debug`) and `&V` only.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Waiter<'_, K, V> {}
