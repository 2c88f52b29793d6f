//! A lookup of a loader's cache with settings of its own, which returns the outcome beside the
//! value.

#[cfg(feature = "std")]
use super::Load;
use super::{LoadAsync, LoadingCache, Typed};
use crate::api::error::LoadError;
use crate::api::handle::form::AsEntry;
#[cfg(feature = "std")]
use crate::api::load::background::run_detached;
use crate::api::load::background::run_detached_async;
use crate::api::load::read_through::ReadThrough;
use crate::api::load::request::{Found, settings};
use crate::engine::config::Limits;
use crate::engine::key::ToKey;
use crate::runtime::xfetch::nanos;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use equivalent::Equivalent;

/// A lookup of one key in a [`LoadingCache`], with settings of its own. From
/// [`LoadingCache::request`].
///
/// A setting that is not given is the cache's. [`Request`](crate::Request) has a table of the
/// deadlines.
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct LoadingRequest<'c, 'q, K, V, L, S, Q: ?Sized> {
    cache: &'c LoadingCache<K, V, L, S>,
    q: &'q Q,
    limits: Limits,
}

impl<K, V, L, S> LoadingCache<K, V, L, S> {
    /// Begins a lookup with settings of its own, which returns the outcome beside the value. The
    /// loader is the cache's.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// let lengths = Cache::builder()
    ///     .max_capacity(100)
    ///     .loader(|key: &String| Ok::<usize, Infallible>(key.len()))
    ///     .build()?;
    /// let request = || lengths.request("Seattle").hard_timeout(Duration::from_secs(1));
    /// let (length, outcome) = request().load()?;
    /// assert_eq!((*length, outcome), (7, Outcome::Computed));
    /// assert_eq!(request().load()?.1, Outcome::Hit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request<'q, Q: ?Sized>(&self, q: &'q Q) -> LoadingRequest<'_, 'q, K, V, L, S, Q> {
        LoadingRequest { cache: self, q, limits: self.core().config.limits.clone() }
    }
}

impl<K, V, L, S, Q: ?Sized> LoadingRequest<'_, '_, K, V, L, S, Q> {
    settings!(self, self.limits);
}

impl<'c, 'q, K, V, L, S, Q> LoadingRequest<'c, 'q, K, V, L, S, Q>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
{
    fn through(&self) -> ReadThrough<'static, 'q, K, V, Q, AsEntry> {
        ReadThrough::new(self.cache.cache().kept(), self.q, self.cache.hash(self.q), self.limits.clone(), false)
    }

    /// As [`LoadingCache::load`]. `V` need not be `Clone`.
    ///
    /// # Errors, panics
    /// As [`LoadingCache::load`].
    #[cfg(feature = "std")]
    pub fn load<E>(self) -> Result<Found<'static, K, V>, LoadError<E>>
    where
        L: Load<K, V, Error = E>,
        E: Send + Sync + 'static,
    {
        let load = self.cache.load_of_key();
        run_detached(self.through(), true, |call| load.run(&call))
    }

    /// As [`LoadingCache::load_async`]. `V` need not be `Clone`.
    ///
    /// # Errors, cancellation
    /// As [`LoadingCache::load_async`].
    pub fn load_async(self) -> impl Future<Output = Result<Found<'static, K, V>, LoadError<L::Error>>>
    where
        L: LoadAsync<K, V>,
    {
        Typed::<_, K, V, L>::new(async move {
            let load = self.cache.load_of_key();
            run_detached_async(|| self.through(), load).await
        })
    }
}

impl<K, V, L, S, Q: ?Sized + fmt::Debug> fmt::Debug for LoadingRequest<'_, '_, K, V, L, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingRequest").field("key", &self.q).field("limits", &self.limits).finish_non_exhaustive()
    }
}
