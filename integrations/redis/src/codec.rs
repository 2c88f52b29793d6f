//! Values as bytes.

use std::error::Error;

/// What an encoder or a decoder reports.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Writes values as bytes for the server, and reads them.
///
/// ```
/// use bellwether_redis::{Codec, CodecError};
/// struct Lines;
/// impl Codec<Vec<String>> for Lines {
///     const ID: u8 = 200;
///     fn encode(&self, value: &Vec<String>) -> Result<Vec<u8>, CodecError> {
///         Ok(value.join("\n").into_bytes())
///     }
///     fn decode(&self, bytes: &[u8]) -> Result<Vec<String>, CodecError> {
///         Ok(std::str::from_utf8(bytes)?.lines().map(str::to_owned).collect())
///     }
/// }
/// ```
pub trait Codec<V>: Send + Sync + 'static {
    /// The format's number. It is stored with each value, and a value of another format is not
    /// decoded. Below 128: this crate's own.
    const ID: u8;

    /// Returns the bytes of a value.
    ///
    /// # Errors
    /// A value that cannot be written. Its callers get it, and it is not shared.
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// Returns the value that was written as these bytes.
    ///
    /// # Errors
    /// Bytes that are no value of this type. They count as a miss.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

macro_rules! codecs {
    ($($(#[$doc:meta])* $name:ident $feature:literal $id:literal
        |$value:ident| $encode:expr, |$bytes:ident| $decode:expr;)*) => {$(
        $(#[$doc])*
        #[cfg(feature = $feature)]
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        #[cfg(feature = $feature)]
        impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for $name {
            const ID: u8 = $id;
            fn encode(&self, $value: &V) -> Result<Vec<u8>, CodecError> {
                Ok($encode?)
            }
            fn decode(&self, $bytes: &[u8]) -> Result<V, CodecError> {
                Ok($decode?)
            }
        }
    )*};
}

codecs! {
    /// Values in postcard's format: small and quick. A field that is added or removed makes another
    /// format: raise the [`schema`](crate::Builder::schema) then.
    Postcard "postcard" 1 |value| postcard::to_stdvec(value), |bytes| postcard::from_bytes(bytes);
    /// Values as JSON, which other programs can read.
    Json "json" 2 |value| serde_json::to_vec(value), |bytes| serde_json::from_slice(bytes);
    /// Values as MessagePack with named fields, which other programs can read.
    MessagePack "messagepack" 3 |value| rmp_serde::to_vec_named(value), |bytes| rmp_serde::from_slice(bytes);
}
