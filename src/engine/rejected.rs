//! Values that the cache was given and did not keep.

use core::fmt;

/// The reason for which the cache did not keep a value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionCause {
    /// The value weighs more than the whole capacity.
    TooHeavy,
    /// The value's time to live is zero.
    ZeroTimeToLive,
    /// A reader has held a pin for so long that too much removed memory waits to be freed.
    /// Meanwhile no new value is kept.
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

/// A key and value that the cache did not keep. From
/// [`Cache::try_insert`](crate::Cache::try_insert).
pub struct Rejected<K, V> {
    pair: (K, V),
    cause: RejectionCause,
    /// The 31 bits of the key's hash that an observer is told.
    order: u32,
}

impl<K, V> Rejected<K, V> {
    pub(crate) fn new(pair: (K, V), cause: RejectionCause, order: u32) -> Self {
        Self { pair, cause, order }
    }

    pub(crate) fn order(&self) -> u32 {
        self.order
    }

    /// Returns why the value was not kept.
    pub fn cause(&self) -> RejectionCause {
        self.cause
    }

    /// Returns the key.
    pub fn key(&self) -> &K {
        &self.pair.0
    }

    /// Returns the value.
    pub fn value(&self) -> &V {
        &self.pair.1
    }

    /// Returns the key and the value.
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
