//! Read-through that replaces a value which does not please the caller.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::form::AsValue;
use crate::api::load::future::run_async;
use crate::api::load::read_through::{Attempt, ReadThrough, as_loaded, certain};
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::engine::role::Manner;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::ptr::NonNull;
use equivalent::Equivalent;

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// As [`begin`](Self::begin), for a caller that takes no value of which `replace_if` is true.
    fn begin_unless<'q, Q>(
        &'q self,
        q: &'q Q,
        infallible: bool,
        replace_if: impl FnOnce(&V) -> bool,
    ) -> Attempt<'q, 'q, K, V, Q, AsValue>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let (core, hash) = (self.core(), self.hash(q));
        let pin = core.limbo().enter();
        // If the reference is refused, the value was removed just now.
        let there = core.peek_live(&pin, hash, |k| q.equivalent(k)).filter(|node| node.inc_ref());
        // SAFETY: the reference was taken above and is handed over; the word was seen to have a
        // value under the pin.
        let there = there.map(|node| unsafe { Entry::new(CoreRef::borrowed(core), NonNull::from(node)) });
        drop(pin);
        match there.filter(|there| replace_if(there)) {
            None => self.begin(q, infallible),
            Some(refused) => {
                let core = CoreRef::borrowed(core);
                Attempt::ReadThrough(ReadThrough::instead_of(refused, core, q, hash, Manner::of_verb(infallible)))
            }
        }
    }

    /// As [`get_with`](Self::get_with), and loads a value anew if `replace_if` is true of the one
    /// that is there. Meanwhile all other callers keep that value.
    ///
    /// `replace_if` is asked once, about the value that this caller finds first. A value that comes
    /// in its place is taken as it is: this caller's, that of another caller's load, or one that
    /// was inserted meanwhile. So however many callers refuse one value, it is replaced by one
    /// load, even if the new value pleases none of them either.
    ///
    /// Cost: a second lookup, and a counted reference.
    ///
    /// ```
    /// let cache: bellwether::Cache<u32, u64> = bellwether::Cache::new(10);
    /// cache.insert(1, 7);
    /// assert_eq!(cache.get_with_if(&1, || 8, |version| *version < 7), 7);
    /// assert_eq!(cache.get_with_if(&1, || 8, |version| *version < 8), 8);
    /// assert_eq!(cache.get(&1), Some(8));
    /// ```
    ///
    /// # Panics
    /// As [`get_with`](Self::get_with); and if `replace_if` does, before anything is changed.
    #[doc(alias = "or_insert_with_if")]
    #[cfg(feature = "std")]
    pub fn get_with_if<Q>(&self, q: &Q, load: impl FnOnce() -> V, replace_if: impl FnOnce(&V) -> bool) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        certain(self.begin_unless(q, true, replace_if).run(|_| Ok(Loaded::New(load()))))
    }

    /// As [`get_with_if`](Self::get_with_if), with a loader that can fail. The refused value stays
    /// then, and the caller gets the error.
    ///
    /// # Errors, panics
    /// As [`try_get_with`](Self::try_get_with).
    #[cfg(feature = "std")]
    pub fn try_get_with_if<Q, E>(
        &self,
        q: &Q,
        load: impl FnOnce() -> Result<V, E>,
        replace_if: impl FnOnce(&V) -> bool,
    ) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        self.begin_unless(q, false, replace_if).run(|_| load().map(Loaded::New))
    }

    /// As `get_with_if`, for tasks; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    #[doc(alias = "or_insert_with_if")]
    pub fn get_with_if_async<'c, Q, F, Fut>(
        &'c self,
        q: &'c Q,
        load: F,
        replace_if: impl FnOnce(&V) -> bool,
    ) -> impl Future<Output = V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
        V: Clone,
    {
        run_async(|| self.begin_unless(q, true, replace_if), |_| load(), |value| Ok(Loaded::New(value)), certain)
    }

    /// As `try_get_with_if`, for tasks; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Errors, cancellation, panics
    /// As [`try_get_with_async`](Self::try_get_with_async).
    pub fn try_get_with_if_async<'c, Q, E, F, Fut>(
        &'c self,
        q: &'c Q,
        load: F,
        replace_if: impl FnOnce(&V) -> bool,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        run_async(|| self.begin_unless(q, false, replace_if), |_| load(), as_loaded, |found| found)
    }
}
