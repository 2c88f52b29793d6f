//! Keys as bytes, for the server and back.

use std::hash::Hash;
use std::sync::Arc;

/// A key that is known by the same bytes in every process.
///
/// The server announces a change by those bytes, so a process must be able to turn them back into
/// the key. Ready for `String`, `Box<str>`, `Arc<str>`, `Vec<u8>`, `bool`, all integers, and tuples
/// of up to four such keys.
///
/// ```
/// use bellwether_redis::SharedKey;
/// let mut bytes = Vec::new();
/// ("user".to_owned(), 7_u64).encode(&mut bytes);
/// assert_eq!(<(String, u64)>::decode(&bytes), Some(("user".to_owned(), 7)));
/// ```
///
/// # What an implementation must hold
///
/// * `decode` of what `encode` wrote gives an equal key.
/// * Two keys that are not equal are written as different bytes.
/// * The bytes do not depend on the process, its platform, or its build.
pub trait SharedKey: Hash + Eq + Clone + Send + Sync + 'static {
    /// Appends the bytes of the key.
    fn encode(&self, out: &mut Vec<u8>);

    /// Returns the key that was written as these bytes. None: they are no key of this type.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! texts {
    ($($key:ty),*) => {$(
        impl SharedKey for $key {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
            fn decode(bytes: &[u8]) -> Option<Self> {
                std::str::from_utf8(bytes).ok().map(Into::into)
            }
        }
    )*};
}
texts!(String, Box<str>, Arc<str>);

impl SharedKey for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

// Decimal digits, so that a person who looks at the server can read them.
macro_rules! integers {
    ($($key:ty),*) => {$(
        impl SharedKey for $key {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.to_string().as_bytes());
            }
            fn decode(bytes: &[u8]) -> Option<Self> {
                std::str::from_utf8(bytes).ok()?.parse().ok()
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool);

/// Appends one part of a tuple, with its length in front: no two tuples share their bytes.
fn encode_part(part: &impl SharedKey, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    part.encode(&mut bytes);
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(&bytes);
}

/// Reads one part of a tuple, and moves past it.
fn decode_part<T: SharedKey>(bytes: &mut &[u8]) -> Option<T> {
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let rest = &bytes[colon + 1..];
    let part = T::decode(rest.get(..length)?)?;
    *bytes = &rest[length..];
    Some(part)
}

macro_rules! tuples {
    ($(($($part:ident $index:tt),*))*) => {$(
        impl<$($part: SharedKey),*> SharedKey for ($($part,)*) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(encode_part(&self.$index, out);)*
            }
            fn decode(mut bytes: &[u8]) -> Option<Self> {
                let key = ($(decode_part::<$part>(&mut bytes)?,)*);
                bytes.is_empty().then_some(key)
            }
        }
    )*};
}
tuples!((A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3));

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<K: SharedKey + std::fmt::Debug>(key: K) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        assert_eq!(K::decode(&bytes), Some(key));
        bytes
    }

    #[test]
    fn each_key_comes_back() {
        round_trip(String::new());
        round_trip("a}b{c:f".to_owned());
        round_trip(vec![0_u8, 255]);
        round_trip(i128::MIN);
        round_trip(true);
        round_trip(("1:".to_owned(), 2_u8, Arc::<str>::from("}"), (1_u8, String::new())));
    }

    #[test]
    fn tuples_that_differ_have_different_bytes() {
        let pair = |a: &str, b: &str| round_trip((a.to_owned(), b.to_owned()));
        assert_ne!(pair("a", "bc"), pair("ab", "c"));
        assert_ne!(pair("", "1:a"), pair("1:", "a"));
    }

    #[test]
    fn foreign_bytes_are_no_key() {
        assert_eq!(u64::decode(b"-1"), None);
        assert_eq!(String::decode(&[0xff]), None);
        for bytes in [&b"1:a"[..], b"9:a1:b", b"1:a1:bX", b"x:a", b"-1:a1:b", b""] {
            assert_eq!(<(String, String)>::decode(bytes), None);
        }
    }
}
