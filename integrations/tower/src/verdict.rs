//! What may be done with a response: RFC 9111 sections 3 and 4.2, RFC 5861. Pure functions.

use crate::directives::ResponseDirectives;
use crate::settings::Settings;
use crate::vary::Rule;
use http::header::{AGE, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use std::time::{Duration, SystemTime};

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is stored, and answers others.
    Store(Terms),
    /// It answers those who wait for it, and is not stored.
    Share,
    /// It belongs to the request that it answers.
    Private,
}

/// For how long a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How old it was when it came.
    pub(crate) age: Duration,
    /// How old it may become.
    pub(crate) lifetime: Duration,
    /// It must be validated before each use.
    pub(crate) validate: bool,
    pub(crate) while_revalidate: Duration,
    pub(crate) if_error: Duration,
}

/// What is known when a response has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'f> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'f HeaderMap,
    /// The request had `Authorization`.
    pub(crate) authorized: bool,
    /// How long the call took.
    pub(crate) delay: Duration,
    pub(crate) now: SystemTime,
}

/// Returns whether a status is a failure that an old response may stand in for (RFC 5861 section
/// 4).
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Returns whether a response may be stored without a word about it, if its time is known: those
/// that RFC 9110 section 15.1 lists, without partial content and without errors.
fn is_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// Returns whether `must-understand` permits to store a response with this status: those whose
/// caching rules are known here.
fn is_understood(status: StatusCode) -> bool {
    is_cacheable(status) || matches!(status.as_u16(), 302 | 303 | 307 | 404 | 405 | 410 | 414 | 501)
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Returns the time between two dates, zero if `to` is the earlier one.
fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

/// Returns how old a response is as it comes (RFC 9111 section 4.2.3).
///
/// The time that the call took counts only for a response that has an `Age`: that one was on its
/// way from elsewhere. What the handler makes here is new when it returns.
fn age(facts: &Facts<'_>) -> Duration {
    let apparent = date(facts.headers, DATE).map_or(Duration::ZERO, |date| {
        // Dates have whole seconds.
        Duration::from_secs(between(date, facts.now).as_secs())
    });
    let told = facts.headers.get(AGE).and_then(|age| age.to_str().ok()?.split(',').next()?.trim().parse().ok());
    apparent.max(told.map_or(Duration::ZERO, |age: u32| Duration::from_secs(age.into()) + facts.delay))
}

/// Returns how long a response is fresh by its own word (RFC 9111 section 4.2.1).
fn said_lifetime(facts: &Facts<'_>, says: &ResponseDirectives) -> Option<Duration> {
    if let Some(said) = says.s_maxage.or(says.max_age) {
        return Some(said);
    }
    let mut all = facts.headers.get_all(EXPIRES).iter();
    let first = all.next()?;
    // What cannot be read is over, and so is a response that says two times.
    let expires = if all.all(|other| other == first) { date(facts.headers, EXPIRES) } else { None };
    let from = date(facts.headers, DATE).unwrap_or(facts.now);
    Some(expires.map_or(Duration::ZERO, |expires| between(from, expires)))
}

/// Returns whether a response must not be shared, whatever its time.
pub(crate) fn is_private(facts: &Facts<'_>) -> bool {
    is_private_by(facts, &ResponseDirectives::of(facts.headers))
}

fn is_private_by(facts: &Facts<'_>, says: &ResponseDirectives) -> bool {
    let no_store = says.no_store && !(says.must_understand && is_understood(facts.status));
    let has = |name| facts.headers.contains_key(name);
    no_store
        || says.private
        || says.must_understand && !is_understood(facts.status)
        || facts.status.is_informational()
        || matches!(facts.status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        || has(SET_COOKIE)
        || has(CONTENT_RANGE)
        || Rule::of(facts.headers) == Rule::Any
        || facts.authorized && !(says.public || says.s_maxage.is_some() || says.must_revalidate)
        || is_endless(facts.headers)
}

/// Returns whether a body is one that is read as it comes, and may never end.
fn is_endless(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    let kind = kind.as_bytes();
    let is = |known: &str| kind.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()));
    is("text/event-stream") || is("multipart/x-mixed-replace") || is("application/grpc")
}

/// Says what may be done with a response.
pub(crate) fn judge(facts: &Facts<'_>, settings: &Settings) -> Verdict {
    let says = ResponseDirectives::of(facts.headers);
    if is_private_by(facts, &says) {
        return Verdict::Private;
    }
    // A route that has a time for what says nothing lets those who wait share the rest.
    let unstored = if settings.ttl.is_some() { Verdict::Share } else { Verdict::Private };
    let negative = settings.negative_ttl(facts.status);
    let said = said_lifetime(facts, &says);
    if facts.status.is_server_error() && negative.is_none_or(|ttl| ttl.is_zero()) {
        return unstored;
    }
    let may_be_silent = is_cacheable(facts.status) || says.public && !facts.status.is_client_error();
    let by_setting = negative.or(settings.ttl.filter(|_| may_be_silent && !facts.status.is_server_error()));
    let lifetime = match (said, by_setting) {
        (Some(said), _) => said,
        // Nothing but that it be validated each time: it is kept for as long as there is room.
        (None, _) if says.no_cache && may_be_silent => Duration::MAX,
        (None, Some(ttl)) if !ttl.is_zero() => ttl,
        (None, _) => return unstored,
    };
    let age = age(facts);
    let strict = says.no_cache || says.must_revalidate;
    let window = |own: Option<Duration>, default: Duration| match own {
        _ if strict => Duration::ZERO,
        Some(own) => own,
        None if says.s_maxage.is_some() || facts.status.as_u16() >= 400 => Duration::ZERO,
        None => default,
    };
    let while_revalidate = window(says.stale_while_revalidate, settings.stale_while_revalidate);
    let if_error = window(says.stale_if_error, settings.stale_if_error);
    let is_over = age >= lifetime && while_revalidate.is_zero() && if_error.is_zero();
    let validate = says.no_cache || is_over;
    if validate && !can_be_validated(facts, settings) {
        return Verdict::Private;
    }
    Verdict::Store(Terms { age, lifetime, validate, while_revalidate, if_error })
}

/// Returns whether the handler can be asked whether the response is still right.
fn can_be_validated(facts: &Facts<'_>, settings: &Settings) -> bool {
    facts.headers.contains_key(ETAG)
        || facts.headers.contains_key(LAST_MODIFIED)
        || settings.etag && facts.status == StatusCode::OK
}
