//! Over sockets: hyper and axum, HTTP/1.1 and HTTP/2.

use crate::support::{Gate, Read, bounded, read};
use axum::Router;
use axum::routing::get;
use bellwether_tower::ResponseCache;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::Layer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Hyper,
    Axum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

const ALL: [(Server, Version); 4] = [
    (Server::Hyper, Version::One),
    (Server::Hyper, Version::Two),
    (Server::Axum, Version::One),
    (Server::Axum, Version::Two),
];

/// How many bytes `/large` has: more than the sockets and windows on the way take.
const LARGE: usize = 8 << 20;

/// A server on loopback, with a handler that waits at a gate at `/slow` and `/panics`.
struct Site {
    address: SocketAddr,
    cache: ResponseCache,
    gate: Gate,
    /// The calls of the handler, and the requests that reached the layer.
    calls: Arc<AtomicUsize>,
    arrived: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn handler(path: String, call: usize, gate: Gate) -> Response<Full<Bytes>> {
    match &*path {
        "/slow" => gate.pass().await,
        "/panics" => {
            gate.pass().await;
            if call == 1 {
                panic!("a handler's fault, for a test");
            }
        }
        _ => {}
    }
    let body = if path == "/large" { Bytes::from(vec![b'x'; LARGE]) } else { Bytes::from(call.to_string()) };
    let response = Response::builder().header("cache-control", "max-age=60").header("etag", format!("\"{call}\""));
    response.body(Full::new(body)).unwrap()
}

async fn start(server: Server) -> Site {
    // A handler that waits long would be called early again, by chance.
    let builder = ResponseCache::builder().max_bytes(1 << 26).body_limit(LARGE).early_refresh(false);
    let cache = builder.build().unwrap();
    let (gate, calls, arrived) = (Gate::closed(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (waits, counted, seen) = (gate.clone(), calls.clone(), arrived.clone());
    let respond = move |path: String| {
        let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
        handler(path, call, waits.clone())
    };
    let layer = cache.layer();
    let server = match server {
        Server::Hyper => {
            let service = tower::service_fn(move |request: Request<Incoming>| {
                let answer = respond(request.uri().path().to_owned());
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let service = tower::util::MapRequest::new(layer.layer(service), move |request: Request<Incoming>| {
                seen.fetch_add(1, Ordering::SeqCst);
                request
            });
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let service = TowerToHyperService::new(service.clone());
                    tokio::spawn(async move {
                        let connection = auto::Builder::new(TokioExecutor::new());
                        let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            })
        }
        Server::Axum => {
            let route = get(move |request: axum::extract::Request| respond(request.uri().path().to_owned()));
            let count = tower::util::MapRequestLayer::new(move |request: axum::extract::Request| {
                seen.fetch_add(1, Ordering::SeqCst);
                request
            });
            let app = Router::new().route("/{*path}", route).layer(layer).layer(count);
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
        }
    };
    Site { address, cache, gate, calls, arrived, server }
}

impl Site {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have reached the layer.
    async fn arrived(&self, count: usize) {
        bounded(async {
            while self.arrived.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Opens a connection of its own, and sends one request.
    async fn send(&self, version: Version, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        match version {
            Version::One => {
                let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
            Version::Two => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
        }
    }

    fn request(&self, version: Version, method: &str, path: &str) -> Request<Empty<Bytes>> {
        let host = self.address.to_string();
        let request = Request::builder().method(method);
        let request = match version {
            Version::One => request.uri(path).header("host", host),
            Version::Two => request.uri(format!("http://{host}{path}")),
        };
        request.body(Empty::new()).unwrap()
    }

    async fn ask(&self, version: Version, method: &str, path: &str) -> Read {
        read(bounded(self.send(version, self.request(version, method, path))).await).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_connections_on_one_cold_route_are_one_call() {
    for (server, version) in ALL {
        let site = Arc::new(start(server).await);
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.ask(version, "GET", "/slow").await })
            })
            .collect();
        site.arrived(64).await;
        site.gate.open();
        for task in tasks {
            let read = bounded(task).await.unwrap();
            assert_eq!((read.status, read.text()), (200, "1"), "{server:?} {version:?}");
        }
        assert_eq!(site.calls(), 1, "{server:?} {version:?}");
        // One entry for both versions of the protocol: the scheme and the form of the URI do not
        // count.
        for version in [Version::One, Version::Two] {
            let read = site.ask(version, "GET", "/slow").await;
            assert!(read.is_hit() && read.header("age").is_some(), "{read:?}");
            let head = site.ask(version, "HEAD", "/slow").await;
            assert_eq!((head.text(), head.header("content-length"), head.is_hit()), ("", Some("1"), true));
            let mut request = site.request(version, "GET", "/slow");
            request.headers_mut().insert("if-none-match", "\"1\"".parse().unwrap());
            assert_eq!(site.send(version, request).await.status(), 304);
        }
        assert_eq!((site.calls(), site.cache.len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_closed_ends_no_call() {
    for (server, version) in ALL {
        let site = Arc::new(start(server).await);
        let leader = tokio::spawn({
            let site = site.clone();
            async move {
                let request = site.request(version, "GET", "/slow");
                let stream = TokioIo::new(TcpStream::connect(site.address).await.unwrap());
                // The connection is polled here, so that it is closed with this task.
                match version {
                    Version::One => {
                        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                        let _ = tokio::join!(sender.send_request(request), connection);
                    }
                    Version::Two => {
                        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                        let _ = tokio::join!(sender.send_request(request), connection);
                    }
                }
            }
        });
        site.arrived(1).await;
        let followers: Vec<_> = (0..5)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.ask(version, "GET", "/slow").await })
            })
            .collect();
        site.arrived(6).await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        site.gate.open();
        for follower in followers {
            assert_eq!(bounded(follower).await.unwrap().text(), "1");
        }
        assert_eq!(site.calls(), 1, "{server:?} {version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_closes_no_connection() {
    for (server, version) in ALL {
        let site = Arc::new(start(server).await);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.ask(version, "GET", "/panics").await })
            })
            .collect();
        site.arrived(8).await;
        site.gate.open();
        for task in tasks {
            // A request that the layer has counted may look into the store a moment after the
            // panic: then it has the next call's answer.
            let read = bounded(task).await.unwrap();
            assert!(read.status == 500 || read.text() == "2", "{read:?}");
        }
        assert_eq!(site.ask(version, "GET", "/panics").await.text(), "2");
        assert_eq!(site.calls(), 2, "{server:?} {version:?}");
    }
}

/// A client that reads nothing of a body that no socket can take in whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_up_no_other() {
    for (server, version) in ALL {
        let site = start(server).await;
        let mut slow = bounded(site.send(version, site.request(version, "GET", "/large"))).await;
        for _ in 0..3 {
            assert_eq!(site.ask(version, "GET", "/large").await.body.unwrap().len(), LARGE);
        }
        site.cache.invalidate_all();
        let mut size = 0;
        while let Some(frame) = bounded(slow.body_mut().frame()).await {
            size += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!((size, site.calls()), (LARGE, 1), "{server:?} {version:?}");
    }
}
