//! What `get` takes, `get_with` takes: keys of all kinds that own what their queries borrow.

use bellwether::{Cache, Equivalent, ToKey};
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt::Debug;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// A key that is loaded by its query is found by its query, and by itself.
fn is_found<K, Q>(query: &Q)
where
    K: Hash + Eq + Clone + Debug,
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
{
    let cache: Cache<K, u32> = Cache::new(10);
    let load = |value| move || value;
    assert_eq!(cache.get_with(query, load(1)), 1);
    assert_eq!(cache.get_with(query, load(2)), 1, "by its query");
    assert_eq!(cache.get(query), Some(1));
    let key = query.to_key();
    assert_eq!(cache.get_with(&key, load(3)), 1, "by itself");
    cache.insert(key.clone(), 4);
    assert_eq!((cache.get(query), cache.len()), (Some(4), 1), "and replaced");
    assert!(cache.invalidate(query));
    assert_eq!(*cache.entry(query).get_with(load(5)).0, 5);
    assert_eq!(cache.remove(&key), Some(5));
}

#[test]
fn keys_of_strings() {
    is_found::<String, str>("k");
    is_found::<Box<str>, str>("k");
    is_found::<Arc<str>, str>("k");
    is_found::<Rc<str>, str>("k");
    is_found::<Cow<'static, str>, str>("k");
    is_found::<&str, &str>(&"k");
}

#[test]
fn keys_of_slices() {
    let query = &[1_u64, 2, 3][..];
    is_found::<Vec<u64>, [u64]>(query);
    is_found::<Box<[u64]>, [u64]>(query);
    is_found::<Arc<[u64]>, [u64]>(query);
    is_found::<Rc<[u64]>, [u64]>(query);
    is_found::<Cow<'static, [u64]>, [u64]>(query);
    is_found::<Box<[u8]>, [u8]>(b"bytes");
    is_found::<Box<[String]>, [String]>(&["a".to_owned(), "b".to_owned()]);
}

#[test]
fn keys_of_the_system() {
    is_found::<PathBuf, Path>(Path::new("/a/b"));
    is_found::<Box<Path>, Path>(Path::new("/a/b"));
    is_found::<Arc<Path>, Path>(Path::new("/a/b"));
    is_found::<Rc<Path>, Path>(Path::new("/a/b"));
    is_found::<Cow<'static, Path>, Path>(Path::new("/a/b"));
    is_found::<OsString, OsStr>(OsStr::new("a"));
    is_found::<Box<OsStr>, OsStr>(OsStr::new("a"));
    is_found::<Arc<OsStr>, OsStr>(OsStr::new("a"));
    is_found::<Rc<OsStr>, OsStr>(OsStr::new("a"));
    is_found::<Cow<'static, OsStr>, OsStr>(OsStr::new("a"));
    is_found::<CString, CStr>(c"a");
    is_found::<Box<CStr>, CStr>(c"a");
    is_found::<Arc<CStr>, CStr>(c"a");
    is_found::<Rc<CStr>, CStr>(c"a");
}
