//! An in-process cache, async and blocking, that computes a missing value once, however many
//! callers ask for it.
//!
//! When a hot entry expires, one caller (the *leader*) loads it anew. All others keep the old
//! value, if it may still be served, or wait for the leader's. An entry that callers still ask for
//! is [refreshed](Refresh) before it expires.
//!
//! ```
//! use bellwether::{BuildError, Cache, LoadError};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! #[derive(Debug)]
//! enum DbError { NoSuchUser, Down }
//!
//! async fn query(id: u64) -> Result<String, DbError> {
//!     if id == 7 { Ok("Ada".to_owned()) } else { Err(DbError::NoSuchUser) }
//! }
//!
//! fn users() -> Result<Arc<Cache<u64, String>>, BuildError> {
//!     let users = Cache::builder()
//!         .max_capacity(10_000)
//!         .time_to_live(Duration::from_secs(60))
//!         .wait_timeout(Duration::from_secs(2))
//!         .build()?;
//!     Ok(Arc::new(users))
//! }
//!
//! /// Answers a request with a status and a text.
//! async fn user(users: Arc<Cache<u64, String>>, id: u64) -> (u16, String) {
//!     // However many tasks ask for this user at once, one queries. The others await its answer.
//!     match users.try_get_with_async(&id, || query(id)).await {
//!         Ok(name) => (200, name),
//!         // One query failed. Each caller that waited for it gets the same `Arc<DbError>`.
//!         Err(LoadError::Load(error)) => match *error {
//!             DbError::NoSuchUser => (404, "no such user".to_owned()),
//!             DbError::Down => (502, "the database is down".to_owned()),
//!         },
//!         // This caller's deadline ran out, or a bound on waiters or loads refused it.
//!         Err(LoadError::TimedOut | LoadError::Overloaded) => (503, "try again".to_owned()),
//!         Err(error) => (500, format!("{error:?}")),
//!     }
//! }
//! # use std::{pin::pin, task::{Context, Poll, Waker}};
//! # fn block_on<T>(future: impl Future<Output = T>) -> T {
//! #     let mut future = pin!(future);
//! #     match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
//! #         Poll::Ready(done) => done,
//! #         Poll::Pending => panic!("no other task is at work"),
//! #     }
//! # }
//! # let users = users()?;
//! # assert_eq!(block_on(user(users.clone(), 7)), (200, "Ada".to_owned()));
//! # assert_eq!(users.get(&7).as_deref(), Some("Ada"));
//! # assert_eq!(block_on(user(users, 8)), (404, "no such user".to_owned()));
//! # Ok::<(), BuildError>(())
//! ```
//!
//! # Choosing a verb
//!
//! | you want | call | waits? |
//! |---|---|---|
//! | the value, if it is there | [`Cache::get`], [`get_ref`], [`get_entry`] | never |
//! | the same, even if it is over | [`Cache::get_stale`] | never |
//! | the value, loaded once if not | [`Cache::get_with`], [`try_get_with`] | for another's load |
//! | the same in a task | [`get_with_async`], [`try_get_with_async`] | asynchronously |
//! | settings for one call; how the value came about | [`Cache::entry`] | as above |
//! | a load in the background | [`Cache::detached`] | no longer than you like |
//! | a loader of the cache's own; many keys at once | [`LoadingCache`] | as above |
//! | the protocol in your own hands | [`Cache::lease`]: a [`Lookup`] | only in [`Waiter::wait`] |
//! | to decide on a value while no other caller loads | [`Cache::compute`], [`try_compute`], [`upsert`] | for a load in flight |
//! | the same in a task | [`compute_async`], [`try_compute_async`], [`upsert_async`] | asynchronously |
//! | many plain calls in a row | [`Cache::pin`] | never |
//!
//! [`get_ref`]: Cache::get_ref
//! [`get_entry`]: Cache::get_entry
//! [`try_get_with`]: Cache::try_get_with
//! [`get_with_async`]: Cache::get_with_async
//! [`try_get_with_async`]: Cache::try_get_with_async
//!
//! [`try_compute`]: Cache::try_compute
//! [`upsert`]: Cache::upsert
//! [`compute_async`]: Cache::compute_async
//! [`try_compute_async`]: Cache::try_compute_async
//! [`upsert_async`]: Cache::upsert_async
//!
//! [`Request`] has a table of the deadlines: which one ends which wait, and with what.
//!
//! # Pages
//!
//! | page | it says |
//! |---|---|
//! | [`choosing`] | which settings for which situation, with an example each |
//! | [`waiting`] | what is lock-free, and what blocks |
//! | [`memory`] | what a pin holds up, and when values are dropped; `fork`; sandboxes |
//! | [`failures`] | failures, and values that do not exist: what to keep, and for how long |
//! | [`refresh`] | which policy of early refresh, by simulation |
//! | [`eviction`] | which entry goes when room is needed, and the hit ratio |
//! | [`hashers`] | which hasher suits which keys |
//! | [`comparison`] | what other libraries do about stampedes, and its counterpart here |
//! | [`verification`] | what is proved, within which bounds; what is tested; what is not covered |
//!
//! # Features
//!
//! * `std` (default): blocking waits, thread-local pins, the default clock. Without it the crate
//!   needs `alloc` only, and threads register ([`Cache::register`]) to pin. Where there is no clock
//!   ([`Builder::clock`]), nothing can expire.
//! * `tokio`: background loads run in the tokio runtime that they are spawned from, if there is
//!   one; `TokioSpawn` and `TokioTimer` name another one. Needs `std`.
//! * `metrics`: `MetricsObserver`, an [`Observer`] that reports to the recorder of the `metrics`
//!   facade. Needs `std`.
//! * `tracing`: `TracingObserver`, an [`Observer`] that emits events of `tracing`. Background loads
//!   run in the span of the caller that began them. Needs `std`.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

// Pages of the documentation: the files of `docs`, which are in the package, too.
#[cfg(doc)]
#[doc = include_str!("../docs/choosing.md")]
pub mod choosing {}
#[cfg(doc)]
#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}
#[cfg(doc)]
#[doc = include_str!("../docs/eviction.md")]
#[doc = "<style>.hit-ratio svg { width: 100%; height: auto; }</style><div class=\"hit-ratio\">"]
#[doc = include_str!("../docs/hit-ratio.svg")]
#[doc = "</div>"]
pub mod eviction {}
#[cfg(doc)]
#[doc = include_str!("../docs/failures.md")]
pub mod failures {}
#[cfg(doc)]
#[doc = include_str!("../docs/hashers.md")]
pub mod hashers {}
#[cfg(doc)]
#[doc = include_str!("../docs/memory.md")]
pub mod memory {}
#[cfg(doc)]
#[doc = include_str!("../docs/refresh.md")]
#[doc = "<style>.refresh svg { width: 100%; height: auto; }</style><div class=\"refresh\">"]
#[doc = include_str!("../docs/refresh.svg")]
#[doc = "</div>"]
pub mod refresh {}
#[cfg(doc)]
#[doc = include_str!("../docs/verification.md")]
pub mod verification {}
#[cfg(doc)]
#[doc = include_str!("../docs/waiting.md")]
pub mod waiting {}

// A map of the source. A folder imports from itself and from those below it, and from no other:
// `tests/process/layers.rs` fails otherwise.
//
//   api      what users name: cache/ builder/ handle/ load/ observers/ error/
//   engine   one operation under a pin: read, join, publish, end, insert, remove, evict, sweep;
//            wait/ is how a caller sleeps
//   flight   the protocol: PROTOCOL.md first; then word.rs and state.rs (the state word), node.rs
//            (what carries it), expiry.rs and times.rs (its times), bell/ (where waiters sleep)
//   table    the split-ordered list: which node has a key
//   policy   which entry goes when room is needed
//   reclaim  when the memory of a removed node may be freed
//   runtime  clocks, timers, spawners, the arithmetic of XFetch
//   sys      atomics, the futex, memory, small lock-free parts
//
// Five trips, each from the call of a user downward:
//
//   a hit          api/cache/plain.rs `get`, under a pin (reclaim/limbo.rs `enter`)
//                  -> engine/read.rs `read` -> table/mod.rs `find` -> engine/read.rs
//                  `is_plain_hit`; what needs a clock goes on to engine/freshness.rs
//   a cold miss    api/load/blocking.rs `get_with` or future.rs `get_with_async`
//                  -> api/load/read_through/ -> api/handle/lookup.rs -> engine/join.rs
//                  `join_or_lead`; the leader ends in api/handle/lease/ `finish` and
//                  engine/publish.rs, a waiter sleeps in api/handle/waiter/
//   early refresh  engine/freshness.rs `freshness` -> engine/join.rs `refresh`
//                  -> engine/publish.rs `publish_successor`
//   hand-over      api/handle/lease/ `drop` -> engine/end.rs `give_up` -> flight/bell/ `ring`
//                  -> engine/join.rs `claim`
//   eviction       engine/insert.rs -> engine/evict.rs `displace` -> policy/evict.rs
//                  -> engine/remove.rs `remove_held`
mod api;
mod engine;
mod flight;
mod policy;
mod reclaim;
mod runtime;
mod sys;
mod table;

#[cfg(feature = "std")]
pub use api::cache::janitor::Janitor;
#[cfg(feature = "std")]
pub use api::handle::drain::Drain;
#[cfg(feature = "std")]
pub use api::load::loading_cache::loaders::Blocking;
#[cfg(feature = "metrics")]
pub use api::observers::MetricsObserver;
#[cfg(feature = "tracing")]
pub use api::observers::TracingObserver;
pub use api::{
    builder::Builder,
    cache::{Cache, local::Local, pinned::Pinned, policy::Policy},
    error::{BuildError, DynLoadError, LoadError},
    handle::{
        age::Age,
        change::Change,
        entry::{Entry, Ref},
        iter::Iter,
        lease::Lease,
        lookup::Lookup,
        waiter::{Waited, Waiter},
    },
    load::{
        answers::Answers,
        compute::Op,
        detached::Detached,
        loading_cache::{
            LoadingBuilder, LoadingCache,
            load::{Load, LoadAsync},
            loaders::{BoxLoad, BoxLoadAsync, Revalidating},
            request::LoadingRequest,
        },
        request::{Found, Request},
    },
};
pub use engine::{
    event_key::EventKey,
    events::{CacheEvent, LoadEnding, LoadKind, Observer, RemovalCause, WaitEnding},
    expiry::{Expiry, ExpiryParts},
    failure::Failure,
    key::ToKey,
    outcome::{Loaded, Outcome},
    refresh::Refresh,
    rejected::{Rejected, RejectionCause},
    stats::Stats,
    tags::Tags,
};
pub use equivalent::Equivalent;
#[cfg(feature = "tokio")]
pub use runtime::tokio::{NoTimeDriver, TokioSpawn, TokioTimer};
pub use runtime::{
    clock::Clock,
    manual_clock::ManualClock,
    spawn::{Spawn, Task, Work},
    timer::Timer,
};
#[cfg(feature = "std")]
pub use runtime::{clock::CoarseClock, spawn::ThreadSpawn, thread_timer::ThreadTimer, ticker::TickerClock};
pub use sys::hasher::{DefaultHashBuilder, DefaultHasher};

/// The README's code runs as a doctest.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
