//! What it costs to load a value that was inserted, and not loaded: XFetch goes by it.
//!
//! The best guess is what the key's last load took. Where there was none, it is what a load of this
//! cache usually takes: an average that gives the newest load an eighth of the weight.

use super::{Core, Operation};
use crate::flight::expiry::ExpiryWord;
use crate::flight::expiry::Timestamps;
use crate::flight::node::Node;
use crate::runtime::xfetch::{self, NEVER};
use crate::sys::sync::Ordering;

/// The newest load's part of the average.
const PART: u64 = 8;

impl<K, V> Core<K, V> {
    /// A load has taken so long, in ns; 0: it was not measured.
    pub(crate) fn note_cost(&self, delta: u64) {
        if delta == 0 {
            return;
        }
        // Relaxed, and no update: a heuristic, in which a load may be lost.
        let usual = self.usual_cost.load(Ordering::Relaxed);
        let new = if usual == 0 { delta } else { usual - usual / PART + delta / PART };
        self.usual_cost.store(new, Ordering::Relaxed);
    }

    /// What a load usually takes, in ns; 0: there was none.
    pub(crate) fn usual_cost(&self) -> u64 {
        self.usual_cost.load(Ordering::Relaxed)
    }

    /// What a value takes to load that replaces this one, and was not loaded.
    pub(crate) fn cost_after(&self, old: Option<&Node<K, V>>) -> u64 {
        match old.map_or(0, |old| old.hot().delta()) {
            0 => self.usual_cost(),
            known => known,
        }
    }

    /// What a hit of a value without tags looks at.
    pub(super) fn hot(&self, born: u64, expires: u64, delta: u64) -> ExpiryWord {
        let quiet = match self.config.idle {
            NEVER => xfetch::quiet_until(expires, delta, self.config.beta),
            _ => self.idle_deadline(born),
        };
        ExpiryWord::new(quiet, delta)
    }
}

impl<K, V> Operation<'_, K, V> {
    /// A newcomer that was not loaded, and is not linked yet, costs what the key's last load took.
    pub(super) fn cost_as(&self, new: &Node<K, V>, old: &Node<K, V>, stamps: &Timestamps) {
        let delta = old.hot().delta();
        if stamps.expires != NEVER && delta != 0 {
            let hot = self.core.hot(stamps.born, stamps.expires, delta);
            new.set_hot(if stamps.hot.tagged() { hot.with_tags() } else { hot });
        }
    }
}
