//! The tier: what its users call.

mod bulk;
mod request;
mod writes;

pub use request::{TierDetached, TierRequest};

use crate::error::SharedError;
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::LinkState;
use crate::stats::Stats;
use crate::voyage::{Call, Source};
use bellwether::{Cache, LoadError, Loaded, Outcome, ToKey};
use equivalent::Equivalent;
use std::fmt;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// A cache of two levels that computes a missing value once over many processes: memory, then Redis
/// or Valkey, then the loader.
///
/// A handle; clones are of the same tier. Made by [`Tier::builder`].
pub struct Tier<K: SharedKey, V: Clone + Send + Sync + 'static> {
    pub(crate) inner: Arc<Inner<K, V>>,
    _handle: Arc<LastHandle<K, V>>,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Clone for Tier<K, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), _handle: self._handle.clone() }
    }
}

/// Ends the link when the last handle is dropped.
struct LastHandle<K: SharedKey, V: Clone + Send + Sync + 'static>(Arc<Inner<K, V>>);

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Drop for LastHandle<K, V> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.closing.notify_one();
    }
}

/// A value, and how the caller came by it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<V> {
    /// The value.
    pub value: V,
    /// How the caller came by it in this process.
    pub outcome: Outcome,
    /// Which level it came from.
    pub source: Source,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Tier<K, V> {
    pub(crate) fn new(inner: Arc<Inner<K, V>>) -> Self {
        Self { _handle: Arc::new(LastHandle(inner.clone())), inner }
    }

    /// Returns the value that memory has, if it has one that is good. Asks neither the server nor a
    /// loader, and does not wait.
    ///
    /// Cost: that of [`Cache::get`](bellwether::Cache::get), and a read of the
    /// coarse clock: memory serves only while the link is known to be alive, or for the
    /// [`unlinked_ttl`](crate::Builder::unlinked_ttl) after that.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        if !self.inner.link.memory_is_good() {
            return None;
        }
        self.inner.cache.get_ref(key).map(|held| held.value.clone())
    }

    /// Returns the value: from memory, from the server, or by `load`, which runs once at a time
    /// over all processes.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use bellwether_redis::Tier;
    /// use std::time::Duration;
    /// let builder = Tier::<u64, String>::builder("redis://127.0.0.1/")?.namespace("users");
    /// let users = builder.time_to_live(Duration::from_secs(60)).build().await?;
    /// let load = || async { Ok::<_, std::io::Error>("Ada".to_owned()) };
    /// let name = users.try_get_with_async(&7, load).await?;
    /// assert_eq!(name, "Ada");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Load`](LoadError::Load) with the loader's own error, or with the text of the error of
    /// another process's loader; `TimedOut` and `Overloaded` by the deadlines and bounds of this
    /// process. Never an error of the server: without it, the loader runs in this process alone.
    ///
    /// # Cancellation
    /// A load of this caller is dropped, and given up: a waiter of this process, or of another one,
    /// takes over at once.
    pub async fn try_get_with_async<Q, E, F, Fut>(&self, key: &Q, load: F) -> Result<V, LoadError<SharedError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        if let Some(value) = self.hit(key) {
            // The value is a local while `load` is dropped, so it does not leak if that panics.
            drop(load);
            return Ok(value);
        }
        // Boxed: a hit makes no such future, and moves none.
        let load = |_| async { load().await.map(Loaded::New) };
        Box::pin(self.entry(key).find(load)).await.map(|answer| answer.value)
    }

    /// Returns the value that memory has, if all that a read-through can do is to return it: it is
    /// good, not due for a refresh, and none of its refreshes hangs.
    #[inline]
    fn hit<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        if !self.inner.link.memory_is_good() {
            return None;
        }
        self.inner.cache.get_settled(key, |held| held.value.clone())
    }

    /// Drops a value that memory has and must not serve, as the link may be gone since a time that
    /// the supervisor has not looked at. It is asked for anew.
    #[inline]
    fn drop_if_unlinked<Q>(&self, key: &Q)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        if !self.inner.link.memory_is_good() && self.inner.cache.contains_key(key) {
            self.inner.cache.invalidate(key);
        }
    }

    /// Returns the settings of a call that changes none.
    fn call(&self) -> Call {
        let settings = &self.inner.settings;
        Call {
            wait_timeout: settings.wait_timeout,
            lead_timeout: settings.lead_timeout,
            skip_shared_lock: settings.skip_shared_lock,
            ..Call::default()
        }
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), for a thread outside of any runtime:
    /// the tier's runtime drives the wait, and the closure runs on this thread.
    ///
    /// # Errors
    /// As [`try_get_with_async`](Self::try_get_with_async).
    ///
    /// # Panics
    /// If the thread is one of an asynchronous runtime, which must not block. (The tier's own
    /// runtime must have threads that drive it: a current-thread runtime that nothing else runs
    /// hangs.)
    pub fn try_get_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<SharedError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
    {
        self.inner.runtime.block_on(self.try_get_with_async(key, || async { load() }))
    }

    /// Begins a read-through with settings of its own, whose answer tells the outcome and the
    /// source.
    ///
    /// ```no_run
    /// # use bellwether_redis::Tier;
    /// # async fn example(users: Tier<u64, String>) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let load = || async { Ok::<_, std::io::Error>("Ada".to_owned()) };
    /// let request = users.entry(&7).ttl(Duration::from_secs(5));
    /// let answer = request.try_get_with_async(load).await?;
    /// println!("{} from {:?}", answer.value, answer.source);
    /// # Ok(())
    /// # }
    /// ```
    pub fn entry<'q, Q: ?Sized>(&self, key: &'q Q) -> TierRequest<'_, 'q, K, V, Q> {
        TierRequest::new(self, key, self.call())
    }

    /// Begins a read-through whose load, if this caller leads, runs in the background of the tier's
    /// runtime: it goes on, and is stored for all processes, if this caller is cancelled or stops
    /// waiting. A caller that leads an early refresh, or a refresh while an old value of memory may
    /// be served, gets the old value at once.
    ///
    /// ```no_run
    /// # use bellwether_redis::Tier;
    /// # async fn example(users: Tier<u64, String>) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let load = || async { Ok::<_, std::io::Error>("Ada".to_owned()) };
    /// let request = users.detached(&7).hard_timeout(Duration::from_millis(50));
    /// let answer = request.try_get_with_async(load).await?;
    /// # let _ = answer;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cost: a load takes a task of the runtime. A load in progress keeps the tier alive.
    pub fn detached<'q, Q: ?Sized>(&self, key: &'q Q) -> TierDetached<'_, 'q, K, V, Q> {
        TierDetached::new(self, key, self.call())
    }

    /// Returns the memory level, to be looked at: its statistics, its length, its iterator.
    ///
    /// What is written to it directly is no change that other processes hear of.
    pub fn memory(&self) -> &Cache<K, Held<V>> {
        &self.inner.cache
    }

    /// Returns the state of the link to the server.
    pub fn link(&self) -> LinkState {
        self.inner.link.state()
    }

    /// Returns a receiver of the link's states, to wait for one.
    ///
    /// ```no_run
    /// # async fn example(users: bellwether_redis::Tier<u64, String>) {
    /// use bellwether_redis::LinkState;
    /// let is_up = |state: &LinkState| matches!(state, LinkState::Up { .. });
    /// # let _ =
    /// users.watch_link().wait_for(is_up).await
    /// # ;
    /// # }
    /// ```
    pub fn watch_link(&self) -> watch::Receiver<LinkState> {
        self.inner.link.watch()
    }

    /// Returns what the tier has done so far.
    pub fn stats(&self) -> Stats {
        self.inner.stats.snapshot()
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> fmt::Debug for Tier<K, V> {
    /// The server's address is left out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("memory", &self.inner.cache).field("link", &self.link()).finish_non_exhaustive()
    }
}
