//! Plain reads and writes: they never load and never wait. Each pins for itself, as only std can.

use super::Cache;
use crate::entry::{CoreRef, Entry, Ref};
use crate::iter::Iter;
use crate::pinned::Pinned;
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
    fn pinned<R>(&self, op: impl FnOnce(&Pinned<'_, K, V, S>) -> R) -> R {
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
        let node = self.core.live(&pin, hash, |k| q.equivalent(k)).map(core::ptr::NonNull::from)?;
        // SAFETY: found, and seen valued, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// As [`get`](Self::get), counted and not cloned: to keep or to send.
    pub fn get_entry<Q>(&self, q: &Q) -> Option<Entry<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        let node = self.core.shared(&pin, hash, |k| q.equivalent(k))?;
        // SAFETY: the share just taken; seen valued under the pin.
        Some(unsafe { Entry::new(CoreRef::borrowed(&self.core), core::ptr::NonNull::from(node)) })
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
        let pin = self.core.limbo().enter();
        self.core.read_many(&pin, keys, |q| self.hash(q), |q, k| q.equivalent(k), V::clone)
    }

    /// As [`get_ref`](Self::get_ref), without counting as a use: for eviction, idling and statistics it did not happen.
    pub fn peek<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        let node = self.core.glimpse(&pin, hash, |k| q.equivalent(k)).map(core::ptr::NonNull::from)?;
        // SAFETY: found, and seen valued, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// Whether there is a value that has not expired. Does not count as a use.
    pub fn contains_key<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        self.core.glimpse(&self.core.limbo().enter(), hash, |k| q.equivalent(k)).is_some()
    }

    /// Whether a load of this key is in flight, a refresh included.
    pub fn is_loading<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        self.core.loading(&self.core.limbo().enter(), hash, |k| q.equivalent(k))
    }

    /// Stores a value, in the place of any other; a load of the key that is in flight will not be stored.
    ///
    /// A value heavier than the whole capacity, or with a time to live of zero, is dropped, and the old one is removed.
    ///
    /// # Panics
    /// If the weigher or `ttl_with` does, before anything is changed; if the eviction listener does, afterwards.
    pub fn insert(&self, key: K, value: V)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        // What was not kept is dropped when the pin is gone.
        drop(self.pinned(|pinned| pinned.put(key, value, None)));
    }

    /// As [`insert`](Self::insert), with a time to live of its own: `Duration::MAX` is never, zero is not stored.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        drop(self.pinned(|pinned| pinned.put(key, value, Some(ttl))));
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
    /// [`Lease::stale`](crate::Lease::stale) and [`stale_while_refresh`](crate::Builder::stale_while_refresh). A load of the key
    /// that is in flight goes on, and is stored. Plain reads find nothing. A failure that is kept (`negative_ttl`) is forgotten. Without a clock (`no_std`, if none was given) nothing
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

    /// Removes the entries that `keep` does not want. Keys that are being loaded or refreshed cannot be asked about, and
    /// are removed: a load that began before this call is not stored after it. `keep` runs under a pin. Cost: a walk
    /// over all entries, with a new pin every few hundred.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.core.remove_where(|k, v| !keep(k, v));
    }

    /// Removes what has expired, and flights that were given up and not taken on. How many entries went.
    ///
    /// Nothing needs this call: an expired value is never given out, and goes as soon as room is needed and the hand comes by
    /// it. It frees memory earlier ([`start_janitor`](Self::start_janitor) does so regularly). Cost: a walk over all entries, with a new
    /// pin every few hundred.
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
