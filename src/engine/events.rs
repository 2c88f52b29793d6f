//! Being told what a cache does.

use super::event_key::EventKey;
use super::rejected::RejectionCause;
use alloc::{boxed::Box, sync::Arc};
use core::time::Duration;

/// Why a value was removed from the cache.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// `remove`, `remove_if`, `invalidate`, `invalidate_all`, `retain` or `compute`, and its time was not over.
    Explicit,
    /// A newer value took its place, and its time was not over.
    Replaced,
    /// Its time to live or to idle was over when it was removed, however it was found: by a load or an `insert` that replaced
    /// it, by one of the calls above, as room was needed, by `purge_expired`, or by an insertion that came by it.
    Expired,
    /// Room was needed, and its time was not over.
    Size,
    /// The cache was given it, by an insert or a load, and never kept it: see [`RejectionCause`]. Of these only the
    /// [`eviction_listener`](crate::Builder::eviction_listener) is told under this name; an observer is told
    /// [`CacheEvent::Rejected`].
    Rejected,
}

/// What a load is for.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadKind {
    /// There was no value.
    Missing,
    /// The value's time was over.
    Expired,
    /// The value is still good, and XFetch's dice said to refresh it early.
    Early,
    /// A load that began before, taken on by a waiter or later caller after its leader had given up, or had held its lease for
    /// longer than the `lead_timeout`.
    TakenOver,
    /// A [`compute`](crate::Cache::compute), which takes the key's lease as a load does, or a
    /// [`refresh`](crate::LoadingCache::refresh) that was asked for.
    Compute,
}

/// How a load ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadEnding {
    /// With a value that is stored now.
    Stored,
    /// With a value that was handed to the callers and not stored: see [`Lease::fulfil`](crate::Lease::fulfil).
    NotStored,
    /// The old value was confirmed ([`Lease::renew`](crate::Lease::renew)).
    Renewed,
    /// However it would have: its lease had been taken over (`lead_timeout`), and nobody but its own caller is told.
    Fenced,
    /// With an error, or by [`Lease::fail`](crate::Lease::fail).
    Failed,
    /// The leader panicked. Somebody who waits takes over.
    Panicked,
    /// The leader dropped its lease: its task was cancelled, or a `compute` stored nothing. Somebody who waits takes over.
    GivenUp,
}

/// How a wait for the load of another ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitEnding {
    /// With the value.
    Ready,
    /// The load failed, or its leader ended it without a value.
    Failed,
    /// The leader gave up or held its lease for too long, and this caller has taken over ([`LoadKind::TakenOver`]).
    TookOver,
    /// The key was removed and the load given up: this caller looks again.
    Abandoned,
    /// The waiter was dropped before the load had ended: by its deadline (see [`CacheEvent::WaitTimedOut`]), because its task
    /// was cancelled, or because it would have waited for itself.
    Left,
}

/// Something that a cache did, as it is told to an [`Observer`].
///
/// Versions to come may add variants, and fields to those that have any: match with a `_` arm, and with `..`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheEvent {
    /// A load begins: a lease was given out. Each is followed by one [`LoadEnded`](Self::LoadEnded), unless the lease is
    /// forgotten.
    #[non_exhaustive]
    LoadStarted {
        /// What for.
        kind: LoadKind,
    },
    /// A load has ended.
    #[non_exhaustive]
    LoadEnded {
        /// As when it began.
        kind: LoadKind,
        /// How it ended.
        ending: LoadEnding,
        /// How long the loader ran, by the precise clock: from when it was called, or its future was
        /// first polled, to its end. A bulk load's is that of its one call. It is the δ that XFetch
        /// goes by. Of a lease by hand: from when it was given. Zero where there is no clock.
        took: Duration,
        /// How long it was from when the lease was given until the loader ran: the time that a load in
        /// the background spent in the spawner's queue.
        waited: Duration,
    },
    /// A caller waits for the load of another. Each is followed by one [`WaitEnded`](Self::WaitEnded), unless the waiter is
    /// forgotten.
    WaitStarted,
    /// A wait has ended.
    #[non_exhaustive]
    WaitEnded {
        /// How it ended.
        ending: WaitEnding,
        /// How long the caller waited, by the precise clock. Zero where there is no clock.
        took: Duration,
    },
    /// The `wait_timeout` of a caller ran out. (Not that of [`Waiter::wait_timeout`](crate::Waiter::wait_timeout), after which
    /// one may go on waiting.) Its wait ends next, with [`WaitEnding::Left`].
    WaitTimedOut,
    /// An old value was given: while it is refreshed, because its refresh failed, or because no more may load or wait.
    StaleServed,
    /// A stored value was removed.
    #[non_exhaustive]
    Removed {
        /// Why.
        cause: RemovalCause,
    },
    /// A value that the cache was given, by an insert or a load, was not kept.
    #[non_exhaustive]
    Rejected {
        /// Why.
        cause: RejectionCause,
    },
    /// A caller runs its loader for itself alone, and its value is not stored: [`Stats::bypassed`](crate::Stats::bypassed).
    Bypassed,
    /// A caller could neither load nor wait, because of `max_loads`, `max_waiters` or the bound on retired memory, and there
    /// was no value to give it: it gets [`Overloaded`](crate::LoadError::Overloaded), or is [`Bypassed`](Self::Bypassed).
    Refused,
    /// A bulk load has answered for a key that nobody asked for, or a second time for the same key. Its answer was dropped. Told
    /// once the load has ended.
    AnswerRefused,
}

/// Is told what a cache does: for metrics and logs. Set with [`Builder::observer`](crate::Builder::observer).
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
/// With the features `metrics` and `tracing` there are two ready ones, `MetricsObserver` and `TracingObserver`; a pair `(A, B)`
/// of observers is one that tells both.
///
/// # What is told, and what it costs
///
/// Plain hits and misses are **not** told, so that a hit costs nothing: [`stats`](crate::Cache::stats) counts them, with
/// [`record_stats`](crate::Builder::record_stats). Nor is what goes when the cache is dropped.
///
/// Without an observer, what is not a hit pays a branch. With one, an operation that has something to tell allocates a short
/// list, a load that ends without a value reads the precise clock once more, and a wait reads it twice.
///
/// # Where it is called
///
/// On the thread whose operation it is, in the order of what it did; events of different threads come in any order. It is
/// called after the operation has let go of its pin and of all that is shared, as the
/// [`eviction_listener`](crate::Builder::eviction_listener) is, so it may use the cache, whose events are told in turn. What is
/// done on a [`Pinned`](crate::Pinned) is told when that is dropped. It delays its caller, and a load that began ends that much
/// later: keep it short.
///
/// # Panics
///
/// A panic in it reaches the caller whose operation it was, after that has been completed, and the rest has been told; while
/// that thread already unwinds, it is swallowed. Nobody else notices: a lease that the caller was about to get is given up, and
/// somebody who waits takes over.
pub trait Observer: Send + Sync {
    /// Something has come about in the cache of this [`name`](crate::Builder::name) (empty if it was given none).
    fn observe(&self, cache: &str, event: &CacheEvent);

    /// The same of an event about one key. Not asked for, this is [`observe`](Self::observe).
    ///
    /// The key's hash is always there; the key itself, to be shown, if the cache was built with
    /// [`observe_keys`](crate::Builder::observe_keys). All events are about a key but [`CacheEvent::AnswerRefused`].
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
    /// let cache: Cache<String, u32> = Cache::builder().max_capacity(10).observer(loads.clone()).observe_keys().build()?;
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

/// Two at once: the first one is told first. If it panics, the second one is not told.
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
