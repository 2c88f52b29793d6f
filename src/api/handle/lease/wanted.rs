//! Whether a load is still wanted, for loaders that can stop.

use super::Lease;
use crate::flight::bell::Subscription;
use core::task::Context;

/// Wakes a task when the last waiter of its load leaves. Dropped before the lease is.
pub(crate) struct Interest(Option<Subscription>);

impl Interest {
    pub(crate) const NONE: Self = Self(None);
}

impl<K, V> Lease<'_, K, V> {
    /// Returns whether the load is still worth its cost: its value would be stored, and the lease
    /// was not taken over. A loader that takes long, and can stop, may ask now and then, and drop
    /// the lease if not.
    ///
    /// It is false once the key was removed or overwritten (the value would be handed to those that
    /// wait, and not be stored), and once another caller took the lease over (`lead_timeout`). For
    /// a load that lives [while it is wanted](crate::Detached::while_wanted), it is false too once
    /// no caller waits for it. Any other load is wanted without waiters: by its own caller, or by
    /// later readers.
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// let cache: Cache<u32, u64> = Cache::new(10);
    /// let Lookup::Lead(lease) = cache.lease(&1) else { unreachable!() };
    /// assert!(lease.is_wanted());
    /// cache.insert(1, 5);
    /// assert!(!lease.is_wanted(), "there is a newer value");
    /// ```
    pub fn is_wanted(&self) -> bool {
        // SAFETY: the lease owns references to both nodes, which keep them alive.
        let listed = unsafe { self.flight.listed().as_ref() };
        !listed.link().is_marked() && self.node().word.led_by(self.number) && (!self.for_waiters || self.waiters() != 0)
    }

    /// Returns how many callers wait for this load now: 0 too if the lease was taken over.
    pub fn waiters(&self) -> usize {
        self.node().word.waiters_of(self.number).unwrap_or(0) as usize
    }

    /// Returns whether a load that lives for its waiters is about to begin without any.
    pub(crate) fn is_begun_in_vain(&self) -> bool {
        self.for_waiters && self.waiters() == 0
    }

    /// Has the load live no longer than there are waiters.
    pub(crate) fn live_for_waiters(&mut self) {
        self.for_waiters = true;
    }

    /// Returns whether a load that lives for its waiters has none any more, or was taken over.
    /// Otherwise the task is woken when the last one leaves.
    pub(crate) fn has_lost_interest(&self, interest: &mut Interest, cx: &Context<'_>) -> bool {
        if !self.for_waiters {
            return false;
        }
        let bells = &self.core.get().bells;
        // SAFETY: the caller drops the subscription before the lease, which keeps the core and its
        // bells alive.
        let subscription = interest.0.get_or_insert_with(|| unsafe { bells.listen(self.flight.node.addr().get()) });
        loop {
            // The leader registers first, then looks, by an RMW: see `Bells::ring`.
            subscription.resubscribe();
            match self.node().word.waiters_of(self.number) {
                None | Some(0) => return true,
                Some(_) if subscription.poll(cx).is_pending() => return false,
                Some(_) => {}
            }
        }
    }
}
