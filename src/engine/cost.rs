//! The cost of loading a value that was inserted and not loaded: refresh ahead needs it as
//! δ.
//!
//! The best guess is the duration of the key's last load. Where there was none, the guess is the
//! usual duration of this cache's loads: a moving average, in which the newest load has an eighth
//! of the weight.

use super::{Core, Operation};
use crate::flight::expiry::{ExpiryWord, Timestamps};
use crate::flight::node::Node;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::Ordering;

/// The divisor that gives the weight of the newest load in the average: one eighth.
const PART: u64 = 8;

impl<K, V> Core<K, V> {
    /// Notes how long a load took, in ns; 0: it was not measured.
    pub(crate) fn note_cost(&self, delta: u64) {
        if delta == 0 {
            return;
        }
        // Relaxed, and no RMW: the average is a heuristic, and may lose a load.
        let usual = self.usual_cost.load(Ordering::Relaxed);
        let new = if usual == 0 { delta } else { usual - usual / PART + delta / PART };
        self.usual_cost.store(new, Ordering::Relaxed);
    }

    /// Returns how long a load usually takes, in ns; 0: there was none.
    pub(crate) fn usual_cost(&self) -> u64 {
        self.usual_cost.load(Ordering::Relaxed)
    }

    /// Returns the guessed cost of a value that replaces `old` and was not loaded.
    pub(crate) fn cost_after(&self, old: Option<&Node<K, V>>) -> u64 {
        match old.map_or(0, |old| old.hot().delta()) {
            0 => self.usual_cost(),
            known => known,
        }
    }

    /// Returns the expiry word of a value without tags.
    #[inline]
    pub(super) fn hot(&self, born: u64, expires: u64, delta: u64) -> ExpiryWord {
        ExpiryWord::new(self.quiet_time(born, || self.config.refresh.earliest(born, expires, delta)), delta)
    }

    /// Returns until when a value that is stored `now` is quiet, if it may be refreshed from `mark`
    /// on.
    #[inline]
    pub(super) fn quiet_time(&self, now: u64, mark: impl FnOnce() -> u64) -> u64 {
        match self.config.idle {
            // Each hit is to look closer, so no word may say that its entry never expires.
            NEVER if self.config.ttl_after_read.is_some() => mark().min(NEVER - 1),
            NEVER => mark(),
            _ => self.idle_deadline(now),
        }
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Gives a newcomer that was not loaded, and is not linked yet, the cost of the key's last
    /// load.
    #[inline(always)]
    pub(super) fn cost_as(&self, new: &Node<K, V>, old: &Node<K, V>, stamps: &Timestamps) {
        let &Timestamps { born, expires, hot, .. } = stamps;
        let delta = old.hot().delta();
        if expires != NEVER && delta != 0 {
            new.set_hot(self.core.hot(born, expires, delta).flagged_as(hot));
        }
    }
}
