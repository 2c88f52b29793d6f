//! The number of loads in flight, where `max_loads` bounds it.
//!
//! A lease counts from when it is given until its holder ends it, or until another caller takes it
//! over: a leader that hangs must not keep others from loading. The leases of one bulk call count
//! as one.

use super::stats::Event;
use super::{Core, Operation};
use crate::flight::bell::Subscription;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;

impl<K, V> Core<K, V> {
    #[inline]
    pub(super) fn loads_bounded(&self) -> bool {
        self.config.max_loads != usize::MAX
    }

    /// Returns whether `most` leases are counted already.
    #[inline]
    pub(crate) fn leases_full(&self, most: usize) -> bool {
        self.loads_bounded() && self.leases.load(Ordering::Relaxed) >= most
    }

    /// Counts a lease that is given out. Returns false, and does not count it, if `most` are
    /// counted already.
    pub(crate) fn lease_begins(&self, most: usize) -> bool {
        if !self.loads_bounded() {
            return true;
        }
        // Relaxed: the number is only compared, and orders nothing.
        let count = |leases: usize| (leases < most).then_some(leases + 1);
        self.leases.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// Counts a lease out, and wakes the callers that wait for one to end.
    pub(crate) fn lease_ends(&self) {
        if self.loads_bounded() {
            // AcqRel: partner of the RMW in `load_may_begin`.
            self.leases.fetch_sub(1, Ordering::AcqRel);
            self.bells.ring_queue();
        }
    }

    /// Counts the lease of a caller that takes a flight over. `counted`: the old lease was counted,
    /// and the new one takes its place.
    pub(crate) fn lease_moves(&self, counted: bool) {
        if !counted {
            self.lease_begins(usize::MAX);
        }
    }

    /// Counts out the lease of a leader that hangs, whose flight another caller has ended because
    /// it was removed. (When the leader itself ends the lease, it finds that lease fenced.)
    pub(crate) fn lease_cut_short(&self, counted: bool) {
        self.counters.count(Event::CutShort);
        if counted {
            self.lease_ends();
        }
    }

    /// Registers a caller that waits until it may load.
    ///
    /// # Safety
    /// As for [`Bells::queue_up`](crate::flight::bell::Bells::queue_up).
    pub(crate) unsafe fn queue_up(&self) -> Subscription {
        // SAFETY: as for this function.
        unsafe { self.bells.queue_up() }
    }

    /// Returns whether a load may begin. The caller has registered before, and sleeps if not.
    ///
    /// AcqRel: this RMW and the one of `lease_ends` are ordered. If this one is first, the leader
    /// that ends acquires the registration from it, and rings. If not, this one sees that the lease
    /// has ended.
    pub(crate) fn load_may_begin(&self) -> bool {
        if mutant("queue looks without an update") {
            return self.leases.load(Ordering::Relaxed) < self.config.max_loads;
        }
        self.leases.fetch_add(0, Ordering::AcqRel) < self.config.max_loads
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Notes that its holder has ended a lease. `fenced`: the lease was taken over before, and
    /// counts no more.
    pub(crate) fn lease_over(&self, counted: bool, fenced: bool) {
        self.core.counters.count_under(self.pin(), Event::LoadOver);
        if fenced {
            self.core.counters.count(Event::FencedOver);
        } else if counted {
            self.core.lease_ends();
        }
    }
}
