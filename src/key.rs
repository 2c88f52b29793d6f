//! Making an owned key from a borrowed one.

use alloc::{borrow::ToOwned, boxed::Box, rc::Rc, string::String, sync::Arc, vec::Vec};

/// Makes the owned key `K` that a borrowed query stands for.
///
/// Read-through calls take `&Q`, and only a miss needs an owned key: `cache.get_with("user:7", …)` allocates a
/// `String` when it leads a load, and never on a hit.
///
/// Implemented for `K: Clone` itself, `str` to `String`, `Box<str>`, `Arc<str>` and `Rc<str>`, `[T]` to `Vec<T>` and
/// `Arc<[T]>`, and (with `std`) `Path` to `PathBuf`. Implement it for your own pairs, together with
/// [`Equivalent`](crate::Equivalent).
///
/// `to_key` must give a key that is `Equivalent` to `self` and hashes alike; otherwise the entry will not be found
/// again (nothing worse happens). It may run under an epoch pin, so it should be quick.
pub trait ToKey<K> {
    /// The owned key.
    fn to_key(&self) -> K;
}

impl<K: Clone> ToKey<K> for K {
    #[inline]
    fn to_key(&self) -> K {
        self.clone()
    }
}

impl ToKey<String> for str {
    #[inline]
    fn to_key(&self) -> String {
        self.to_owned()
    }
}

impl ToKey<Box<str>> for str {
    #[inline]
    fn to_key(&self) -> Box<str> {
        self.into()
    }
}

impl ToKey<Arc<str>> for str {
    #[inline]
    fn to_key(&self) -> Arc<str> {
        self.into()
    }
}

impl ToKey<Rc<str>> for str {
    #[inline]
    fn to_key(&self) -> Rc<str> {
        self.into()
    }
}

impl<T: Clone> ToKey<Vec<T>> for [T] {
    #[inline]
    fn to_key(&self) -> Vec<T> {
        self.to_vec()
    }
}

impl<T: Clone> ToKey<Arc<[T]>> for [T] {
    #[inline]
    fn to_key(&self) -> Arc<[T]> {
        self.into()
    }
}

#[cfg(feature = "std")]
impl ToKey<std::path::PathBuf> for std::path::Path {
    #[inline]
    fn to_key(&self) -> std::path::PathBuf {
        self.to_path_buf()
    }
}
