//! The hand: each call takes one entry out, in a bounded number of steps.

use super::{
    Budget, CHANCES, Coming, Evictor, FAMOUS, KNOWN, MARGIN, PROMOTIONS, Policy, PolicyEntry, Step, WARM, mixed,
    rings::{Popped, Which},
    sketch,
};
use crate::sys::mutants::sized;
use core::ptr::NonNull;

/// Room for entries that come to a ring while the hand goes round it.
const SLACK: usize = sized(64, 4, 2);
/// The rounds after which no entry of main has a use left.
const ROUNDS: usize = 4;

/// The looks at each ring for a newcomer that is not there yet: the hand moves [`PROMOTIONS`]
/// entries on at most, and may meet some more that it passes over.
const LOOKS: usize = sized(2 * PROMOTIONS, 4, 1);

/// The work that the hand may still do for one entry.
struct Effort {
    coming: Coming,
    promotions: usize,
    /// The looks left in each ring. They run out if most entries are being refreshed.
    looks: [usize; 2],
    /// How often the newcomer was met.
    met: usize,
}

impl Effort {
    fn looked(&mut self, ring: Which) {
        self.looks[ring as usize] = self.looks[ring as usize].saturating_sub(1);
    }

    /// Counts that the newcomer was met in this ring. It is at the end of the ring now. `last` says
    /// that it had been put there before.
    fn meets_newcomer(&mut self, ring: Which, last: bool) {
        self.met += 1;
        let alone = match ring {
            // All other entries were before it, and had their turn.
            Which::Small => last,
            // Used entries were put behind it. By now they have no uses left.
            Which::Main => self.met > ROUNDS,
        };
        match alone {
            true => self.looks[ring as usize] = 0,
            false => self.looked(ring),
        }
    }
}

impl<T: PolicyEntry> Policy<T> {
    /// Evicts one entry for a newcomer that is not in its ring yet, if few looks lead to one that
    /// may go. So it does not go round rings whose entries are all being refreshed:
    /// [`evict`](Self::evict) does, once the newcomer is there.
    ///
    /// The caller is pinned, so that an entry seen in a slot stays alive.
    pub(crate) fn displace(&self, budget: Budget, coming: Coming, evictor: &impl Evictor<T>) -> bool {
        let mut effort = Effort { coming, promotions: PROMOTIONS, looks: [LOOKS; 2], met: 0 };
        while let Some(ring) = self.giver(budget, &effort, evictor) {
            match self.step(ring, budget, &mut effort, evictor) {
                Step::Freed => return true,
                Step::Empty => effort.looks[ring as usize] = 0,
                Step::Skipped | Step::Reopened | Step::Spared(_) => effort.looked(ring),
            }
        }
        false
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
    pub(crate) fn receive(&self, (ring, entry): (Which, NonNull<T>), evictor: &impl Evictor<T>) {
        self.put(ring, entry, evictor);
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
                let small = self.weight(Which::Small) + effort.coming.weights[Which::Small as usize];
                let full = effort.promotions > 0 && small > self.share.of(budget.capacity);
                Some(if full { Which::Small } else { Which::Main })
            }
        }
    }

    /// Returns an entry that was just seen in a slot.
    fn seen(&self, entry: NonNull<T>) -> &T {
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
                self.leave_small(held, budget, effort, evictor)
            }
            Ok(held) => self.evict_held(ring, held, budget, evictor),
            Err(step) => step,
        }
    }

    /// Takes a ring's first entry, unless it was removed meanwhile.
    #[inline(always)]
    fn take_present(&self, ring: Which, evictor: &impl Evictor<T>) -> Result<NonNull<T>, Step> {
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

    /// Moves small's first entry, which the hand holds, to main, or evicts it. The sketch learns of
    /// its uses if it does leave.
    #[inline(always)]
    fn leave_small(&self, held: NonNull<T>, budget: Budget, effort: &mut Effort, evictor: &impl Evictor<T>) -> Step {
        let resident = self.seen(held);
        let (hash, uses) = (mixed(resident.hash()), resident.uses());
        let mut step = Step::Skipped;
        let seen = self.sketch.seen_to_count(hash);
        // The count that it will have once the sketch has learnt.
        let counted = (seen.times + 1 + uses).min(sketch::MOST);
        let enters = effort.promotions > 0
            && (uses >= WARM
                || counted >= KNOWN && {
                    self.main_has_room(budget, effort.coming.weights[Which::Main as usize])
                        || counted >= FAMOUS && self.beats_main(counted, budget, evictor, &mut step)
                });
        if enters {
            resident.set_uses(0);
            effort.promotions -= 1;
            self.put(Which::Main, held, evictor);
            self.compact(Which::Main, budget, evictor);
        } else {
            step = self.evict_hashed(Which::Small, (held, hash), budget, evictor);
        }
        if enters || matches!(step, Step::Freed) {
            self.sketch.add(seen, 1 + uses, budget.entries);
        }
        step
    }

    /// Returns whether a key with this count is to take the place of main's next victim. If so,
    /// evicts that victim, if it may go.
    fn beats_main(&self, counted: u32, budget: Budget, evictor: &impl Evictor<T>, step: &mut Step) -> bool {
        let Some(victim) = self.next_victim(budget, evictor) else { return true };
        let beats = counted > self.sketch.seen(victim).times + MARGIN;
        if beats {
            *step = match self.take_present(Which::Main, evictor) {
                Ok(victim) => self.evict_held(Which::Main, victim, budget, evictor),
                Err(_) => Step::Skipped,
            };
            // (The step to report is small's.)
            if let Step::Spared(_) = step {
                *step = Step::Skipped;
            }
        }
        beats
    }

    /// Evicts the entry that the hand holds, or puts it back.
    fn evict_held(&self, ring: Which, held: NonNull<T>, budget: Budget, evictor: &impl Evictor<T>) -> Step {
        self.evict_hashed(ring, (held, mixed(self.seen(held).hash())), budget, evictor)
    }

    /// Does the same, for a caller that has mixed the entry's hash.
    #[inline(always)]
    fn evict_hashed(
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
