//! How a read-through got its value, and how a load may end.

use super::expiry::Expiry;
use core::time::Duration;

/// How a read-through got its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The value was there.
    Hit,
    /// This caller loaded the value. (Or had it loaded in the background, even if another caller
    /// took that load over.)
    Computed,
    /// This caller waited for another caller's load.
    Coalesced,
    /// The old value was served. Its time to live is over, or this caller's refresh of it failed.
    Stale,
    /// This caller loaded the value early, in place of one that was still fresh
    /// ([`Refresh`](crate::Refresh)).
    Refreshed,
}

/// The result of a load that may say more than a value: for
/// [`Request::revalidate_with`](crate::Request::revalidate_with).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value, with the cache's time to live.
    New(V),
    /// A value with a time to live of its own. `Duration::MAX` never ends, and zero acts as
    /// `Unstored`. The cache's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    NewFor(V, Duration),
    /// A value with a time to live of its own, exactly that long: the cache's jitter does not
    /// shorten it.
    NewForExactly(V, Duration),
    /// A value that is handed to all waiters and not stored. The old value is removed all the same.
    Unstored(V),
    /// A value with terms of its own: for how long it is fresh, when it is refreshed, how long it
    /// may be served past its expiry, how old it is.
    With(V, Expiry),
    /// The old value is still right, and its time to live begins anew. If there is no old value,
    /// the load counts as abandoned.
    NotModified,
    /// As `NotModified`, with new terms for the old value.
    NotModifiedWith(Expiry),
}
