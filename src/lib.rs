//! A lock-free, `no_std`-friendly in-process cache core that makes cache stampedes impossible.
//!
//! When a hot entry expires, one caller computes it anew, and everyone else keeps the value that is still good or waits
//! for the bell; [XFetch](Builder::xfetch) refreshes it before it ever expires.
//!
//! ```
//! use bellwether::Cache;
//! use std::time::Duration;
//!
//! let pages: Cache<String, String> = Cache::builder()
//!     .max_capacity(10_000)
//!     .time_to_live(Duration::from_secs(60))
//!     .build()?;
//! // However many threads ask: one renders, the others wait for it, or keep the page that is still good.
//! let page = pages.get_with("/", || format!("rendered {}", "/"));
//! assert_eq!(page, "rendered /");
//! # Ok::<(), bellwether::BuildError>(())
//! ```
//!
//! # Choosing a verb
//!
//! | you want | call | waits? |
//! |---|---|---|
//! | the value if it is there | [`Cache::get`], [`get_ref`](Cache::get_ref), [`get_entry`](Cache::get_entry) | never |
//! | the value, loaded once if it is not | [`Cache::get_with`], [`try_get_with`](Cache::try_get_with) | for the load of another |
//! | the same in a task | [`Cache::get_with_async`], [`try_get_with_async`](Cache::try_get_with_async) | asynchronously |
//! | the same with settings of this call, and how it went | [`Cache::entry`]: a [`Request`], an [`Outcome`] | as above |
//! | the same, loaded in the background | [`Cache::detached`] | no longer than you like |
//! | a cache that knows its loader; many keys at once | [`Builder::loader`]: a [`LoadingCache`] | as above |
//! | the protocol in your own hands | [`Cache::lease`]: a [`Lookup`], with a [`Lease`] or a [`Waiter`] | only in [`Waiter::wait`] |
//! | to decide on a value while nobody else does | [`Cache::compute`] | for a load in flight |
//! | many plain calls in a row | [`Cache::pin`] | never |
//!
//! # What is lock-free and what blocks
//!
//! Reads, writes, eviction and the bookkeeping of loads are lock-free: they are made of atomics, in a split-ordered list
//! and slot rings, with memory reclaimed by epochs. A hit is wait-free but for the pin of the epoch. Those who *wait*
//! for the load of another sleep at a bell. Threads on 64-bit Linux sleep on a word, take no lock, and one system call wakes
//! them all. Tasks, and threads elsewhere, wait on an `event_listener::Event`, whose list of waiters has a lock: a mutex, held
//! for a few instructions a waiter. A leader takes it only if such waiters sleep, and no waker or other user code runs
//! under it. A loader runs on the thread of the caller who leads, or is polled by its task.
//!
//! Without `std` that lock is a spinlock. A task that is preempted or interrupted under it has the others spin until it goes on;
//! so do not call the cache from an interrupt handler, or from a thread of a higher priority on the same core, while tasks wait.
//! (Or let the program depend on `event-listener` with its feature `critical-section`: then it is a critical section.)
//!
//! A [`Ref`], a [`Pinned`] and an [`Iter`] hold a pin: while one is held, no cache of this crate in the process can free
//! retired memory. That is bounded: past 8 MiB of retired nodes (or, with a weigher, a capacity's worth of retired weight)
//! new values are handed to their callers and not kept, past four times that, misses load without a flight, and all is
//! well again when the pin is gone. [`Stats::retired_bytes`] and [`Stats::bypassed`] show it. (`lease` answers
//! `Overloaded` then; `compute`, which has no way to decline, goes on.)
//!
//! A value that is removed by a caller's word ([`Cache::remove`] and its like, [`Cache::purge_expired`], [`Cache::retain`],
//! [`Cache::set_capacity`], [`Op::Remove`]) is dropped before the call returns, where no thread holds a pin, or else with
//! one of the next 16 removals after the pin's end; if an [`Entry`] of it is held, as the last one is dropped. One that is evicted, or replaced, is dropped by a
//! later insert: at once where the capacity is below 16; else before an eighth of the capacity more has been removed, rounded up to a
//! multiple of 64, and 4,096 at most (with a weigher, values of some 1/32 of the capacity). What is ripe then is freed over the
//! inserts that follow. All values are dropped with the cache.
//!
//! On 32-bit targets without 64-bit atomics the entry's times are guarded by `portable-atomic`'s fallback locks, and a
//! flight counts at most 16,383 waiters.
//!
//! # A process that forks
//! A child of `fork` has one thread, the one that forked. On 64-bit Linux it may go on using its caches: they read, insert, load, remove
//! and free as ever, and what that thread had pinned stays pinned. (What other threads had pinned is let go of as the child begins. That is for
//! `fork` of the C library; after a raw system call, and on other systems, it stays pinned: nothing can be freed, and past the bounds above new values are
//! not kept.) What the parent's other threads were in the middle of does not end: their loads can only be taken over
//! ([`Builder::lead_timeout`]), entries that they hold keep their memory, and [`ThreadTimer`], [`TickerClock`], a [`Janitor`] and a
//! runtime of tasks have no thread in the child. If one of those threads held the lock of an event (see above), tasks that wait at
//! the same bell in the child wait for ever. So a child should build its caches anew, or end, or `exec`.
//!
//! # A sandbox
//! Pins rely on Linux's `membarrier` if it is to be had as the first cache is built, and on fences if not. If a sandbox forbids the call
//! later, readers are told to fence from then on; for a tenth of a second nothing is freed, once. (A hit costs
//! some 10 ns more then.)
//!
//! # Features
//!
//! * `std` (default): blocking waits, thread-local pins, the default clock. Without it the crate needs `alloc` only, and
//!   threads register ([`Cache::register`]) to pin. Where there is no clock ([`Builder::clock`]), nothing can expire.
//! * `tokio`: loads in the background run in the tokio runtime that they are spawned from, if there is one; `TokioSpawn` and
//!   `TokioTimer`: in one of your choice, and by its timer. Needs `std`.
//! * `metrics`: `MetricsObserver`, an [`Observer`] that tells the recorder of the `metrics` facade what a cache does. Needs `std`.
//! * `tracing`: `TracingObserver`, an [`Observer`] that emits it as events of `tracing`; loads in the background run in the span of
//!   the caller on whose behalf they do. Needs `std`.
//!
//! # How far to trust it
//!
//! What is proved, within which bounds, what is only tested, and what is not covered: [`verification`].
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

#[cfg(doc)]
#[doc = include_str!("../docs/verification.md")]
pub mod verification {}

#[cfg(feature = "std")]
mod alarms;
mod alert;
mod answers;
mod buckets;
mod builder;
mod bulk;
mod cache;
mod clock;
mod detached;
mod doubling;
mod engine;
mod entry;
mod error;
mod expiry;
mod failure;
mod fate;
mod flight;
mod form;
mod futex;
mod future;
mod hasher;
mod inline;
mod iter;
mod key;
mod lease;
mod link;
mod loading;
mod lookup;
mod observer;
mod order;
mod outcome;
mod pinned;
mod policy;
mod reclaim;
mod rejected;
mod request;
mod span;
mod spawn;
mod stack;
mod stats;
mod sync;
mod table;
mod tags;
mod through;
mod time;
mod timer;
mod unwind;
mod waiter;
mod zeroed;

#[cfg(feature = "std")]
mod blocking;
#[cfg(feature = "std")]
mod deadline;
#[cfg(feature = "std")]
mod janitor;
#[cfg(feature = "std")]
mod ticker;
#[cfg(feature = "tokio")]
mod tokio_rt;
#[cfg(feature = "std")]
mod unpark;

#[cfg(feature = "std")]
pub use alarms::ThreadTimer;
pub use answers::Answers;
#[cfg(feature = "std")]
pub use blocking::Op;
pub use builder::Builder;
pub use cache::Cache;
pub use clock::Clock;
#[cfg(feature = "std")]
pub use clock::CoarseClock;
pub use detached::Detached;
pub use entry::{Entry, Ref};
pub use equivalent::Equivalent;
pub use error::{BuildError, DynLoadError, LoadError};
pub use failure::Failure;
pub use hasher::{DefaultHashBuilder, DefaultHasher};
pub use iter::Iter;
#[cfg(feature = "std")]
pub use janitor::Janitor;
pub use key::ToKey;
pub use lease::Lease;
pub use loading::{Load, LoadAsync, LoadingBuilder, LoadingCache};
pub use lookup::Lookup;
#[cfg(feature = "metrics")]
pub use observer::MetricsObserver;
#[cfg(feature = "tracing")]
pub use observer::TracingObserver;
pub use observer::{CacheEvent, EventKey, LoadEnding, LoadKind, Observer, RemovalCause, WaitEnding};
pub use outcome::{Loaded, Outcome};
pub use pinned::{Local, Pinned};
pub use rejected::{Rejected, RejectionCause};
pub use request::{Found, Request};
#[cfg(feature = "std")]
pub use spawn::ThreadSpawn;
pub use spawn::{Spawn, Task, Work};
pub use stats::Stats;
pub use tags::Tags;
#[cfg(feature = "std")]
pub use ticker::TickerClock;
pub use timer::{ManualClock, Timer};
#[cfg(feature = "tokio")]
pub use tokio_rt::{NoTimeDriver, TokioSpawn, TokioTimer};
pub use waiter::{Waited, Waiter};

/// The README's code runs as a doctest.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
