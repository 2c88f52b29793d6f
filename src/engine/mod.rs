//! The cache without its hasher: what the public types, whatever face they have, are made of.
//!
//! * this file: the parts of a cache;
//! * [`operation`]: what an operation runs in, and what is done after it;
//! * [`read`]: finding a value that may be served;
//! * [`board`]: what a caller who wants a value meets, from a plain hit to leading a flight;
//! * [`land`]: how a flight ends with a value, [`fail`]: how without;
//! * [`loads`]: how many loads there are; [`cost`]: what they take;
//! * [`removal`]: insertion, and everything behind a won mark;
//! * [`hand`]: slots, and the eviction that they serve; [`spread`]: over how many shards;
//! * [`sweep`]: what goes over all entries;
//! * [`tidy`]: what is over goes as others come;
//! * [`told`]: what the observer is told, and of which key;
//! * [`validate`]: whether everything is in its place.

pub(crate) mod config;
mod cost;
pub(crate) mod end;
pub(crate) mod event_key;
pub(crate) mod events;
mod evict;
pub(crate) mod failure;
pub(crate) mod flight_ref;
mod freshness;
mod insert;
pub(crate) mod join;
pub(crate) mod key;
mod loads;
pub(crate) mod observe;
pub(crate) mod operation;
pub(crate) mod outcome;
pub(crate) mod publish;
mod read;
pub(crate) mod rejected;
mod remove;
pub(crate) mod role;
mod slots;
mod spare;
mod spread;
pub(crate) mod stats;
mod sweep;
pub(crate) mod tags;
pub(crate) mod terms;
mod tidy;
mod validate;
pub(crate) mod wait;
mod weight;

use crate::flight::bell::Bells;
use crate::flight::node::{Node, Nodes};
use crate::policy::Policy;
use crate::reclaim::{Batch, Limbo, Upkeep, bytes};
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::sized;
use crate::sys::sync::{AtomicU64, AtomicUsize, CachePadded, Ordering, untracked};
use crate::table::Table;
use crate::table::split_order::{part_of, split_order};
use alloc::boxed::Box;
use config::Config;
use core::ptr::NonNull;
pub(crate) use events::RemovalCause;
pub(crate) use freshness::Freshness;
pub(crate) use operation::Operation;
pub(crate) use spare::PendingNode;
use stats::Counters;
pub(crate) use sweep::Walk;

/// An address of a node, with no claim about its life.
pub(crate) type Ptr<K, V> = NonNull<Node<K, V>>;

/// A part of the eviction policy, which keys are spread over by hash.
pub(crate) struct Shard<K, V> {
    policy: Policy<Node<K, V>>,
    /// How many have keys that belong here. It may be off, on either side of zero, by what is counted here and there as that
    /// changes.
    entries: CachePadded<untracked::AtomicUsize>,
    /// Its place among the shards.
    index: usize,
}

/// A cache without its hasher.
pub(crate) struct Core<K, V> {
    pub(crate) config: Config<K, V>,
    pub(crate) counters: Counters,
    pub(crate) bells: Bells,
    table: Table,
    shards: Box<[CachePadded<Shard<K, V>>]>,
    spread: spread::Spread,
    weight: CachePadded<AtomicU64>,
    capacity: AtomicU64,
    dice: AtomicU64,
    /// What a load usually takes, in ns.
    usual_cost: untracked::AtomicU64,
    /// Leases that are out, where `max_loads` bounds them.
    leases: AtomicUsize,
    rounds: CachePadded<tidy::Rounds>,
    /// On lines of its own: every removal writes here, and a hit must not notice.
    limbo: CachePadded<Limbo<Node<K, V>>>,
}

/// Bytes of retired nodes past which new values are not kept. Far above what a thread that is descheduled while pinned
/// lets pile up (some 100,000 removals); a pin that is held for good is meant.
const SOFT_BYTES: usize = if cfg!(feature = "std") { 8 << 20 } else { 256 << 10 };
/// The most nodes that are retired before somebody begins their grace period: where that is a system call, it interrupts the
/// other processors for some microseconds, and one hit in ten thousand should not meet it even while another thread inserts.
const MOST_BATCHED: usize = sized(4096, 4, 1);
/// As many as that in large caches only, and as many as this where it is less than an eighth of what the cache may hold.
const USUALLY_BATCHED: u64 = sized(1024, 4, 1) as u64;
/// That many times the soft bounds, and misses load without a flight.
const HARD: usize = 4;

/// How much waits for its grace period (design section 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    Normal,
    /// New values are handed over and not kept.
    Soft,
    /// Misses load without a flight.
    Hard,
}

impl<K, V> Core<K, V> {
    pub(crate) fn new(config: Config<K, V>) -> Self {
        assert!(config.shards.is_power_of_two());
        let bits = config.shards.trailing_zeros();
        let shard = |index| {
            let policy = Policy::numbered(index, bits);
            CachePadded(Shard { policy, entries: CachePadded(untracked::AtomicUsize::new(0)), index })
        };
        Self {
            counters: Counters::new(config.record_stats),
            bells: Bells::new(),
            table: Table::new(config.initial_capacity, config.shards, config.huge_pages),
            shards: (0..config.shards).map(shard).collect(),
            spread: spread::Spread::over(config.shards),
            weight: CachePadded(AtomicU64::new(0)),
            capacity: AtomicU64::new(config.max_capacity),
            usual_cost: untracked::AtomicU64::new(0),
            dice: AtomicU64::new(config.seed.unwrap_or(0)),
            leases: AtomicUsize::new(0),
            rounds: CachePadded(tidy::Rounds::new(config.idle != NEVER || config.groups.is_some())),
            limbo: CachePadded(Limbo::new(config.huge_pages)),
            config,
        }
    }

    pub(crate) fn limbo(&self) -> &Limbo<Node<K, V>> {
        &self.limbo
    }

    /// Where this cache's nodes come from.
    pub(crate) fn nodes(&self) -> &Nodes<K, V> {
        self.limbo.arena()
    }

    pub(crate) fn node_size(&self) -> u64 {
        bytes::<Node<K, V>>() as u64
    }

    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &Shard<K, V> {
        self.shard_of_order(split_order(hash))
    }

    pub(crate) fn shard_of_order(&self, order: u32) -> &Shard<K, V> {
        &self.shards[part_of(order, self.active())]
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> usize {
        self.shards.iter().map(|s| s.entries.load(Ordering::Relaxed)).fold(0, usize::wrapping_add)
    }

    /// 64 uniform bits. With a seed, one sequence a cache; without, a thread-local one.
    fn random(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.config.seed.is_none() {
            return fastrand::u64(..);
        }
        // Each number seeds a generator of its own, so that the sequence is one shared counter.
        let n = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        fastrand::Rng::with_seed(n).u64(..)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        // No model gets there; looking would only multiply what loom has to explore.
        if cfg!(loom) {
            return Pressure::Normal;
        }
        let bytes = self.limbo.nodes().saturating_mul(bytes::<Node<K, V>>());
        let weight = self.limbo.weight();
        let most = if self.config.weigher.is_some() { self.capacity().max(4096) } else { NEVER };
        if bytes <= SOFT_BYTES && weight <= most {
            Pressure::Normal
        } else if bytes <= HARD * SOFT_BYTES && weight <= most.saturating_mul(HARD as u64) {
            Pressure::Soft
        } else {
            Pressure::Hard
        }
    }

    /// Whether too much is retired for another flight; tries to free some first.
    pub(crate) fn overloaded(&self) -> bool {
        self.pressure() == Pressure::Hard && {
            self.limbo.collect(Upkeep::All);
            self.pressure() == Pressure::Hard
        }
    }

    /// How much is retired before somebody collects it: little beside what the cache may hold, and enough to share what that
    /// costs, which may be a system call.
    fn batch(&self) -> Batch {
        let capacity = self.capacity();
        // Some three batches are retired at a time: well below what counts as pressure.
        let most = MOST_BATCHED.min(SOFT_BYTES / 16 / bytes::<Node<K, V>>());
        match self.config.weigher.is_some() {
            // (By few that are heavy, or by an eighth of it if it can hold few.)
            true => Batch::new(most, (capacity / 32).max((capacity / 8).min(64))),
            false => {
                let nodes = (capacity / 8).min(USUALLY_BATCHED).max(capacity / 32);
                Batch::new(nodes.min(most as u64) as usize, NEVER)
            }
        }
    }
}

impl<K, V> Drop for Core<K, V> {
    fn drop(&mut self) {
        let operation = self.operation(self.limbo.enter());
        for shard in &self.shards {
            operation.clear_rings(shard);
        }
        let mut walk = Walk::start();
        // SAFETY: under the scope's pin.
        while let Some(node) = unsafe { walk.step(self, operation.pin()) } {
            // Whoever still had a share of a listed node has forgotten it: it borrowed the cache.
            // SAFETY: `&mut self`: nobody else can reach the node; the pin keeps it for the walk's next step.
            unsafe { operation.retire(NonNull::from(node)) };
        }
        drop(operation);
        // The limbo's own drop frees what is retired.
    }
}
