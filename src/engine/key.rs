//! Making an owned key from a borrowed one.

use alloc::borrow::{Cow, ToOwned};
use alloc::{boxed::Box, ffi::CString, rc::Rc, string::String, sync::Arc, vec::Vec};
use core::ffi::CStr;
#[cfg(feature = "std")]
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Makes the owned key `K` that a borrowed query stands for.
///
/// Read-through calls take `&Q`, and only a miss needs an owned key. For example,
/// `cache.get_with("user:7", …)` allocates a `String` when it leads a load, and never on a hit.
///
/// Implemented for `K: Clone` itself, and for borrowed types with the types that own them:
///
/// | query | keys |
/// |---|---|
/// | `str` | `String`, `Box<str>`, `Arc<str>`, `Rc<str>`, `Cow<str>` |
/// | `[T]` | `Vec<T>`, `Box<[T]>`, `Arc<[T]>`, `Rc<[T]>`, `Cow<[T]>` |
/// | `CStr` | `CString`, `Box<CStr>`, `Arc<CStr>`, `Rc<CStr>` |
/// | `Path` (with `std`) | `PathBuf`, `Box<Path>`, `Arc<Path>`, `Rc<Path>`, `Cow<Path>` |
/// | `OsStr` (with `std`) | `OsString`, `Box<OsStr>`, `Arc<OsStr>`, `Rc<OsStr>`, `Cow<OsStr>` |
///
/// `to_key` must give a key that is `Equivalent` to `self` and hashes alike. Otherwise later calls
/// do not find the entry; nothing worse happens. `to_key` may run under an epoch pin, so it should
/// be quick.
///
/// # Keys of several parts
/// A query of borrowed parts also needs [`Equivalent`](crate::Equivalent). It hashes as its key
/// does if it has the same parts in the same order (`String` hashes as `str` does):
///
/// ```
/// use bellwether::{Cache, Equivalent, ToKey};
/// #[derive(Hash)]
/// struct Parts<'a>(&'a str, u32); // of a key (String, u32)
/// impl Equivalent<(String, u32)> for Parts<'_> {
///     fn equivalent(&self, key: &(String, u32)) -> bool { self.0 == key.0 && self.1 == key.1 }
/// }
/// impl ToKey<(String, u32)> for Parts<'_> {
///     fn to_key(&self) -> (String, u32) { (self.0.to_owned(), self.1) }
/// }
/// let pages: Cache<(String, u32), String> = Cache::new(100);
/// assert_eq!(pages.get_with(&Parts("/", 2), || "two".to_owned()), "two");
/// assert_eq!(pages.get(&Parts("/", 2)).as_deref(), Some("two"));
/// assert_eq!(pages.get(&("/".to_owned(), 2)).as_deref(), Some("two"));
/// ```
///
/// # Keys of a type from another crate
/// For `bytes::Bytes`, `smol_str::SmolStr` and similar keys, `get` takes the type that they borrow
/// as (`[u8]`, `str`). For read-through by that type, wrap the key in a type of your own, which
/// says how to make a key:
///
/// ```
/// # mod bytes {
/// #     #[derive(Clone, PartialEq, Eq, Hash)]
/// #     pub struct Bytes(std::sync::Arc<[u8]>);
/// #     impl Bytes { pub fn copy_from_slice(bytes: &[u8]) -> Self { Self(bytes.into()) } }
/// #     impl std::ops::Deref for Bytes {
/// #         type Target = [u8];
/// #         fn deref(&self) -> &[u8] { &self.0 }
/// #     }
/// # }
/// use bellwether::{Cache, ToKey};
/// use bytes::Bytes;
/// use std::borrow::Borrow;
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Key(Bytes);
/// impl Borrow<[u8]> for Key {
///     fn borrow(&self) -> &[u8] { &self.0 }
/// }
/// impl ToKey<Key> for [u8] {
///     fn to_key(&self) -> Key { Key(Bytes::copy_from_slice(self)) }
/// }
/// let lengths: Cache<Key, usize> = Cache::new(100);
/// assert_eq!(lengths.get_with(&b"Seattle"[..], || 7), 7);
/// // A query that is a key already is cloned. For `Bytes` that copies nothing.
/// assert_eq!(lengths.get_with(&Key(Bytes::copy_from_slice(b"Seattle")), || 8), 7);
/// ```
pub trait ToKey<K> {
    /// Returns the owned key.
    fn to_key(&self) -> K;
}

impl<K: Clone> ToKey<K> for K {
    #[inline]
    fn to_key(&self) -> K {
        self.clone()
    }
}

macro_rules! to_key {
    ($([$($generics:tt)*] $query:ty => $key:ty, |$this:ident| $make:expr;)*) => {$(
        impl<$($generics)*> ToKey<$key> for $query {
            #[inline]
            fn to_key(&self) -> $key {
                let $this = self;
                $make
            }
        }
    )*};
}

to_key! {
    [] str => String, |query| query.to_owned();
    [] str => Box<str>, |query| query.into();
    [] str => Arc<str>, |query| query.into();
    [] str => Rc<str>, |query| query.into();
    ['a] str => Cow<'a, str>, |query| Cow::Owned(query.to_owned());
    [T: Clone] [T] => Vec<T>, |query| query.to_vec();
    [T: Clone] [T] => Box<[T]>, |query| query.into();
    [T: Clone] [T] => Arc<[T]>, |query| query.into();
    [T: Clone] [T] => Rc<[T]>, |query| query.into();
    ['a, T: Clone] [T] => Cow<'a, [T]>, |query| Cow::Owned(query.to_vec());
    [] CStr => CString, |query| query.to_owned();
    [] CStr => Box<CStr>, |query| query.into();
    [] CStr => Arc<CStr>, |query| query.into();
    [] CStr => Rc<CStr>, |query| query.into();
}

#[cfg(feature = "std")]
to_key! {
    [] Path => PathBuf, |query| query.to_path_buf();
    [] Path => Box<Path>, |query| query.into();
    [] Path => Arc<Path>, |query| query.into();
    [] Path => Rc<Path>, |query| query.into();
    ['a] Path => Cow<'a, Path>, |query| Cow::Owned(query.to_path_buf());
    [] OsStr => OsString, |query| query.to_os_string();
    [] OsStr => Box<OsStr>, |query| query.into();
    [] OsStr => Arc<OsStr>, |query| query.into();
    [] OsStr => Rc<OsStr>, |query| query.into();
    ['a] OsStr => Cow<'a, OsStr>, |query| Cow::Owned(query.to_os_string());
}
