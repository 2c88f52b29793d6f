//! A check that a cache at rest is consistent, for tests and fuzzers. No other thread may use the
//! cache meanwhile.

use super::{Core, Walk};
use crate::sys::sync::Ordering;
use alloc::{format, string::String};
use core::ptr::NonNull;

/// The entries of a shard's slots that a walk has found.
#[derive(Clone, Copy, Default)]
struct Found {
    entries: usize,
    /// The weight in each ring.
    weights: [u64; 2],
}

impl<K, V> Core<K, V> {
    /// Checks that each stored entry is in exactly one slot, that no slot holds anything else, and
    /// that all counts are right.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let mut total = 0;
        let pin = self.limbo.enter();
        let mut found = alloc::vec![Found::default(); self.shards.len()];
        let mut walk = Walk::start();
        // SAFETY: all steps are on this core, and the pin is held throughout.
        while let Some(node) = unsafe { walk.step(self, &pin) } {
            let word = node.word.load();
            if node.link().is_marked() {
                return Err("a removed node is still in the list".into());
            }
            if !word.weighs() {
                continue;
            }
            let index = self.index_of(node.cold().slot.load(Ordering::Relaxed));
            found[index].entries += 1;
            let ring = self.shards[index]
                .policy
                .holds(NonNull::from(node))
                .ok_or("an entry is not in the slot that it says")?;
            found[index].weights[ring] += u64::from(node.stored_weight());
        }
        let entries: usize = found.iter().map(|found| found.entries).sum();
        if entries != self.entries() {
            return Err(format!("{entries} entries, counted {}", self.entries()));
        }
        for (shard, found) in self.shards.iter().zip(found) {
            let (slots, weights) = (shard.policy.validate()?, shard.policy.held());
            if slots != found.entries || weights.is_some_and(|weights| weights != found.weights) {
                return Err(format!(
                    "{} entries weigh {:?}; in slots {slots}, and these weigh {weights:?}",
                    found.entries, found.weights
                ));
            }
            total += found.weights.iter().sum::<u64>();
        }
        if self.weight() != total { Err(format!("all weigh {total}, counted {}", self.weight())) } else { Ok(()) }
    }

    /// Returns the number of slots in use, holes included.
    pub(crate) fn slots(&self) -> usize {
        self.shards.iter().map(|shard| shard.policy.slots()).sum()
    }
}
