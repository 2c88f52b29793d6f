//! Plain reads and writes: they never load and never wait. Each pins for itself, as only std can.

use super::Cache;
use crate::api::cache::pinned::Pinned;
use crate::api::handle::entry::{Entry, Ref};
use crate::api::handle::iter::Iter;
use crate::engine::rejected::Rejected;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

impl<K, V, S> Cache<K, V, S> {
    /// Pins the calling thread for many calls in a row: each then costs a fifth less (some 10 ns less where pins execute a fence, that is, not on Linux).
    ///
    /// ```
    /// let cache = bellwether::Cache::new(10);
    /// let pinned = cache.pin();
    /// pinned.insert(1, "one");
    /// assert_eq!(pinned.get_ref(&1).as_deref(), Some(&"one"));
    /// ```
    #[inline]
    pub fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned::new(self, self.core.limbo().enter())
    }

    /// What an operation under a pin comes to. The pin goes first: a listener that panics then must find the outcome in a local,
    /// for what is just being returned would never be dropped (<https://github.com/rust-lang/rust/issues/47949>).
    #[inline(always)]
    fn pinned<'c, R>(&'c self, op: impl FnOnce(&Pinned<'c, K, V, S>) -> R) -> R {
        let pin = self.pin();
        let done = op(&pin);
        drop(pin);
        done
    }

    /// The value of a key, cloned, if there is one that has not expired. `None` too while it is being loaded for the
    /// first time.
    ///
    /// Cost: hash, pin, one walk of a bucket, clone. No lock, no wait.
    ///
    /// # Panics
    /// If hashing, comparing or cloning does, here and in every other method that does any of these; the cache stays as
    /// it was.
    // Always: a call, and the registers that are saved for it, are a tenth of a hit.
    #[inline(always)]
    pub fn get<Q>(&self, q: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        self.core.read(&pin, hash, |k| q.equivalent(k), V::clone)
    }

    /// As [`get`](Self::get), borrowed under a pin and not cloned.
    pub fn get_ref<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        let node = self.core.find_live(&pin, hash, |k| q.equivalent(k)).map(core::ptr::NonNull::from)?;
        // SAFETY: found, and seen valued, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// As [`get`](Self::get), counted and not cloned: to keep or to send.
    pub fn get_entry<Q>(&self, q: &Q) -> Option<Entry<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.get_entry(q))
    }

    /// The values of several keys, in their order, under one pin.
    ///
    /// Cost: half to a third of as many calls of [`get`](Self::get) where the entries are not in the processor's caches, as what is looked
    /// at is fetched for sixteen keys at a time; up to half more than these where they are.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.get_many(keys))
    }

    /// As [`get_ref`](Self::get_ref), without counting as a use: for eviction, idling and statistics it did not happen.
    pub fn peek<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        let node = self.core.peek_live(&pin, hash, |k| q.equivalent(k)).map(core::ptr::NonNull::from)?;
        // SAFETY: found, and seen valued, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// Whether there is a value that has not expired. Does not count as a use.
    pub fn contains_key<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.contains_key(q))
    }

    /// Whether a load of this key is in flight, a refresh included.
    pub fn is_loading<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.is_loading(q))
    }

    /// Stores a value, in the place of any other; a load of the key that is in flight will not be stored.
    ///
    /// A value that is not kept ([`RejectionCause`](crate::RejectionCause)) is dropped, and the old one is removed. The
    /// [`eviction_listener`](crate::Builder::eviction_listener) is told of both, and [`Stats::rejected`](crate::Stats::rejected)
    /// counts it. [`try_insert`](Self::try_insert) gives it back.
    ///
    /// # Panics
    /// If the weigher or `ttl_with` does, before anything is changed; if the eviction listener does, afterwards.
    pub fn insert(&self, key: K, value: V)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert(key, value));
    }

    /// As [`insert`](Self::insert), with a time to live of its own: `Duration::MAX` is never, zero is not kept.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert_with_ttl(key, value, ttl));
    }

    /// As [`insert`](Self::insert), of a value that takes `cost` to load: XFetch refreshes it early
    /// accordingly. (Of other values that are inserted it assumes what the key's last load took, or
    /// where there was none, what loads of this cache usually take.) Zero: it is not refreshed early.
    pub fn insert_with_cost(&self, key: K, value: V, cost: Duration)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert_with_cost(key, value, cost));
    }

    /// As [`insert`](Self::insert), and gives back what is not kept. What becomes of that is the caller's affair then: the eviction
    /// listener is not told of it, but of the old value, which is removed.
    ///
    /// ```
    /// use bellwether::{Cache, RejectionCause};
    /// let cache: Cache<u32, Vec<u8>> =
    ///     Cache::builder().max_capacity(100).weigher(|_, bytes: &Vec<u8>| bytes.len() as u32).build()?;
    /// let rejected = cache.try_insert(1, vec![0; 101]).unwrap_err();
    /// assert_eq!(rejected.cause(), RejectionCause::TooHeavy);
    /// let (key, bytes) = rejected.into_pair();
    /// assert_eq!((key, bytes.len()), (1, 101));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the key and the value, if the value is heavier than the whole capacity, if its time to live is zero, or if
    /// too much removed memory waits to be freed.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn try_insert(&self, key: K, value: V) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.try_insert(key, value))
    }

    /// As [`try_insert`](Self::try_insert), with a time to live of its own: `Duration::MAX` is never, zero is not kept.
    ///
    /// # Errors
    /// As [`try_insert`](Self::try_insert).
    pub fn try_insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.try_insert_with_ttl(key, value, ttl))
    }

    /// Removes a key; its value, if that had not expired. A load of the key that is in flight is handed to those who
    /// already wait, and will not be stored.
    pub fn remove<Q>(&self, q: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.remove(q))
    }

    /// Removes a key if its value has not expired and `doomed` says so, and returns the value. `doomed` is called again
    /// if another thread replaces the value meanwhile; it runs under the pin.
    pub fn remove_if<Q>(&self, q: &Q, doomed: impl FnMut(&K, &V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.remove_if(q, doomed))
    }

    /// As [`remove`](Self::remove), and tells only whether there was a value that had not expired.
    pub fn invalidate<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pin().invalidate(q)
    }

    /// Ends the time to live of a key's value now; whether there was one that had not expired.
    ///
    /// Softer than [`invalidate`](Self::invalidate): the next read-through loads anew, but the old value is still there for
    /// [`Lease::stale`](crate::Lease::stale), until it is removed as any that has expired, and
    /// [`stale_while_refresh`](crate::Builder::stale_while_refresh). A load of the key that is in flight goes on, and is stored. Plain reads find nothing. A failure that is kept (`negative_ttl`) is forgotten. Without a clock (`no_std`, if none was given) nothing
    /// has a time to end, and the value is not found any more, either.
    pub fn expire<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pin().expire(q)
    }

    /// Removes everything, loads in flight included: nothing that was loaded from before this call is stored after it.
    /// Cost: a walk over all entries, with a new pin every few hundred.
    #[doc(alias = "clear")]
    pub fn invalidate_all(&self) {
        self.core.remove_where(|_, _| true);
    }

    /// Removes the entries that `keep` does not want, expired ones included if they are still there.
    /// The load that refreshes an entry goes on if that is kept, and is not stored if it is removed.
    /// A key that is loaded and has no value, or one that is over and may not be served as stale, is
    /// not asked about: such a load that began before this call is not stored after it. `keep` runs under a pin. Cost: a walk over all entries,
    /// with a new pin every few hundred.
    #[doc(alias = "invalidate_entries_if")]
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.core.remove_where(|k, v| !keep(k, v));
    }

    /// Removes what has expired, and flights that were given up and not taken on. How many entries went.
    ///
    /// Nothing needs this call while values are inserted or loaded: an expired value is never given out, and each value that is
    /// stored has two or more entries looked at, and what is over removed, before anything that is good has to go. So expired ones
    /// are gone after at most half as many insertions as there are entries, and sooner where they are many. It frees memory
    /// earlier, and where nothing is stored any more ([`start_janitor`](Self::start_janitor) does so regularly). Cost: a walk
    /// over all entries, with a new pin every few hundred.
    #[doc(alias = "run_pending_tasks")]
    pub fn purge_expired(&self) -> usize {
        self.core.purge()
    }

    /// Changes the weight that the cache may hold, and evicts down to it.
    pub fn set_capacity(&self, weight: u64) {
        self.pin().set_capacity(weight);
    }

    /// The live entries, borrowed, in no order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(&self.core)
    }
}

impl<'c, K, V, S> IntoIterator for &'c Cache<K, V, S> {
    type Item = Ref<'c, K, V>;
    type IntoIter = Iter<'c, K, V>;
    fn into_iter(self) -> Iter<'c, K, V> {
        self.iter()
    }
}
