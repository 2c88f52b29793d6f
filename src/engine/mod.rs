//! The cache without its hasher: the operations behind all public types.
//!
//! Each file answers one question.
//!
//! * This file: which parts a cache has.
//! * [`config`]: how a cache was set up, and what one call may set otherwise.
//! * [`operation`]: which pin an operation holds, and what it defers until the pin is gone.
//! * [`read`]: how a reader finds a value. [`freshness`]: whether the value may be served.
//! * [`join`]: which role a caller gets at a key: a hit, the lead of a flight, or a wait.
//!   [`missing`]: how a flight begins. [`role`], [`flight_ref`]: the types of that answer.
//!   [`wait`]: how the caller sleeps.
//! * [`demand`]: how new a value must be for one caller. [`suits`]: which values suit it.
//! * [`publish`]: how a flight ends with a value. [`end`]: how a flight ends without one.
//! * [`terms`]: which weight and times a value gets. [`expiry`], [`refresh`]: the public types of
//!   these. [`cost`]: how long loads take. [`loads`]: how many loads are in flight.
//! * [`insert`]: how a value is stored. [`remove`]: what the winner of a mark does. [`spare`]:
//!   which nodes are not linked yet. [`taken`]: which removed values their remover gets.
//!   [`rejected`]: which values were not kept.
//! * [`slots`], [`evict`], [`displace`]: what the eviction policy needs from the cache.
//!   [`weight`]: what the entries weigh. [`spread`]: how many shards are in use.
//! * [`sweep`]: how a caller visits all entries. [`tidy`]: how expired entries go as others are
//!   stored.
//! * [`tags`]: which entries are invalidated together. [`expire`]: whose time a call ends.
//! * [`observe`]: how the observer is told of an event, and of its key. [`events`], [`event_key`],
//!   [`outcome`], [`failure`], [`stats`]: the public types of such reports.
//! * [`key`]: how a query becomes an owned key.
//! * [`validate`]: whether a cache at rest is consistent (for tests).

pub(crate) mod config;
mod cost;
pub(crate) mod demand;
mod displace;
pub(crate) mod end;
pub(crate) mod event_key;
pub(crate) mod events;
mod evict;
mod expire;
pub(crate) mod expiry;
pub(crate) mod failure;
pub(crate) mod flight_ref;
mod freshness;
mod insert;
pub(crate) mod join;
pub(crate) mod key;
mod loads;
pub(crate) mod missing;
pub(crate) mod observe;
pub(crate) mod operation;
pub(crate) mod outcome;
pub(crate) mod publish;
mod read;
pub(crate) mod refresh;
pub(crate) mod rejected;
mod remove;
pub(crate) mod role;
mod slots;
mod spare;
mod spread;
pub(crate) mod stats;
mod suits;
mod sweep;
pub(crate) mod tags;
pub(crate) mod taken;
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

/// The address of a node. It says nothing about whether the node is alive.
pub(crate) type Ptr<K, V> = NonNull<Node<K, V>>;

/// One part of the eviction policy. Keys are spread over the shards by hash.
pub(crate) struct Shard<K, V> {
    policy: Policy<Node<K, V>>,
    /// In a cache with a weigher, the number of entries whose keys belong to this shard. While the
    /// spread over shards changes, an entry may be counted in at one shard and counted out at
    /// another. So the number may be off, and even below zero, but the sum over all shards is
    /// right.
    entries: CachePadded<untracked::AtomicUsize>,
    /// The shard's index among the shards.
    index: usize,
}

/// A cache without its hasher.
///
/// The table comes first, so that its address is the core's: a hit computes no other.
#[repr(C)]
pub(crate) struct Core<K, V> {
    table: Table,
    pub(crate) config: Config<K, V>,
    pub(crate) counters: Counters,
    pub(crate) bells: Bells,
    shards: Box<[CachePadded<Shard<K, V>>]>,
    spread: spread::Spread,
    weight: CachePadded<AtomicU64>,
    capacity: AtomicU64,
    dice: AtomicU64,
    /// The usual duration of a load, in ns.
    usual_cost: untracked::AtomicU64,
    /// Leases in force, if `max_loads` bounds them.
    leases: AtomicUsize,
    rounds: CachePadded<tidy::Rounds>,
    epochs: expire::Epochs,
    /// Whether every value without terms of its own weighs one and stays until it is removed.
    plain_terms: bool,
    /// Whether a removal is to be told to anyone, or may be due to a tag.
    tells_removals: bool,
    /// On cache lines of its own: every removal writes here, which must not slow down hits.
    limbo: CachePadded<Limbo<Node<K, V>>>,
}

/// Bytes of retired nodes above which new values are not kept. While a pinned thread is
/// descheduled, far fewer pile up. The bound (some 100,000 removals) is for a pin that is held for
/// good.
const SOFT_BYTES: usize = if cfg!(feature = "std") { 8 << 20 } else { 256 << 10 };
/// The largest batch: the most nodes that are retired before a caller begins their grace period.
/// Where that takes a system call, the call interrupts the other processors for some microseconds.
/// With this batch fewer than one hit in ten thousand meets it, even while another thread inserts.
const MOST_BATCHED: usize = sized(4096, 4, 1);
/// Batch size: min(`USUALLY_BATCHED`, capacity / 8), or capacity / 32 if larger, capped at
/// `MOST_BATCHED`.
const USUALLY_BATCHED: u64 = sized(1024, 4, 1) as u64;
/// The most entries that the table makes room for at once, so that a wrong value cannot allocate
/// too much: 4M entries are 64 MiB of cells. The table grows by itself.
pub(crate) const MOST_RESERVED: usize = 1 << 22;
/// Factor from the soft bounds to the hard ones, above which misses load without a flight.
const HARD: usize = 4;

/// How much retired memory waits for its grace period.
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
            let policy = Policy::numbered(index, bits, config.weigher.is_some());
            CachePadded(Shard { policy, entries: CachePadded(untracked::AtomicUsize::new(0)), index })
        };
        Self {
            counters: Counters::new(config.record_stats),
            bells: Bells::new(),
            table: Table::new(config.initial_capacity, config.huge_pages),
            shards: (0..config.shards).map(shard).collect(),
            spread: spread::Spread::over(config.shards),
            weight: CachePadded(AtomicU64::new(0)),
            capacity: AtomicU64::new(config.max_capacity),
            usual_cost: untracked::AtomicU64::new(0),
            dice: AtomicU64::new(config.seed.unwrap_or(0)),
            leases: AtomicUsize::new(0),
            rounds: CachePadded(tidy::Rounds::new(config.idle != NEVER || config.groups.is_some())),
            epochs: expire::Epochs::new(),
            plain_terms: config.gives_plain_terms(),
            tells_removals: config.listener.is_some() || config.observer.is_some() || config.groups.is_some(),
            limbo: CachePadded(Limbo::new(config.huge_pages, config.weigher.is_some())),
            config,
        }
    }

    pub(crate) fn limbo(&self) -> &Limbo<Node<K, V>> {
        &self.limbo
    }

    /// The arena that allocates this cache's nodes.
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

    /// Has the table grow, if its nodes have become too many: the entries, and so many flights.
    /// Where entries are counted apart from their weight, those in the key's shard speak for all.
    #[inline]
    fn grow_table(&self, hash: u64, flights: u64) {
        match self.counts_entries() {
            true => self.grow_table_for(self.shard(hash).counted(), flights),
            false => self.table.buckets.grow(self.entries().saturating_add(flights as usize)),
        }
    }

    /// Does the same, if this is the number of the entries in a shard.
    #[inline]
    fn grow_table_for(&self, entries: usize, flights: u64) {
        let entries = entries << self.active_bits();
        self.table.buckets.grow(entries.saturating_add(flights as usize));
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn buckets(&self) -> usize {
        1 << self.table.buckets.bucket(u32::MAX).leading_ones()
    }

    /// Makes room in the table for so many entries more, within the bounds of `initial_capacity`.
    pub(crate) fn reserve(&self, additional: usize) {
        let nodes = self.entries().saturating_add(additional);
        let most = if self.config.weigher.is_some() { u64::MAX } else { self.capacity() };
        self.table.buckets.reserve(nodes.min(usize::try_from(most).unwrap_or(usize::MAX)).min(MOST_RESERVED));
    }

    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> usize {
        if !self.counts_entries() {
            return self.weight() as usize;
        }
        self.shards.iter().map(|s| s.entries.load(Ordering::Relaxed)).fold(0, usize::wrapping_add)
    }

    /// Returns 64 uniform bits: from one sequence for the cache if it was given a seed, else from a
    /// thread-local generator.
    fn random(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.config.seed.is_none() {
            return fastrand::u64(..);
        }
        // Each number seeds a generator of its own, so the sequence needs only one shared counter.
        let n = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        fastrand::Rng::with_seed(n).u64(..)
    }

    #[inline]
    pub(crate) fn pressure(&self) -> Pressure {
        // No model retires that much. These loads would only multiply the schedules that loom
        // explores.
        if cfg!(loom) {
            return Pressure::Normal;
        }
        let few = self.limbo.nodes() <= SOFT_BYTES / bytes::<Node<K, V>>();
        if few && self.config.weigher.is_none() { Pressure::Normal } else { self.pressure_in_full() }
    }

    #[inline(never)]
    fn pressure_in_full(&self) -> Pressure {
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

    /// Returns whether too much memory is retired to begin another flight. Tries to free some
    /// first.
    pub(crate) fn overloaded(&self) -> bool {
        self.pressure() == Pressure::Hard && {
            self.limbo.collect(Upkeep::All);
            self.pressure() == Pressure::Hard
        }
    }

    /// Returns how much is retired before a caller collects it: little compared with the capacity,
    /// and enough to share the cost of a collection, which may be a system call.
    fn batch(&self) -> Batch {
        let capacity = self.capacity();
        // Some three batches are retired at any time. That is well below the soft bound.
        let most = MOST_BATCHED.min(SOFT_BYTES / 16 / bytes::<Node<K, V>>());
        match self.config.weigher.is_some() {
            // The weight of a batch is capacity / 32; in a small cache capacity / 8, up to 64. A
            // few heavy values reach it.
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
        // SAFETY: the operation's pin is held throughout the walk, on this core.
        while let Some(node) = unsafe { walk.step(self, operation.pin()) } {
            // Every handle keeps the cache from being dropped. So a reference to a listed node that
            // is still counted, beside the list's, belongs to a handle that was forgotten, and is
            // never given back.
            // SAFETY: `&mut self`: no other thread can find or retire the node, and the rings are
            // empty; the list's reference, the last one in use, ends here. The pin keeps the node
            // alive for the walk's next step.
            unsafe { operation.retire(NonNull::from(node)) };
        }
        drop(operation);
        // The limbo's own drop frees the retired nodes.
    }
}
