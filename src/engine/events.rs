//! Events of a cache, and the observer that is told of them.

use super::event_key::EventKey;
use super::rejected::RejectionCause;
use alloc::{boxed::Box, sync::Arc};
use core::time::Duration;

/// The reason for which a value was removed from the cache.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// `remove`, `remove_if`, `invalidate`, `invalidate_all`, `retain` or `compute` removed the
    /// value before it had expired.
    Explicit,
    /// A newer value took the place of the value before that had expired.
    Replaced,
    /// The value had expired, by its time to live or to idle, when it was removed. Each way of
    /// removal counts: a load or an `insert` that replaced it, one of the calls above, an eviction,
    /// `purge_expired`, or an insertion that met it.
    Expired,
    /// Room was needed, and the value had not expired.
    Size,
    /// The cache was given the value, by an insert or a load, and never kept it: see
    /// [`RejectionCause`]. Only the [`eviction_listener`](crate::Builder::eviction_listener) is
    /// told of this cause. An observer is told [`CacheEvent::Rejected`] instead.
    Rejected,
}

/// The reason for which a load began.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadKind {
    /// There was no value.
    Missing,
    /// The value had expired.
    Expired,
    /// The value is still fresh, and the caller refreshes it early: it is the first past the
    /// entry's mark ([`Refresh`](crate::Refresh)), or XFetch's dice chose it.
    Early,
    /// An earlier load continues: a waiter or a later caller took it on after its leader had given
    /// up, or had held its lease for longer than the `lead_timeout`.
    TakenOver,
    /// The value is still fresh, and a caller asked for a newer one
    /// ([`force`](crate::Request::force), [`max_age`](crate::Request::max_age)).
    Forced,
    /// A [`compute`](crate::Cache::compute), which takes the key's lease as a load does, or a
    /// [`refresh`](crate::LoadingCache::refresh) on request.
    Compute,
}

/// How a load ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadEnding {
    /// The load gave a value that is now stored.
    Stored,
    /// The load gave a value that was handed to its callers and not stored: see
    /// [`Lease::fulfil`](crate::Lease::fulfil).
    NotStored,
    /// The load confirmed the old value ([`Lease::renew`](crate::Lease::renew)).
    Renewed,
    /// The lease had been taken over (`lead_timeout`) before the load ended. Only the load's own
    /// caller gets its result.
    Fenced,
    /// The load ended with an error, or by [`Lease::fail`](crate::Lease::fail).
    Failed,
    /// The load found that there is no value ([`Loaded::NotFound`](crate::Loaded::NotFound)).
    NotFound,
    /// The leader panicked. If there are waiters, one of them takes over.
    Panicked,
    /// The leader ended the load because another actor does it
    /// ([`Lease::stand_down`](crate::Lease::stand_down)).
    StoodDown,
    /// The leader dropped its lease: its task was cancelled, or a `compute` stored nothing. If
    /// there are waiters, one of them takes over.
    GivenUp,
}

/// How a wait for another caller's load ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitEnding {
    /// The caller got the value.
    Ready,
    /// The load failed, or its leader ended it without a value.
    Failed,
    /// The leader gave up, or held its lease for too long, and this caller took over
    /// ([`LoadKind::TakenOver`]).
    TookOver,
    /// The key was removed and the load given up. This caller looks again.
    Abandoned,
    /// The waiter was dropped before the load had ended. Its deadline ran out (see
    /// [`CacheEvent::WaitTimedOut`]), its task was cancelled, or it would have waited for itself.
    Left,
}

/// An event of a cache, as an [`Observer`] is told of it.
///
/// Later versions may add variants, and fields to the variants that have any. Match with a `_` arm,
/// and with `..`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheEvent {
    /// A load begins: a lease was given out. One [`LoadEnded`](Self::LoadEnded) follows, unless the
    /// lease is forgotten.
    #[non_exhaustive]
    LoadStarted {
        /// Why the load begins.
        kind: LoadKind,
    },
    /// A load has ended.
    #[non_exhaustive]
    LoadEnded {
        /// Why the load began: as in its `LoadStarted`.
        kind: LoadKind,
        /// How the load ended.
        ending: LoadEnding,
        /// How long the loader ran, by the precise clock: from its call, or the first poll of its
        /// future, to its end. For a key of a bulk load, how long the one call ran. For a lease
        /// that is held by hand, the time since it was given. Refresh ahead
        /// uses this time as δ. Zero where there is no clock.
        took: Duration,
        /// How long after the lease was given the loader began to run: the time that a load in the
        /// background spent in the spawner's queue.
        waited: Duration,
        /// Whether the load read another tier: [`Lease::from_tier`](crate::Lease::from_tier).
        from_tier: bool,
    },
    /// A caller waits for another caller's load. One [`WaitEnded`](Self::WaitEnded) follows, unless
    /// the waiter is forgotten.
    WaitStarted,
    /// A wait has ended.
    #[non_exhaustive]
    WaitEnded {
        /// How the wait ended.
        ending: WaitEnding,
        /// How long the caller waited, by the precise clock. Zero where there is no clock.
        took: Duration,
    },
    /// The `wait_timeout` of a caller ran out. (Not the timeout of
    /// [`Waiter::wait_timeout`](crate::Waiter::wait_timeout), after which a caller may wait on.)
    /// Its wait ends next, with [`WaitEnding::Left`].
    WaitTimedOut,
    /// An old value was served: while it is refreshed, because its refresh failed, or because no
    /// more callers may load or wait.
    StaleServed,
    /// A stored value was removed.
    #[non_exhaustive]
    Removed {
        /// Why the value was removed.
        cause: RemovalCause,
    },
    /// A value that the cache was given, by an insert or a load, was not kept.
    #[non_exhaustive]
    Rejected {
        /// Why the value was not kept.
        cause: RejectionCause,
    },
    /// A caller runs its loader for itself alone, and its value is not stored:
    /// [`Stats::bypassed`](crate::Stats::bypassed).
    Bypassed,
    /// A caller could neither load nor wait, because of `max_loads`, `max_waiters` or the bound on
    /// retired memory, and there was no value to give it. It gets
    /// [`Overloaded`](crate::LoadError::Overloaded), or is [`Bypassed`](Self::Bypassed).
    Refused,
    /// A bulk load has answered for a key that no caller asked for, or twice for the same key. The
    /// answer was dropped. The observer is told once the load has ended.
    AnswerRefused,
}

/// An observer of a cache's events, for metrics and logs. Set with
/// [`Builder::observer`](crate::Builder::observer).
///
/// ```
/// use bellwether::{Cache, CacheEvent, Observer};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// /// How long all loads took, in ns.
/// #[derive(Default)]
/// struct Loading(AtomicU64);
///
/// impl Observer for Loading {
///     fn observe(&self, _cache: &str, event: &CacheEvent) {
///         if let CacheEvent::LoadEnded { took, .. } = event {
///             self.0.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let loading = Arc::new(Loading::default());
/// let cache: Cache<String, u32> =
///     Cache::builder().max_capacity(10).name("words").observer(loading.clone()).build()?;
/// assert_eq!(cache.get_with("one", || 1), 1);
/// println!("{} ns were spent loading", loading.0.load(Ordering::Relaxed));
/// # Ok::<(), bellwether::BuildError>(())
/// ```
///
/// The features `metrics` and `tracing` bring a ready observer each: `MetricsObserver` and
/// `TracingObserver`. A pair `(A, B)` of observers is an observer that tells both.
///
/// # What is told, and what it costs
///
/// Plain hits and misses are **not** told, so that a hit costs nothing.
/// [`stats`](crate::Cache::stats) counts them, with [`record_stats`](crate::Builder::record_stats).
/// Values that go as the cache is dropped are not told, either.
///
/// Without an observer, all operations but hits pay a branch. With one, an operation that has
/// something to tell allocates a short list. A load that ends without a value reads the precise
/// clock once more, and a wait reads it twice.
///
/// # Where it is called
///
/// The observer is called on the thread that does the operation. Events of one thread come in the
/// order of its operations; events of different threads come in any order.
///
/// The operation has released its pin and all shared state by then, as for the
/// [`eviction_listener`](crate::Builder::eviction_listener). So the observer may use the cache, and
/// is told of the events of its own calls, too. Events of a [`Pinned`](crate::Pinned) are told when
/// that is dropped.
///
/// The observer delays its caller, and a load that began ends later by as much. Keep it short.
///
/// # Panics
///
/// A panic of the observer reaches the caller that did the operation, after the operation is
/// complete and the remaining events have been told. If the thread already unwinds, the panic is
/// swallowed. No other caller notices it: a lease that the caller was about to get is given up, and
/// a waiter takes over.
pub trait Observer: Send + Sync {
    /// Observes an event of the cache with this [`name`](crate::Builder::name), which is empty if
    /// the cache was given none.
    fn observe(&self, cache: &str, event: &CacheEvent);

    /// Observes an event about one key. The default implementation calls
    /// [`observe`](Self::observe).
    ///
    /// The key's hash is always there. The key itself, to be shown, is there if the cache was built
    /// with [`observe_keys`](crate::Builder::observe_keys). All events are about a key, except for
    /// [`CacheEvent::AnswerRefused`].
    ///
    /// ```
    /// use bellwether::{Cache, CacheEvent, EventKey, Observer};
    /// use std::sync::{Arc, Mutex};
    ///
    /// /// Which keys were loaded.
    /// #[derive(Default)]
    /// struct Loads(Mutex<Vec<String>>);
    ///
    /// impl Observer for Loads {
    ///     fn observe(&self, _: &str, _: &CacheEvent) {}
    ///     fn observe_key(&self, _: &str, event: &CacheEvent, key: &EventKey<'_>) {
    ///         if let CacheEvent::LoadStarted { .. } = event {
    ///             self.0.lock().unwrap().push(format!("{key:?}"));
    ///         }
    ///     }
    /// }
    ///
    /// let loads = Arc::new(Loads::default());
    /// let cache: Cache<String, u32> =
    ///     Cache::builder().max_capacity(10).observer(loads.clone()).observe_keys().build()?;
    /// cache.get_with("one", || 1);
    /// assert_eq!(*loads.0.lock().unwrap(), ["\"one\""]);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    fn observe_key(&self, cache: &str, event: &CacheEvent, key: &EventKey<'_>) {
        let _ = key;
        self.observe(cache, event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        (**self).observe(cache, event);
    }
    fn observe_key(&self, cache: &str, event: &CacheEvent, key: &EventKey<'_>) {
        (**self).observe_key(cache, event, key);
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        (**self).observe(cache, event);
    }
    fn observe_key(&self, cache: &str, event: &CacheEvent, key: &EventKey<'_>) {
        (**self).observe_key(cache, event, key);
    }
}

/// Two observers in one: the first is told first. If it panics, the second is not told.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        self.0.observe(cache, event);
        self.1.observe(cache, event);
    }
    fn observe_key(&self, cache: &str, event: &CacheEvent, key: &EventKey<'_>) {
        self.0.observe_key(cache, event, key);
        self.1.observe_key(cache, event, key);
    }
}
