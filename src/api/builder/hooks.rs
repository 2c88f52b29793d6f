//! The settings by which user code weighs entries, and is told what happens.

use super::Builder;
use crate::engine::RemovalCause;
use crate::engine::events::{LoadKind, Observer};
use crate::engine::failure::Failure;
use crate::runtime::courier::courier;
use crate::sys::unwind;
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;

impl<K, V, S> Builder<K, V, S> {
    /// Sets the function that weighs an entry. The cache calls it once for each value, when the
    /// value is published; 0 counts as 1. Default: every entry weighs 1.
    ///
    /// An entry heavier than the whole capacity is handed to its callers and not kept. Any other
    /// entry is in the cache when its `insert` or load is done, as long as another entry can be
    /// evicted: one that is not being refreshed, and that [`keep_while`](Self::keep_while) does not
    /// keep.
    ///
    /// A weight has 32 bits, the total and the capacity 64. So values may weigh their bytes up to
    /// 4 GiB. For larger ones, weigh all in a larger unit, and give the capacity in it (wider
    /// weights would cost each entry of each cache 4 bytes):
    ///
    /// ```
    /// use bellwether::Cache;
    /// const KIB: u64 = 1 << 10;
    /// struct Film { bytes: u64 }
    /// let films: Cache<String, Film> = Cache::builder()
    ///     .max_capacity((1 << 40) / KIB)
    ///     .weigher(|_, film: &Film| u32::try_from(film.bytes.div_ceil(KIB)).unwrap_or(u32::MAX))
    ///     .build()?;
    /// films.insert("Metropolis".into(), Film { bytes: 30 << 30 });
    /// assert_eq!(films.weight() * KIB, 30 << 30);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "Weighter")]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Sets a function that says which entries are not to be evicted now: those in use. The cache
    /// asks it about each entry that it is about to evict, and goes on to the next one while the
    /// answer is true.
    ///
    /// If no other entry may go, the newcomer goes, whatever the function says about it. The
    /// callers of its load get its value; the eviction listener is told
    /// [`RemovalCause::Size`](crate::RemovalCause::Size), and
    /// [`Change::applied`](crate::Change::applied) is false. So the total stays within the
    /// capacity, unless [`set_capacity`](crate::Cache::set_capacity) falls below what is kept.
    ///
    /// The function prevents eviction alone: an entry still expires, and can be replaced,
    /// invalidated and removed. It runs under a pin, on the thread that needs room, so it must be
    /// quick, and must not use the cache. If it panics, the entry is evicted, and the panic reaches
    /// that thread after its operation is complete.
    ///
    /// Cost: a call for each eviction. If most entries are kept, an insertion may have to look at
    /// all of them.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::sync::Arc;
    /// let files: Cache<u32, Arc<str>> = Cache::builder()
    ///     .max_capacity(2)
    ///     .keep_while(|_, file: &Arc<str>| Arc::strong_count(file) > 1)
    ///     .build()?;
    /// let in_use = files.get_with(&0, || "zero".into());
    /// (1..100).for_each(|n| files.insert(n, "n".into()));
    /// assert_eq!(files.get(&0), Some(in_use));
    /// assert_eq!(files.len(), 2);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "is_pinned")]
    pub fn keep_while(mut self, in_use: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.keep_while = Some(Box::new(in_use));
        self
    }

    /// Sets a function that is called for each stored value that is removed. The thread that
    /// removes the value calls it, after the value has become unreachable and outside of any pin,
    /// so it may use the cache. It is not called when the cache is dropped.
    ///
    /// It is called with [`RemovalCause::Rejected`] for each value that an insert or a load gave to
    /// the cache and the cache did not keep: the value was too heavy, its time to live was zero, or
    /// too much removed memory waits to be freed. It is not called for
    ///
    /// * a value that [`try_insert`](crate::Cache::try_insert) gives back;
    /// * a value loaded on the condition that it is not kept ([`Loaded::Unstored`](crate::Loaded),
    ///   or a time to live of zero that the caller or the loader named);
    /// * a value that lost to a newer write or removal.
    ///
    /// A panic of the function reaches the caller whose operation removed the value, after that
    /// operation is complete.
    #[doc(alias = "Lifecycle")]
    pub fn eviction_listener(mut self, listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// As [`eviction_listener`](Self::eviction_listener), for an async function. It gets clones of
    /// the key and the value, which its future may keep. The cache's [`spawner`](Self::spawner)
    /// runs it. Both listeners can be set.
    ///
    /// The thread that removes a value clones it and the key, puts them in a queue, and goes on. A
    /// task calls the function for one removal after the other, in the order of the queue, and
    /// awaits each future. The task ends when the queue is empty, and the next removal spawns
    /// another. So two calls never overlap, and a slow one delays the others, but no caller of the
    /// cache.
    ///
    /// The queue has **no bound**: if values are removed faster than the function can take them,
    /// their clones pile up. Where that may happen, use a plain `eviction_listener` that sends to a
    /// bounded channel. (If the spawner drops the task before its end, the call in progress ends,
    /// and the other values wait for the task of the next removal. Values that are left in the
    /// queue when the cache is dropped and no task runs are dropped.)
    ///
    /// A panic of the function, or of its future, ends the call for that value alone; the panic
    /// hook reports it. A panic of a clone reaches the caller that removed the value, as a panic of
    /// a listener does.
    ///
    /// ```
    /// use bellwether::{Cache, RemovalCause, ThreadSpawn};
    /// use std::sync::mpsc;
    /// # async fn archive(_: &u32, _: &str) {}
    /// let (told, removals) = mpsc::channel();
    /// let cache: Cache<u32, String> = Cache::builder()
    ///     .max_capacity(10)
    ///     .eviction_listener_async(move |key: u32, value: String, cause| {
    ///         let told = told.clone();
    ///         async move {
    ///             archive(&key, &value).await;
    ///             told.send((key, value, cause)).unwrap();
    ///         }
    ///     })
    ///     .spawner(ThreadSpawn::new())
    ///     .build()?;
    /// cache.insert(1, "one".into());
    /// cache.invalidate(&1);
    /// assert_eq!(removals.recv().unwrap(), (1, "one".into(), RemovalCause::Explicit));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "async_eviction_listener")]
    pub fn eviction_listener_async<F, Fut>(mut self, listener: F) -> Self
    where
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
        F: Fn(K, V, RemovalCause) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.listener_async = Some(Box::new(move |spawner, plain| {
            let deliver = courier(spawner, move |(key, value, cause)| listener(key, value, cause));
            let deliver = move |key: &K, value: &V, cause| deliver((key.clone(), value.clone(), cause));
            let Some(plain) = plain else { return Box::new(deliver) };
            // A panic of one does not skip the other.
            Box::new(move |key, value, cause| {
                unwind::each([false, true].into_iter(), |later| match later {
                    false => plain(key, value, cause),
                    true => deliver(key, value, cause),
                });
            })
        }));
        self
    }

    /// Sets a function that is called once for each load that ends in an error or a panic, no
    /// matter by which verb it began. The arguments are the key, the failure, and what the load was
    /// for. These are the loads that [`Stats::load_failures`](crate::Stats::load_failures) counts.
    /// (A load that a caller runs for itself alone, `bypassed`, is not among them: its error is
    /// that caller's.)
    ///
    /// The thread on which the load ended calls the function, after the end and outside of any pin,
    /// so it may use the cache. A panic of the function reaches that thread as a panic of an
    /// [`Observer`] does; while the load's own panic unwinds, it is swallowed.
    ///
    /// Cost: without such a function, a load that fails pays a branch.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::sync::{Arc, Mutex};
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let lines = log.clone();
    /// let cache: Cache<String, u64> = Cache::builder()
    ///     .max_capacity(100)
    ///     .on_load_error(move |key, failure, kind| {
    ///         lines.lock().unwrap().push(format!("{key}: {failure} ({kind:?})"));
    ///     })
    ///     .build()?;
    /// assert!(cache.try_get_with("answer", || Err::<u64, _>("no route to host")).is_err());
    /// assert_eq!(*log.lock().unwrap(), ["answer: no route to host (Missing)"]);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn on_load_error(mut self, told: impl Fn(&K, &Failure<'_>, LoadKind) + Send + Sync + 'static) -> Self {
        self.on_load_error = Some(Box::new(told));
        self
    }

    /// Adds an observer, which receives the cache's events, for metrics and logs. See [`Observer`]
    /// for the events, the thread that calls it, and the cost. Observers that were added before are
    /// called first. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(match self.observer.take() {
            None => Box::new(observer),
            Some(first) => Box::new((first, observer)),
        });
        self
    }

    /// Lets the [`observer`](Self::observer) see keys, by their `Debug`: see
    /// [`Observer::observe_key`]. (For failures alone, see `on_load_error`.) Default: the observer
    /// sees hashes.
    ///
    /// Cost: an increment and decrement of a reference count for each event, and a clone of the key
    /// for some events (`Bypassed`, `Refused`, `WaitTimedOut`, `StaleServed`).
    pub fn observe_keys(mut self) -> Self
    where
        K: fmt::Debug,
    {
        self.show_key = Some(<K as fmt::Debug>::fmt);
        self
    }

    /// Counts hits and misses, in per-thread cells. The cache always counts everything else in
    /// [`Stats`](crate::Stats).
    pub fn record_stats(mut self) -> Self {
        self.record_stats = true;
        self
    }
}
