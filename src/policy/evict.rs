//! The hand: one entry out for each call, in bounded steps.

use super::{
    Budget, CHANCES, Evictor, FAMOUS, KNOWN, MARGIN, PROMOTIONS, Policy, PolicyEntry, Step, WARM, mixed,
    rings::{Popped, Which},
    sketch,
};
use crate::sys::mutants::sized;
use core::ptr::NonNull;

/// Room for entries that come to a ring while the hand goes round it.
const SLACK: usize = sized(64, 4, 2);
/// Main has gone round so often when no entry in it has a use left.
const ROUNDS: usize = 4;

/// How much the hand may still do for one entry.
struct Effort {
    promotions: usize,
    /// Looks into each ring. They run out where most entries are being refreshed.
    looks: [usize; 2],
    /// How often the newcomer was met.
    met: usize,
}

impl Effort {
    fn looked(&mut self, ring: Which) {
        self.looks[ring as usize] = self.looks[ring as usize].saturating_sub(1);
    }

    /// The newcomer was met in this ring, at whose end it is now, or had been before (`last`).
    fn meets_newcomer(&mut self, ring: Which, last: bool) {
        self.met += 1;
        let alone = match ring {
            // All others were before it, and had their turn.
            Which::Small => last,
            // Used ones were put behind it. By now they have no uses left.
            Which::Main => self.met > ROUNDS,
        };
        match alone {
            true => self.looks[ring as usize] = 0,
            false => self.looked(ring),
        }
    }
}

impl<T: PolicyEntry> Policy<T> {
    /// Evicts one entry, unless none may go.
    ///
    /// The caller is pinned, so that an entry seen in a slot stays alive.
    pub(crate) fn evict(&self, room: Budget, keeper: &impl Evictor<T>) -> bool {
        let mut effort = Effort { promotions: PROMOTIONS, looks: self.round(), met: 0 };
        while let Some(ring) = self.giver(room, &effort, keeper) {
            match self.step(ring, room, &mut effort, keeper) {
                Step::Freed => return true,
                Step::Reopened => effort.looks = self.round(),
                Step::Skipped => effort.looked(ring),
                Step::Spared(last) => effort.meets_newcomer(ring, last),
                Step::Empty => effort.looks[ring as usize] = 0,
            }
        }
        // Where main is empty, all in small were seen, the newcomer among them: the next call is for that, too.
        let seen_all = effort.met != 0 && matches!(self.rings.peek(Which::Main), Popped::Empty);
        !seen_all && self.evict_any(room, keeper)
    }

    /// Evicts the first entry of a ring, if its time is over.
    ///
    /// The caller is pinned, as for [`evict`](Self::evict).
    pub(crate) fn evict_expired(&self, room: Budget, keeper: &impl Evictor<T>) -> bool {
        [Which::Small, Which::Main].into_iter().any(|ring| {
            if !self.is_over(ring, keeper) {
                return false;
            }
            match self.take_present(ring, keeper) {
                Ok(held) if keeper.expired(self.seen(held)) => {
                    matches!(self.evict_held(ring, held, room, keeper), Step::Freed)
                }
                // Another was first.
                Ok(held) => {
                    self.put(ring, held, keeper);
                    false
                }
                Err(_) => false,
            }
        })
    }

    /// Takes the first entry of a ring, unless it was removed meanwhile, to have it [received](Self::receive) by another policy.
    pub(crate) fn give(&self, keeper: &impl Evictor<T>) -> Option<(Which, NonNull<T>)> {
        [Which::Small, Which::Main].into_iter().find_map(|ring| {
            // Holes and removed entries are passed over, as many as there were.
            let mut looks = self.rings.window(ring);
            while looks > 0 {
                looks -= 1;
                match self.take_present(ring, keeper) {
                    Ok(entry) => return Some((ring, entry)),
                    Err(Step::Empty) => return None,
                    Err(_) => {}
                }
            }
            None
        })
    }

    /// Puts an entry that another policy has [given](Self::give), with its slot's share, in the same ring of this one.
    pub(crate) fn receive(&self, (ring, entry): (Which, NonNull<T>), keeper: &impl Evictor<T>) {
        self.put(ring, entry, keeper);
    }

    /// Whether a ring's first entry is over.
    fn is_over(&self, ring: Which, keeper: &impl Evictor<T>) -> bool {
        matches!(self.rings.peek(ring), Popped::Entry(entry) if keeper.expired(self.seen(entry)))
    }

    fn round(&self) -> [usize; 2] {
        [Which::Small, Which::Main].map(|ring| self.rings.window(ring) + SLACK)
    }

    /// Evicts whatever may go, after the policy found nothing: it may have moved an entry into a ring that it had given up,
    /// or left it too many uses for the rounds that it went. Small comes first, as entries only move from there to main.
    #[cold]
    fn evict_any(&self, room: Budget, keeper: &impl Evictor<T>) -> bool {
        for ring in [Which::Small, Which::Main] {
            let mut effort = Effort { promotions: 0, looks: self.round(), met: 0 };
            while effort.looks[ring as usize] > 0 {
                let step = match self.take_present(ring, keeper) {
                    Ok(held) => self.evict_held(ring, held, room, keeper),
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

    /// The ring that gives next; none if both were gone round.
    fn giver(&self, room: Budget, effort: &Effort, keeper: &impl Evictor<T>) -> Option<Which> {
        let [small, main] = effort.looks.map(|looks| looks > 0);
        let over = |ring| keeper.any_expires() && self.is_over(ring, keeper);
        match (small, main) {
            (false, false) => None,
            (true, false) => Some(Which::Small),
            (false, true) => Some(Which::Main),
            (true, true) if over(Which::Main) => Some(Which::Main),
            (true, true) if over(Which::Small) => Some(Which::Small),
            (true, true) => {
                let full = effort.promotions > 0 && self.weight(Which::Small) > self.share.of(room.capacity);
                Some(if full { Which::Small } else { Which::Main })
            }
        }
    }

    /// An entry that was just seen in a slot.
    fn seen(&self, entry: NonNull<T>) -> &T {
        // SAFETY: the slot had a share of it under the pin that the caller holds: it is not freed before that ends.
        unsafe { entry.as_ref() }
    }

    fn step(&self, ring: Which, room: Budget, effort: &mut Effort, keeper: &impl Evictor<T>) -> Step {
        if ring == Which::Main {
            // It goes as it is: who is next after so many chances.
            self.next_victim(room, keeper);
        }
        match self.take_present(ring, keeper) {
            Ok(held) if ring == Which::Small && !keeper.expired(self.seen(held)) => {
                self.leave_small(held, room, effort, keeper)
            }
            Ok(held) => self.evict_held(ring, held, room, keeper),
            Err(step) => step,
        }
    }

    /// A ring's first entry, unless it was removed meanwhile.
    fn take_present(&self, ring: Which, keeper: &impl Evictor<T>) -> Result<NonNull<T>, Step> {
        match self.take(ring) {
            Popped::Entry(held) if keeper.removed(self.seen(held)) => {
                keeper.release(held);
                Err(Step::Skipped)
            }
            Popped::Entry(held) => Ok(held),
            Popped::Hole => Err(Step::Skipped),
            Popped::Empty => Err(Step::Empty),
        }
    }

    /// Small's first entry, which is in our hand, goes to main or leaves. The sketch learns of its uses if it does.
    fn leave_small(&self, held: NonNull<T>, room: Budget, effort: &mut Effort, keeper: &impl Evictor<T>) -> Step {
        let member = self.seen(held);
        let (hash, uses) = (mixed(member.hash()), member.uses());
        let mut step = Step::Skipped;
        let seen = self.sketch.seen(hash);
        // As it will be once it has learnt.
        let counted = (seen.times + 1 + uses).min(sketch::MOST);
        let enters = effort.promotions > 0
            && (uses >= WARM || {
                if self.main_has_room(room) {
                    counted >= KNOWN
                } else {
                    counted >= FAMOUS && self.beats_main(counted, room, keeper, &mut step)
                }
            });
        if enters {
            member.set_uses(0);
            effort.promotions -= 1;
            self.put(Which::Main, held, keeper);
            self.compact(Which::Main, room, keeper);
        } else {
            step = self.evict_held(Which::Small, held, room, keeper);
        }
        if enters || matches!(step, Step::Freed) {
            self.sketch.add(seen, 1 + uses, room.entries);
        }
        step
    }

    /// Whether a key that was counted so often is to take the place of main's next victim, which goes then if it may.
    fn beats_main(&self, counted: u32, room: Budget, keeper: &impl Evictor<T>, step: &mut Step) -> bool {
        let Some(victim) = self.next_victim(room, keeper) else { return true };
        let beats = counted > self.sketch.seen(victim).times + MARGIN;
        if beats {
            *step = match self.take_present(Which::Main, keeper) {
                Ok(victim) => self.evict_held(Which::Main, victim, room, keeper),
                Err(_) => Step::Skipped,
            };
            // (The step is small's.)
            if let Step::Spared(_) = step {
                *step = Step::Skipped;
            }
        }
        beats
    }

    /// Evicts what is in the hand, or puts it back.
    fn evict_held(&self, ring: Which, held: NonNull<T>, room: Budget, keeper: &impl Evictor<T>) -> Step {
        let member = self.seen(held);
        if let Some(last) = keeper.spared(member) {
            self.put(ring, held, keeper);
            return Step::Spared(last);
        }
        let (hash, expired) = (mixed(member.hash()), keeper.expired(member));
        if keeper.evict(member) {
            if !expired {
                self.ghosts.put(ring, hash, room.entries);
            }
            return Step::Freed;
        }
        self.put(ring, held, keeper);
        // If its refresh has ended meanwhile, the leader's own look for room missed it: it was in our hand.
        if keeper.reopened(member) { Step::Reopened } else { Step::Skipped }
    }

    /// Takes uses off main's first entries until one has none left, and is thus the next to go; its hash.
    pub(super) fn next_victim(&self, room: Budget, keeper: &impl Evictor<T>) -> Option<u64> {
        let mut chances = CHANCES;
        // Holes are no chances taken, but there may be many.
        let mut looks = self.rings.window(Which::Main) + SLACK;
        while looks > 0 {
            looks -= 1;
            match self.rings.peek(Which::Main) {
                Popped::Empty => return None,
                Popped::Entry(entry) => {
                    let member = self.seen(entry);
                    if chances == 0 || member.uses() == 0 || keeper.removed(member) || keeper.expired(member) {
                        return Some(mixed(member.hash()));
                    }
                }
                Popped::Hole => {}
            }
            // Somebody else may have taken what was seen: so whatever comes now loses a use, if it has one.
            self.pass_over(Which::Main, keeper, |member| {
                let uses = member.uses();
                if uses > 0 {
                    member.set_uses(uses - 1);
                    self.sketch.add(self.sketch.seen(mixed(member.hash())), 1, room.entries);
                    chances = chances.saturating_sub(1);
                }
            });
        }
        None
    }
}
