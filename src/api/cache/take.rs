//! Writes whose caller gets what it takes out of the cache.

#[cfg(feature = "std")]
use super::Cache;
use super::pinned::Pinned;
use crate::api::handle::change::Change;
#[cfg(feature = "std")]
use crate::api::handle::drain::Drain;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::engine::expiry::Expiry;
use crate::engine::taken::Taken;
use core::hash::{BuildHasher, Hash};

impl<'c, K, V, S: BuildHasher> Pinned<'c, K, V, S> {
    /// As [`Cache::swap`].
    pub fn swap(&self, key: K, value: V) -> Change<'c, K, V>
    where
        K: Hash + Eq,
    {
        self.swap_with(key, value, Expiry::new())
    }

    /// As [`Cache::swap_with`].
    pub fn swap_with(&self, key: K, value: V, expiry: Expiry) -> Change<'c, K, V>
    where
        K: Hash + Eq,
    {
        let (core, mut taken) = (CoreRef::borrowed(self.operation.core), Taken::nothing());
        let hash = self.cache.hash(&key);
        let stored = self.put_taking(hash, (key, value), Some(&expiry), &mut taken);
        let old = taken.into_inner().map(|(node, before)| {
            // SAFETY: the reference to the removed node is handed over. `Taken` has only nodes
            // whose word had a value.
            (unsafe { Entry::new(core.clone(), node) }, before)
        });
        let (new, applied) = match stored {
            Ok(node) => {
                // SAFETY: `insert` has handed over the reference that `Taken` gets to the value.
                let new = unsafe { Entry::new(core.clone(), node) };
                // The insert's own search has evicted it if no other entry could go.
                let kept = !new.node().word.load().turned_away();
                (new, kept)
            }
            Err(rejected) => {
                let (key, value) = self.operation.give_back(rejected).into_pair();
                (Entry::detached(core.clone(), key, hash, value), false)
            }
        };
        let old = old.filter(|(old, before)| self.operation.was_fresh(old.node(), *before));
        Change { old: old.map(|(old, _)| old), new: Some(new), applied }
    }
}

#[cfg(feature = "std")]
impl<K, V, S> Cache<K, V, S> {
    /// As [`insert`](Self::insert), and tells what it replaced, and whether the new value was kept.
    /// A value that is not kept comes back in [`Change::new`]; so the cache does not call the
    /// eviction listener for it.
    ///
    /// Cost: as an insert, and two counted references, which the result holds.
    ///
    /// ```
    /// let cache: bellwether::Cache<u32, &str> = bellwether::Cache::new(10);
    /// assert!(cache.swap(1, "one").old.is_none());
    /// let change = cache.swap(1, "uno");
    /// assert!(change.applied && change.old.as_deref() == Some(&"one"));
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    #[doc(alias = "replace")]
    pub fn swap(&self, key: K, value: V) -> Change<'_, K, V>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.swap(key, value))
    }

    /// As [`swap`](Self::swap), on terms of the value's own.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn swap_with(&self, key: K, value: V, expiry: Expiry) -> Change<'_, K, V>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.swap_with(key, value, expiry))
    }

    /// Takes all entries out, and returns them one by one: [`invalidate_all`](Self::invalidate_all)
    /// for a caller that wants the values. Each value goes to one caller, however many callers
    /// drain or remove at the same time.
    ///
    /// The entries are removed a few hundred at a time, as the iterator comes to them; dropping it
    /// removes the others. Values that have expired are removed and not returned. Loads in flight
    /// are handed to their present waiters, and are not stored. A value that is stored meanwhile
    /// may be taken out or stay. The eviction listener is called for each value that is taken out.
    ///
    /// ```
    /// use bellwether::{Cache, Entry};
    /// let cache: Cache<u32, String> = Cache::new(10);
    /// cache.insert(1, "one".into());
    /// for entry in cache.drain() {
    ///     assert_eq!((Entry::key(&entry), entry.as_str()), (&1, "one"));
    /// }
    /// assert!(cache.is_empty());
    /// ```
    pub fn drain(&self) -> Drain<'_, K, V> {
        Drain::new(&self.core)
    }
}
