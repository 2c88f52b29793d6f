//! How many loads are in flight, where `max_loads` bounds them.
//!
//! A lease counts from when it is given until its holder ends it, or until another caller takes it
//! over: a leader that hangs must not keep others from loading. The leases of one bulk call count as
//! one.

use super::Core;
use super::stats::Event;
use crate::flight::bell::Listening;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;

impl<K, V> Core<K, V> {
    fn loads_bounded(&self) -> bool {
        self.config.max_loads != usize::MAX
    }

    /// Whether so many leases are out already.
    pub(crate) fn leases_full(&self, most: usize) -> bool {
        self.loads_bounded() && self.leases.load(Ordering::Relaxed) >= most
    }

    /// Counts a lease that is given out; false, and not counted, if `most` are out already.
    pub(crate) fn lease_begins(&self, most: usize) -> bool {
        if !self.loads_bounded() {
            return true;
        }
        // Relaxed: a number that is compared, and orders nothing.
        let count = |leases: usize| (leases < most).then_some(leases + 1);
        self.leases.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// Counts it out, and wakes the callers who wait for that.
    pub(crate) fn lease_ends(&self) {
        if self.loads_bounded() {
            // AcqRel: see `load_may_begin`.
            self.leases.fetch_sub(1, Ordering::AcqRel);
            self.bells.ring_queue();
        }
    }

    /// The lease of a flight is taken over by a caller whose own counts from now on; `counted`: the
    /// old one did.
    pub(crate) fn lease_moves(&self, counted: bool) {
        if !counted {
            self.lease_begins(usize::MAX);
        }
    }

    /// A lease has ended, by its holder. `fenced`: it was taken over before, and counts no more.
    pub(crate) fn lease_over(&self, counted: bool, fenced: bool) {
        self.counters.count(Event::LoadOver);
        if fenced {
            self.counters.count(Event::FencedOver);
        } else if counted {
            self.lease_ends();
        }
    }

    /// Registers a caller who waits until it may load.
    ///
    /// # Safety
    /// As for [`Bells::queue_up`](crate::flight::bell::Bells::queue_up).
    pub(crate) unsafe fn queue_up(&self) -> Listening {
        // SAFETY: as for this function.
        unsafe { self.bells.queue_up() }
    }

    /// Whether a load may begin, asked by a caller who has registered before: it sleeps if not.
    ///
    /// By an RMW: it and the one of `lease_ends` are ordered. If this one is first, the leader that
    /// ends acquires the registration from it, and rings; if not, this one sees the lease ended.
    pub(crate) fn load_may_begin(&self) -> bool {
        if mutant("queue looks without an update") {
            return self.leases.load(Ordering::Relaxed) < self.config.max_loads;
        }
        self.leases.fetch_add(0, Ordering::AcqRel) < self.config.max_loads
    }
}
