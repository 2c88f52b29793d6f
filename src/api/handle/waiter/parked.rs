//! The state of a waiter, and its check of the flight when it is woken.

use crate::engine::Core;
use crate::engine::flight_ref::Flight;
use crate::engine::wait::task::TaskDeadline;
use crate::flight::bell::Subscription;
use crate::flight::word::{GaveUp, MOST, Rechecked};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;

/// A waiter at a flight. It owns a reference to each of the flight's nodes, and is counted in the
/// flight's word unless `lease` is None.
pub(super) struct Parked<K, V> {
    pub(super) flight: Flight<K, V>,
    pub(super) subscription: Subscription,
    /// The lease that the waiter waits for. None: the waiter is not counted, because the leader was
    /// moving the value in.
    pub(super) lease: Option<u32>,
    /// When that lease may be taken over.
    pub(super) due: u64,
    pub(super) alert: TaskDeadline,
}

/// A caller that waits until it may load at all (`max_loads`).
pub(super) struct Queued {
    /// Whether a load could begin by the time this caller was registered.
    pub(super) over: bool,
    pub(super) subscription: Subscription,
    pub(super) alert: TaskDeadline,
}

impl Queued {
    /// # Safety
    /// As for [`Core::queue_up`].
    pub(super) unsafe fn new<K, V>(core: &Core<K, V>) -> Self {
        // SAFETY: by this function's contract, which is the same.
        let subscription = unsafe { core.queue_up() };
        // The caller registers first, then looks again: a load that ended before the registration
        // has rung for other callers only.
        let over = core.load_may_begin() && !mutant("queues up blindly");
        Self { over, subscription, alert: TaskDeadline::NONE }
    }

    /// Returns whether the caller need not wait any longer. If it must, it is registered anew.
    pub(super) fn is_over<K, V>(&mut self, core: &Core<K, V>) -> bool {
        self.over || {
            self.subscription.resubscribe();
            core.load_may_begin()
        }
    }
}

impl<K, V> Parked<K, V> {
    /// # Safety
    /// The caller hands over a reference to each of the flight's nodes. The registration is with a
    /// bell of the core.
    pub(super) unsafe fn new(flight: Flight<K, V>, lease: Option<u32>, subscription: Subscription) -> Self {
        Self { flight, subscription, lease, due: NEVER, alert: TaskDeadline::NONE }
    }

    /// Notes when the present lease may be taken over. Reads the clock.
    pub(super) fn note_due(&mut self, core: &Core<K, V>, lead_timeout: u64) {
        self.due = self.lease.map_or(NEVER, |lease| self.end_of(core, lease, lead_timeout));
    }

    /// Returns when the leader has held this lease for too long.
    fn end_of(&self, core: &Core<K, V>, lease: u32, lead_timeout: u64) -> u64 {
        // SAFETY: the waiter owns a reference to the node, which keeps it alive.
        let node = unsafe { self.flight.node.as_ref() };
        // Without a noted time, either the lease has only just begun, and the time counts from now;
        // or `lead_timeout` is `NEVER`, and so is the result.
        core.noted_end(node, lease, lead_timeout).unwrap_or_else(|| core.config.wait_end(lead_timeout))
    }

    /// Checks the flight. Returns the flight, whether the lead was taken from a leader that hangs,
    /// and what the check found. Returns None if the flight goes on; the waiter is registered anew
    /// then.
    pub(super) fn recheck(&mut self, core: &Core<K, V>, lead_timeout: u64) -> Option<(Flight<K, V>, bool, Rechecked)> {
        // SAFETY: the waiter owns a reference to each of the nodes, which keeps them alive.
        let (word, listed) = unsafe { (&self.flight.node.as_ref().word, self.flight.listed().as_ref()) };
        // The waiter registers first, then looks again, by an RMW: see `Bells::ring`. (A settled
        // flight needs no registration.)
        if !word.load().is_settled() && !mutant("looks before it listens") {
            self.subscription.resubscribe();
        }
        // A load for a removed flight is stored nowhere. So the flight ends instead, and each of
        // its waiters looks for the node that took its place before it loads.
        let worth_it = !listed.link().is_marked() || mutant("leads what was removed");
        let number = match word.recheck(worth_it) {
            Rechecked::Parked(number) => number,
            ended => return Some((self.flight, false, ended)),
        };
        if mutant("looks before it listens") {
            self.subscription.resubscribe();
        }
        let lease = self.overdue(core, number, lead_timeout)?;
        // SAFETY: the waiter owns a reference to the node, which keeps it alive. (Asked before the
        // take-over: see `Operation::relieve`.)
        let counted = unsafe { self.flight.node.as_ref() }.is_counted(lease);
        let relieved = match worth_it {
            true => word.take_over(lease, true).inspect(|_| core.lease_moves(counted)).map(Rechecked::Leads),
            false => (word.give_up(lease, false) == GaveUp::Ended).then(|| {
                core.lease_cut_short(counted);
                Rechecked::Ends
            }),
        };
        // A take-over is refused in three cases. The flight has moved on: the actor that moved it
        // rings. Another waiter was faster: the next check finds that waiter's lease number. Or no
        // lease number is left: then this waiter stops trying.
        if relieved.is_none() && lease == MOST {
            self.due = NEVER;
        }
        relieved.map(|relieved| (self.flight, true, relieved))
    }

    /// Returns the present lease `number`, if this waiter has waited for that lease for too long.
    fn overdue(&mut self, core: &Core<K, V>, number: Option<u32>, lead_timeout: u64) -> Option<u32> {
        let Some(number) = number else {
            // The leader is moving the value in. No caller takes over in that state, and the leader
            // rings when it ends. A due time in the past would keep this waiter from sleeping until
            // then.
            if !mutant("publishing is due") {
                self.due = NEVER;
            }
            return None;
        };
        if self.lease != Some(number) {
            // Another leader holds the flight, with a due time of its own.
            self.lease = Some(number);
            if !mutant("due for another lease") {
                self.due = self.end_of(core, number, lead_timeout);
            }
            return None;
        }
        (self.due != NEVER && core.config.wait_now() >= self.due).then_some(number)
    }
}
