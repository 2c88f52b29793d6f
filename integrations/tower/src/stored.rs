//! A response as it is stored, and how a request is answered with it.

use crate::body::Body;
use crate::conditions::Conditions;
use crate::status::{CACHE_STATUS, Handling, age};
use crate::vary::{Rule, Selected};
use crate::verdict::Terms;
use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, DATE, ETAG, EXPIRES, HeaderName,
    PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Headers that belong to one connection (RFC 9111 section 3.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that a 304 has as its 200 would (RFC 9110 section 15.4.5).
const OF_NOT_MODIFIED: [HeaderName; 6] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY];

/// What the store keeps under a key.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are responses, which a hit finds without a detour")]
pub(crate) enum Value {
    Response(Stored),
    /// The response may not be shared: each request goes to the handler.
    Pass,
}

/// A response that answers more than one request.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    /// `Age` and `Cache-Status` are the last two, so that an answer finds their places without a
    /// look-up, and adds nothing to the map.
    headers: HeaderMap,
    /// What caches behind this one said.
    inner_status: Option<HeaderValue>,
    body: Bytes,
    trailers: Option<Arc<HeaderMap>>,
    pub(crate) selected: Option<Selected>,
    tags: Box<[Box<str>]>,
    pub(crate) terms: Terms,
    /// The handler has confirmed it, by a 304.
    pub(crate) confirmed: bool,
    /// When it came, in nanoseconds of the cache's clock.
    pub(crate) at: u64,
    /// Until when a hit is nothing but a hit: no request refreshes the response early.
    pub(crate) quiet_until: u64,
}

/// A response whose body was collected.
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// The handler has confirmed the stored body.
    pub(crate) confirmed: bool,
}

/// When a response came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// In nanoseconds of the cache's clock.
    pub(crate) at: u64,
    pub(crate) now: SystemTime,
    pub(crate) quiet_until: u64,
}

/// Removes the headers that belong to one connection.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Returns whether a response with this status has a body.
pub(crate) fn has_body(status: StatusCode) -> bool {
    !(status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
}

/// Adds places for `Age` and `Cache-Status` to the headers, after all others.
fn add_places(headers: &mut HeaderMap) {
    // (What is removed leaves its place to the last one, so both go first.)
    for name in [AGE, CACHE_STATUS] {
        headers.remove(name);
    }
    for name in [AGE, CACHE_STATUS] {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

impl Stored {
    pub(crate) fn new(
        whole: Whole,
        terms: Terms,
        selected: Option<Selected>,
        tags: Vec<Box<str>>,
        arrival: Arrival,
    ) -> Self {
        let Whole { status, mut headers, body, trailers, confirmed } = whole;
        strip_hop_by_hop(&mut headers);
        let inner: Vec<&str> = headers.get_all(CACHE_STATUS).iter().filter_map(|line| line.to_str().ok()).collect();
        let inner_status = if inner.is_empty() { None } else { inner.join(", ").parse().ok() };
        // As RFC 9110 section 6.6.1 asks of a recipient. The server would else date each hit anew.
        if !headers.contains_key(DATE) {
            headers.insert(DATE, date(arrival.now));
        }
        // (With trailers HTTP/1.1 sends a body in chunks, whose length no header may say. Else the
        // server says it, if the handler has not.)
        if trailers.is_some() {
            headers.remove(CONTENT_LENGTH);
        }
        add_places(&mut headers);
        let trailers = trailers.map(Arc::new);
        let Arrival { at, quiet_until, .. } = arrival;
        Self {
            status,
            headers,
            inner_status,
            body,
            trailers,
            selected,
            tags: tags.into(),
            terms,
            confirmed,
            at,
            quiet_until,
        }
    }

    /// Returns the response with the headers of a 304 in place of its own (RFC 9111 section 3.2).
    pub(crate) fn confirmed(&self, mut newer: HeaderMap) -> Whole {
        // These say what the body is, and the body is the old one.
        const OF_BODY: [HeaderName; 4] =
            [CONTENT_LENGTH, http::header::CONTENT_ENCODING, http::header::CONTENT_RANGE, http::header::CONTENT_TYPE];
        strip_hop_by_hop(&mut newer);
        OF_BODY.iter().for_each(|name| drop(newer.remove(name)));
        let mut headers = self.headers.clone();
        headers.remove(AGE);
        headers.remove(CACHE_STATUS);
        if !newer.contains_key(DATE) {
            headers.remove(DATE);
        }
        // `extend` replaces the first line of each name, and appends further ones.
        headers.extend(newer);
        let trailers = self.trailers.as_deref().cloned();
        Whole { status: self.status, headers, body: self.body.clone(), trailers, confirmed: true }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the header lines as the handler gave them.
    #[cfg(feature = "redis")]
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        let own = self.headers.iter().filter(|(name, _)| **name != AGE && **name != CACHE_STATUS);
        own.map(|(name, value)| (name.as_str(), value))
            .chain(self.inner_status.iter().map(|inner| ("cache-status", inner)))
    }

    #[cfg(feature = "redis")]
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    #[cfg(feature = "redis")]
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    pub(crate) fn tags(&self) -> &[Box<str>] {
        &self.tags
    }

    /// Returns how many bytes the response takes, about.
    pub(crate) fn size(&self) -> usize {
        let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 64;
        let lines = |headers: &HeaderMap| headers.iter().map(line).sum::<usize>();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 16).sum();
        self.body.len()
            + lines(&self.headers)
            + self.trailers.as_deref().map_or(0, lines)
            + self.selected.as_ref().map_or(0, Selected::len)
            + tags
    }

    /// Returns whether the response answers a request with these headers.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected.matches(request))
    }

    /// Returns the response's age.
    pub(crate) fn age(&self, now: u64) -> Duration {
        self.terms.age.saturating_add(Duration::from_nanos(now.saturating_sub(self.at)))
    }

    /// Returns for how many seconds the response is still fresh; below zero, since when it is not.
    pub(crate) fn ttl(&self, now: u64) -> Option<i64> {
        if self.terms.validate {
            return None;
        }
        let (age, lifetime) = (self.age(now), self.terms.lifetime);
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Some(if age > lifetime { -seconds(age - lifetime) } else { seconds(lifetime - age) })
    }

    /// Makes the answer to a request.
    pub(crate) fn answer<B>(&self, call: &Asked<'_>, handling: &Handling, now: u64) -> Response<Body<B>> {
        // (What comes from the handler itself has no age.)
        let has_age = handling.forwarded.is_none() || !self.terms.age.is_zero();
        let age = has_age.then(|| age(self.age(now).as_secs()));
        let status = match call.name {
            Some(name) => Some(handling.header(name, self.inner_status.as_ref())),
            None => self.inner_status.clone(),
        };
        let has_it = self.status == StatusCode::OK && call.conditions.is_some_and(|all| all.are_met_by(&self.headers));
        if has_it { self.not_modified(age, status) } else { self.whole(call, age, status) }
    }

    fn not_modified<B>(&self, age: Option<HeaderValue>, status: Option<HeaderValue>) -> Response<Body<B>> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        for name in &OF_NOT_MODIFIED {
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in [(AGE, age), (CACHE_STATUS, status)] {
            value.map(|value| headers.insert(name, value));
        }
        response
    }

    fn whole<B>(&self, call: &Asked<'_>, age: Option<HeaderValue>, status: Option<HeaderValue>) -> Response<Body<B>> {
        let body = if call.head { Body::empty() } else { Body::stored(self.body.clone(), self.trailers.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        *headers = self.headers.clone();
        let (no_age, no_status) = (age.is_none(), status.is_none());
        let others = headers.len() - 2;
        for (place, value) in headers.values_mut().skip(others).zip([age, status]) {
            if let Some(value) = value {
                *place = value;
            }
        }
        if no_age {
            headers.remove(AGE);
        }
        if no_status {
            headers.remove(CACHE_STATUS);
        }
        if call.head && has_body(self.status) && self.trailers.is_none() {
            headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
        response
    }
}

/// What an answer must know of its request.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) head: bool,
    pub(crate) conditions: Option<&'a Conditions>,
    /// The cache's name, if `Cache-Status` is told.
    pub(crate) name: Option<&'a str>,
}

/// Returns what a response was selected by, under the number of the rule that `old` has if it is
/// the same rule.
pub(crate) fn selected(
    headers: &HeaderMap,
    request: &HeaderMap,
    old: Option<&Stored>,
    next: impl FnOnce() -> u64,
) -> Option<Selected> {
    // (`*` is not stored.)
    let Rule::By(names) = Rule::of(headers) else { return None };
    let id = old
        .and_then(|old| old.selected.as_ref())
        .filter(|selected| selected.has_names(&names))
        .map_or_else(next, Selected::id);
    Some(Selected::new(id, names, request))
}

fn date(time: SystemTime) -> HeaderValue {
    // An HTTP date is ASCII.
    httpdate::fmt_http_date(time).parse().unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
