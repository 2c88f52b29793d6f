//! How waiting for a load ended.

use crate::api::handle::entry::Entry;
use crate::api::handle::lease::Lease;
use crate::flight::failure::{Panicked, SharedError};
use alloc::sync::Arc;
use core::any::Any;

/// How waiting for a load ended.
#[non_exhaustive]
#[derive(Debug)]
pub enum Waited<'c, K, V> {
    /// With its value: even if the entry was removed, evicted or over the moment it was published.
    Ready(Entry<'c, K, V>),
    /// Its leader gave up, or has held its lease for longer than the `lead_timeout`: this waiter takes the load on.
    Lead(Lease<'c, K, V>),
    /// With its leader's error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// Without value or error: its leader called [`Lease::fail`], as many leaders as
    /// [`max_handovers`](crate::Builder::max_handovers) says have panicked, or what it would load was
    /// removed, and its leader gave up or held its lease for too long. Look again.
    Abandoned,
    /// No more may wait for this key, or load, or too much retired memory waits to be freed.
    Overloaded,
    /// The deadline passed first. The load goes on.
    TimedOut,
}

/// The same, with the two sorts of `Abandoned` apart.
pub(crate) enum Woken<'c, K, V> {
    Ready(Entry<'c, K, V>),
    Lead(Lease<'c, K, V>),
    /// With the value that was to be refreshed, if there was one.
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
                // The error is a local still as that goes, which may drop values of the user's.
                drop(old);
                Self::Failed(error)
            }
            Woken::Failed(..) | Woken::Again => Self::Abandoned,
            Woken::Overloaded => Self::Overloaded,
        }
    }
}
