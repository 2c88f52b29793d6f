//! The cache without its hasher: what the public types, whatever face they have, are made of.
//!
//! * this file: the parts of a cache, and [`Scope`], in which an operation runs;
//! * [`board`]: what a caller who wants a value meets, from a plain hit to leading a flight;
//! * [`land`]: how a flight ends;
//! * [`removal`]: insertion, and everything behind a won mark;
//! * [`hand`]: slots, and the eviction that they serve.

pub(crate) mod board;
pub(crate) mod config;
mod hand;
pub(crate) mod land;
mod removal;

use crate::expiry::{self, Hot, NEVER};
use crate::flight::bell::Bells;
use crate::flight::node::Node;
use crate::link::Link;
use crate::policy::ring::Ring;
use crate::reclaim::{Limbo, Pin, Retired};
use crate::stats::Counters;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, Padded, mutant};
use crate::table::{Table, order_of};
use crate::unwind;
use alloc::{boxed::Box, vec::Vec};
use config::Config;
use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Why a value was removed from the cache.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// `remove`, `remove_if`, `invalidate`, `invalidate_all`, `retain` or `compute`.
    Explicit,
    /// A newer value took its place.
    Replaced,
    /// Its time to live or to idle was over.
    Expired,
    /// Room was needed.
    Size,
}

/// An address of a node, with no claim about its life.
pub(crate) type Ptr<K, V> = NonNull<Node<K, V>>;

/// A part of the cache that keys are spread over by hash.
pub(crate) struct Shard<K, V> {
    table: Table,
    ring: Ring<Node<K, V>>,
    entries: AtomicUsize,
}

/// A cache without its hasher.
pub(crate) struct Core<K, V> {
    pub(crate) config: Config<K, V>,
    pub(crate) counters: Counters,
    pub(crate) bells: Bells,
    shards: Box<[Padded<Shard<K, V>>]>,
    weight: Padded<AtomicU64>,
    capacity: AtomicU64,
    dice: AtomicU64,
    limbo: Limbo<Node<K, V>>,
}

/// Bytes of retired nodes past which new values are not kept. Far above what a thread that is descheduled while pinned
/// lets pile up (some 100,000 removals); a pin that is held for good is meant.
const SOFT_BYTES: usize = if cfg!(feature = "std") { 8 << 20 } else { 256 << 10 };
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

/// Whether a value may be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    Good,
    /// Good, and the dice say: refresh it.
    Early,
    Over,
}

impl<K, V> Core<K, V> {
    pub(crate) fn new(config: Config<K, V>) -> Self {
        let room = config.initial_capacity.div_ceil(config.shards);
        let shard = |_| {
            Padded(Shard { table: Table::new(room), ring: Ring::new(), entries: AtomicUsize::new(0) })
        };
        Self {
            counters: Counters::new(config.record_stats),
            bells: Bells::new(),
            shards: (0..config.shards).map(shard).collect(),
            weight: Padded(AtomicU64::new(0)),
            capacity: AtomicU64::new(config.max_capacity),
            dice: AtomicU64::new(config.seed.unwrap_or(0)),
            limbo: Limbo::new(),
            config,
        }
    }

    pub(crate) fn limbo(&self) -> &Limbo<Node<K, V>> {
        &self.limbo
    }

    pub(crate) fn node_size(&self) -> u64 {
        size_of::<Node<K, V>>() as u64
    }

    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &Shard<K, V> {
        self.shard_of_order(order_of(hash))
    }

    /// By a multiplicative hash of the order, which a node knows; so the bits that choose the bucket stay spread within
    /// each shard.
    #[inline]
    pub(crate) fn shard_of_order(&self, order: u32) -> &Shard<K, V> {
        let spread = u64::from(order).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        &self.shards[((spread * self.shards.len() as u64) >> 32) as usize]
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
        self.shards.iter().map(|s| s.entries.load(Ordering::Relaxed)).sum()
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
        let bytes = self.limbo.nodes().saturating_mul(size_of::<Node<K, V>>());
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

    /// A bag of retired nodes heavier than this is sealed before it is full.
    fn heavy(&self) -> u64 {
        if self.config.weigher.is_some() { (self.capacity() / 32).max(1) } else { NEVER }
    }

    /// The hit path's question: may this value be served? Never rolls dice. Counts as a use where idling matters.
    #[inline]
    pub(crate) fn good(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.eternal() {
            return true;
        }
        let now = self.config.time.now();
        if now < hot.quiet_until() && self.config.idle == NEVER {
            return true;
        }
        self.good_past_quiet(node, hot, now)
    }

    #[cold]
    fn good_past_quiet(&self, node: &Node<K, V>, hot: Hot, now: u64) -> bool {
        if now >= node.expires() {
            return false;
        }
        if self.config.idle == NEVER {
            return true;
        }
        // With a time to idle, quiet-until holds the idle deadline instead. It moves once a tick of the clock.
        let alive = now < hot.quiet_until();
        let deadline = self.idle_deadline(now);
        if alive && deadline != hot.quiet_until() {
            node.set_quiet(hot, deadline);
        }
        alive
    }

    /// Rounded up to the grain of `Hot`.
    fn idle_deadline(&self, now: u64) -> u64 {
        now.saturating_add(self.config.idle).div_ceil(1000).saturating_mul(1000)
    }

    /// The same without counting as a use: for whoever only looks on.
    pub(crate) fn over(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.eternal() {
            return false;
        }
        let now = self.config.time.now();
        now >= node.expires() || (self.config.idle != NEVER && now >= hot.quiet_until())
    }

    /// The read-through question: may it be served, and does this caller refresh it early?
    pub(crate) fn freshness(&self, node: &Node<K, V>) -> Freshness {
        if !self.good(node) {
            return Freshness::Over;
        }
        let (hot, beta) = (node.hot(), self.config.beta);
        let (expires, delta) = (node.expires(), hot.delta());
        if hot.eternal() || beta == 0.0 || delta == 0 || expires == NEVER {
            return Freshness::Good;
        }
        let now = self.config.time.now();
        let quiet = match self.config.idle {
            NEVER => hot.quiet_until(),
            _ => expiry::quiet_until(expires, delta, beta),
        };
        if now >= quiet && expiry::roll(now, expires, delta, beta, self.random()) {
            Freshness::Early
        } else {
            Freshness::Good
        }
    }

    /// A place for an operation to run in.
    #[inline]
    pub(crate) fn scope(&self, pin: Pin) -> Scope<'_, K, V> {
        Scope {
            core: self,
            pin: ManuallyDrop::new(pin),
            after: RefCell::new(Vec::new()),
            sealed: Cell::new(false),
        }
    }

    /// Gives back a share from outside of any pin.
    ///
    /// # Safety
    /// The caller owns the share, and does not use it again.
    pub(crate) unsafe fn release_unpinned(&self, node: Ptr<K, V>) {
        // SAFETY: the share keeps the node alive until it is given back in the next step.
        if unsafe { node.as_ref() }.unshare() {
            let scope = self.scope(self.limbo.enter());
            // SAFETY: that was the last share.
            unsafe { scope.retire(node) };
        }
    }

    /// Finds an entry to read it, by hash and key.
    #[inline]
    pub(crate) fn find<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let link = self.shard(hash).table.find(pin, hash, |link| {
            // SAFETY: the table of this core holds nodes of this type only, alive under the pin.
            is_key(unsafe { Node::<K, V>::of_link(link) }.key())
        })?;
        // SAFETY: as above; the pin is held for 'p.
        Some(unsafe { Node::of_link(link) })
    }

    /// The node whose value a plain read of `node` serves now: itself, or a successor that is about to take its place.
    #[inline]
    pub(crate) fn serving<'p>(&'p self, pin: &'p Pin, node: &'p Node<K, V>) -> Option<&'p Node<K, V>> {
        let word = node.word.load();
        if word.serves() && self.good(node) {
            return Some(node);
        }
        self.serving_successor(pin, word)
    }

    /// A live value's node. Counts the lookup.
    #[inline]
    pub(crate) fn live<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let found = self.find(pin, hash, is_key).and_then(|node| self.serving(pin, node));
        self.counters.lookup(found.is_some());
        found.inspect(|node| node.touch())
    }

    /// Reads a live value: the plain hit.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        pin: &Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        take: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        // SAFETY: seen valued under the pin.
        self.live(pin, hash, is_key).map(|node| take(unsafe { node.value() }))
    }

    /// Reads a live value with which nothing but a plain hit can happen: the first try of a read-through. Counts the
    /// lookup only if it is a hit.
    #[inline]
    pub(crate) fn read_quietly<R>(
        &self,
        pin: &Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        take: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let node = self.find(pin, hash, is_key)?;
        if !node.word.load().serves() || !self.quiet(node) {
            return None;
        }
        self.counters.lookup(true);
        node.touch();
        // SAFETY: seen valued under the pin.
        Some(take(unsafe { node.value() }))
    }

    /// Whether the value is good, and no dice are to be rolled for it.
    #[inline]
    fn quiet(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.eternal() {
            return true;
        }
        let quiet = match self.config.idle {
            NEVER => hot.quiet_until(),
            _ if !self.good(node) => return false,
            _ => expiry::quiet_until(node.expires(), hot.delta(), self.config.beta),
        };
        self.config.time.now() < quiet
    }

    /// A live value's node, without a trace of having looked.
    pub(crate) fn glimpse<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let node = self.find(pin, hash, is_key)?;
        let word = node.word.load();
        if word.serves() && !self.over(node) {
            return Some(node);
        }
        self.serving_successor(pin, word)
    }

    #[cold]
    fn serving_successor<'p>(
        &'p self,
        _pin: &'p Pin,
        word: crate::flight::word::Snapshot,
    ) -> Option<&'p Node<K, V>> {
        let crate::flight::word::State::Refreshing(next) = word.state() else { return None };
        // SAFETY: a successor that is read from an entry which was found unmarked under the present pin is alive under
        // it: it is retired only after the entry's word was taken back or the entry was marked.
        let next = unsafe { next.cast::<Node<K, V>>().as_ref() };
        ((next.word.load().serves() || mutant("successor not ready")) && self.good(next)).then_some(next)
    }
}

/// What an operation needs while it runs: a pin, and what is to be done once the pin is gone.
///
/// Under the pin run Hash, Eq, Clone and the closures of `retain` and `iter`; listeners and drops of values run after
/// it, in [`Scope`]'s own drop.
pub(crate) struct Scope<'c, K, V> {
    pub(crate) core: &'c Core<K, V>,
    pin: ManuallyDrop<Pin>,
    after: RefCell<Vec<(Ptr<K, V>, RemovalCause)>>,
    sealed: Cell<bool>,
}

impl<'c, K, V> Scope<'c, K, V> {
    #[inline]
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Gives back a share.
    ///
    /// # Safety
    /// The caller owns the share, and from now on uses the node only under this scope's pin.
    pub(crate) unsafe fn release(&self, node: Ptr<K, V>) {
        // SAFETY: the share keeps the node alive until it is given back in the next step.
        if unsafe { node.as_ref() }.unshare() {
            // SAFETY: that was the last share.
            unsafe { self.retire(node) };
        }
    }

    /// # Safety
    /// The last share of `node` was given back, by the caller: so it is out of the list and the ring, nobody who pins
    /// from now on can find it, and nobody else retires it.
    unsafe fn retire(&self, node: Ptr<K, V>) {
        // SAFETY: handed on; nodes come from `allocate`.
        let retired = unsafe { self.core.limbo.retire(&self.pin, node, self.core.heavy()) };
        if retired == Retired::Sealed {
            self.sealed.set(true);
        }
    }

    /// The node around a link of this core's tables.
    fn node(&self, link: NonNull<Link>) -> &Node<K, V> {
        // SAFETY: the tables of this core hold nodes of this type only, and links are only had under this pin.
        unsafe { Node::of_link(link) }
    }
}

impl<K, V> Drop for Scope<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.pin) };
        let removed = core::mem::take(self.after.get_mut());
        if !removed.is_empty() {
            self.core.announce(removed);
        }
        let due = self.sealed.get() || self.core.pressure() != Pressure::Normal;
        if due && !unwind::panicking() {
            self.core.limbo.collect();
        }
    }
}

impl<K, V> Core<K, V> {
    /// Tells the listener about removed values, and gives back the shares that kept them for it.
    fn announce(&self, removed: Vec<(Ptr<K, V>, RemovalCause)>) {
        struct Release<'c, K, V>(&'c Core<K, V>, Ptr<K, V>);
        impl<K, V> Drop for Release<'_, K, V> {
            fn drop(&mut self) {
                // SAFETY: the share was taken for this announcement; this is its end.
                unsafe { self.0.release_unpinned(self.1) };
            }
        }
        unwind::each(removed.into_iter(), |(node, cause)| {
            let kept = Release(self, node);
            if let Some(listener) = &self.config.listener {
                // SAFETY: `kept` has a share; only nodes whose word was valued are announced.
                let (key, value) = unsafe { (kept.1.as_ref().key(), kept.1.as_ref().value()) };
                listener(key, value, cause);
            }
        });
    }
}

/// A walk over all shards, a node at a time.
pub(crate) struct Walk<K, V> {
    shard: usize,
    at: Option<Ptr<K, V>>,
}

impl<K, V> Walk<K, V> {
    pub(crate) fn start() -> Self {
        Self { shard: 0, at: None }
    }

    /// The next node, whatever its state; a node that is replaced meanwhile is followed by its replacement.
    ///
    /// # Safety
    /// All steps of a walk are on the same core and under a pin that is held throughout.
    pub(crate) unsafe fn step<'p>(&mut self, core: &'p Core<K, V>, pin: &'p Pin) -> Option<&'p Node<K, V>> {
        while let Some(shard) = core.shards.get(self.shard) {
            let next = match self.at {
                None => shard.table.first(pin),
                // SAFETY: met in the step before, so alive under the pin.
                Some(at) => shard.table.after(pin, unsafe { at.as_ref() }.link()),
            };
            if let Some(link) = next {
                // SAFETY: the tables of this core hold nodes of this type only, alive under the pin.
                let node = unsafe { Node::of_link(link) };
                self.at = Some(NonNull::from(node));
                return Some(node);
            }
            *self = Self { shard: self.shard + 1, at: None };
        }
        None
    }
}

impl<K, V> Drop for Core<K, V> {
    fn drop(&mut self) {
        let scope = self.scope(self.limbo.enter());
        for shard in &self.shards {
            scope.clear_ring(shard);
        }
        let mut walk = Walk::start();
        // SAFETY: under the scope's pin.
        while let Some(node) = unsafe { walk.step(self, scope.pin()) } {
            // Whoever still had a share of a listed node has forgotten it: it borrowed the cache.
            // SAFETY: `&mut self`: nobody else can reach the node; the pin keeps it for the walk's next step.
            unsafe { scope.retire(NonNull::from(node)) };
        }
        drop(scope);
        // The limbo's own drop frees what is retired.
    }
}
