//! A lock-free, `no_std`-friendly in-process cache core that makes cache stampedes impossible.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod builder;
mod cache;
mod clock;
mod engine;
mod entry;
mod error;
mod expiry;
mod flight;
mod hasher;
mod iter;
mod key;
mod lease;
mod link;
mod pinned;
mod policy;
mod reclaim;
mod stats;
mod sync;
mod table;
mod timer;
mod unwind;
mod waiter;

#[cfg(feature = "std")]
mod blocking;

#[cfg(feature = "std")]
pub use blocking::Op;
pub use builder::Builder;
pub use cache::Cache;
pub use clock::Clock;
#[cfg(feature = "std")]
pub use clock::CoarseClock;
pub use engine::RemovalCause;
pub use entry::{Entry, Ref};
pub use equivalent::Equivalent;
pub use error::{BuildError, LoadError};
pub use hasher::{DefaultHashBuilder, DefaultHasher};
pub use iter::Iter;
pub use key::ToKey;
pub use lease::{Lease, Lookup};
pub use pinned::{Local, Pinned};
pub use stats::Stats;
pub use timer::{ManualClock, Timer};
pub use waiter::{Waited, Waiter};
