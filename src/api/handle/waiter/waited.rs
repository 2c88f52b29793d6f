//! How a wait for a load ended.

use crate::api::handle::entry::Entry;
use crate::api::handle::lease::Lease;
use crate::flight::failure::{NotFound, Panicked, SharedError};
use alloc::sync::Arc;
use core::any::Any;

/// How a wait for a load ended.
#[non_exhaustive]
#[derive(Debug)]
pub enum Waited<'c, K, V> {
    /// The load ended with this value, even if the entry was removed or evicted, or has expired,
    /// the moment it was published.
    Ready(Entry<'c, K, V>),
    /// The leader gave up, or held its lease for longer than the `lead_timeout`. This waiter leads
    /// the load now.
    Lead(Lease<'c, K, V>),
    /// The load ended with its leader's error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// There is no value: the load ended with [`Loaded::NotFound`](crate::Loaded::NotFound) or
    /// [`Lease::not_found`].
    NotFound,
    /// The flight ended without value or error. Either its leader called [`Lease::fail`], or as
    /// many leaders as [`max_handovers`](crate::Builder::max_handovers) permits panicked, or the
    /// key was removed and the leader gave up or held its lease for too long. Look the key up
    /// again.
    Abandoned,
    /// No more callers may wait for this key, or load, or too much retired memory waits to be
    /// freed.
    Overloaded,
    /// The deadline passed first. The load goes on.
    TimedOut,
}

/// As [`Waited`], with the two kinds of `Abandoned` apart: a failure without an error, and a flight
/// after which the caller must look again.
pub(crate) enum Woken<'c, K, V> {
    Ready(Entry<'c, K, V>),
    Lead(Lease<'c, K, V>),
    /// The failure comes with the value that was to be refreshed, if there was one.
    Failed(Option<SharedError>, Option<Entry<'c, K, V>>),
    Again,
    Overloaded,
}

impl<'c, K, V> From<Woken<'c, K, V>> for Waited<'c, K, V> {
    fn from(woken: Woken<'c, K, V>) -> Self {
        match woken {
            Woken::Ready(entry) => Self::Ready(entry),
            Woken::Lead(lease) => Self::Lead(lease),
            Woken::Failed(Some(error), old) if !error.is::<Panicked>() => {
                // The drop of `old` may drop values, which is user code. If that panics, the error
                // is still in a local, which unwinding drops.
                drop(old);
                if error.is::<NotFound>() { Self::NotFound } else { Self::Failed(error) }
            }
            Woken::Failed(..) | Woken::Again => Self::Abandoned,
            Woken::Overloaded => Self::Overloaded,
        }
    }
}
