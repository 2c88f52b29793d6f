//! What a write did to a key.

use crate::api::handle::entry::Entry;
use core::fmt;

/// What a write did to a key: from [`Cache::compute`](crate::Cache::compute) and its like, and from
/// [`Cache::swap`](crate::Cache::swap).
///
/// ```
/// use bellwether::{Cache, Op};
/// let visits: Cache<String, u32> = Cache::new(10);
/// let first = visits.upsert("Ada", |old| old.map_or(1, |n| n + 1));
/// assert!(first.applied && first.old.is_none() && first.new.as_deref() == Some(&1));
/// let gone = visits.compute("Ada", |_| Op::Remove);
/// assert!(gone.applied && gone.old.as_deref() == Some(&1) && gone.new.is_none());
/// ```
#[non_exhaustive]
#[doc(alias = "CompResult")]
pub struct Change<'c, K, V> {
    /// The value that was there, if there was one that had not expired.
    pub old: Option<Entry<'c, K, V>>,
    /// The value that the caller wants there: the new one, or the old one if the caller left it.
    /// `None` if the caller removed it, or left an absent key absent. A new value that the cache
    /// did not keep is here, too.
    pub new: Option<Entry<'c, K, V>>,
    /// Whether the cache did what the caller wanted.
    ///
    /// False if a write or removal by another caller came later and won, if another caller took the
    /// lease over (`lead_timeout`), or if the cache did not keep the new value
    /// ([`RejectionCause`](crate::RejectionCause)); the old value is removed in this last case.
    pub applied: bool,
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Change<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, applied } = self;
        f.debug_struct("Change").field("old", old).field("new", new).field("applied", applied).finish()
    }
}
