//! A read-through with settings of its own, which tells how it came by its value.

use crate::cache::Cache;
use crate::entry::{CoreRef, Entry};
use crate::error::LoadError;
use crate::future::{Loading, await_through};
use crate::key::ToKey;
use crate::stats::Event;
use crate::through::{End, Outcome, Through, Told, land, store};
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::pin::pin;
use core::time::Duration;
use equivalent::Equivalent;

/// A read-through of one key with settings of its own. From [`Cache::entry`].
///
/// What is not set is as the cache was built. It ends in one of four verbs, which do as those of [`Cache`] and give an
/// [`Entry`] and the [`Outcome`].
#[must_use = "a request does nothing before one of its verbs is called"]
pub struct Request<'c, 'q, K, V, S, Q: ?Sized> {
    cache: &'c Cache<K, V, S>,
    q: &'q Q,
    ttl: Option<Duration>,
    wait_timeout: Option<Duration>,
}

impl<K, V, S> Cache<K, V, S> {
    /// A read-through with settings of its own, which tells how it came by its value.
    ///
    /// ```
    /// use bellwether::{Cache, Outcome};
    /// use std::time::Duration;
    /// let cache: Cache<String, u64> = Cache::new(10);
    /// let request = || cache.entry("answer").ttl(Duration::from_secs(60));
    /// let (entry, outcome) = request().get_with(|| 42);
    /// assert_eq!((*entry, outcome), (42, Outcome::Computed));
    /// assert_eq!(request().get_with(|| 43).1, Outcome::Hit);
    /// ```
    pub fn entry<'q, Q: ?Sized>(&self, q: &'q Q) -> Request<'_, 'q, K, V, S, Q> {
        Request { cache: self, q, ttl: None, wait_timeout: self.core().config.wait_timeout }
    }
}

impl<'c, 'q, K, V, S, Q: ?Sized> Request<'c, 'q, K, V, S, Q> {
    /// The time to live of the value, if this caller loads it: `Duration::MAX` is never; zero is handed over and not stored.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long this caller waits for the load of another: by the cache's clock and timer, or under a custom clock that was
    /// given no timer by the system's clock. (Without std and a timer, nothing ends a wait.)
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = Some(timeout);
        self
    }
}

impl<'c, K, V, S, Q> Request<'c, '_, K, V, S, Q>
where
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    S: BuildHasher,
{
    fn through(&self, lenient: bool) -> Through<'c, '_, K, V, Q, Told> {
        Through::new(self.cache.core(), self.q, self.cache.hash(self.q), lenient)
    }

    /// A value that is not stored: what a caller gets who runs its own loader for itself alone.
    fn alone(&self, value: V) -> (Entry<'c, K, V>, Outcome) {
        let core = self.cache.core();
        let hash = self.cache.hash(self.q);
        (Entry::detached(CoreRef::borrowed(core), self.q.to_key(), hash, value), Outcome::Computed)
    }

    fn bypassed(&self) {
        self.cache.core().count(Event::Bypassed);
    }

    fn try_alone<E: Send + Sync + 'static>(
        &self,
        loaded: Result<V, E>,
    ) -> Result<(Entry<'c, K, V>, Outcome), LoadError<E>> {
        loaded.map(|value| self.alone(value)).map_err(|error| LoadError::Load(Arc::new(error)))
    }

    /// As [`Cache::get_with`]. A value that this caller loaded for itself alone is in an entry that is not stored, and has no
    /// time to live.
    ///
    /// # Panics
    /// As [`Cache::get_with`].
    #[cfg(feature = "std")]
    pub fn get_with(self, load: impl FnOnce() -> V) -> (Entry<'c, K, V>, Outcome) {
        match crate::blocking::wait_through(self.through(true), self.wait_timeout) {
            End::Value(value) => value,
            End::Lead(lease) => {
                let value = lease.guarded(|_| load());
                store::<K, V, Told>(lease, value, self.ttl)
            }
            End::Alone(_) => {
                self.bypassed();
                self.alone(load())
            }
        }
    }

    /// As [`Cache::try_get_with`].
    ///
    /// # Errors, panics
    /// As [`Cache::try_get_with`].
    #[cfg(feature = "std")]
    pub fn try_get_with<E>(
        self,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<(Entry<'c, K, V>, Outcome), LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        match crate::blocking::wait_through(self.through(false), self.wait_timeout) {
            End::Value(value) => Ok(value),
            End::Lead(lease) => {
                let loaded = lease.guarded(|_| load());
                land::<K, V, Told, E>(lease, loaded, self.ttl)
            }
            End::Alone(alone) => match alone.error() {
                Some(error) => Err(error),
                None => {
                    self.bypassed();
                    self.try_alone(load())
                }
            },
        }
    }

    /// As [`Cache::get_with_async`].
    ///
    /// # Cancellation, panics
    /// As [`Cache::get_with_async`].
    pub async fn get_with_async<F, Fut>(self, load: F) -> (Entry<'c, K, V>, Outcome)
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        match await_through(self.through(true), self.wait_timeout).await {
            End::Value(value) => value,
            End::Lead(lease) => {
                let value = Loading::new(&lease, pin!(Some(lease.guarded(|_| load())))).await;
                store::<K, V, Told>(lease, value, self.ttl)
            }
            End::Alone(_) => {
                self.bypassed();
                let value = load().await;
                self.alone(value)
            }
        }
    }

    /// As [`Cache::try_get_with_async`].
    ///
    /// # Errors, cancellation, panics
    /// As [`Cache::try_get_with_async`].
    pub async fn try_get_with_async<E, F, Fut>(self, load: F) -> Result<(Entry<'c, K, V>, Outcome), LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        match await_through(self.through(false), self.wait_timeout).await {
            End::Value(value) => Ok(value),
            End::Lead(lease) => {
                let loaded = Loading::new(&lease, pin!(Some(lease.guarded(|_| load())))).await;
                land::<K, V, Told, E>(lease, loaded, self.ttl)
            }
            End::Alone(alone) => match alone.error() {
                Some(error) => Err(error),
                None => {
                    self.bypassed();
                    let loaded = load().await;
                    self.try_alone(loaded)
                }
            },
        }
    }
}

impl<K, V, S, Q: ?Sized + fmt::Debug> fmt::Debug for Request<'_, '_, K, V, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.q)
            .field("ttl", &self.ttl)
            .field("wait_timeout", &self.wait_timeout)
            .finish_non_exhaustive()
    }
}
