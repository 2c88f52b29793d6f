//! What a bulk load answers, key by key.

use crate::sys::sync::untracked::{AtomicUsize, Ordering};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use equivalent::Equivalent;

/// What a bulk load came to, by the place of the key: None where it gave no answer.
pub(crate) type Given<V, E> = Vec<Option<Result<V, Arc<E>>>>;

/// A hasher's function, whatever its type.
pub(crate) type HashBy<'a> = &'a (dyn Fn(&dyn Hashed) -> u64 + Send + Sync);

/// Takes the answers of a bulk load, by key: see [`Load::load_all`](crate::Load::load_all).
///
/// A key is anything that hashes as the cache's own keys do and compares with them ([`Equivalent`]), so a `&str` does for a
/// `String`. The order of the answers does not matter. Of a key that is given no answer the load counts as abandoned.
///
/// Each answer says whether it was taken. It is not if nobody asked for its key, or if there is an answer already: then it is
/// dropped, [`Stats::unasked_answers`](crate::Stats::unasked_answers) counts it, and an observer is told
/// ([`CacheEvent::AnswerRefused`](crate::CacheEvent::AnswerRefused)).
///
/// Nothing is stored before the bulk load returns. An answer costs a hash and a binary search.
pub struct Answers<'a, K, V, E> {
    keys: &'a [&'a K],
    hash: HashBy<'a>,
    /// The hash of each key, with the key's place; sorted.
    places: Vec<(u64, usize)>,
    given: Given<V, E>,
    refused: &'a AtomicUsize,
    /// Behind the key that was answered last by its address.
    next: usize,
}

impl<'a, K, V, E> Answers<'a, K, V, E> {
    /// `hashes` are those of the keys, by `hash`.
    pub(crate) fn new(keys: &'a [&'a K], hashes: &[u64], hash: HashBy<'a>, refused: &'a AtomicUsize) -> Self {
        let mut places: Vec<_> = hashes.iter().copied().zip(0..keys.len()).collect();
        places.sort_unstable();
        Self { keys, hash, places, given: keys.iter().map(|_| None).collect(), refused, next: 0 }
    }

    /// The value of a key, or why it could not be loaded. Whether the answer was taken.
    pub fn answer<Q>(&mut self, q: &Q, answer: Result<V, E>) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take(self.place(q), answer)
    }

    /// The value of a key. Whether the answer was taken.
    pub fn put<Q>(&mut self, q: &Q, value: V) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.answer(q, Ok(value))
    }

    /// Why a key's value could not be loaded. Whether the answer was taken.
    pub fn fail<Q>(&mut self, q: &Q, error: E) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.answer(q, Err(error))
    }

    /// One error for all keys that have no answer yet, shared by them: of a query that failed as a whole.
    pub fn fail_rest(&mut self, error: E) {
        let error = Arc::new(error);
        self.given.iter_mut().filter(|given| given.is_none()).for_each(|given| *given = Some(Err(error.clone())));
    }

    /// The answer of a key that is one of those asked for, and not only equal to it.
    pub(crate) fn answer_same(&mut self, key: &K, answer: Result<V, E>) -> bool {
        let all = self.keys.len();
        let mut places = (self.next..all).chain(0..self.next.min(all));
        let place = places.find(|&place| core::ptr::eq(self.keys[place], key));
        self.next = place.map_or(self.next, |place| place + 1);
        self.take(place, answer)
    }

    fn place<Q>(&self, q: &Q) -> Option<usize>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = (self.hash)(&q);
        let from = self.places.partition_point(|&(of, _)| of < hash);
        let alike = self.places[from..].iter().take_while(|&&(of, _)| of == hash);
        alike.map(|&(_, place)| place).find(|&place| q.equivalent(self.keys[place]))
    }

    fn take(&mut self, place: Option<usize>, answer: Result<V, E>) -> bool {
        match place.map(|place| &mut self.given[place]) {
            Some(given @ None) => {
                *given = Some(answer.map_err(Arc::new));
                true
            }
            Some(Some(_)) | None => {
                // Relaxed: a number, read once the load is over.
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

/// Something that can be hashed, whatever its type.
pub(crate) trait Hashed {
    fn hash_into(&self, hasher: &mut dyn Hasher);
}

impl<Q: ?Sized + Hash> Hashed for &Q {
    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

/// The hash of a key whose type is not known. A hasher may have its own way with types that it knows, so the hashes of the keys
/// that are asked for are taken in this way as well.
pub(crate) fn hash_of(hasher: &impl BuildHasher, q: &dyn Hashed) -> u64 {
    struct Erased<'q>(&'q dyn Hashed);
    impl Hash for Erased<'_> {
        fn hash<H: Hasher>(&self, hasher: &mut H) {
            self.0.hash_into(hasher);
        }
    }
    hasher.hash_one(Erased(q))
}
