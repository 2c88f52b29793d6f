//! A request that is not answered at once: it waits for a call of the handler, or leads one.

use crate::body::Body;
use crate::conditions::Conditions;
use crate::directives::RequestDirectives;
use crate::failure::Failure;
use crate::key::Key;
use crate::load::{Job, Own, Slot, call, load, take};
use crate::route::Route;
use crate::status::{Forwarded, Handling};
use crate::store::Came;
use crate::stored::{Stored, Value};
use bellwether::{LoadError, Outcome};
use bytes::Bytes;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tower_service::Service;

/// How many variants a request is led through, each by a `Vary` of its own, and how often it asks
/// anew. A handler whose `Vary` changes from call to call may need some.
const STEPS: usize = 8;

/// A request on its way.
struct Lookup<S, Q, B, E> {
    route: Arc<Route>,
    method: Method,
    headers: HeaderMap,
    conditions: Conditions,
    says: RequestDirectives,
    slot: Slot<S, Q, B, E>,
    own: oneshot::Receiver<Own<B, E>>,
}

/// How a lookup goes on.
enum Step<B> {
    Done(Response<Body<B>>),
    /// The handler is called for this request alone.
    Pass(Handling),
    /// Another variant may be the one.
    Variant(Key),
    /// The response must be validated for this request.
    Validate,
}

/// What is known of a key without a call.
enum Known {
    Variant(Key),
    Pass,
    /// The cache decides. With `true` a new answer is needed, whatever is there.
    Ask(Forwarded, bool),
}

/// Answers a request whose response may be stored.
pub(crate) async fn run<S, Q, B>(
    route: Arc<Route>,
    mut key: Key,
    (service, parts, body): (S, Parts, Q),
) -> Result<Response<Body<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let (sender, own) = oneshot::channel();
    let says =
        if route.settings.client_cache_control { RequestDirectives::of(&parts.headers) } else { Default::default() };
    let (method, headers, conditions) = (parts.method.clone(), parts.headers.clone(), Conditions::of(&parts.headers));
    let slot = Arc::new(Mutex::new(Some(Job { service, parts, body, own: sender })));
    let mut lookup = Lookup { route, method, headers, conditions, says, slot, own };
    let mut force = false;
    for _ in 0..STEPS {
        let (why, anew) = match lookup.known(&key) {
            Known::Variant(variant) => {
                key = variant;
                continue;
            }
            Known::Pass => return lookup.pass(Handling::hit_for_pass()).await,
            Known::Ask(why, anew) => (why, anew || force),
        };
        if lookup.says.only_if_cached && (anew || !lookup.route.store.cache.has_fresh(&key)) {
            return Ok(lookup.route.refusal(StatusCode::GATEWAY_TIMEOUT, Handling::forwarded(why), "only-if-cached"));
        }
        match lookup.ask(&key, why, anew).await? {
            Step::Done(response) => return Ok(response),
            Step::Pass(handling) => return lookup.pass(handling).await,
            Step::Variant(variant) => (key, force) = (variant, false),
            Step::Validate => force = true,
        }
    }
    lookup.pass(Handling { detail: Some("vary"), ..Handling::forwarded(Forwarded::Bypass) }).await
}

impl<S, Q, B> Lookup<S, Q, B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    /// Looks at what is stored under a key, however old, without a call.
    fn known(&self, key: &Key) -> Known {
        let miss = if key.is_variant() { Forwarded::VaryMiss } else { Forwarded::UriMiss };
        let known = self.route.store.cache.read_old(key, |found, is_fresh| match found {
            Value::Pass if is_fresh => Known::Pass,
            Value::Pass => Known::Ask(miss, false),
            Value::Response(stored) => match &stored.selected {
                Some(selected) if !selected.matches(&self.headers) => {
                    Known::Variant(key.variant(selected, &self.headers))
                }
                _ if stored.terms.validate => Known::Ask(Forwarded::Stale, true),
                _ if !stored.suits(&self.says, self.route.store.clock.now()) => Known::Ask(Forwarded::Request, true),
                _ => Known::Ask(Forwarded::Stale, false),
            },
        });
        known.unwrap_or(Known::Ask(miss, false))
    }

    /// Asks the cache for a key's response, which calls the handler if need be. With `anew`
    /// whatever is there.
    async fn ask(&mut self, key: &Key, why: Forwarded, anew: bool) -> Result<Step<B>, S::Error> {
        let (slot, route) = (self.slot.clone(), self.route.clone());
        let began = route.store.clock.now();
        let limits = route.settings.limits(anew);
        let load = move |old| load(slot, route, old);
        match self.route.store.cache.ask(key, limits, load).await {
            Ok(came) => self.on_value(key, &came, (why, anew)),
            Err(error) => self.on_error(error, why, began),
        }
    }

    fn on_value(&mut self, key: &Key, came: &Came, (why, anew): (Forwarded, bool)) -> Result<Step<B>, S::Error> {
        let stored = match &*came.found {
            Value::Response(stored) => stored,
            // The answer to this request, if it has called the handler.
            Value::Pass => return self.own_answer(why).unwrap_or(Ok(Step::Pass(Handling::hit_for_pass()))),
        };
        if let Some(selected) = stored.selected.as_ref().filter(|selected| !selected.matches(&self.headers)) {
            return Ok(Step::Variant(key.variant(selected, &self.headers)));
        }
        let led = matches!(came.outcome, Outcome::Computed | Outcome::Refreshed);
        if stored.terms.validate && !led && !anew {
            return Ok(Step::Validate);
        }
        let now = self.route.store.clock.now();
        let mut handling = match came.outcome {
            Outcome::Hit => Handling::hit(stored.ttl(now)),
            // (A call may have ended its time before its own directives do.)
            Outcome::Stale => Handling::hit(stored.ttl(now).map(|ttl| ttl.min(0))),
            // Another process had it made.
            Outcome::FromTier => Handling { detail: Some("shared"), ..Handling::hit(stored.ttl(now)) },
            _ => Handling { ttl: stored.ttl(now), ..Handling::forwarded(why) },
        };
        if handling.forwarded.is_some() {
            handling.stored = came.stored;
            handling.ttl = handling.ttl.filter(|_| handling.stored);
            handling.collapsed = came.outcome == Outcome::Coalesced;
            handling.forward_status = stored.confirmed.then_some(StatusCode::NOT_MODIFIED);
        }
        Ok(Step::Done(self.answer(stored, &handling, now)))
    }

    fn on_error(&mut self, error: LoadError<Failure>, why: Forwarded, began: u64) -> Result<Step<B>, S::Error> {
        if let Some(own) = self.own_answer(why) {
            return own;
        }
        let refuse = |status, text| Ok(Step::Done(self.route.refusal(status, Handling::forwarded(why), text)));
        let failure = match error {
            LoadError::Load(failure) => failure,
            LoadError::Overloaded => return refuse(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            LoadError::TimedOut => return refuse(StatusCode::GATEWAY_TIMEOUT, "timed-out"),
            // The handler asks for what it is itself to make.
            LoadError::Reentrant => {
                let detail = Some("reentrant");
                return Ok(Step::Pass(Handling { detail, ..Handling::forwarded(Forwarded::Bypass) }));
            }
            LoadError::Panicked(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "panicked"),
            _ => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "not-answered"),
        };
        match &*failure {
            // An answer in another language or coding helps no one.
            Failure::Response(stored, _) if !stored.matches(&self.headers) => Ok(Step::Pass(Handling::forwarded(why))),
            Failure::Response(stored, kept) => {
                let now = self.route.store.clock.now();
                let led = self.slot.lock().is_ok_and(|slot| slot.is_none());
                let handling = match () {
                    () if !kept.is_zero() && !led && stored.at <= began => Handling::hit(stored.ttl(now)),
                    () => Handling { collapsed: !led, ..Handling::forwarded(why) },
                };
                Ok(Step::Done(self.answer(stored, &handling, now)))
            }
            Failure::Private | Failure::Spent => Ok(Step::Pass(Handling::forwarded(why))),
            Failure::Service => refuse(StatusCode::INTERNAL_SERVER_ERROR, "service-error"),
            Failure::Body => refuse(StatusCode::INTERNAL_SERVER_ERROR, "broken-body"),
            #[cfg(feature = "redis")]
            Failure::Panicked => refuse(StatusCode::INTERNAL_SERVER_ERROR, "panicked"),
        }
    }

    /// Takes what the handler gave to this request alone.
    fn own_answer(&mut self, why: Forwarded) -> Option<Result<Step<B>, S::Error>> {
        let own = self.own.try_recv().ok()?;
        Some(own.map(|mut response| {
            self.route.tell(response.headers_mut(), &Handling::forwarded(why));
            Step::Done(self.without_body_for_head(response))
        }))
    }

    fn answer(&self, stored: &Stored, handling: &Handling, now: u64) -> Response<Body<B>> {
        stored.answer(&self.route.asked(&self.method, &self.conditions), handling, now)
    }

    fn without_body_for_head(&self, response: Response<Body<B>>) -> Response<Body<B>> {
        if self.method == Method::HEAD { response.map(|_| Body::empty()) } else { response }
    }

    /// Calls the handler for this request alone.
    async fn pass(self, handling: Handling) -> Result<Response<Body<B>>, S::Error> {
        let Some(Job { service, parts, body, .. }) = take(&self.slot) else {
            // Its call has made a response for other headers, because `Vary` has changed meanwhile.
            return Ok(self.route.refusal(StatusCode::SERVICE_UNAVAILABLE, handling, "raced"));
        };
        pass(&self.route, service, Request::from_parts(parts, body), handling).await
    }
}

/// Calls the handler past the store.
pub(crate) async fn pass<S, Q, B>(
    route: &Route,
    service: S,
    request: Request<Q>,
    handling: Handling,
) -> Result<Response<Body<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    let mut response = call(service, request).await?.map(Body::through);
    route.tell(response.headers_mut(), &handling);
    Ok(response)
}

/// Calls the handler for a request that may change what is stored under the key. After an answer
/// that is no error, that is removed (RFC 9111 section 4.4).
pub(crate) async fn change<S, Q, B>(
    route: &Route,
    service: S,
    request: Request<Q>,
    key: Option<Key>,
) -> Result<Response<Body<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    let response = pass(route, service, request, Handling::forwarded(Forwarded::Method)).await?;
    let succeeded = response.status().is_success() || response.status().is_redirection();
    if let Some(key) = key.filter(|_| succeeded) {
        let others = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| {
            let value = response.headers().get(name)?;
            key.sibling(value.to_str().ok()?)
        });
        let begun: Vec<_> = others.chain([key.clone()]).map(|key| route.store.cache.invalidate(&key)).collect();
        for invalidation in begun {
            // The handler has succeeded, whatever becomes of that.
            let _ = invalidation.await;
        }
    }
    Ok(response)
}
