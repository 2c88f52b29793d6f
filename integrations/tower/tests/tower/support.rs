//! A site of one handler, its cache, and a clock that only the test moves.

use bellwether::ManualClock;
use bellwether_tower::{Body, Builder, CacheLayer, ResponseCache};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

pub(crate) type Asked = Request<Full<Bytes>>;
pub(crate) type Made = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Answer = Response<Made>;
type Service = BoxCloneSyncService<Asked, Response<Body<Made>>, Infallible>;

/// When the tests begin: Sun, 06 Nov 1994 08:49:37 GMT.
pub(crate) const BEGIN: u64 = 784_111_777;

pub(crate) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An HTTP date, so many seconds after the tests begin.
pub(crate) fn date(seconds: i64) -> String {
    let at = SystemTime::UNIX_EPOCH + s(BEGIN.checked_add_signed(seconds).unwrap());
    httpdate::fmt_http_date(at)
}

pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut all = HeaderMap::new();
    for (name, value) in lines {
        all.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    all
}

pub(crate) fn get(uri: &str, lines: &[(&str, &str)]) -> Asked {
    ask("GET", uri, lines)
}

pub(crate) fn ask(method: &str, uri: &str, lines: &[(&str, &str)]) -> Asked {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    *request.headers_mut() = headers(lines);
    request
}

pub(crate) fn bytes(body: impl Into<Bytes>) -> Made {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of frames, which may fail, of a length that is not known before.
pub(crate) fn frames(frames: Vec<Result<Frame<Bytes>, io::Error>>) -> Made {
    struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, io::Error>>);
    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Frames(frames.into_iter()).boxed_unsync()
}

pub(crate) fn answer(status: u16, lines: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(bytes(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(lines);
    response
}

/// What a client has read of a response.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Bytes, String>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Read {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().unwrap()).unwrap()
    }

    /// What the cache says it did.
    pub(crate) fn did(&self) -> &str {
        self.header("cache-status").unwrap_or("")
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.did().contains("; hit")
    }
}

pub(crate) async fn read<B>(response: Response<B>) -> Read
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let (parts, body) = response.into_parts();
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned();
            Read { status, headers, body: Ok(all.to_bytes()), trailers }
        }
        Err(error) => Read { status, headers, body: Err(error.to_string()), trailers: None },
    }
}

/// One handler behind the cache.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) cache: ResponseCache,
    pub(crate) clock: ManualClock,
    calls: Arc<AtomicUsize>,
    service: Service,
}

/// The cache of a test.
pub(crate) fn builder(clock: &ManualClock) -> Builder {
    let wall = clock.clone();
    ResponseCache::builder()
        .max_bytes(1 << 24)
        .clock(clock.clone())
        .wall_clock(move || SystemTime::UNIX_EPOCH + s(BEGIN) + Duration::from_nanos(bellwether::Clock::now(&wall)))
}

impl Site {
    /// A site whose handler gets the number of its call, from 1, and the request.
    pub(crate) fn new<F>(
        build: impl FnOnce(Builder) -> Builder,
        handler: impl Fn(usize, Asked) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let clock = ManualClock::new();
        let cache = build(builder(&clock)).build().unwrap();
        Self::with(cache.clone(), cache.layer(), clock, handler)
    }

    pub(crate) fn with<F>(
        cache: ResponseCache,
        layer: CacheLayer,
        clock: ManualClock,
        handler: impl Fn(usize, Asked) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let service = tower::service_fn(move |request: Asked| {
            let answer = handler(counted.fetch_add(1, Ordering::SeqCst) + 1, request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        Self { cache, clock, calls, service: BoxCloneSyncService::new(layer.layer(service)) }
    }

    /// A site whose handler's answer is always the same, but for the body, which is the number of
    /// the call.
    pub(crate) fn fixed(build: impl FnOnce(Builder) -> Builder, status: u16, lines: &[(&str, &str)]) -> Self {
        let lines = headers(lines);
        Self::new(build, move |call, _| {
            let mut response = answer(status, &[], call.to_string());
            *response.headers_mut() = lines.clone();
            async move { response }
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) async fn call(&self, request: Asked) -> Read {
        let Ok(response) = self.service.clone().oneshot(request).await;
        read(response).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Read {
        self.call(get(uri, &[])).await
    }

    /// Sends a request, by a task of its own.
    pub(crate) fn begin(&self, request: Asked) -> JoinHandle<Read> {
        let site = self.clone();
        tokio::spawn(async move { site.call(request).await })
    }

    /// Sends requests at the same time, all of which wait before `open` lets the handler end.
    pub(crate) async fn herd(&self, requests: Vec<Asked>, gate: &Gate) -> Vec<Read> {
        let tasks: Vec<_> = requests.into_iter().map(|request| self.begin(request)).collect();
        settle().await;
        gate.open();
        let mut all = Vec::new();
        for task in tasks {
            all.push(bounded(task).await.unwrap());
        }
        all
    }
}

/// Lets all other tasks of this thread go as far as they can.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Fails where a wait would never end.
pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(s(60), future).await.expect("a wait that never ends")
}

/// What handlers wait at.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Lets one more through.
    pub(crate) fn open_once(&self) {
        self.0.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}
