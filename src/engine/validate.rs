//! Whether everything is in its place, for tests and fuzzers, with nobody at work.

use super::{Core, Shard, Walk};
use crate::flight::node::Node;
use crate::sync::Ordering;
use alloc::{format, string::String};
use core::ptr::NonNull;

/// What a walk finds in a shard.
#[derive(Clone, Copy, Default)]
struct Found {
    entries: usize,
    weight: u64,
}

impl<K, V> Core<K, V> {
    /// That each stored entry is in exactly one slot, no slot has anything else, and all counts are right.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let mut total = 0;
        let pin = self.limbo.enter();
        let mut found = alloc::vec![Found::default(); self.shards.len()];
        let mut walk = Walk::start();
        // SAFETY: the pin is held throughout.
        while let Some(node) = unsafe { walk.step(self, &pin) } {
            let word = node.word.load();
            if node.link().is_marked() {
                return Err("a removed node is still in the list".into());
            }
            if !word.valued() {
                continue;
            }
            let shard = self.shard_of_order(node.link().order());
            let index = self.shards.iter().position(|s| core::ptr::eq(&s.0, shard)).unwrap_or(0);
            found[index].entries += 1;
            found[index].weight += u64::from(node.stored_weight());
            Self::in_its_slot(shard, node)?;
        }
        for (shard, found) in self.shards.iter().zip(found) {
            let entries = shard.entries.load(Ordering::Relaxed);
            let (slots, weight) = (shard.policy.validate()?, shard.policy.total());
            if (entries, slots, weight) != (found.entries, found.entries, found.weight) {
                return Err(format!(
                    "{} entries weigh {}; counted {entries}, in slots {slots}, and these weigh {weight}",
                    found.entries, found.weight
                ));
            }
            total += found.weight;
        }
        if self.weight() != total { Err(format!("all weigh {total}, counted {}", self.weight())) } else { Ok(()) }
    }

    fn in_its_slot(shard: &Shard<K, V>, node: &Node<K, V>) -> Result<(), String> {
        let seated = shard.policy.holds(NonNull::from(node));
        if seated { Ok(()) } else { Err("an entry is not in the slot that it says".into()) }
    }
}
