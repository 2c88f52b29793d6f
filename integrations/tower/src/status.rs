//! `Cache-Status` (RFC 9211).

use http::{HeaderName, HeaderValue, StatusCode};
use std::cell::RefCell;
use std::fmt::Write;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request was not answered from the store (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Stale,
    Request,
}

impl Forwarded {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What the layer did for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handling {
    /// `None`: it was answered from the store.
    pub(crate) forwarded: Option<Forwarded>,
    /// The handler's status, where it is not the answer's.
    pub(crate) forward_status: Option<StatusCode>,
    pub(crate) stored: bool,
    /// It shared the call of another request.
    pub(crate) collapsed: bool,
    /// The seconds for which the response is still fresh; below zero, since when it is not.
    pub(crate) ttl: Option<i64>,
    pub(crate) detail: Option<&'static str>,
}

impl Handling {
    pub(crate) fn hit(ttl: Option<i64>) -> Self {
        Self { forwarded: None, forward_status: None, stored: false, collapsed: false, ttl, detail: None }
    }

    pub(crate) fn forwarded(why: Forwarded) -> Self {
        Self { forwarded: Some(why), ..Self::hit(None) }
    }

    pub(crate) fn hit_for_pass() -> Self {
        Self { detail: Some("hit-for-pass"), ..Self::forwarded(Forwarded::Bypass) }
    }

    /// Returns the value of the header: the member of this cache, after those of caches behind it.
    pub(crate) fn header(&self, name: &str, inner: Option<&HeaderValue>) -> HeaderValue {
        match (self, inner) {
            // A hit of which nothing but the time is told.
            (
                Self {
                    forwarded: None,
                    forward_status: None,
                    stored: false,
                    collapsed: false,
                    ttl: Some(ttl),
                    detail: None,
                },
                None,
            ) => remembered_hit(name, *ttl),
            _ => self.value(name, inner),
        }
    }

    /// Returns the member of this cache, after those of caches behind it.
    fn value(&self, name: &str, inner: Option<&HeaderValue>) -> HeaderValue {
        let mut text = String::with_capacity(64 + name.len());
        if let Some(inner) = inner.and_then(|inner| inner.to_str().ok()) {
            text.push_str(inner);
            text.push_str(", ");
        }
        text.push_str(name);
        match self.forwarded {
            None => text.push_str("; hit"),
            Some(why) => {
                text.push_str("; fwd=");
                text.push_str(why.token());
            }
        }
        // (Writing into a string cannot fail.)
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            text.push_str(detail);
        }
        // The name was checked as the cache was built, and the rest is ASCII.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or(HeaderValue::from_static("cache"))
    }
}

/// How many values a thread remembers: as many different seconds as the hits of a moment have.
const REMEMBERED: usize = 64;

type Remembered<K> = RefCell<[Option<(K, HeaderValue)>; REMEMBERED]>;

thread_local! {
    // The values of `Age`, and of `Cache-Status` by name and time, that this thread has made last.
    // The hits of one second have few different ones, and making one costs more than finding the
    // response.
    static AGES: Remembered<u64> = const { RefCell::new([const { None }; REMEMBERED]) };
    static HITS: Remembered<(Box<str>, i64)> = const { RefCell::new([const { None }; REMEMBERED]) };
}

/// Returns the value of `Age`.
pub(crate) fn age(seconds: u64) -> HeaderValue {
    AGES.with_borrow_mut(|all| match &mut all[seconds as usize % REMEMBERED] {
        Some((of, value)) if *of == seconds => value.clone(),
        slot => slot.insert((seconds, seconds.into())).1.clone(),
    })
}

fn remembered_hit(name: &str, ttl: i64) -> HeaderValue {
    HITS.with_borrow_mut(|all| match &mut all[ttl as usize % REMEMBERED] {
        Some(((by, of), value)) if *of == ttl && **by == *name => value.clone(),
        slot => slot.insert(((name.into(), ttl), Handling::hit(Some(ttl)).value(name, None))).1.clone(),
    })
}
