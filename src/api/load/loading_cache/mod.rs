//! A cache with a loader of its own.

mod key_load;
pub(crate) mod load;
pub(crate) mod loaders;
mod refresh;
pub(crate) mod request;
mod typed;

#[cfg(feature = "std")]
pub(crate) use load::Load;
pub(crate) use load::LoadAsync;
pub(crate) use typed::Typed;

use crate::api::builder::Builder;
use crate::api::cache::Cache;
use crate::api::error::{BuildError, LoadError};
use crate::api::handle::form::AsValue;
#[cfg(feature = "std")]
use crate::api::load::background::run_detached;
use crate::api::load::background::run_detached_async;
use crate::api::load::read_through::{Attempt, ReadThrough, plain_hit};
use crate::engine::key::ToKey;
use crate::engine::role::Manner;
use crate::flight::reentry::FlightId;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::ops::Deref;
use equivalent::Equivalent;
use key_load::KeyLoad;

/// A cache with a loader of its own: callers give no closure to load or refresh a value. From
/// [`Builder::loader`]. It is a handle: clones share one cache.
///
/// It has all methods of [`Cache`], too (by `Deref`). Inserting, removing or loading values by
/// those methods does not affect the loader.
///
/// ```
/// use bellwether::Cache;
/// use std::convert::Infallible;
/// let lengths = Cache::builder()
///     .max_capacity(100)
///     .loader(|key: &String| Ok::<usize, Infallible>(key.len()))
///     .build()?;
/// assert_eq!(lengths.load("Seattle")?, 7);
/// assert_eq!(lengths.get("Seattle"), Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A caller that asks for a value that is there does not wait. The [`spawner`](Builder::spawner)
/// runs early refreshes, and refreshes of stale values that may be served, in the background.
pub struct LoadingCache<K, V, L, S = crate::DefaultHashBuilder> {
    cache: Arc<Cache<K, V, S>>,
    loader: Arc<L>,
}

/// The settings of a [`LoadingCache`] that is not built yet: its cache's settings, and its loader.
pub struct LoadingBuilder<K, V, L, S> {
    builder: Builder<K, V, S>,
    loader: L,
}

impl<K, V, S> Builder<K, V, S> {
    /// Gives the cache a loader, a [`Load`] or a [`LoadAsync`]. This is the last setting.
    pub fn loader<L>(self, loader: L) -> LoadingBuilder<K, V, L, S> {
        LoadingBuilder { builder: self, loader }
    }
}

impl<K, V, L, S> LoadingBuilder<K, V, L, S> {
    /// Builds the cache.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build(self) -> Result<LoadingCache<K, V, L, S>, BuildError> {
        Ok(LoadingCache { cache: Arc::new(self.builder.build()?), loader: Arc::new(self.loader) })
    }
}

impl<K, V, L, S> LoadingCache<K, V, L, S> {
    /// Returns the cache, to share it without the loader.
    pub fn cache(&self) -> &Arc<Cache<K, V, S>> {
        &self.cache
    }

    pub(crate) fn loader(&self) -> &Arc<L> {
        &self.loader
    }
}

impl<K, V, L, S> LoadingCache<K, V, L, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Returns the value of a key. If there is none, one caller loads it, once, while the others
    /// wait.
    ///
    /// The load runs on this thread if this caller must wait for the value and has no deadline for
    /// its own load (`soft_timeout`, `hard_timeout`). Otherwise it runs in the background.
    ///
    /// # Errors
    /// As [`Cache::try_get_with`], and:
    ///
    /// * `TimedOut` after the `hard_timeout`.
    /// * `Panicked` if a load in the background panics, and `NotRun` if the spawner drops it or
    ///   cannot run it.
    /// * `Abandoned` if another caller takes a load in the background over (`lead_timeout`) and
    ///   comes to nothing.
    ///
    /// # Panics
    /// If the loader panics on this thread.
    #[cfg(feature = "std")]
    pub fn load<Q, E>(&self, q: &Q) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        // Were the error's type `L::Error`, the compiler would not say what `L` lacks.
        L: Load<K, V, Error = E>,
        E: Send + Sync + 'static,
    {
        match self.begin(q) {
            Attempt::Hit(value) => Ok(value),
            Attempt::ReadThrough(through) => {
                let load = self.load_of_key();
                run_detached(through, true, |call| load.run(&call))
            }
        }
    }

    /// As [`load`](Self::load), for tasks. All loads run in the background, by the
    /// [`spawner`](Builder::spawner).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Cancellation
    /// The load goes on.
    pub fn load_async<Q>(&self, q: &Q) -> impl Future<Output = Result<V, LoadError<L::Error>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        L: LoadAsync<K, V>,
    {
        Typed::<_, K, V, L>::new(async move {
            match self.begin(q) {
                Attempt::Hit(value) => Ok(value),
                Attempt::ReadThrough(through) => {
                    let load = self.load_of_key();
                    run_detached_async(|| through, load).await
                }
            }
        })
    }

    /// Begins a lookup of a key.
    pub(crate) fn begin<'q, Q>(&self, q: &'q Q) -> Attempt<'static, 'q, K, V, Q, AsValue>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        self.begin_among(q, &[])
    }

    /// As `begin`, for a caller that leads the flights `led` already.
    pub(crate) fn begin_among<'q, Q>(&self, q: &'q Q, led: &[FlightId]) -> Attempt<'static, 'q, K, V, Q, AsValue>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let hash = self.hash(q);
        match plain_hit(self.core(), q, hash) {
            Some(value) => Attempt::Hit(value),
            None => {
                let manner = Manner::of_verb(false);
                Attempt::ReadThrough(ReadThrough::among(self.cache.kept(), q, hash, manner, led))
            }
        }
    }

    /// Makes the load of a key, to run on this thread or in the background.
    fn load_of_key(&self) -> KeyLoad<L> {
        KeyLoad(self.loader.clone())
    }
}

impl<K, V, L, S> Clone for LoadingCache<K, V, L, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), loader: self.loader.clone() }
    }
}

impl<K, V, L, S> Deref for LoadingCache<K, V, L, S> {
    type Target = Cache<K, V, S>;
    fn deref(&self) -> &Cache<K, V, S> {
        &self.cache
    }
}

impl<K, V, L, S> fmt::Debug for LoadingCache<K, V, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingCache").field(&self.cache).finish()
    }
}

impl<K, V, L, S> fmt::Debug for LoadingBuilder<K, V, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingBuilder").field(&self.builder).finish()
    }
}
