//! How much the hand does to find one entry that goes.

use super::{Coming, Which};

/// The rounds after which no entry of main has a use left.
const ROUNDS: usize = 4;

/// The work that the hand may still do for one entry.
pub(super) struct Effort {
    pub(super) coming: Coming,
    pub(super) promotions: usize,
    /// The looks left in each ring. They run out if most entries are being refreshed.
    pub(super) looks: [usize; 2],
    /// How often the newcomer was met.
    pub(super) met: usize,
}

impl Effort {
    pub(super) fn looked(&mut self, ring: Which) {
        self.looks[ring as usize] = self.looks[ring as usize].saturating_sub(1);
    }

    /// Counts that the newcomer was met in this ring. It is at the end of the ring now. `last` says
    /// that it had been put there before.
    pub(super) fn meets_newcomer(&mut self, ring: Which, last: bool) {
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
