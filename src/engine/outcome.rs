//! How a read-through came by its value, and what a load may come to.

use core::time::Duration;

/// How a read-through came by its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was there.
    Hit,
    /// This caller loaded it. (Or had it loaded in the background, even if another took that load over.)
    Computed,
    /// This caller waited for the load of another.
    Coalesced,
    /// It was there, and its time to live is over, or its refresh by this caller failed: served all the same.
    Stale,
    /// This caller loaded it early, in the place of one that was still good (XFetch).
    Refreshed,
}

/// What a load came to, where it may say more than a value: for
/// [`Request::revalidate_with`](crate::Request::revalidate_with).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value, to be kept as long as the cache was built to.
    New(V),
    /// A value with a time to live of its own: `Duration::MAX` is for ever, zero as `Unstored`. The
    /// cache's [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    NewFor(V, Duration),
    /// The same, exactly that long, whatever the cache's jitter.
    NewForExactly(V, Duration),
    /// A value that is handed to all who wait for it, and not stored. The old one goes all the same.
    Unstored(V),
    /// The old value is still right: its time to live begins anew. Where there is none, the load counts as abandoned.
    NotModified,
}
