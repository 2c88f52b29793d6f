//! What a response is stored under.

use crate::glance::Glance;
use crate::vary::Selected;
use bellwether::{Equivalent, ToKey};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// In place of a host, for the keys that a user's function makes. No host has this character.
const NO_HOST: &str = "\0";

/// A key that the store owns: a host and a target (path and query), and the variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    host: Arc<str>,
    target: Arc<str>,
    /// For a response that is not the one kept under the URI alone: the rules by which it was found
    /// there, and the values that they selected.
    variant: Arc<[u8]>,
}

/// A key that borrows from a request. It is always the key of the URI itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyRef<'r> {
    host: Cow<'r, str>,
    target: Cow<'r, str>,
}

fn hash_parts<H: Hasher>(host: &str, target: &str, variant: &[u8], state: &mut H) {
    host.hash(state);
    target.hash(state);
    variant.hash(state);
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_parts(&self.host, &self.target, &self.variant, state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_parts(&self.host, &self.target, &[], state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.target == *key.target && *self.host == *key.host && key.variant.is_empty()
    }
}

impl ToKey<Key> for KeyRef<'_> {
    fn to_key(&self) -> Key {
        Key { host: (*self.host).into(), target: (*self.target).into(), variant: Arc::default() }
    }
}

impl Key {
    /// Returns the key of another variant: of the one that has these values in the headers that the
    /// response stored under this key varies by.
    pub(crate) fn variant(&self, selected: &Selected, headers: &HeaderMap) -> Self {
        let mut variant = self.variant.to_vec();
        selected.append_to(&mut variant, headers);
        Self { variant: variant.into(), ..self.clone() }
    }

    /// Returns the key of the URI that a header of the response names, if it is of the same host.
    pub(crate) fn sibling(&self, uri: &str) -> Option<Self> {
        let uri: Uri = uri.parse().ok()?;
        let same_host = uri.authority().is_none_or(|authority| host_of(authority) == *self.host);
        let target = uri.path_and_query()?.as_str();
        let names_it = same_host && &*self.host != NO_HOST && target.starts_with('/');
        names_it.then(|| Self { target: target.into(), ..self.clone() })
    }

    /// Returns how many bytes the key takes.
    pub(crate) fn len(&self) -> usize {
        self.host.len() + self.target.len() + self.variant.len()
    }

    /// Returns whether the key is that of a variant, and not of the URI alone.
    pub(crate) fn is_variant(&self) -> bool {
        !self.variant.is_empty()
    }
}

/// The lengths of host and target before them; the variant is the rest.
#[cfg(feature = "redis")]
impl bellwether_redis::SharedKey for Key {
    fn encode(&self, out: &mut Vec<u8>) {
        for text in [&self.host, &self.target] {
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&self.variant);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |bytes: &mut &[u8]| -> Option<Arc<str>> {
            let (length, rest) = bytes.split_first_chunk::<8>()?;
            let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
            *bytes = rest;
            Some(std::str::from_utf8(text).ok()?.into())
        };
        let mut bytes = bytes;
        Some(Self { host: text(&mut bytes)?, target: text(&mut bytes)?, variant: bytes.into() })
    }
}

impl<'r> KeyRef<'r> {
    /// Returns the key of a request: its host and its original URI, without the scheme. None if the
    /// request says two hosts.
    pub(crate) fn of(parts: &'r Parts, seen: &Glance<'r>) -> Option<Self> {
        let uri = original_uri(&parts.extensions).unwrap_or(&parts.uri);
        let host = match (uri.authority(), seen.host) {
            (Some(authority), _) => host_of(authority),
            _ if seen.ambiguous => return None,
            (None, host) => normal(host.map_or(Ok(""), |host| host.to_str()).ok()?),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Some(Self { host, target: if target.is_empty() { "/".into() } else { target.into() } })
    }

    /// Returns the key that a user's function made.
    pub(crate) fn custom(key: String) -> Self {
        Self { host: NO_HOST.into(), target: key.into() }
    }

    /// Returns the key of a host, and of a path with its query.
    pub(crate) fn of_parts(host: &'r str, target: &'r str) -> Self {
        Self { host: normal(host), target: if target.is_empty() { "/".into() } else { target.into() } }
    }
}

/// Returns the URI that the client asked for, where a router has shortened the request's own.
fn original_uri(extensions: &http::Extensions) -> Option<&Uri> {
    #[cfg(feature = "axum")]
    return extensions.get::<axum::extract::OriginalUri>().map(|original| &original.0);
    #[cfg(not(feature = "axum"))]
    {
        let _ = extensions;
        None
    }
}

fn host_of(authority: &Authority) -> Cow<'_, str> {
    let text = authority.as_str();
    normal(text.rsplit_once('@').map_or(text, |(_, host)| host))
}

/// Returns a host in lower case, and without the port that its scheme implies.
fn normal(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix(":80").or(host.strip_suffix(":443")).unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host.to_ascii_lowercase().into();
    }
    host.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn parts(uri: &str, hosts: &[&str]) -> Parts {
        let request = hosts.iter().fold(http::Request::get(uri), |request, host| request.header("host", *host));
        request.body(()).unwrap().into_parts().0
    }

    fn key(uri: &str, host: Option<&str>) -> Key {
        let parts = parts(uri, host.as_slice());
        KeyRef::of(&parts, &Glance::at(&parts.headers)).unwrap().to_key()
    }

    #[test]
    fn one_key_for_one_resource() {
        let plain = key("/a?x=1", Some("example.com"));
        assert_eq!(plain, key("http://example.com/a?x=1", None));
        assert_eq!(plain, key("https://EXAMPLE.com:443/a?x=1", Some("other")));
        assert_eq!(plain, key("/a?x=1", Some("example.COM:80")));
        assert_eq!(plain, KeyRef::of_parts("example.com", "/a?x=1").to_key());
        assert_eq!(key("http://example.com", None), key("/", Some("example.com")));
        for other in [key("/a?x=2", Some("example.com")), key("/a?x=1", Some("example.com:8080")), key("/a?x=1", None)]
        {
            assert_ne!(plain, other);
        }
        assert_ne!(KeyRef::custom("/a".into()).to_key(), key("/a", None));
    }

    #[test]
    fn a_borrowed_key_hashes_as_its_own() {
        let parts = parts("http://a/b?c", &[]);
        let borrowed = KeyRef::of(&parts, &Glance::default()).unwrap();
        let owned = borrowed.to_key();
        let state = bellwether::DefaultHashBuilder::default();
        assert_eq!(state.hash_one(&borrowed), state.hash_one(&owned));
        assert!(borrowed.equivalent(&owned));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_key_is_read_as_it_was_written() {
        use bellwether_redis::SharedKey;
        let write = |key: &Key| {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            bytes
        };
        let of = |host: &str, target: &str, variant: &[u8]| Key {
            host: host.into(),
            target: target.into(),
            variant: variant.into(),
        };
        let keys =
            [of("a", "/b", b""), of("a/", "b", b""), of("a", "/", b"b"), of("\0", "", b"\xff\0"), of("", "", b"")];
        for key in &keys {
            assert_eq!(Key::decode(&write(key)).as_ref(), Some(key));
            assert_eq!(keys.iter().filter(|other| write(other) == write(key)).count(), 1, "{key:?}");
        }
        for broken in [&b""[..], &[0, 0, 0, 0, 0, 0, 0, 9, 1], &[255; 16]] {
            assert_eq!(Key::decode(broken), None);
        }
    }

    #[test]
    fn two_hosts_have_no_key() {
        let parts = parts("/", &["a", "b"]);
        assert_eq!(KeyRef::of(&parts, &Glance::at(&parts.headers)), None);
    }
}
