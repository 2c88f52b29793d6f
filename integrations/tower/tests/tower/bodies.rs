//! Bodies: what is shared, what goes through as it comes, and that nothing is lost.

use crate::support::*;
use bellwether_tower::{Body, Builder};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};

const MINUTE: [(&str, &str); 1] = [("cache-control", "max-age=60")];

fn site_of(build: impl FnOnce(Builder) -> Builder, lines: &'static [(&str, &str)], make: fn() -> Made) -> Site {
    Site::new(build, move |_, _| {
        let mut response = Response::new(make());
        *response.headers_mut() = headers(lines);
        async move { response }
    })
}

fn pieces(all: &[&'static str]) -> Made {
    frames(all.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect())
}

#[tokio::test]
async fn a_body_in_pieces_is_stored_in_one() {
    let site = site_of(|builder| builder, &MINUTE, || pieces(&["a", "", "bc", "def"]));
    for _ in 0..2 {
        let read = site.get("/").await;
        assert_eq!(read.text(), "abcdef");
    }
    assert_eq!(site.call(ask("HEAD", "/", &[])).await.header("content-length"), Some("6"));
    assert_eq!(site.calls(), 1);
}

/// A hit copies no body: all answers have the same bytes, at the same address.
#[tokio::test]
async fn the_bytes_are_shared() {
    let site = site_of(|builder| builder, &MINUTE, || bytes("shared"));
    let mut addresses = Vec::new();
    for _ in 0..3 {
        addresses.push(site.get("/").await.body.unwrap().as_ptr());
    }
    assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn trailers_come_through_stored_or_not() {
    let made = || {
        let trailers = Frame::trailers(headers(&[("x-sum", "7"), ("x-sum", "8")]));
        frames(vec![Ok(Frame::data(Bytes::from("body"))), Ok(trailers)])
    };
    for lines in [&MINUTE[..], &[("cache-control", "no-store")]] {
        let site = site_of(|builder| builder, lines, made);
        for _ in 0..2 {
            let read = site.get("/").await;
            let sums: Vec<_> =
                read.trailers.as_ref().unwrap().get_all("x-sum").iter().map(|sum| sum.to_str().unwrap()).collect();
            assert_eq!((read.text(), sums), ("body", vec!["7", "8"]));
            assert_eq!(read.header("content-length"), None);
        }
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_whole_and_not_stored() {
    let made: [(fn() -> Made, usize); 4] = [
        // Exactly the limit is stored.
        (|| pieces(&["1234", "5678"]), 1),
        (|| pieces(&["1234", "5678", "9"]), 2),
        (|| bytes("123456789"), 2),
        (
            || {
                frames(vec![
                    Ok(Frame::data("12345678".into())),
                    Ok(Frame::data("9".into())),
                    Ok(Frame::trailers(HeaderMap::new())),
                ])
            },
            2,
        ),
    ];
    for (make, calls) in made {
        let site = site_of(|builder| builder.body_limit(8), &MINUTE, make);
        for _ in 0..2 {
            assert!("123456789".starts_with(site.get("/").await.text()));
        }
        assert_eq!(site.calls(), calls);
        assert_eq!(site.get("/").await.text().len(), if calls == 1 { 8 } else { 9 });
    }
}

/// What fails after the limit fails for the client, as it would without a cache.
#[tokio::test]
async fn a_body_above_the_limit_may_fail_late() {
    let make = || frames(vec![Ok(Frame::data("123456789".into())), Err(io::Error::other("torn"))]);
    let site = site_of(|builder| builder.body_limit(8), &MINUTE, make);
    assert_eq!(site.get("/").await.body.unwrap_err(), "torn");
}

#[tokio::test]
async fn the_size_of_a_body_is_known() {
    let site = site_of(|builder| builder.body_limit(4), &MINUTE, || pieces(&["123", "456"]));
    let clock = bellwether::ManualClock::new();
    let cache = builder(&clock).body_limit(4).build().unwrap();
    drop(site);
    let service = cache.layer().layer(tower::service_fn(|request: Request<Full<Bytes>>| async move {
        let large = request.uri().path() == "/large";
        let mut response = Response::new(if large { pieces(&["123", "456"]) } else { bytes("12") });
        *response.headers_mut() = headers(&MINUTE);
        Ok::<_, Infallible>(response)
    }));
    let Ok(small) = service.clone().oneshot(get("/small", &[])).await;
    assert_eq!((small.body().size_hint().exact(), small.body().is_end_stream()), (Some(2), false));
    let Ok(large) = service.clone().oneshot(get("/large", &[])).await;
    assert_eq!((large.body().size_hint().lower(), large.body().is_end_stream()), (6, false));
    let Ok(head) = service.oneshot(ask("HEAD", "/small", &[])).await;
    assert_eq!((head.body().size_hint().exact(), head.body().is_end_stream()), (Some(0), true));
}

/// A body that the test writes.
struct Written(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

type Frames = Body<Written>;

/// Events, and what is above the limit, reach their client as they are written.
#[tokio::test]
async fn streams_are_not_held_up() {
    for (lines, first) in [(&[("content-type", "text/event-stream")][..], "data: 1"), (&[], "more than the limit")] {
        let clock = bellwether::ManualClock::new();
        let cache = builder(&clock).ttl(s(60)).body_limit(8).build().unwrap();
        let (calls, lines) = (Arc::new(AtomicUsize::new(0)), headers(lines));
        let (told, mut written) = mpsc::unbounded_channel();
        let counted = calls.clone();
        let service = cache.layer().layer(tower::service_fn(move |_: Request<Full<Bytes>>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let (writer, reader) = mpsc::unbounded_channel();
            told.send(writer).unwrap();
            let mut response = Response::new(Written(reader));
            *response.headers_mut() = lines.clone();
            async move { Ok::<_, Infallible>(response) }
        }));
        let (one, other) = (service.clone().oneshot(get("/", &[])), service.clone().oneshot(get("/", &[])));
        let (one, other) = (tokio::spawn(one), tokio::spawn(other));
        let mut streams: Vec<(Frames, mpsc::UnboundedSender<Bytes>)> = Vec::new();
        // Each has a call of its own.
        let writer = bounded(written.recv()).await.unwrap();
        writer.send(first.into()).unwrap();
        streams.push((bounded(one).await.unwrap().unwrap().into_body(), writer));
        let writer = bounded(written.recv()).await.unwrap();
        writer.send(first.into()).unwrap();
        streams.push((bounded(other).await.unwrap().unwrap().into_body(), writer));
        for (stream, writer) in &mut streams {
            // The first piece is there although the body has not ended, and so is the second.
            assert_eq!(bounded(stream.frame()).await.unwrap().unwrap().into_data().unwrap(), first);
            writer.send("more".into()).unwrap();
            assert_eq!(bounded(stream.frame()).await.unwrap().unwrap().into_data().unwrap(), "more");
        }
        for (mut stream, writer) in streams {
            drop(writer);
            assert!(bounded(stream.frame()).await.is_none());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

/// A client that reads slowly, or not at all, holds up no other one.
#[tokio::test]
async fn a_slow_reader_holds_up_nobody() {
    let clock = bellwether::ManualClock::new();
    let cache = builder(&clock).ttl(s(60)).build().unwrap();
    let service = cache.layer().layer(tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(pieces(&["ab", "cd"])))
    }));
    let Ok(unread) = service.clone().oneshot(get("/", &[])).await;
    for _ in 0..3 {
        let Ok(response) = bounded(service.clone().oneshot(get("/", &[]))).await;
        assert_eq!(read(response).await.text(), "abcd");
    }
    // Not even if the entry goes while it reads.
    cache.invalidate_all();
    assert_eq!(read(unread).await.text(), "abcd");
}

#[tokio::test]
async fn an_entity_tag_is_made_of_the_body() {
    let site = Site::new(
        |builder| builder.etag(true),
        |call, request| async move {
            let body = if call < 3 { "same" } else { "other" };
            assert_eq!(request.headers().contains_key("if-none-match"), call > 1);
            answer(200, &[("cache-control", "no-cache")], body)
        },
    );
    let first = site.get("/").await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
    // The handler makes the same body once more, which the client has already.
    assert_eq!(site.call(get("/", &[("if-none-match", &tag)])).await.status, 304);
    let third = site.call(get("/", &[("if-none-match", &tag)])).await;
    assert_eq!((third.status, third.text()), (200, "other"));
    assert_ne!(third.header("etag"), Some(&*tag));
    let own = Site::fixed(|builder| builder.etag(true).ttl(s(60)), 200, &[("etag", "\"own\"")]);
    assert_eq!(own.get("/").await.header("etag"), Some("\"own\""));
}
