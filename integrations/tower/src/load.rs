//! One call of the handler, on behalf of all who ask for the same.

use crate::body::{Body, Collected, collect};
use crate::failure::Failure;
use crate::route::Route;
use crate::store::Found;
use crate::stored::{Arrival, Stored, Value, Whole, has_body, selected};
use crate::verdict::{Facts, Terms, Verdict, is_failure, is_private, judge};
use bellwether::{Expiry, Loaded};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tower_service::Service;

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// How long a shared store keeps a response that is validated at each use: the server does not know
/// which of its values are of use.
const KEPT_TO_ASK: Duration = Duration::from_secs(24 * 3600);

/// What the request that called the handler gets beside what is stored: a response of its own, or
/// the service's error.
pub(crate) type Own<B, E> = Result<Response<Body<B>>, E>;

/// A request and its service.
pub(crate) struct Job<S, Q, B, E> {
    pub(crate) service: S,
    pub(crate) parts: Parts,
    pub(crate) body: Q,
    pub(crate) own: oneshot::Sender<Own<B, E>>,
}

/// A job that is done once: by the load that its request leads, or for the request alone.
pub(crate) type Slot<S, Q, B, E> = Arc<Mutex<Option<Job<S, Q, B, E>>>>;

pub(crate) fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Calls a service as soon as it is ready.
pub(crate) async fn call<S, Q, B>(mut service: S, request: Request<Q>) -> Result<Response<B>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// A call that has been answered.
struct Called<'c, B, E> {
    route: &'c Route,
    /// The headers of the request.
    asked: HeaderMap,
    tags: Vec<Box<str>>,
    old: Option<&'c Stored>,
    delay: Duration,
    own: oneshot::Sender<Own<B, E>>,
}

/// Calls the handler, and says what becomes of its response.
pub(crate) async fn load<S, Q, B>(
    slot: Slot<S, Q, B, S::Error>,
    route: Arc<Route>,
    old: Option<Found>,
) -> Result<Loaded<Value>, Failure>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes>,
{
    let Some(Job { service, mut parts, body, own }) = take(&slot) else { return Err(Failure::Spent) };
    let settings = &route.settings;
    let mut tags: Vec<Box<str>> = settings.tags.iter().map(|tag| tag.as_str().into()).collect();
    if let Some(more) = &settings.tags_with {
        tags.extend(more(&parts).into_iter().map(Into::into));
    }
    let asked = parts.headers.clone();
    let old = match old.as_deref() {
        Some(Value::Response(stored)) if stored.matches(&asked) => Some(stored),
        _ => None,
    };
    parts.method = Method::GET;
    let conditional = ask_for_change(&mut parts.headers, old);
    let began = route.store.clock.precise();
    let answer = call(service, Request::from_parts(parts, body)).await;
    let delay = Duration::from_nanos(route.store.clock.precise().saturating_sub(began));
    let called = Called { route: &route, asked, tags, old, delay, own };
    match answer {
        Err(error) => {
            // If the client has gone, the error concerns no one.
            let _ = called.own.send(Err(error));
            Err(Failure::Service)
        }
        Ok(response) if response.status() == StatusCode::NOT_MODIFIED && conditional => called.confirmed(response),
        Ok(response) => called.answered(response).await,
    }
}

/// Has a request ask whether the old response is still right, in place of what the client asked.
/// Returns whether it does.
fn ask_for_change(headers: &mut HeaderMap, old: Option<&Stored>) -> bool {
    headers.remove(IF_NONE_MATCH);
    headers.remove(IF_MODIFIED_SINCE);
    let validators = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    let mut any = false;
    for (validator, condition) in validators {
        if let Some(value) = old.and_then(|old| old.headers().get(validator)) {
            headers.insert(condition, value.clone());
            any = true;
        }
    }
    any
}

impl<B, E> Called<'_, B, E>
where
    B: http_body::Body<Data = Bytes>,
{
    fn facts<'f>(&self, status: StatusCode, headers: &'f HeaderMap) -> Facts<'f> {
        let now = (self.route.store.wall_clock)();
        Facts { status, headers, authorized: self.asked.contains_key(AUTHORIZATION), delay: self.delay, now }
    }

    /// The handler has confirmed the old response.
    fn confirmed(self, response: Response<B>) -> Result<Loaded<Value>, Failure> {
        let Some(old) = self.old else { return Err(Failure::Body) };
        let whole = old.confirmed(response.into_parts().0.headers);
        match judge(&self.facts(whole.status, &whole.headers), &self.route.settings) {
            Verdict::Private => {
                let mut response = Response::new(Body::stored(whole.body, whole.trailers.map(Arc::new)));
                *response.status_mut() = whole.status;
                *response.headers_mut() = whole.headers;
                Ok(self.keep_private(response))
            }
            verdict => Ok(self.keep(whole, verdict)),
        }
    }

    /// The handler has made a response.
    async fn answered(self, response: Response<B>) -> Result<Loaded<Value>, Failure> {
        let facts = self.facts(response.status(), response.headers());
        let failed = is_failure(response.status());
        let verdict = match judge(&facts, &self.route.settings) {
            // A failure is shared with those who wait unless it has marks of its own.
            Verdict::Private if failed && !is_private(&facts) => Verdict::Share,
            verdict => verdict,
        };
        let limit = self.route.settings.body_limit;
        if verdict == Verdict::Private || said_length(response.headers()).is_some_and(|said| said > limit as u64) {
            return self.private(response.map(Body::through), failed);
        }
        let (parts, body) = response.into_parts();
        match collect(body, limit).await {
            Collected::Broken => Err(Failure::Body),
            Collected::TooLarge(read, rest) => {
                self.private(Response::from_parts(parts, Body::resumed(read, rest)), failed)
            }
            Collected::All(body, trailers) => {
                let said = said_length(&parts.headers).filter(|_| has_body(parts.status));
                if said.is_some_and(|said| said != body.len() as u64) {
                    return Err(Failure::Body);
                }
                let mut whole =
                    Whole { status: parts.status, headers: parts.headers, body, trailers, confirmed: false };
                if self.route.settings.etag {
                    add_etag(&mut whole);
                }
                if failed {
                    return self.failed(whole, verdict);
                }
                Ok(self.keep(whole, verdict))
            }
        }
    }

    /// Gives a response to the request that called the handler, and to no other.
    fn private(self, response: Response<Body<B>>, failed: bool) -> Result<Loaded<Value>, Failure> {
        if failed {
            let _ = self.own.send(Ok(response));
            return Err(Failure::Private);
        }
        Ok(self.keep_private(response))
    }

    fn keep_private(self, response: Response<Body<B>>) -> Loaded<Value> {
        // If the client has gone, the response concerns no one.
        let _ = self.own.send(Ok(response));
        match self.route.settings.hit_for_pass {
            Duration::ZERO => Loaded::Unstored(Value::Pass),
            time => Loaded::With(Value::Pass, plain(time)),
        }
    }

    fn keep(self, whole: Whole, verdict: Verdict) -> Loaded<Value> {
        let Verdict::Store(terms) = verdict else {
            return Loaded::Unstored(Value::Response(self.stored(whole, unstored())));
        };
        let expiry = if terms.validate {
            // Each use asks the handler; it is kept for as long as there is room.
            plain(if self.route.store.cache.is_shared() { KEPT_TO_ASK } else { Duration::MAX })
        } else {
            // (The cache does not store what has no time at all.)
            let least = Duration::from_nanos(1);
            let age = if terms.lifetime.is_zero() { terms.age.max(least) } else { terms.age };
            plain(terms.lifetime.max(least)).age(age)
        };
        let expiry = expiry.stale_while_refresh(terms.while_revalidate).stale_if_error(terms.if_error);
        Loaded::With(Value::Response(self.stored(whole, terms)), expiry)
    }

    fn failed(self, whole: Whole, verdict: Verdict) -> Result<Loaded<Value>, Failure> {
        let terms = if let Verdict::Store(terms) = verdict { terms } else { unstored() };
        let kept = terms.lifetime.saturating_sub(terms.age);
        // Processes share values. While no old response stands in for it, a failure that is kept is
        // one.
        if self.route.store.cache.is_shared() && !kept.is_zero() && !self.has_substitute() {
            return Ok(self.keep(whole, verdict));
        }
        Err(Failure::Response(Box::new(self.stored(whole, terms)), kept))
    }

    /// Returns whether the old response may stand in for a failure.
    fn has_substitute(&self) -> bool {
        let now = self.route.store.clock.now();
        self.old.is_some_and(|old| old.age(now) < old.terms.lifetime.saturating_add(old.terms.if_error))
    }

    fn stored(self, whole: Whole, terms: Terms) -> Stored {
        let Self { route, asked, mut tags, old, delay, .. } = self;
        let lines = whole.headers.get_all(SURROGATE_KEY).iter().filter_map(|line| line.to_str().ok());
        tags.extend(lines.flat_map(str::split_ascii_whitespace).map(Into::into));
        let selected = selected(&whole.headers, &asked, old, || route.store.next_rule());
        let at = route.store.clock.now();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Before that, XFetch has no dice to roll: 64·ln 2 times what the call took.
        let quiet_until = if route.store.early {
            let left = nanos(terms.lifetime.saturating_sub(terms.age));
            at.saturating_add(left).saturating_sub(nanos(delay).saturating_mul(45))
        } else {
            u64::MAX
        };
        Stored::new(whole, terms, selected, tags, Arrival { at, now: (route.store.wall_clock)(), quiet_until })
    }
}

fn plain(ttl: Duration) -> Expiry {
    Expiry::new().exact_ttl(ttl).stale_while_refresh(Duration::ZERO).stale_if_error(Duration::ZERO)
}

/// The terms of a response that is not stored.
fn unstored() -> Terms {
    let zero = Duration::ZERO;
    Terms { age: zero, lifetime: zero, validate: false, while_revalidate: zero, if_error: zero }
}

/// Returns how long a body is by the response's word.
fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Gives a response an entity tag made of its body, if it has none.
fn add_etag(whole: &mut Whole) {
    if whole.status == StatusCode::OK && !whole.headers.contains_key(ETAG) {
        let tag = format!("W/\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&whole.body));
        if let Ok(tag) = HeaderValue::from_maybe_shared(Bytes::from(tag)) {
            whole.headers.insert(ETAG, tag);
        }
    }
}
