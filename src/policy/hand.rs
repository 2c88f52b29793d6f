//! The hand: one entry out for each call, in bounded steps.

use super::{
    CHANCES, FAMOUS, KNOWN, Keeper, MARGIN, Member, PROMOTIONS, Policy, Room, Step, WARM, mixed,
    rings::{Popped, Which},
};
use core::ptr::NonNull;

/// Room for entries that come to a ring while the hand goes round it.
const SLACK: usize = if cfg!(loom) { 2 } else { 64 };

/// How much the hand may still do for one entry.
struct Effort {
    promotions: usize,
    /// Looks into each ring. They run out only if it is full of entries that are being refreshed.
    looks: [usize; 2],
}

impl<T: Member> Policy<T> {
    /// Evicts one entry, unless a whole round finds none that may go.
    ///
    /// The caller is pinned, so that an entry seen in a slot stays alive.
    pub(crate) fn evict(&self, room: Room, keeper: &impl Keeper<T>) -> bool {
        let round = || [Which::Small, Which::Main].map(|ring| self.rings.window(ring) + SLACK);
        let mut effort = Effort { promotions: PROMOTIONS, looks: round() };
        while let Some(ring) = self.giver(room, &effort, keeper) {
            let mut step = self.step(ring, room, &effort, keeper);
            if matches!(step, Step::Empty) {
                effort.looks[ring as usize] = 0;
                continue;
            }
            if let Step::Promoted = step {
                effort.promotions = effort.promotions.saturating_sub(1);
                step = Step::Skipped;
            }
            match step {
                Step::Freed => return true,
                Step::Reopened => effort.looks = round(),
                _ => effort.looks[ring as usize] = effort.looks[ring as usize].saturating_sub(1),
            }
        }
        false
    }

    /// The ring that gives next; none if both were gone round.
    fn giver(&self, room: Room, effort: &Effort, keeper: &impl Keeper<T>) -> Option<Which> {
        let [small, main] = effort.looks.map(|looks| looks > 0);
        let over = |ring| matches!(self.rings.peek(ring), Popped::Entry(entry) if keeper.expired(self.seen(entry)));
        match (small, main) {
            (false, false) => None,
            (true, false) => Some(Which::Small),
            (false, true) => Some(Which::Main),
            (true, true) if over(Which::Main) => Some(Which::Main),
            (true, true) if over(Which::Small) => Some(Which::Small),
            (true, true) => {
                let full = effort.promotions > 0 && self.weight(Which::Small) >= self.share.of(room.capacity);
                Some(if full { Which::Small } else { Which::Main })
            }
        }
    }

    /// An entry that was just seen in a slot.
    fn seen(&self, entry: NonNull<T>) -> &T {
        // SAFETY: the slot had a share of it under the pin that the caller holds: it is not freed before that ends.
        unsafe { entry.as_ref() }
    }

    fn step(&self, ring: Which, room: Room, effort: &Effort, keeper: &impl Keeper<T>) -> Step {
        if ring == Which::Main {
            // It goes as it is: who is next after so many chances.
            self.next_victim(room, keeper);
        }
        let held = match self.take(ring) {
            Popped::Entry(held) => held,
            Popped::Hole => return Step::Skipped,
            Popped::Empty => return Step::Empty,
        };
        let member = self.seen(held);
        if keeper.removed(member) {
            keeper.release(held);
            return Step::Skipped;
        }
        if ring == Which::Small && !keeper.expired(member) {
            return self.leave_small(held, room, effort, keeper);
        }
        self.evict_held(ring, held, room, keeper)
    }

    /// Small's first entry, which is in our hand, goes to main or leaves.
    fn leave_small(&self, held: NonNull<T>, room: Room, effort: &Effort, keeper: &impl Keeper<T>) -> Step {
        let member = self.seen(held);
        let (hash, uses) = (mixed(member.hash()), member.uses());
        for _ in 0..uses {
            self.sketch.add(hash, room.entries);
        }
        if effort.promotions == 0 {
            return self.evict_held(Which::Small, held, room, keeper);
        }
        let mut step = Step::Promoted;
        let enters = uses >= WARM || {
            let counted = self.sketch.estimate(hash);
            if self.main_has_room(room) {
                counted >= KNOWN
            } else {
                counted >= FAMOUS && {
                    let victim = self.next_victim(room, keeper);
                    victim.is_none_or(|victim| counted > self.sketch.estimate(victim) + MARGIN) && {
                        step = self.evict_head(room, keeper);
                        true
                    }
                }
            }
        };
        if !enters {
            return self.evict_held(Which::Small, held, room, keeper);
        }
        member.set_uses(0);
        self.put(Which::Main, held, keeper);
        step
    }

    /// Main's first entry makes room for one that beats it.
    fn evict_head(&self, room: Room, keeper: &impl Keeper<T>) -> Step {
        match self.take(Which::Main) {
            Popped::Entry(victim) if keeper.removed(self.seen(victim)) => {
                keeper.release(victim);
                Step::Promoted
            }
            Popped::Entry(victim) => self.evict_held(Which::Main, victim, room, keeper),
            Popped::Hole | Popped::Empty => Step::Promoted,
        }
    }

    /// Evicts what is in the hand, or puts it back.
    fn evict_held(&self, ring: Which, held: NonNull<T>, room: Room, keeper: &impl Keeper<T>) -> Step {
        let member = self.seen(held);
        let (hash, expired) = (mixed(member.hash()), keeper.expired(member));
        if keeper.evict(member) {
            if !expired {
                self.ghosts[ring as usize].put(hash, room.entries);
            }
            return Step::Freed;
        }
        self.put(ring, held, keeper);
        // If its refresh has ended meanwhile, the leader's own look for room missed it: it was in our hand.
        if keeper.reopened(member) { Step::Reopened } else { Step::Skipped }
    }

    /// Takes uses off main's first entries until one has none left, and is thus the next to go; its hash.
    pub(super) fn next_victim(&self, room: Room, keeper: &impl Keeper<T>) -> Option<u64> {
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
            let Popped::Entry(held) = self.take(Which::Main) else { continue };
            let member = self.seen(held);
            let uses = member.uses();
            if uses > 0 {
                member.set_uses(uses - 1);
                self.sketch.add(mixed(member.hash()), room.entries);
                chances = chances.saturating_sub(1);
            }
            self.put(Which::Main, held, keeper);
        }
        None
    }
}
