//! A cache with a loader of its own.

mod refresh;
mod typed;

pub(crate) use typed::Typed;

use crate::api::builder::Builder;
use crate::api::cache::Cache;
use crate::api::error::{BuildError, LoadError};
use crate::api::handle::lease::Lease;
use crate::api::load::answers::Answers;
#[cfg(feature = "std")]
use crate::api::load::detached::run_detached;
use crate::api::load::detached::{Alone, Background, Job, alone, run_detached_async, spawn};
use crate::api::load::form::AsValue;
use crate::api::load::read_through::{Attempt, ReadThrough, as_loaded, plain_hit};
use crate::engine::key::ToKey;
#[cfg(feature = "std")]
use crate::engine::outcome::Loaded;
use crate::flight::reentry::FlightId;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::ops::Deref;
use equivalent::Equivalent;

/// Loads the values of a [`LoadingCache`], blocking. A closure `Fn(&K) -> Result<V, E>` is a
/// loader.
pub trait Load<K, V>: Send + Sync + 'static {
    /// The error of a load that gives no value.
    type Error: Send + Sync + 'static;

    /// Loads the value of a key.
    fn load(&self, key: &K) -> Result<V, Self::Error>;

    /// Loads several keys, each of them once: those that [`load_all`](LoadingCache::load_all) did
    /// not find. It gives its results to `answers`, by key, in any order.
    ///
    /// By default it calls [`load`](Self::load) for one key after the other. (The default
    /// recognises keys by their addresses. So code that calls it with fewer keys must pass
    /// references out of the slice that it was given itself.)
    ///
    /// ```
    /// use bellwether::{Answers, Cache, Load};
    /// # struct Database;
    /// # impl Database {
    /// #     fn rows(&self, _: &[&u32]) -> Result<Vec<(u32, String)>, String> {
    /// #         Ok(vec![(2, "two".into()), (1, "one".into())])
    /// #     }
    /// # }
    /// impl Load<u32, String> for Database {
    ///     type Error = String;
    ///     fn load(&self, key: &u32) -> Result<String, String> {
    ///         self.rows(&[key])?.pop().map(|row| row.1).ok_or("no such row".into())
    ///     }
    ///     fn load_all(&self, keys: &[&u32], answers: &mut Answers<'_, u32, String, String>) {
    ///         match self.rows(keys) {
    ///             Ok(rows) => {
    ///                 rows.into_iter().for_each(|(key, text)| drop(answers.put(&key, text)));
    ///             }
    ///             Err(error) => return answers.fail_rest(error),
    ///         }
    ///         answers.fail_rest("no such row".into());
    ///     }
    /// }
    /// let texts = Cache::builder().max_capacity(100).loader(Database).build()?;
    /// let all = texts.load_all(&[1, 2, 3]);
    /// assert!(matches!(&all[..2], [Ok(one), Ok(two)] if one == "one" && two == "two"));
    /// assert!(all[2].is_err());
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, Self::Error>) {
        for key in keys {
            let answer = self.load(key);
            answers.answer_same(key, answer);
        }
    }
}

impl<K, V, E, F> Load<K, V> for F
where
    F: Fn(&K) -> Result<V, E> + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> Result<V, E> {
        self(key)
    }
}

/// Loads the values of a [`LoadingCache`], as tasks. A closure
/// `Fn(&K) -> impl Future<Output = Result<V, E>>` whose futures do not borrow the key is a loader.
pub trait LoadAsync<K, V>: Send + Sync + 'static {
    /// The error of a load that gives no value.
    type Error: Send + Sync + 'static;

    /// Loads the value of a key.
    fn load(&self, key: &K) -> impl Future<Output = Result<V, Self::Error>> + Send;

    /// Loads several keys, each of them once: those that
    /// [`load_all_async`](LoadingCache::load_all_async) did not find. It gives its results to
    /// `answers`, by key, in any order. By default it loads one key after the other, as
    /// [`Load::load_all`].
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, Self::Error>) -> impl Future<Output = ()> + Send
    where
        K: Sync,
        V: Send,
    {
        async move {
            for key in keys {
                let answer = self.load(key).await;
                answers.answer_same(key, answer);
            }
        }
    }
}

impl<K, V, E, F, Fut> LoadAsync<K, V> for F
where
    F: Fn(&K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<V, E>> + Send,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> impl Future<Output = Result<V, E>> + Send {
        self(key)
    }
}

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
    pub fn load<Q>(&self, q: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
        L: Load<K, V>,
    {
        match self.begin(q) {
            Attempt::Hit(value) => Ok(value),
            Attempt::ReadThrough(through) => {
                let job = self.job(q);
                run_detached(through, true, || job.run())
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
                    let job = self.job(q);
                    run_detached_async(|| through, job).await
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
                let limits = self.core().config.plain_limits();
                Attempt::ReadThrough(ReadThrough::among(self.cache.kept(), q, hash, limits, false, led))
            }
        }
    }

    /// Makes the load of a key, to run on this thread or in the background.
    pub(crate) fn job<Q: ?Sized + ToKey<K>>(&self, q: &Q) -> KeyLoad<K, L> {
        KeyLoad { loader: self.loader.clone(), key: q.to_key() }
    }
}

/// The load of one key: the loader, and the key.
pub(crate) struct KeyLoad<K, L> {
    loader: Arc<L>,
    key: K,
}

impl<K, L> KeyLoad<K, L> {
    #[cfg(feature = "std")]
    pub(crate) fn run<V>(self) -> Result<Loaded<V>, L::Error>
    where
        L: Load<K, V>,
    {
        // The result is a local while the key is dropped. A result that is already being returned
        // would leak if that drop panicked.
        let loaded = self.loader.load(&self.key).map(Loaded::New);
        drop(self);
        loaded
    }

    async fn run_async<V>(self) -> Result<V, L::Error>
    where
        L: LoadAsync<K, V>,
    {
        // As in `run`: the result is a local while the key is dropped.
        let loaded = self.loader.load(&self.key).await;
        drop(self);
        loaded
    }
}

impl<K, V, L> Background<K, V> for KeyLoad<K, L>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    L: LoadAsync<K, V>,
{
    fn spawn(self, lease: Lease<'static, K, V>, job: Job) {
        spawn(lease, || self.run_async(), as_loaded, job);
    }
    fn alone(self) -> Alone<V> {
        alone(self.run_async(), as_loaded)
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
