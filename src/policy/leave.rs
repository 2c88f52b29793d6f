//! How an entry leaves small: for main, or for good. The sketch learns of its uses then.

use super::effort::Effort;
use super::sketch::{self, Seen};
use super::{Budget, Evictor, FAMOUS, KNOWN, MARGIN, Policy, PolicyEntry, Step, WARM, Which, mixed};
use core::ptr::NonNull;

/// An entry that the hand has taken out of small and holds, and what is known of its key.
pub(super) struct Leaver<'s, T> {
    held: NonNull<T>,
    hash: u64,
    uses: u32,
    seen: Seen<'s>,
    /// The count that the key will have once the sketch has learnt.
    counted: u32,
}

impl<T: PolicyEntry> Policy<T> {
    #[inline(always)]
    pub(super) fn leaver(&self, held: NonNull<T>) -> Leaver<'_, T> {
        let resident = self.seen(held);
        let (hash, uses) = (mixed(resident.hash()), resident.uses());
        let seen = self.sketch.seen_to_count(hash);
        let counted = (seen.times + 1 + uses).min(sketch::MOST);
        Leaver { held, hash, uses, seen, counted }
    }

    /// Returns whether the entry may enter main. If not, it is to leave [for good](Self::leave).
    #[inline(always)]
    pub(super) fn may_enter_main(&self, leaver: &Leaver<'_, T>, budget: Budget, coming: u64) -> bool {
        let Leaver { uses, counted, .. } = *leaver;
        uses >= WARM || counted >= KNOWN && (counted >= FAMOUS || self.main_has_room(budget, coming))
    }

    /// Evicts the entry.
    #[inline(always)]
    pub(super) fn leave(&self, leaver: Leaver<'_, T>, budget: Budget, evictor: &impl Evictor<T>) -> Step {
        let Leaver { held, hash, uses, seen, .. } = leaver;
        let step = self.evict_hashed(Which::Small, (held, hash), budget, evictor);
        if matches!(step, Step::Freed) {
            self.sketch.add(seen, 1 + uses, budget.entries);
        }
        step
    }

    /// Moves the entry to main, or evicts it.
    pub(super) fn enter_main_or_leave(
        &self,
        leaver: Leaver<'_, T>,
        budget: Budget,
        effort: &mut Effort,
        evictor: &impl Evictor<T>,
    ) -> Step {
        let Leaver { held, uses, counted, .. } = leaver;
        let mut step = Step::Skipped;
        let enters = effort.promotions > 0
            && (uses >= WARM
                || counted >= KNOWN && {
                    self.main_has_room(budget, effort.coming.weights[Which::Main as usize])
                        || counted >= FAMOUS && self.beats_main(counted, budget, evictor, &mut step)
                });
        if !enters {
            return self.leave(leaver, budget, evictor);
        }
        self.seen(held).set_uses(0);
        effort.promotions -= 1;
        self.put(Which::Main, held, evictor);
        self.compact(Which::Main, budget, evictor);
        self.sketch.add(leaver.seen, 1 + uses, budget.entries);
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
}
