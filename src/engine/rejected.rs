//! What the cache was given and did not keep.

use core::fmt;

/// Why the cache did not keep a value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionCause {
    /// It weighs more than the whole capacity.
    TooHeavy,
    /// Its time to live is zero.
    ZeroTimeToLive,
    /// So much removed memory waits to be freed, because a reader holds a pin, that nothing new is kept.
    RetiredMemory,
}

impl fmt::Display for RejectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooHeavy => "it is heavier than the whole capacity",
            Self::ZeroTimeToLive => "its time to live is zero",
            Self::RetiredMemory => "too much removed memory waits to be freed",
        })
    }
}

/// A key and value that the cache did not keep. From [`Cache::try_insert`](crate::Cache::try_insert).
pub struct Rejected<K, V> {
    pair: (K, V),
    cause: RejectionCause,
    /// As much of the key's hash as an observer is told.
    order: u32,
}

impl<K, V> Rejected<K, V> {
    pub(crate) fn new(pair: (K, V), cause: RejectionCause, order: u32) -> Self {
        Self { pair, cause, order }
    }

    pub(crate) fn order(&self) -> u32 {
        self.order
    }

    /// Why.
    pub fn cause(&self) -> RejectionCause {
        self.cause
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.pair.0
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.pair.1
    }

    /// The key and the value.
    pub fn into_pair(self) -> (K, V) {
        self.pair
    }
}

impl<K, V> fmt::Debug for Rejected<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("cause", &self.cause).finish_non_exhaustive()
    }
}

impl<K, V> fmt::Display for Rejected<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cache did not keep the value: {}", self.cause)
    }
}

impl<K, V> core::error::Error for Rejected<K, V> {}
