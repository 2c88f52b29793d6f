//! The key that an event is about.

use core::fmt;

/// The key that an event is about: see [`Observer::observe_key`](crate::Observer::observe_key).
///
/// Its `Debug` is the key's, if the key can be shown, and otherwise its [`hash`](Self::hash).
#[derive(Clone, Copy)]
pub struct EventKey<'k> {
    hash: u32,
    text: Option<&'k dyn fmt::Debug>,
}

impl<'k> EventKey<'k> {
    pub(crate) fn new(hash: u32, text: Option<&'k dyn fmt::Debug>) -> Self {
        Self { hash, text }
    }

    /// Returns 31 bits of the key's hash, by the cache's hasher. One key has the same hash
    /// throughout the life of a cache. Two keys have the same hash in one of 2³¹ cases. (With
    /// [`DefaultHashBuilder`](crate::DefaultHashBuilder) hashes differ from cache to cache, and
    /// from process to process.)
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// Returns the key, to be shown. Returns `None` if the cache was built without
    /// [`observe_keys`](crate::Builder::observe_keys), or no longer has the key, as after a
    /// `try_insert` that was refused.
    pub fn debug(&self) -> Option<&'k dyn fmt::Debug> {
        self.text
    }
}

impl fmt::Debug for EventKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            Some(text) => text.fmt(f),
            None => write!(f, "#{:08x}", self.hash),
        }
    }
}
