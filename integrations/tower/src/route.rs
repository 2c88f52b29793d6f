//! One layer at work: what it does with a request, before any handler is called.

use crate::body::Body;
use crate::cache::Inner;
use crate::conditions::Conditions;
use crate::directives::RequestDirectives;
use crate::glance::Glance;
use crate::key::{Key, KeyRef};
use crate::settings::Settings;
use crate::status::{CACHE_STATUS, Forwarded, Handling};
use crate::stored::{Asked, Stored, Value};
use bellwether::ToKey;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// The store and the settings of one layer.
pub(crate) struct Route {
    pub(crate) store: Arc<Inner>,
    pub(crate) settings: Settings,
}

/// What is done with a request.
pub(crate) enum Plan<'r> {
    /// The handler is called; nothing is stored.
    Pass(Handling),
    /// The handler is called; if it succeeds, what is stored under the key is removed.
    Change(Option<Key>),
    /// With `true`, the client may have the response already.
    Lookup(KeyRef<'r>, bool),
}

/// What a request finds at once.
pub(crate) enum Quick<B> {
    Answer(Response<Body<B>>),
    Pass,
    /// It must be looked into.
    Unknown,
}

impl Route {
    /// Decides what is done with a request. `has_body`: it has a body.
    pub(crate) fn plan<'r>(&self, parts: &'r Parts, has_body: bool) -> Plan<'r> {
        let safe = [Method::OPTIONS, Method::TRACE].contains(&parts.method);
        let bypass = Handling::forwarded(Forwarded::Bypass);
        let seen = Glance::at(&parts.headers);
        match parts.method {
            Method::GET | Method::HEAD => {}
            _ if safe => return Plan::Pass(Handling::forwarded(Forwarded::Method)),
            _ => return Plan::Change(self.key(parts, &seen).map(|key| key.to_key())),
        }
        if has_body
            || seen.passes
            || !self.settings.authorization && seen.authorization
            || !self.settings.cookies && seen.cookie
        {
            return Plan::Pass(bypass);
        }
        if self.settings.client_cache_control && RequestDirectives::of(&parts.headers).no_store {
            return Plan::Pass(Handling::forwarded(Forwarded::Request));
        }
        self.key(parts, &seen).map_or(Plan::Pass(bypass), |key| Plan::Lookup(key, seen.conditional))
    }

    /// Returns the key of the GET request for the same resource.
    fn key<'r>(&self, parts: &'r Parts, seen: &Glance<'r>) -> Option<KeyRef<'r>> {
        let Some(make) = &self.settings.key else { return KeyRef::of(parts, seen) };
        let key = if parts.method == Method::GET {
            make(parts)
        } else {
            let mut get = parts.clone();
            get.method = Method::GET;
            make(&get)
        };
        key.map(KeyRef::custom)
    }

    /// Answers a request from the store, if a response is there that is good for it without a
    /// question.
    pub(crate) fn quick<B>(&self, key: &KeyRef<'_>, parts: &Parts, conditional: bool) -> Quick<B> {
        if self.settings.client_cache_control {
            return Quick::Unknown;
        }
        self.store.cache.read(key, |found| self.answered_by(found, parts, conditional)).unwrap_or(Quick::Unknown)
    }

    fn answered_by<B>(&self, found: &Value, parts: &Parts, conditional: bool) -> Quick<B> {
        let Value::Response(stored) = found else { return Quick::Pass };
        let now = self.store.clock.now();
        if stored.terms.validate || now >= stored.quiet_until || !stored.matches(&parts.headers) {
            return Quick::Unknown;
        }
        let conditions = if conditional { Conditions::of(&parts.headers) } else { Conditions::default() };
        let asked = self.asked(&parts.method, &conditions);
        Quick::Answer(stored.answer(&asked, &Handling::hit(stored.ttl(now)), now))
    }

    pub(crate) fn asked<'a>(&'a self, method: &Method, conditions: &'a Conditions) -> Asked<'a> {
        let name = self.settings.cache_status.then_some(&*self.store.name);
        Asked { head: *method == Method::HEAD, conditions: Some(conditions), name }
    }

    /// Says in a response of the handler's own what was done for it.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, handling: &Handling) {
        if self.settings.cache_status {
            headers.append(CACHE_STATUS, handling.header(&self.store.name, None));
        }
    }

    /// Makes the answer to a request for which there is no response.
    pub(crate) fn refusal<B>(
        &self,
        status: StatusCode,
        mut handling: Handling,
        why: &'static str,
    ) -> Response<Body<B>> {
        handling.detail = Some(why);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let time = self.settings.retry_after;
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() != 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        self.tell(response.headers_mut(), &handling);
        response
    }
}

impl Stored {
    /// Returns whether a client that says this takes the response without a question.
    pub(crate) fn suits(&self, says: &RequestDirectives, now: u64) -> bool {
        let age = self.age(now);
        let left = self.terms.lifetime.saturating_sub(age);
        !says.no_cache
            && says.max_age.is_none_or(|longest| age <= longest)
            && says.min_fresh.is_none_or(|shortest| left >= shortest)
    }
}
