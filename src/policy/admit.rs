//! Newcomers: which ring a new entry enters, and what is fetched for it.

use super::{AHEAD, Budget, Evictor, Policy, PolicyEntry, Seats, ghosts::Age, mixed, rings::Which};
use crate::sys::memory::prefetch;
use core::ptr::NonNull;

impl<T: PolicyEntry> Policy<T> {
    /// Prefetches the memory that [`admit`](Self::admit) needs for this key, and the memory that
    /// small's next few entries will need to leave. Each is a cache miss, and memory ordering
    /// between them would make them wait for one another. `follow` prefetches memory of the
    /// entries' owner, in numbered steps, one for each call.
    ///
    /// Where many threads store values, this looks at no entry of small: see `Rings::ahead`.
    /// `thread` is the caller's number.
    ///
    /// The caller is pinned.
    #[inline]
    pub(crate) fn prefetch_insert(&self, (newcomer, thread): (u32, usize), budget: Budget, follow: impl Fn(&T, usize)) {
        if budget.capacity == u64::MAX {
            return;
        }
        let hash = mixed(newcomer);
        self.ghosts.prefetch(hash);
        let Some(ahead) = self.rings.ahead(Which::Small, thread) else { return };
        // SAFETY: the slot had a reference to the entry under the caller's pin, so the entry is not
        // freed before that pin ends.
        let seen = |distance| ahead(distance).map(|entry| unsafe { &*entry.as_ptr() });
        if let Some(entry) = seen(AHEAD) {
            prefetch(entry);
            prefetch(entry.slot());
        }
        if let Some(entry) = seen(AHEAD / 2) {
            let hash = mixed(entry.hash());
            self.sketch.prefetch(hash);
            self.ghosts.prefetch(hash);
            follow(entry, 0);
        }
        for (distance, step) in [(AHEAD / 4, 1), (AHEAD / 8, 2)] {
            if let Some(entry) = seen(distance) {
                follow(entry, step);
            }
        }
    }

    /// Returns the ring that a newcomer with this hash is to enter. Few newcomers need the
    /// `evictor` for it.
    ///
    /// The caller is pinned.
    #[inline]
    pub(crate) fn choose<E: Evictor<T>>(&self, newcomer: u32, budget: Budget, evictor: impl FnOnce() -> E) -> Which {
        if budget.capacity == u64::MAX {
            return Which::Small;
        }
        let hash = mixed(newcomer);
        if self.remembered(hash, budget) { self.choose_for_known(hash, budget, &evictor()) } else { Which::Small }
    }

    #[inline(never)]
    fn choose_for_known(&self, hash: u64, budget: Budget, evictor: &impl Evictor<T>) -> Which {
        if !self.enters_main(hash, budget, evictor) {
            return Which::Small;
        }
        self.sketch.add(self.sketch.seen(hash), 1, budget.entries);
        Which::Main
    }

    /// Gives a new entry a slot in the ring that was [chosen](Self::choose) for it, and the
    /// reference that the caller has taken for the slot.
    pub(crate) fn admit(&self, ring: Which, entry: NonNull<T>, budget: Budget, seats: &impl Seats<T>) {
        self.put(ring, entry, seats);
        self.compact(ring, budget, seats);
    }

    /// Returns whether a key was evicted lately. The share of small learns from it.
    #[inline(always)]
    fn remembered(&self, hash: u64, budget: Budget) -> bool {
        let Some([small, main]) = self.ghosts.take(hash) else { return false };
        if small == Some(Age::Near) {
            self.share.grow(budget.entries);
        }
        if main == Some(Age::Near) {
            self.share.shrink(budget.entries);
        }
        true
    }

    fn enters_main(&self, hash: u64, budget: Budget, evictor: &impl Evictor<T>) -> bool {
        self.main_has_room(budget, 0) || {
            let victim = self.next_victim(budget, evictor);
            // Compares the count that the key will have once it is counted.
            victim.is_some_and(|victim| self.sketch.seen(hash).times + 1 > self.sketch.seen(victim).times)
        }
    }
}
