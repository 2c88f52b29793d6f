//! The answers of a bulk load, key by key.

use crate::api::handle::entry::Entry;
use crate::engine::outcome::Loaded;
use crate::sys::sync::untracked::{AtomicUsize, Ordering};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use equivalent::Equivalent;

/// The answers of a bulk load, in the order of its keys; None for a key without an answer.
pub(crate) type Given<V, E> = Vec<Option<Result<Loaded<V>, Arc<E>>>>;

/// The values that a bulk load replaces, in the order of its keys. It may be shorter than the keys:
/// then there is none for the last ones.
pub(crate) type Olds<K, V> = Vec<Option<Entry<'static, K, V>>>;

/// A hash function for keys of any type that hashes as the cache's keys do.
pub(crate) type HashBy<'a> = &'a (dyn Fn(&dyn Hashed) -> u64 + Send + Sync);

/// Takes the answers of a bulk load, by key: see [`Load::load_all`](crate::Load::load_all).
///
/// A key is a value of any type that hashes as the cache's own keys do and compares with them
/// ([`Equivalent`]), so a `&str` stands for a `String`. The order of the answers does not matter.
/// The load of a key without an answer counts as abandoned.
///
/// Each answer returns whether it was taken. It is refused if its key was not asked for, or has an
/// answer already. A refused answer is dropped,
/// [`Stats::unasked_answers`](crate::Stats::unasked_answers) counts it, and an observer gets
/// [`CacheEvent::AnswerRefused`](crate::CacheEvent::AnswerRefused).
///
/// No value is stored before the bulk load returns. An answer costs a hash and a binary search.
pub struct Answers<'a, K, V, E> {
    keys: &'a [&'a K],
    hash: HashBy<'a>,
    /// The hash of each key and the key's index; sorted.
    places: Vec<(u64, usize)>,
    given: Given<V, E>,
    olds: Olds<K, V>,
    refused: &'a AtomicUsize,
    /// The index after the key that [`answer_same`](Self::answer_same) answered last: its next
    /// search begins here.
    next: usize,
}

impl<'a, K, V, E> Answers<'a, K, V, E> {
    /// Makes room for one answer a key. `hashes` are the hashes of the keys, by `hash`; `refused`
    /// counts refused answers.
    pub(crate) fn new(
        (keys, olds): (&'a [&'a K], Olds<K, V>),
        hashes: &[u64],
        hash: HashBy<'a>,
        refused: &'a AtomicUsize,
    ) -> Self {
        let mut places: Vec<_> = hashes.iter().copied().zip(0..keys.len()).collect();
        places.sort_unstable();
        Self { keys, hash, places, given: keys.iter().map(|_| None).collect(), olds, refused, next: 0 }
    }

    /// Gives the value of a key, or the error that kept it from being loaded. Returns whether the
    /// answer was taken.
    pub fn answer<Q>(&mut self, q: &Q, answer: Result<V, E>) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take(self.place(q), answer.map(Loaded::New))
    }

    /// Gives what the load of a key came to: more than a value, as
    /// [`Load::revalidate`](crate::Load::revalidate) may. Returns whether the answer was taken.
    pub fn loaded<Q>(&mut self, q: &Q, loaded: Loaded<V>) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take(self.place(q), Ok(loaded))
    }

    /// Returns the value that a key's load replaces, fresh or expired, if there is one and the key
    /// was asked for. It serves conditional requests.
    ///
    /// ```
    /// use bellwether::{Answers, Cache, Load, LoadError, Loaded};
    /// use std::convert::Infallible;
    /// struct Even;
    /// impl Load<u32, u32> for Even {
    ///     type Error = Infallible;
    ///     fn load(&self, key: &u32) -> Result<u32, Infallible> {
    ///         Ok(*key)
    ///     }
    ///     fn load_all(&self, keys: &[&u32], answers: &mut Answers<'_, u32, u32, Infallible>) {
    ///         for &key in keys {
    ///             match answers.old(key) {
    ///                 Some(_) => answers.loaded(key, Loaded::NotModified),
    ///                 None => answers.put(key, *key),
    ///             };
    ///         }
    ///     }
    /// }
    /// let cache = Cache::builder().max_capacity(10).loader(Even).build()?;
    /// cache.insert(2, 22);
    /// cache.expire(&2);
    /// let all = cache.load_all(&[1, 2]);
    /// assert!(matches!(all[..], [Ok(1), Ok(22)]));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn old<Q>(&self, q: &Q) -> Option<&Entry<'static, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.olds.get(self.place(q)?)?.as_ref()
    }

    /// Gives the value of a key. Returns whether the answer was taken.
    pub fn put<Q>(&mut self, q: &Q, value: V) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.answer(q, Ok(value))
    }

    /// Gives the error that kept a key's value from being loaded. Returns whether the answer was
    /// taken.
    pub fn fail<Q>(&mut self, q: &Q, error: E) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.answer(q, Err(error))
    }

    /// Answers for all keys that have no answer yet that there is no value
    /// ([`Loaded::NotFound`]): for example, a query has no rows for them.
    pub fn rest_not_found(&mut self) {
        self.given.iter_mut().filter(|given| given.is_none()).for_each(|given| *given = Some(Ok(Loaded::NotFound)));
    }

    /// Gives one error to all keys that have no answer yet, for example if the query failed as a
    /// whole. They share it.
    pub fn fail_rest(&mut self, error: E) {
        let error = Arc::new(error);
        self.given.iter_mut().filter(|given| given.is_none()).for_each(|given| *given = Some(Err(error.clone())));
    }

    /// Gives the answer of a key that is one of the references asked for, and not only equal to
    /// one. Returns whether the answer was taken.
    pub(crate) fn answer_same(&mut self, key: &K, answer: Result<Loaded<V>, E>) -> bool {
        let place = self.same(key);
        self.next = place.map_or(self.next, |place| place + 1);
        self.take(place, answer)
    }

    /// Takes the value that a key's load replaces. The key is one of the references asked for.
    pub(crate) fn take_old(&mut self, key: &K) -> Option<Entry<'static, K, V>> {
        if self.olds.is_empty() {
            return None;
        }
        let place = self.same(key)?;
        self.olds.get_mut(place)?.take()
    }

    /// Finds the index of a key that is one of the references asked for.
    fn same(&self, key: &K) -> Option<usize> {
        let all = self.keys.len();
        let mut places = (self.next..all).chain(0..self.next.min(all));
        places.find(|&place| core::ptr::eq(self.keys[place], key))
    }

    /// Finds the index of a key that was asked for and equals `q`.
    fn place<Q>(&self, q: &Q) -> Option<usize>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = (self.hash)(&q);
        let from = self.places.partition_point(|&(of, _)| of < hash);
        let alike = self.places[from..].iter().take_while(|&&(of, _)| of == hash);
        alike.map(|&(_, place)| place).find(|&place| q.equivalent(self.keys[place]))
    }

    /// Takes an answer for the key at this index, unless there is none or it has an answer.
    fn take(&mut self, place: Option<usize>, answer: Result<Loaded<V>, E>) -> bool {
        match place.map(|place| &mut self.given[place]) {
            Some(given @ None) => {
                *given = Some(answer.map_err(Arc::new));
                true
            }
            Some(Some(_)) | None => {
                // Relaxed: a counter that orders nothing, and is read after the load is over.
                self.refused.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    pub(crate) fn given(self) -> Given<V, E> {
        self.given
    }
}

impl<K, V, E> fmt::Debug for Answers<'_, K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.given.iter().filter(|given| given.is_none()).count();
        f.debug_struct("Answers").field("asked", &self.keys.len()).field("unanswered", &left).finish_non_exhaustive()
    }
}

/// A value that can be hashed, whose type is erased.
pub(crate) trait Hashed {
    fn hash_into(&self, hasher: &mut dyn Hasher);
}

impl<Q: ?Sized + Hash> Hashed for &Q {
    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

/// Hashes a key whose type is erased. A `BuildHasher` may treat types that it knows in its own way,
/// so this hash may differ from `hash_one` of the key itself. For that reason the keys that are
/// asked for are hashed by this function as well.
pub(crate) fn hash_of(hasher: &impl BuildHasher, q: &dyn Hashed) -> u64 {
    struct Erased<'q>(&'q dyn Hashed);
    impl Hash for Erased<'_> {
        fn hash<H: Hasher>(&self, hasher: &mut H) {
            self.0.hash_into(hasher);
        }
    }
    hasher.hash_one(Erased(q))
}
