//! Which key an event is about.

use core::fmt;

/// The key that an event is about: see [`Observer::observe_key`](crate::Observer::observe_key).
///
/// Its `Debug` is the key's where there is one to show, and else its [`hash`](Self::hash).
#[derive(Clone, Copy)]
pub struct EventKey<'k> {
    hash: u32,
    text: Option<&'k dyn fmt::Debug>,
}

impl<'k> EventKey<'k> {
    pub(crate) fn new(hash: u32, text: Option<&'k dyn fmt::Debug>) -> Self {
        Self { hash, text }
    }

    /// 31 bits of the key's hash, by the cache's hasher: the same for the same key of the same cache. Two keys have the same in one
    /// of 2³¹ cases. (With [`DefaultHashBuilder`](crate::DefaultHashBuilder) another cache, or process, has others.)
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// The key, to be shown. None if the cache was built without [`observe_keys`](crate::Builder::observe_keys), or if it has let go of
    /// the key: of a `try_insert` that was refused, for one.
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
