//! The cache.

#[cfg(feature = "metrics")]
mod gauges;
#[cfg(feature = "std")]
pub(crate) mod janitor;
pub(crate) mod pinned;
#[cfg(feature = "std")]
mod plain;

use crate::api::handle::entry::CoreRef;
use crate::api::handle::lookup::Lookup;
use crate::engine::Core;
use crate::engine::key::ToKey;
use crate::engine::stats::Stats;
use crate::sys::hasher::DefaultHashBuilder;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;

/// A concurrent cache in which a value that many ask for is computed once.
///
/// Share it by `Arc` or in a static; every method takes `&self`. Keys are compared in full, values are given as clones,
/// borrowed ([`Ref`](crate::Ref)) or counted ([`Entry`](crate::Entry)).
///
/// Reads never lock: a hit walks one bucket of a lock-free list under an epoch pin. Only callers who wait for the load
/// of another sleep.
pub struct Cache<K, V, S = DefaultHashBuilder> {
    core: Core<K, V>,
    hasher: S,
}

impl<K, V, S> Cache<K, V, S> {
    pub(crate) fn from_parts(core: Core<K, V>, hasher: S) -> Self {
        Self { core, hasher }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core<K, V> {
        &self.core
    }

    pub(crate) fn hasher(&self) -> &S {
        &self.hasher
    }

    #[inline]
    pub(crate) fn hash<Q: ?Sized + Hash>(&self, q: &Q) -> u64
    where
        S: BuildHasher,
    {
        self.hasher.hash_one(q)
    }

    /// Entries stored now. Loads in flight do not count; entries that have expired and were not yet removed do. Exact
    /// when no other thread is changing the cache.
    #[doc(alias = "entry_count")]
    pub fn len(&self) -> usize {
        self.core.entries()
    }

    /// Whether no entry is stored now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of the entries stored now; as exact as [`len`](Self::len).
    #[doc(alias = "weighted_size")]
    pub fn weight(&self) -> u64 {
        self.core.weight()
    }

    /// The weight that the cache may hold.
    #[doc(alias = "policy")]
    pub fn capacity(&self) -> u64 {
        self.core.capacity()
    }

    /// The name it was built with; empty if none.
    pub fn name(&self) -> &str {
        &self.core.config.name
    }

    /// What the cache has done so far.
    pub fn stats(&self) -> Stats {
        let (nodes, weight) = self.core.limbo().retired();
        Stats {
            retired_bytes: nodes as u64 * self.core.node_size(),
            retired_weight: weight,
            ..self.core.counters.snapshot()
        }
    }

    /// For this crate's own tests and fuzzers, with no other thread at work: whether each entry is in one slot of the
    /// eviction rings, and all counts are right.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), alloc::string::String> {
        self.core.validate()
    }

    /// For this crate's own tests: slots in use, holes included, rounded up to whole segments.
    #[doc(hidden)]
    pub fn slots(&self) -> usize {
        self.core.slots()
    }

    /// Invalidates all entries with this tag ([`Builder::tags_with`](crate::Builder::tags_with)), and what loads that have
    /// begun come to: those who already wait for it get it, and whoever comes after this call loads anew. Whether an entry is
    /// the old value of a [`Lease`](crate::Lease) all the same, for conditional requests: yes; it is not served as stale.
    ///
    /// Cost: two atomic operations, however many entries there are. They are not found any more from now on, and removed as they
    /// are asked for, evicted, [purged](Self::purge_expired) or come by as others are stored; until then they count in
    /// [`len`](Self::len), and then in [`Stats::invalidations`]. Without `tags_with` there are no tags, and nothing happens. A
    /// failure that is kept (`negative_ttl`) has no tags.
    pub fn invalidate_tag<T: ?Sized + Hash>(&self, tag: &T) {
        if let Some(groups) = &self.core.config.groups {
            groups.invalidate(tag);
            self.core.note_ends();
        }
    }

    /// Gets on board at a key and gives the protocol into the caller's hands: a value, or the lease of the load, or a
    /// place among those who wait for it.
    ///
    /// Never waits, and calls no loader. XFetch's dice are rolled. Without std, prefer [`Local::lease`](crate::Local::lease).
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// let cache: Cache<String, u64> = Cache::new(10);
    /// let Lookup::Lead(lease) = cache.lease("answer") else { unreachable!() };
    /// assert!(matches!(cache.lease("answer"), Lookup::Wait(_)));
    /// assert_eq!(*lease.fulfil(42).unwrap(), 42);
    /// assert_eq!(cache.get("answer"), Some(42));
    /// ```
    #[doc(alias = "get_value_or_guard")]
    pub fn lease<Q>(&self, q: &Q) -> Lookup<'_, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        S: BuildHasher,
    {
        let pin = || self.core.limbo().enter();
        Lookup::at(CoreRef::borrowed(&self.core), self.hash(q), q, pin)
    }

    /// As [`lease`](Self::lease), with handles that keep the cache alive, for work that is spawned.
    pub fn lease_owned<Q>(self: &Arc<Self>, q: &Q) -> Lookup<'static, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        Lookup::at(self.kept(), self.hash(q), q, || self.core.limbo().enter())
    }

    /// The core, kept alive by the handle.
    pub(crate) fn kept(self: &Arc<Self>) -> CoreRef<'static, K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        let keep: Arc<dyn Any + Send + Sync> = self.clone();
        // SAFETY: the core is a field of what the Arc keeps alive, at a fixed address.
        unsafe { CoreRef::kept(&self.core, keep) }
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
