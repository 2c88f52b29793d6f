//! The layer of a route, and its service.

use crate::body::Body;
use crate::cache::{Inner, ResponseCache};
use crate::future::ResponseFuture;
use crate::key::Key;
use crate::lookup::{change, pass, run};
use crate::route::{Plan, Quick, Route};
use crate::settings::{Settings, settings};
use crate::status::Handling;
use bellwether::ToKey;
use bytes::Bytes;
use http::{Request, Response};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// The layer of a route: from [`ResponseCache::layer`]. What it does not set is as the store's
/// [`Builder`](crate::Builder) says.
#[derive(Clone)]
#[must_use = "a layer does nothing before it is around a service"]
pub struct CacheLayer {
    store: Arc<Inner>,
    settings: Settings,
}

impl ResponseCache {
    /// Returns a layer for a route, with the settings that the store was built with.
    pub fn layer(&self) -> CacheLayer {
        CacheLayer { store: self.inner.clone(), settings: self.inner.defaults.clone() }
    }
}

impl CacheLayer {
    settings!(self, self.settings);
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    /// # Panics
    /// If the route's `soft_timeout` is longer than its `hard_timeout`, which would always come
    /// first.
    fn layer(&self, service: S) -> CacheService<S> {
        assert!(!self.settings.is_soft_above_hard(), "soft_timeout must not be longer than hard_timeout");
        let route = Route { store: self.store.clone(), settings: self.settings.clone() };
        CacheService { service, route: Arc::new(route) }
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("name", &self.store.name).field("settings", &self.settings).finish()
    }
}

/// A service whose responses are cached: from a [`CacheLayer`].
///
/// It is always ready, because what is stored needs no service. A request that is not answered from
/// the store waits for a clone of the service to become ready. (A layer that is not enabled is
/// ready when its service is.)
#[derive(Clone)]
pub struct CacheService<S> {
    service: S,
    route: Arc<Route>,
}

impl<S: fmt::Debug> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.route.settings;
        f.debug_struct("CacheService").field("service", &self.service).field("settings", settings).finish()
    }
}

impl<S, Q, B> Service<Request<Q>> for CacheService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: http_body::Body + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Body<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.route.settings.enable { Poll::Ready(Ok(())) } else { self.service.poll_ready(cx) }
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        if !self.route.settings.enable {
            return ResponseFuture::off(self.service.call(request));
        }
        let (parts, body) = request.into_parts();
        match self.route.plan(&parts, !body.is_end_stream()) {
            Plan::Pass(handling) => self.pass(Request::from_parts(parts, body), handling),
            Plan::Change(key) => self.change(Request::from_parts(parts, body), key),
            Plan::Lookup(key, conditional) => match self.route.quick(&key, &parts, conditional) {
                Quick::Answer(response) => ResponseFuture::answer(response),
                Quick::Pass => self.pass(Request::from_parts(parts, body), Handling::hit_for_pass()),
                Quick::Unknown => {
                    let (key, route) = (key.to_key(), self.route.clone());
                    ResponseFuture::boxed(Box::pin(run(route, key, (self.service.clone(), parts, body))))
                }
            },
        }
    }
}

impl<S> CacheService<S> {
    fn pass<Q, B>(&self, request: Request<Q>, handling: Handling) -> ResponseFuture<S::Future, B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        Q: Send + 'static,
    {
        let (route, service) = (self.route.clone(), self.service.clone());
        ResponseFuture::boxed(Box::pin(async move { pass(&route, service, request, handling).await }))
    }

    fn change<Q, B>(&self, request: Request<Q>, key: Option<Key>) -> ResponseFuture<S::Future, B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        Q: Send + 'static,
        B: Send + 'static,
    {
        let (route, service) = (self.route.clone(), self.service.clone());
        ResponseFuture::boxed(Box::pin(async move { change(&route, service, request, key).await }))
    }
}
