//! All operations that neither load nor wait, written once: on a pin.

use crate::api::cache::Cache;
use crate::api::handle::age::Age;
use crate::api::handle::entry::{CoreRef, Entry, Ref, Wanted};
use crate::api::handle::iter::Iter;
use crate::engine::expiry::Expiry;
use crate::engine::rejected::Rejected;
use crate::engine::taken::Taker;
use crate::engine::{Operation, RemovalCause};
use crate::flight::node::Node;
use crate::runtime::xfetch::nanos;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ptr::NonNull;
use core::time::Duration;
use equivalent::Equivalent;

/// A pin for many calls in a row. Each call then costs a fifth less. (Where pins execute a fence,
/// that is, not on Linux, each call costs some 10 ns less.) From [`Cache::pin`] or
/// [`Local::pin`](crate::Local::pin).
///
/// While the pin is held, no retired memory can be freed. The eviction listener and the
/// [`Observer`](crate::Observer) are called for its calls' effects only when the pin is dropped. So
/// hold it briefly. It cannot be sent to another thread.
pub struct Pinned<'c, K, V, S> {
    pub(super) operation: Operation<'c, K, V>,
    pub(super) cache: &'c Cache<K, V, S>,
}

impl<'c, K, V, S> Pinned<'c, K, V, S> {
    pub(crate) fn new(cache: &'c Cache<K, V, S>, pin: crate::reclaim::Pin) -> Self {
        Self { operation: cache.core().operation(pin), cache }
    }
}

impl<'c, K, V, S: BuildHasher> Pinned<'c, K, V, S> {
    #[inline]
    fn find_live<Q>(&self, q: &Q) -> Option<&Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.operation.core.find_live(self.operation.pin(), self.cache.hash(q), |k| q.equivalent(k))
    }

    /// As [`Cache::get`].
    #[inline]
    pub fn get<Q>(&self, q: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let core = self.operation.core;
        core.read(self.operation.pin(), self.cache.hash(q), |k| q.equivalent(k), V::clone)
    }

    /// As [`Cache::get_ref`], borrowed from this pin.
    #[inline]
    pub fn get_ref<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let node = self.find_live(q)?;
        // SAFETY: the word was seen to have a value under the pin, which `self` holds for as long
        // as the reference borrows it.
        Some(unsafe { Ref::new(self.operation.core, NonNull::from(node), None) })
    }

    /// As [`Cache::get_entry`].
    pub fn get_entry<Q>(&self, q: &Q) -> Option<Entry<'c, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (core, hash) = (self.operation.core, self.cache.hash(q));
        Entry::find(core, self.operation.pin(), hash, q, Wanted::Live)
    }

    /// As [`Cache::get_stale`].
    pub fn get_stale<Q>(&self, q: &Q, window: Duration) -> Option<(Entry<'c, K, V>, Age)>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (core, hash) = (self.operation.core, self.cache.hash(q));
        let node = core.find_stale(self.operation.pin(), hash, |k| q.equivalent(k), nanos(window))?;
        // SAFETY: `find_stale` took the reference that is handed over; the word was seen to have a
        // value under the pin.
        let entry = unsafe { Entry::new(CoreRef::borrowed(core), NonNull::from(node)) };
        Some((entry, Age::of(core, node)))
    }

    /// As [`Cache::get_many`].
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let core = self.operation.core;
        core.read_many(self.operation.pin(), keys, |q| self.cache.hash(q), |q, k| q.equivalent(k), V::clone)
    }

    /// As [`Cache::peek`], borrowed from this pin.
    pub fn peek<Q>(&self, q: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let node = self.peek_live(q)?;
        // SAFETY: as in `get_ref`.
        Some(unsafe { Ref::new(self.operation.core, NonNull::from(node), None) })
    }

    /// As [`Cache::contains_key`].
    pub fn contains_key<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.peek_live(q).is_some()
    }

    fn peek_live<Q>(&self, q: &Q) -> Option<&Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.operation.core.peek_live(self.operation.pin(), self.cache.hash(q), |k| q.equivalent(k))
    }

    /// As [`Cache::is_loading`].
    pub fn is_loading<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.cache.hash(q);
        self.operation.core.loading(self.operation.pin(), hash, |k| q.equivalent(k))
    }

    /// As [`Cache::insert`]. A value that is not kept is dropped when this pin is dropped.
    #[inline]
    pub fn insert(&self, key: K, value: V)
    where
        K: Hash + Eq,
    {
        if let Err(rejected) = self.put(key, value, None) {
            self.operation.turn_away(rejected);
        }
    }

    /// As [`Cache::insert_with_ttl`]. A value that is not kept is dropped when this pin is dropped.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration)
    where
        K: Hash + Eq,
    {
        if let Err(rejected) = self.put(key, value, Some(&Expiry::new().exact_ttl(ttl))) {
            self.operation.turn_away(rejected);
        }
    }

    /// As [`Cache::insert_with_cost`].
    pub fn insert_with_cost(&self, key: K, value: V, cost: Duration)
    where
        K: Hash + Eq,
    {
        if let Err(rejected) = self.put(key, value, Some(&Expiry::new().cost(cost))) {
            self.operation.turn_away(rejected);
        }
    }

    /// As [`Cache::insert_with`]. A value that is not kept is dropped when this pin is dropped.
    pub fn insert_with(&self, key: K, value: V, expiry: Expiry)
    where
        K: Hash + Eq,
    {
        if let Err(rejected) = self.put(key, value, Some(&expiry)) {
            self.operation.turn_away(rejected);
        }
    }

    /// As [`Cache::try_insert`].
    ///
    /// # Errors
    /// As [`Cache::try_insert`].
    pub fn try_insert(&self, key: K, value: V) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
    {
        self.put(key, value, None).map_err(|rejected| self.operation.give_back(rejected))
    }

    /// As [`Cache::try_insert_with_ttl`].
    ///
    /// # Errors
    /// As [`Cache::try_insert_with_ttl`].
    pub fn try_insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
    {
        self.put(key, value, Some(&Expiry::new().exact_ttl(ttl))).map_err(|rejected| self.operation.give_back(rejected))
    }

    /// As [`Cache::try_insert_with`].
    ///
    /// # Errors
    /// As [`Cache::try_insert_with`].
    pub fn try_insert_with(&self, key: K, value: V, expiry: Expiry) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
    {
        self.put(key, value, Some(&expiry)).map_err(|rejected| self.operation.give_back(rejected))
    }

    /// Stores a value. If the terms do not say what a load costs, that is taken to be the time of
    /// the key's last load, or the time that loads usually take.
    // (One function of its own, with all that it calls inlined: nothing goes through memory.)
    #[inline(never)]
    fn put(&self, key: K, value: V, expiry: Option<&Expiry>) -> Result<(), Rejected<K, V>>
    where
        K: Hash + Eq,
    {
        self.put_taking(self.cache.hash(&key), (key, value), expiry, &mut ()).map(drop)
    }

    /// As [`put`](Self::put), for a writer that may want the value that it replaces.
    #[inline(always)]
    pub(super) fn put_taking(
        &self,
        hash: u64,
        pair: (K, V),
        expiry: Option<&Expiry>,
        taker: &mut impl Taker<K, V>,
    ) -> Result<NonNull<Node<K, V>>, Rejected<K, V>>
    where
        K: Hash + Eq,
    {
        let core = self.operation.core;
        let guess = expiry.is_none_or(|expiry| expiry.cost.is_none());
        // The times of a value with terms of its own are not worked out anew when the old value is
        // found: so the cost of that is looked up first.
        let own_terms = expiry.is_some_and(Expiry::has_own_terms) || core.config.gives_own_terms();
        let early = guess && own_terms;
        let delta = match early {
            true => core.cost_after(core.find(self.operation.pin(), hash, |k| *k == pair.0)),
            false => core.usual_cost(),
        };
        let meta = |key: &K, value: &V| core.entry_meta(key, value, expiry, (core.tag_sequence(), delta));
        self.operation.insert(hash, pair, (meta, guess && !early), |a, b| a == b, taker)
    }

    /// As [`Cache::remove`].
    pub fn remove<Q>(&self, q: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let hash = self.cache.hash(q);
        let is_key = |k: &K| q.equivalent(k);
        let (node, before) = self.operation.remove_key(hash, is_key, RemovalCause::Explicit, &mut ())?;
        self.operation.promptly(before.failed());
        // SAFETY: `was_fresh` is true only if `before` is the word of an entry, which has a value;
        // the node is alive under the pin.
        self.operation.was_fresh(node, before).then(|| unsafe { node.value() }.clone())
    }

    /// As [`Cache::remove_if`].
    pub fn remove_if<Q>(&self, q: &Q, mut doomed: impl FnMut(&K, &V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let hash = self.cache.hash(q);
        let removed = loop {
            let Some(node) = self.operation.core.find(self.operation.pin(), hash, |k| q.equivalent(k)) else {
                break None;
            };
            // SAFETY: called only after `is_entry` held, so the word has a value; the node is alive
            // under the pin.
            let value = || unsafe { node.value() };
            if !node.word.load().is_entry() || self.operation.core.is_expired(node) || !doomed(node.key(), value()) {
                break None;
            }
            let shard = self.operation.core.shard(hash);
            if self.operation.remove(shard, node, RemovalCause::Explicit) {
                self.operation.promptly(false);
                break Some(value().clone());
            }
        };
        // The value is still in a local while this drop, which is user code, runs: if it panics,
        // unwinding drops the value.
        drop(doomed);
        removed
    }

    /// As [`Cache::invalidate`].
    pub fn invalidate<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.cache.hash(q);
        let removed = self.operation.remove_key(hash, |k| q.equivalent(k), RemovalCause::Explicit, &mut ());
        removed.is_some_and(|(node, before)| {
            self.operation.promptly(before.failed());
            self.operation.was_fresh(node, before)
        })
    }

    /// As [`Cache::expire`].
    pub fn expire<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.operation.expire(self.cache.hash(q), |k| q.equivalent(k))
    }
}

impl<'c, K, V, S> Pinned<'c, K, V, S> {
    /// As [`Cache::invalidate_all`].
    pub fn invalidate_all(&self) {
        self.operation.remove_where(|_, _| true);
    }

    /// As [`Cache::retain`].
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.operation.remove_where(|k, v| !keep(k, v));
    }

    /// As [`Cache::purge_expired`].
    pub fn purge_expired(&self) -> usize {
        self.operation.purge()
    }

    /// As [`Cache::set_capacity`].
    pub fn set_capacity(&self, weight: u64) {
        self.operation.core.set_capacity(weight);
        self.operation.make_room_anew(self.operation.core.shard(0));
        self.operation.seal_and_reclaim();
    }

    /// As [`Cache::iter`], borrowed from this pin.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::within(self.operation.core, self.operation.pin())
    }
}

impl<'p, K, V, S> IntoIterator for &'p Pinned<'_, K, V, S> {
    type Item = Ref<'p, K, V>;
    type IntoIter = Iter<'p, K, V>;
    fn into_iter(self) -> Iter<'p, K, V> {
        self.iter()
    }
}

impl<K, V, S> fmt::Debug for Pinned<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
