//! The cache.

#[cfg(feature = "metrics")]
mod gauges;
#[cfg(feature = "std")]
pub(crate) mod janitor;
pub(crate) mod local;
pub(crate) mod pinned;
#[cfg(feature = "std")]
mod plain;
pub(crate) mod policy;
mod take;
#[cfg(all(test, not(loom)))]
mod tests;

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

/// A concurrent cache that computes a value once, however many callers ask for it.
///
/// Share it by `Arc` or in a static; every method takes `&self`. (A `Cache` is not `Clone`: methods
/// that borrow it then need no counted reference.) Lookups compare keys in full. Values come as
/// clones, borrowed ([`Ref`](crate::Ref)) or counted ([`Entry`](crate::Entry)).
///
/// ```
/// use bellwether::Cache;
/// use std::sync::Arc;
/// let cache: Arc<Cache<u32, u32>> = Arc::new(Cache::new(10));
/// let shared = cache.clone();
/// std::thread::spawn(move || shared.insert(1, 1)).join().unwrap();
/// assert_eq!(cache.get(&1), Some(1));
/// ```
///
/// Reads never lock: a hit walks one bucket of a lock-free list under an epoch pin. Only a caller
/// that waits for another caller's load sleeps.
pub struct Cache<K, V, S = DefaultHashBuilder> {
    core: Core<K, V>,
    hasher: S,
}

/// The bound that no cache meets, for the compiler's message.
#[diagnostic::on_unimplemented(
    message = "a `Cache` is not `Clone`: it is shared by `Arc`",
    label = "clone an `Arc` of the cache",
    note = "put the cache in an `Arc` once, `let cache = Arc::new(cache);`, and clone that; or put it in a static"
)]
pub trait SharedByArc: Sized {
    #[doc(hidden)]
    fn never(&self) -> Self;
}

impl<K, V, S> Cache<K, V, S> {
    /// Not available: the compiler says how a cache is shared.
    ///
    /// ```compile_fail,E0277
    /// let cache: bellwether::Cache<u32, u32> = bellwether::Cache::new(10);
    /// let shared = cache.clone();
    /// ```
    #[doc(hidden)]
    #[allow(clippy::should_implement_trait, reason = "it is there for the compiler's message alone")]
    pub fn clone(&self) -> Self
    where
        Self: SharedByArc,
    {
        self.never()
    }
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

    /// Returns the number of entries stored now. Loads in flight do not count; entries that have
    /// expired and were not yet removed do. The number is exact when no other thread changes the
    /// cache.
    #[doc(alias = "entry_count")]
    pub fn len(&self) -> usize {
        self.core.entries()
    }

    /// Returns whether no entry is stored now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the weight of the entries stored now; as exact as [`len`](Self::len).
    #[doc(alias = "weighted_size")]
    pub fn weight(&self) -> u64 {
        self.core.weight()
    }

    /// Returns the weight that the cache may hold.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> u64 {
        self.core.capacity()
    }

    /// Makes room in the table for this many entries more, at once, for a caller that is about to
    /// insert them. It is a hint, within the bounds of
    /// [`initial_capacity`](crate::Builder::initial_capacity): the table grows by itself, without a
    /// pause.
    ///
    /// Cost: allocates some 16 bytes an entry, as zeroed memory. The table never shrinks.
    pub fn reserve(&self, additional: usize) {
        self.core.reserve(additional);
    }

    /// Returns the name that the cache was built with; empty if it was given none.
    pub fn name(&self) -> &str {
        &self.core.config.name
    }

    /// Returns what the cache has done so far.
    pub fn stats(&self) -> Stats {
        let (nodes, weight) = self.core.limbo().retired();
        Stats {
            retired_bytes: nodes as u64 * self.core.node_size(),
            retired_weight: weight,
            ..self.core.counters.snapshot()
        }
    }

    /// Checks that each entry is in one slot of the eviction rings, and that all counts are right.
    /// For this crate's own tests and fuzzers, with no other thread at work.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), alloc::string::String> {
        self.core.validate()
    }

    /// Returns the number of slots in use, holes included, rounded up to whole segments. For this
    /// crate's own tests.
    #[doc(hidden)]
    pub fn slots(&self) -> usize {
        self.core.slots()
    }

    /// Invalidates all entries with this tag ([`Builder::tags_with`](crate::Builder::tags_with)),
    /// and the results of loads that have begun. A caller that already waits for such a load gets
    /// its result; a caller that comes after this call loads anew. An invalidated value is still
    /// available from [`Lease::stale`](crate::Lease::stale) for conditional requests, but is never
    /// served.
    ///
    /// Cost: two atomic operations, however many entries there are. Lookups no longer find the
    /// entries from now on. The cache removes them as they are asked for, evicted,
    /// [purged](Self::purge_expired), or met while other values are stored. Until then they count
    /// in [`len`](Self::len); once removed, they count in [`Stats::invalidations`].
    ///
    /// Without `tags_with` there are no tags, and the call does nothing. A failure that is kept
    /// (`negative_ttl`) has no tags.
    pub fn invalidate_tag<T: ?Sized + Hash>(&self, tag: &T) {
        self.core.invalidate_tag(tag);
    }

    /// Ends the time to live of all entries with this tag
    /// ([`Builder::tags_with`](crate::Builder::tags_with)) now, and of the values of loads that
    /// have begun. It does to them as [`expire`](Self::expire) does to one key: lookups find them
    /// no longer, the next read-through loads anew, and the old values are served within the
    /// windows for stale values. A caller that already waits for such a load gets its result.
    ///
    /// Cost: as [`invalidate_tag`](Self::invalidate_tag). The first call allocates 256 KiB, which
    /// the system provides page by page. For how long a value has been over counts from the last
    /// call for its tag.
    ///
    /// Without `tags_with` there are no tags, and the call does nothing.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::time::Duration;
    /// let cache: Cache<u32, String> = Cache::builder()
    ///     .max_capacity(100)
    ///     .tags_with(|_, text: &String, tags| tags.add(&text.len()))
    ///     .stale_if_error(Duration::from_secs(60))
    ///     .build()?;
    /// cache.insert(1, "one".to_owned());
    /// cache.expire_tag(&3);
    /// assert_eq!(cache.get(&1), None);
    /// // The source is down: the old value is better than none.
    /// let (old, outcome) = cache.entry(&1).try_get_with(|| Err("down")).unwrap();
    /// assert_eq!((old.as_str(), outcome), ("one", Outcome::Stale));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "remove_by_tag")]
    pub fn expire_tag<T: ?Sized + Hash>(&self, tag: &T) {
        self.core.expire_tag(tag);
    }

    /// Ends the time to live of all entries now, and of the values of loads that have begun. It
    /// does to them as [`expire`](Self::expire) does to one key. So after a reconnection to a
    /// source, say, each entry is loaded anew, or confirmed
    /// ([`Loaded::NotModified`](crate::Loaded::NotModified)), as it is asked for, and the old
    /// values are served meanwhile, within the windows for stale values. A caller that already
    /// waits for a load gets its result.
    ///
    /// Cost: a few atomic operations, however many entries there are. From the first call on, no
    /// hit of this cache goes by its entry's quiet time alone, which costs each hit some ns more,
    /// and each entry stored has a number of 8 bytes. A cache that never calls this pays nothing.
    ///
    /// ```
    /// use bellwether::{Cache, Loaded};
    /// use std::convert::Infallible;
    /// let cache: Cache<u32, String> = Cache::new(10);
    /// cache.insert(1, "one".to_owned());
    /// cache.expire_all();
    /// assert_eq!(cache.get(&1), None);
    /// // The source says that the value is still right.
    /// let confirm = |old: Option<_>| Ok::<_, Infallible>(old.map_or(Loaded::New("1".to_owned()), |_| Loaded::NotModified));
    /// assert_eq!(*cache.entry(&1).revalidate_with(confirm).unwrap().0, "one");
    /// assert_eq!(cache.get(&1).as_deref(), Some("one"));
    /// ```
    #[doc(alias = "clear")]
    pub fn expire_all(&self) {
        self.core.expire_all();
    }

    /// Looks a key up and returns the caller's role in the protocol: a value, the lease of the
    /// load, or a waiter for a load in flight.
    ///
    /// The call never waits, and calls no loader. It rolls XFetch's dice, if the cache has them.
    /// Without std, prefer
    /// [`Local::lease`](crate::Local::lease).
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

    /// Takes the lease of a key, whatever value is there: as [`lease`](Self::lease), but the answer
    /// is `Lookup::Lead` or `Lookup::Wait`, and never a hit. For callers that hold the new value
    /// already, or know how to get it: a subscription to changes, a second tier.
    ///
    /// Readers keep the value that is there until the lease has ended. [`Lease::stale`] shows that
    /// value. `Lookup::Wait` is for a load that may have begun before this call, or ends at once if
    /// no more loads may begin. The load is of kind
    /// [`Compute`](crate::LoadKind::Compute), and the call counts as no lookup.
    ///
    /// ```
    /// use bellwether::{Cache, Lookup};
    /// let cache: Cache<String, u64> = Cache::new(10);
    /// cache.insert("answer".to_owned(), 41);
    /// let Lookup::Lead(lease) = cache.lease_anew("answer") else { unreachable!() };
    /// assert_eq!((lease.stale(), cache.get("answer")), (Some(&41), Some(41)));
    /// assert_eq!(*lease.fulfil(42).unwrap(), 42);
    /// assert_eq!(cache.get("answer"), Some(42));
    /// ```
    ///
    /// [`Lease::stale`]: crate::Lease::stale
    pub fn lease_anew<Q>(&self, q: &Q) -> Lookup<'_, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        S: BuildHasher,
    {
        Lookup::anew(CoreRef::borrowed(&self.core), self.hash(q), q, || self.core.limbo().enter())
    }

    /// As [`lease_anew`](Self::lease_anew), with handles that keep the cache alive, for work that
    /// is spawned.
    pub fn lease_anew_owned<Q>(self: &Arc<Self>, q: &Q) -> Lookup<'static, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        Lookup::anew(self.kept(), self.hash(q), q, || self.core.limbo().enter())
    }

    /// Returns the core, kept alive by the reference itself.
    pub(crate) fn kept(self: &Arc<Self>) -> CoreRef<'static, K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        let keep: Arc<dyn Any + Send + Sync> = self.clone();
        // SAFETY: the core is a field of the `Cache` that `keep` owns a reference to, and an `Arc`
        // keeps its contents at a fixed address.
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
