//! One look at the headers of a request, for all that a layer asks of them.

use http::{HeaderMap, HeaderValue};

/// What a look at the headers of a request finds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Glance<'r> {
    pub(crate) host: Option<&'r HeaderValue>,
    /// There are two hosts.
    pub(crate) ambiguous: bool,
    /// The request is for a part, for one client, or for another protocol.
    pub(crate) passes: bool,
    pub(crate) authorization: bool,
    pub(crate) cookie: bool,
    /// The client may have the response already.
    pub(crate) conditional: bool,
}

impl<'r> Glance<'r> {
    pub(crate) fn at(headers: &'r HeaderMap) -> Self {
        let mut seen = Self::default();
        // (A hit asks for ten names. One walk is less than as many look-ups.)
        for (name, value) in headers {
            match name.as_str() {
                "host" => seen.ambiguous |= seen.host.replace(value).is_some(),
                "range" | "if-range" | "if-match" | "if-unmodified-since" | "upgrade" => seen.passes = true,
                "authorization" => seen.authorization = true,
                "cookie" => seen.cookie = true,
                "if-none-match" | "if-modified-since" => seen.conditional = true,
                _ => {}
            }
        }
        seen
    }
}
