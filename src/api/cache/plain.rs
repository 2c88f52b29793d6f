//! Plain reads and writes: they never load and never wait. Each call pins for itself, which needs
//! std.

use super::Cache;
use crate::api::cache::pinned::Pinned;
use crate::api::handle::age::Age;
use crate::api::handle::entry::{Entry, Ref};
use crate::api::handle::iter::Iter;
use crate::engine::expiry::Expiry;
use crate::engine::rejected::Rejected;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

impl<K, V, S> Cache<K, V, S> {
    /// Pins the calling thread for many calls in a row. Each call then costs a fifth less. (Where
    /// pins execute a fence, that is, not on Linux, each call costs some 10 ns less.)
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

    /// Runs `op` under a pin, and returns its result. The pin is dropped before the return: if a
    /// listener panics in that drop, the result must be in a local, which unwinding drops. A result
    /// that is already being returned would never be dropped
    /// (<https://github.com/rust-lang/rust/issues/47949>).
    #[inline(always)]
    pub(super) fn pinned<'c, R>(&'c self, op: impl FnOnce(&Pinned<'c, K, V, S>) -> R) -> R {
        let done;
        {
            // (The end of the block drops the pin where it lies. `drop` would move it first.)
            let pin = self.pin();
            done = op(&pin);
        }
        done
    }

    /// Returns a clone of the key's value, if there is one that has not expired. Returns `None` too
    /// while the value is being loaded for the first time.
    ///
    /// Cost: hash, pin, one walk of a bucket, clone. The call takes no lock and does not wait.
    ///
    /// # Panics
    /// If hashing, comparing or cloning does, here and in every other method that does any of
    /// these. The cache stays as it was.
    // Inlined always: a call, and the registers saved for it, are a large part of a hit (see
    // benches/README.md).
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
        // SAFETY: the node was found, and its word was seen to have a value, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// As [`get`](Self::get), counted and not cloned: the entry can be kept or sent.
    pub fn get_entry<Q>(&self, q: &Q) -> Option<Entry<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.get_entry(q))
    }

    /// Returns the value of a key, and its age, even if it has been over for less than `window`. A
    /// plain read: it begins no load and no cooldown, and waits for none.
    ///
    /// With a window of zero it finds what [`get_entry`](Self::get_entry) finds. The cache is sure
    /// to keep a value for as long as its
    /// [`stale_while_refresh`](crate::Builder::stale_while_refresh) and
    /// [`stale_if_error`](crate::Builder::stale_if_error) say; later the value may have been
    /// removed. No value is found that is removed, or whose tag is
    /// [invalidated](Self::invalidate_tag), nor any that is over in a cache with a
    /// [`time_to_idle`](crate::Builder::time_to_idle). A value that is found counts as a hit.
    ///
    /// Cost: two to three reads of the clock more than [`get_entry`](Self::get_entry).
    ///
    /// ```
    /// use bellwether::{Cache, ManualClock};
    /// use std::time::Duration;
    /// let clock = ManualClock::new();
    /// let seconds = Duration::from_secs;
    /// let cache: Cache<String, u32> = Cache::builder()
    ///     .max_capacity(100)
    ///     .time_to_live(seconds(60))
    ///     .stale_if_error(seconds(3600))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("rate".to_owned(), 5);
    /// clock.advance(seconds(70));
    /// assert_eq!(cache.get("rate"), None);
    /// let (rate, age) = cache.get_stale("rate", seconds(3600)).unwrap();
    /// assert_eq!((*rate, age.since_made, age.stale_for), (5, seconds(70), Some(seconds(10))));
    /// assert!(cache.get_stale("rate", seconds(10)).is_none(), "it has been over for as long");
    /// assert_eq!(cache.stats().loads, 0);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn get_stale<Q>(&self, q: &Q, window: Duration) -> Option<(Entry<'_, K, V>, Age)>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.get_stale(q, window))
    }

    /// Returns the values of several keys, in their order, under one pin.
    ///
    /// Cost: where the entries are not in the processor's caches, half to a third of as many calls
    /// of [`get`](Self::get), because the memory for sixteen keys is fetched at a time. Where the
    /// entries are in these caches, up to half more than as many calls.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.get_many(keys))
    }

    /// As [`get_ref`](Self::get_ref), but the call does not count as a use: it has no effect on
    /// eviction, idling and statistics.
    pub fn peek<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        let hash = self.hash(q);
        let pin = self.core.limbo().enter();
        let node = self.core.peek_live(&pin, hash, |k| q.equivalent(k)).map(core::ptr::NonNull::from)?;
        // SAFETY: the node was found, and its word was seen to have a value, under this pin.
        Some(unsafe { Ref::new(&self.core, node, Some(pin)) })
    }

    /// Returns whether there is a value that has not expired. The call does not count as a use.
    pub fn contains_key<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.contains_key(q))
    }

    /// Returns whether a load of this key is in flight, a refresh included.
    pub fn is_loading<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.is_loading(q))
    }

    /// Stores a value, in the place of any other. A load of the key that is in flight will not be
    /// stored.
    ///
    /// A value that is not kept ([`RejectionCause`](crate::RejectionCause)) is dropped, and the old
    /// value is removed. The cache calls the
    /// [`eviction_listener`](crate::Builder::eviction_listener) for both, and
    /// [`Stats::rejected`](crate::Stats::rejected) counts the rejected value.
    /// [`try_insert`](Self::try_insert) gives it back.
    ///
    /// # Panics
    /// If the weigher or `ttl_with` does, before anything is changed; if the eviction listener
    /// does, afterwards.
    pub fn insert(&self, key: K, value: V)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pin().insert(key, value);
    }

    /// As [`insert`](Self::insert), with a time to live for this value alone. `Duration::MAX` never
    /// expires; a value with a time of zero is not kept.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert_with_ttl(key, value, ttl));
    }

    /// As [`insert`](Self::insert), for a value that takes `cost` to load: a lead, and
    /// XFetch, refresh it early accordingly. With a cost of zero they never do.
    ///
    /// (For a value inserted by another method, the cache assumes the time of the key's last load,
    /// or, if there was none, the time that loads of this cache usually take. While it has measured
    /// no load, that is zero.)
    pub fn insert_with_cost(&self, key: K, value: V, cost: Duration)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert_with_cost(key, value, cost));
    }

    /// As [`insert`](Self::insert), with terms for this value alone: for how long it is fresh, when
    /// it is refreshed, how long it may be served past its expiry, how old it is already.
    ///
    /// ```
    /// use bellwether::{Cache, Expiry, Refresh};
    /// use std::time::Duration;
    /// let cache = Cache::new(10);
    /// let day = Expiry::new().ttl(Duration::from_secs(86_400)).refresh(Refresh::at(0.5));
    /// cache.insert_with("config", 1, day);
    /// ```
    pub fn insert_with(&self, key: K, value: V, expiry: Expiry)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.insert_with(key, value, expiry));
    }

    /// As [`insert`](Self::insert), but gives back a value that is not kept. That value is then the
    /// caller's own, so the cache does not call the eviction listener for it. The old value is
    /// removed, and the listener is called for that one.
    ///
    /// ```
    /// use bellwether::{Cache, RejectionCause};
    /// let cache: Cache<u32, Vec<u8>> = Cache::builder()
    ///     .max_capacity(100)
    ///     .weigher(|_, bytes: &Vec<u8>| bytes.len() as u32)
    ///     .build()?;
    /// let rejected = cache.try_insert(1, vec![0; 101]).unwrap_err();
    /// assert_eq!(rejected.cause(), RejectionCause::TooHeavy);
    /// let (key, bytes) = rejected.into_pair();
    /// assert_eq!((key, bytes.len()), (1, 101));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the key and the value, if the value is heavier than the whole capacity,
    /// if its time to live is zero, or if too much removed memory waits to be freed.
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

    /// As [`try_insert`](Self::try_insert), with a time to live for this value alone.
    /// `Duration::MAX` never expires; a value with a time of zero is not kept.
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

    /// As [`insert_with`](Self::insert_with), but gives back a value that is not kept.
    ///
    /// # Errors
    /// As [`try_insert`](Self::try_insert).
    pub fn try_insert_with(&self, key: K, value: V, expiry: Expiry) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.try_insert_with(key, value, expiry))
    }

    /// Removes a key, and returns its value if that had not expired. A load of the key that is in
    /// flight is handed to its present waiters, and will not be stored.
    pub fn remove<Q>(&self, q: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.remove(q))
    }

    /// Removes a key if its value has not expired and `doomed` returns true, and returns the value.
    /// `doomed` is called again if another thread replaces the value meanwhile. It runs under the
    /// pin.
    pub fn remove_if<Q>(&self, q: &Q, doomed: impl FnMut(&K, &V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
        S: BuildHasher,
    {
        self.pinned(|pinned| pinned.remove_if(q, doomed))
    }

    /// As [`remove`](Self::remove), but returns only whether there was a value that had not
    /// expired.
    pub fn invalidate<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pin().invalidate(q)
    }

    /// Ends the time to live of a key's value now. Returns whether there was a value that had not
    /// expired.
    ///
    /// The call is softer than [`invalidate`](Self::invalidate): the next read-through loads anew,
    /// but the old value remains for [`Lease::stale`](crate::Lease::stale) and for
    /// [`stale_while_refresh`](crate::Builder::stale_while_refresh), until it is removed as any
    /// expired value is. Plain reads find nothing. A failure that is kept (`negative_ttl`) is
    /// removed.
    ///
    /// A load of the key that is in flight began too early. Those that wait for it get its value.
    /// If it refreshes the old value, its own is stored as one whose time is over, too. If there is
    /// no old value, its own is not stored. A caller that comes after this call loads anew. (If
    /// that refresh is handed over or taken over later, what the next leader loads counts as over
    /// as well, though it began after the call: at most one load too many.)
    ///
    /// Without a clock (`no_std`, if none was given) values have no time to live that could end.
    /// Even then, lookups no longer find the value.
    pub fn expire<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        S: BuildHasher,
    {
        self.pin().expire(q)
    }

    /// Removes everything, loads in flight included. A load that began before this call is not
    /// stored after it. Cost: a walk over all entries, with a new pin every few hundred.
    #[doc(alias = "clear")]
    pub fn invalidate_all(&self) {
        self.core.remove_where(|_, _| true);
    }

    /// Removes each entry for which `keep` returns false, including expired entries that are still
    /// there. The load that refreshes an entry goes on if the entry is kept, and is not stored if
    /// the entry is removed.
    ///
    /// `keep` is not asked about a key in flight that has no value, or only an expired value that
    /// may not be served as stale. Such a load is not stored if it began before this call. `keep`
    /// runs under a pin. Cost: a walk over all entries, with a new pin every few hundred.
    #[doc(alias = "invalidate_entries_if")]
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.core.remove_where(|k, v| !keep(k, v));
    }

    /// Removes expired entries, and flights that were given up and not taken over. Returns how many
    /// entries were removed.
    ///
    /// The call is not needed while values are inserted or loaded. An expired value is never
    /// returned. Each value that is stored makes the cache look at two or more entries and remove
    /// the expired ones, before a fresh entry has to go. So expired entries are gone after at most
    /// half as many insertions as there are entries, and sooner where many have expired.
    ///
    /// The call frees memory earlier, and also where values are no longer stored
    /// ([`start_janitor`](Self::start_janitor) calls it regularly). Cost: a walk over all entries,
    /// with a new pin every few hundred.
    #[doc(alias = "run_pending_tasks")]
    pub fn purge_expired(&self) -> usize {
        self.core.purge()
    }

    /// Changes the weight that the cache may hold, and evicts down to it.
    pub fn set_capacity(&self, weight: u64) {
        self.pin().set_capacity(weight);
    }

    /// Returns an iterator over the live entries, borrowed, in no order.
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
