//! The hand: each call takes one entry out, in a bounded number of steps.

use super::{
    Budget, CHANCES, Coming, Evictor, PROMOTIONS, Policy, PolicyEntry, Seats, Step,
    effort::Effort,
    leave::Leaver,
    mixed,
    rings::{Popped, Which},
};
use crate::sys::mutants::sized;
use core::ptr::NonNull;

/// Room for entries that come to a ring while the hand goes round it.
const SLACK: usize = sized(64, 4, 2);
/// The looks at each ring for a newcomer that is not there yet: the hand moves [`PROMOTIONS`]
/// entries on at most, and may meet some more that it passes over.
const LOOKS: usize = sized(2 * PROMOTIONS, 4, 1);

/// What the hand's first look at small has met.
enum Met<'s, T> {
    /// An entry that may enter main.
    Leaver(Leaver<'s, T>),
    /// An entry that may not go, a hole, or nothing.
    Passed(Step),
}

impl<T: PolicyEntry> Policy<T> {
    /// Evicts one entry for a newcomer that is not in its ring yet, if few looks lead to one that
    /// may go. So it does not go round rings whose entries are all being refreshed:
    /// [`evict`](Self::evict) does, once the newcomer is there.
    ///
    /// The caller is pinned, so that an entry seen in a slot stays alive.
    #[inline(always)]
    pub(crate) fn displace(&self, budget: Budget, coming: Coming, evictor: &impl Evictor<T>) -> bool {
        if evictor.any_expires() || !self.small_is_full(budget, coming) {
            return self.displace_on(None, budget, coming, evictor);
        }
        // Most often small's first entry leaves for good, and there is no more to do.
        let met = match self.take_present(Which::Small, evictor) {
            Err(step) => Met::Passed(step),
            Ok(held) => {
                let leaver = self.leaver(held);
                match self.may_enter_main(&leaver, budget, coming.weights[Which::Main as usize]) {
                    true => Met::Leaver(leaver),
                    false => match self.leave(leaver, budget, evictor) {
                        Step::Freed => return true,
                        step => Met::Passed(step),
                    },
                }
            }
        };
        self.displace_on(Some(met), budget, coming, evictor)
    }

    /// Does the same from what the first look has `met` in small on, if it was taken.
    #[inline(never)]
    fn displace_on(&self, met: Option<Met<'_, T>>, budget: Budget, coming: Coming, evictor: &impl Evictor<T>) -> bool {
        let mut effort = Effort { coming, promotions: PROMOTIONS, looks: [LOOKS; 2], met: 0 };
        let mut last = met.map(|met| match met {
            Met::Passed(step) => (Which::Small, step),
            Met::Leaver(leaver) => (Which::Small, self.enter_main_or_leave(leaver, budget, &mut effort, evictor)),
        });
        loop {
            match last {
                Some((_, Step::Freed)) => return true,
                Some((ring, Step::Empty)) => effort.looks[ring as usize] = 0,
                Some((ring, Step::Skipped | Step::Reopened | Step::Spared(_))) => effort.looked(ring),
                None => {}
            }
            let Some(ring) = self.giver(budget, &effort, evictor) else { return false };
            last = Some((ring, self.step(ring, budget, &mut effort, evictor)));
        }
    }

    /// Evicts one entry, unless none may go.
    ///
    /// The caller is pinned, as for [`displace`](Self::displace).
    pub(crate) fn evict(&self, budget: Budget, evictor: &impl Evictor<T>) -> bool {
        let mut effort = Effort { coming: Coming::NONE, promotions: PROMOTIONS, looks: self.round(), met: 0 };
        while let Some(ring) = self.giver(budget, &effort, evictor) {
            match self.step(ring, budget, &mut effort, evictor) {
                Step::Freed => return true,
                Step::Reopened => effort.looks = self.round(),
                Step::Skipped => effort.looked(ring),
                Step::Spared(last) => effort.meets_newcomer(ring, last),
                Step::Empty => effort.looks[ring as usize] = 0,
            }
        }
        // If main is empty, the hand has seen all of small, the newcomer among them. Then the
        // second search is left to the caller's next call, which does not spare the newcomer any
        // more.
        let seen_all = effort.met != 0 && matches!(self.rings.peek(Which::Main), Popped::Empty);
        !seen_all && self.evict_any(budget, evictor)
    }

    /// Evicts the first entry of a ring, if it has expired.
    ///
    /// The caller is pinned, as for [`evict`](Self::evict).
    pub(crate) fn evict_expired(&self, budget: Budget, evictor: &impl Evictor<T>) -> bool {
        [Which::Small, Which::Main].into_iter().any(|ring| {
            if !self.is_over(ring, evictor) {
                return false;
            }
            match self.take_present(ring, evictor) {
                Ok(held) if evictor.expired(self.seen(held)) => {
                    matches!(self.evict_held(ring, held, budget, evictor), Step::Freed)
                }
                // Another thread has taken the expired entry first.
                Ok(held) => {
                    self.put(ring, held, evictor);
                    false
                }
                Err(_) => false,
            }
        })
    }

    /// Takes the first entry of a ring that was not removed meanwhile. Another policy is to
    /// [receive](Self::receive) it.
    pub(crate) fn give(&self, evictor: &impl Evictor<T>) -> Option<(Which, NonNull<T>)> {
        [Which::Small, Which::Main].into_iter().find_map(|ring| {
            // Passes over holes and removed entries, at most as many as the ring had positions.
            let mut looks = self.rings.window(ring);
            while looks > 0 {
                looks -= 1;
                match self.take_present(ring, evictor) {
                    Ok(entry) => return Some((ring, entry)),
                    Err(Step::Empty) => return None,
                    Err(_) => {}
                }
            }
            None
        })
    }

    /// Puts an entry that another policy has [given](Self::give), with its slot's reference, in the
    /// same ring of this one.
    pub(crate) fn receive(&self, (ring, entry): (Which, NonNull<T>), seats: &impl Seats<T>) {
        self.put(ring, entry, seats);
    }

    /// Returns whether the first entry of a ring has expired.
    fn is_over(&self, ring: Which, evictor: &impl Evictor<T>) -> bool {
        matches!(self.rings.peek(ring), Popped::Entry(entry) if evictor.expired(self.seen(entry)))
    }

    fn round(&self) -> [usize; 2] {
        let looks = |ring| self.rings.window(ring) + SLACK;
        [looks(Which::Small), looks(Which::Main)]
    }

    /// Evicts any entry that may go, after the policy has found none. The hand may have moved an
    /// entry into a ring that it had given up, or left an entry more uses than its rounds could
    /// take. Small comes first, because entries only move from there to main.
    #[cold]
    fn evict_any(&self, budget: Budget, evictor: &impl Evictor<T>) -> bool {
        for ring in [Which::Small, Which::Main] {
            let mut effort = Effort { coming: Coming::NONE, promotions: 0, looks: self.round(), met: 0 };
            while effort.looks[ring as usize] > 0 {
                let step = match self.take_present(ring, evictor) {
                    Ok(held) => self.evict_held(ring, held, budget, evictor),
                    Err(step) => step,
                };
                match step {
                    Step::Freed => return true,
                    Step::Reopened => effort.looks = self.round(),
                    Step::Skipped => effort.looked(ring),
                    Step::Spared(last) => effort.meets_newcomer(ring, last),
                    Step::Empty => break,
                }
            }
        }
        false
    }

    /// Returns the ring to take from next, or None if the hand has gone round both.
    #[inline]
    fn giver(&self, budget: Budget, effort: &Effort, evictor: &impl Evictor<T>) -> Option<Which> {
        let [small, main] = effort.looks.map(|looks| looks > 0);
        let over = |ring| evictor.any_expires() && self.is_over(ring, evictor);
        match (small, main) {
            (false, false) => None,
            (true, false) => Some(Which::Small),
            (false, true) => Some(Which::Main),
            (true, true) if over(Which::Main) => Some(Which::Main),
            (true, true) if over(Which::Small) => Some(Which::Small),
            (true, true) => {
                let full = effort.promotions > 0 && self.small_is_full(budget, effort.coming);
                Some(if full { Which::Small } else { Which::Main })
            }
        }
    }

    #[inline(always)]
    fn small_is_full(&self, budget: Budget, coming: Coming) -> bool {
        self.weight(Which::Small) + coming.weights[Which::Small as usize] > self.share.of(budget.capacity)
    }

    /// Returns an entry that was just seen in a slot.
    pub(super) fn seen(&self, entry: NonNull<T>) -> &T {
        // SAFETY: the slot had a reference to the entry under the pin that the caller holds, so the
        // entry is not freed before that pin ends.
        unsafe { entry.as_ref() }
    }

    #[inline(always)]
    fn step(&self, ring: Which, budget: Budget, effort: &mut Effort, evictor: &impl Evictor<T>) -> Step {
        if ring == Which::Main {
            // Main's first entry goes as it is, after this has passed over so many chances.
            self.next_victim(budget, evictor);
        }
        match self.take_present(ring, evictor) {
            Ok(held) if ring == Which::Small && !evictor.expired(self.seen(held)) => {
                self.enter_main_or_leave(self.leaver(held), budget, effort, evictor)
            }
            Ok(held) => self.evict_held(ring, held, budget, evictor),
            Err(step) => step,
        }
    }

    /// Takes a ring's first entry, unless it was removed meanwhile.
    #[inline(always)]
    pub(super) fn take_present(&self, ring: Which, evictor: &impl Evictor<T>) -> Result<NonNull<T>, Step> {
        match self.take(ring) {
            Popped::Entry(held) if evictor.removed(self.seen(held)) => {
                evictor.release(held);
                Err(Step::Skipped)
            }
            Popped::Entry(held) => Ok(held),
            Popped::Hole => Err(Step::Skipped),
            Popped::Empty => Err(Step::Empty),
        }
    }

    /// Evicts the entry that the hand holds, or puts it back.
    pub(super) fn evict_held(&self, ring: Which, held: NonNull<T>, budget: Budget, evictor: &impl Evictor<T>) -> Step {
        self.evict_hashed(ring, (held, mixed(self.seen(held).hash())), budget, evictor)
    }

    /// Does the same, for a caller that has mixed the entry's hash.
    #[inline(always)]
    pub(super) fn evict_hashed(
        &self,
        ring: Which,
        (held, hash): (NonNull<T>, u64),
        budget: Budget,
        evictor: &impl Evictor<T>,
    ) -> Step {
        let resident = self.seen(held);
        if let Some(last) = evictor.spared(resident) {
            self.put_back(ring, held, evictor);
            return Step::Spared(last);
        }
        let expired = evictor.expired(resident);
        if evictor.evict(resident) {
            if !expired {
                self.ghosts.put(ring, hash, budget.entries);
            }
            return Step::Freed;
        }
        self.not_evicted(ring, held, evictor)
    }

    #[cold]
    fn put_back(&self, ring: Which, held: NonNull<T>, evictor: &impl Evictor<T>) {
        self.put(ring, held, evictor);
    }

    /// Puts an entry back that may not be evicted.
    #[cold]
    fn not_evicted(&self, ring: Which, held: NonNull<T>, evictor: &impl Evictor<T>) -> Step {
        let resident = self.seen(held);
        self.put(ring, held, evictor);
        // If its refresh has ended meanwhile, its leader's own search for room missed this entry,
        // because this hand held it.
        if evictor.reopened(resident) { Step::Reopened } else { Step::Skipped }
    }

    /// Takes uses off main's first entries until the first one has none left, and so is the next to
    /// go. Returns its hash.
    pub(super) fn next_victim(&self, budget: Budget, evictor: &impl Evictor<T>) -> Option<u64> {
        let mut chances = CHANCES;
        // Passing over a hole uses up no chance, but there may be many holes.
        let mut looks = self.rings.window(Which::Main) + SLACK;
        while looks > 0 {
            looks -= 1;
            match self.rings.peek(Which::Main) {
                Popped::Empty => return None,
                Popped::Entry(entry) => {
                    let resident = self.seen(entry);
                    if chances == 0 || resident.uses() == 0 || evictor.removed(resident) || evictor.expired(resident) {
                        return Some(mixed(resident.hash()));
                    }
                }
                Popped::Hole => {}
            }
            // Another thread may have taken the entry that was seen. So the entry that comes now
            // loses a use, if it has one.
            self.pass_over(Which::Main, evictor, |resident| {
                let uses = resident.uses();
                if uses > 0 {
                    resident.set_uses(uses - 1);
                    self.sketch.add(self.sketch.seen_to_count(mixed(resident.hash())), 1, budget.entries);
                    chances = chances.saturating_sub(1);
                }
            });
        }
        None
    }
}
