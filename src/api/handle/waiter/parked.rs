//! One who waits, and what it does when it is woken.

use crate::engine::Core;
use crate::engine::flight_ref::Flight;
use crate::engine::wait::task::TaskDeadline;
use crate::flight::bell::Listening;
use crate::flight::word::{GaveUp, MOST, Rechecked};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;

/// One who waits: a share of both nodes of the flight, and a place among those whom that counts.
pub(super) struct Parked<K, V> {
    pub(super) flight: Flight<K, V>,
    pub(super) listening: Listening,
    /// The lease that is waited for; None: this waiter is not counted, for the value was being moved in.
    pub(super) lease: Option<u32>,
    /// When that lease may be taken over.
    pub(super) due: u64,
    pub(super) alert: TaskDeadline,
}

/// A caller who waits until it may load at all (`max_loads`).
pub(super) struct Queued {
    /// A load had ended by the time this caller was registered.
    pub(super) over: bool,
    pub(super) listening: Listening,
    pub(super) alert: TaskDeadline,
}

impl Queued {
    /// # Safety
    /// As for [`Core::queue_up`].
    pub(super) unsafe fn new<K, V>(core: &Core<K, V>) -> Self {
        // SAFETY: as for this function.
        let listening = unsafe { core.queue_up() };
        // Registered first, then looked again: who ended a load before that has rung for others.
        let over = core.load_may_begin() && !mutant("queues up blindly");
        Self { over, listening, alert: TaskDeadline::NONE }
    }

    /// Whether it need not wait any longer. If it must, it is registered anew.
    pub(super) fn is_over<K, V>(&mut self, core: &Core<K, V>) -> bool {
        self.over || {
            self.listening.renew();
            core.load_may_begin()
        }
    }
}

impl<K, V> Parked<K, V> {
    /// # Safety
    /// Shares of both nodes are handed over; the registration is with a bell of the core.
    pub(super) unsafe fn new(flight: Flight<K, V>, lease: Option<u32>, listening: Listening) -> Self {
        Self { flight, listening, lease, due: NEVER, alert: TaskDeadline::NONE }
    }

    /// Notes when the lease that is waited for may be taken over. Asks the clock.
    pub(super) fn note_due(&mut self, core: &Core<K, V>, lead_timeout: u64) {
        self.due = self.lease.map_or(NEVER, |lease| self.end_of(core, lease, lead_timeout));
    }

    /// When the leader has held its lease for too long.
    fn end_of(&self, core: &Core<K, V>, lease: u32, lead_timeout: u64) -> u64 {
        // SAFETY: a share of it is ours.
        let node = unsafe { self.flight.node.as_ref() };
        // Not noted: it has only just begun, or it never ends.
        core.noted_end(node, lease, lead_timeout).unwrap_or_else(|| core.config.wait_end(lead_timeout))
    }

    /// How the flight stands, and whether the lead was taken from a leader that hangs. None: it goes on, and this waiter is
    /// registered anew.
    pub(super) fn recheck(&mut self, core: &Core<K, V>, lead_timeout: u64) -> Option<(Flight<K, V>, bool, Rechecked)> {
        // SAFETY: shares of both are ours.
        let (word, listed) = unsafe { (&self.flight.node.as_ref().word, self.flight.listed().as_ref()) };
        // Registered first, then looked again, by an RMW: see `Bells::ring`. (Not if there is nothing more to wait for.)
        if !word.load().is_settled() && !mutant("looks before it listens") {
            self.listening.renew();
        }
        // What is loaded for a flight that was removed is stored nowhere. It ends, and whoever waits for it looks for what
        // has taken its place, before it loads anything.
        let worth_it = !listed.link().is_marked() || mutant("leads what was removed");
        let number = match word.recheck(worth_it) {
            Rechecked::Parked(number) => number,
            ended => return Some((self.flight, false, ended)),
        };
        if mutant("looks before it listens") {
            self.listening.renew();
        }
        let lease = self.overdue(core, number, lead_timeout)?;
        // SAFETY: a share of it is ours. (Asked before: see `Operation::relieve`.)
        let counted = unsafe { self.flight.node.as_ref() }.is_counted(lease);
        let relieved = match worth_it {
            true => word.take_over(lease, true).inspect(|_| core.lease_moves(counted)).map(Rechecked::Leads),
            false => (word.give_up(lease, false) == GaveUp::Ended).then_some(Rechecked::Ends),
        };
        // Refused: something has happened to the flight, and whoever did it rings; or another waiter was faster, and the next
        // look finds its number; or there is no number left.
        if relieved.is_none() && lease == MOST {
            self.due = NEVER;
        }
        relieved.map(|relieved| (self.flight, true, relieved))
    }

    /// The flight is led under `number`: that, if this waiter has waited for it for too long.
    fn overdue(&mut self, core: &Core<K, V>, number: Option<u32>, lead_timeout: u64) -> Option<u32> {
        let Some(number) = number else {
            // The value is being moved in: nobody takes that over, and it ends with a ring. A time that is past would keep
            // this waiter from sleeping until then.
            if !mutant("publishing is due") {
                self.due = NEVER;
            }
            return None;
        };
        if self.lease != Some(number) {
            // Another leads: it has a time of its own.
            self.lease = Some(number);
            if !mutant("due for another lease") {
                self.due = self.end_of(core, number, lead_timeout);
            }
            return None;
        }
        (self.due != NEVER && core.config.wait_now() >= self.due).then_some(number)
    }
}
