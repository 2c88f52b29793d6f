//! The body of a response: a stored one, or the service's own.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The body of a response that came through the layer: bytes that all who read a stored
    /// response share, or the body of the service.
    pub struct Body<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Stored { data: Bytes, trailers: Option<Arc<HeaderMap>> },
        Through { #[pin] body: B },
        // What was read of a body that turned out too large, and the rest of it.
        Resumed { read: VecDeque<Bytes>, rest: Pin<Box<B>> },
    }
}

impl<B> Body<B> {
    /// Makes a body of bytes and trailers.
    pub(crate) fn stored(data: Bytes, trailers: Option<Arc<HeaderMap>>) -> Self {
        Self { kind: Kind::Stored { data, trailers } }
    }

    /// Makes a body without bytes.
    pub(crate) fn empty() -> Self {
        Self::stored(Bytes::new(), None)
    }

    /// Takes the service's body as it is.
    pub(crate) fn through(body: B) -> Self {
        Self { kind: Kind::Through { body } }
    }

    /// Makes a body of which a part was read already.
    pub(crate) fn resumed(read: VecDeque<Bytes>, rest: Pin<Box<B>>) -> Self {
        Self { kind: Kind::Resumed { read, rest } }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Body<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Stored { data, trailers } => {
                if !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))));
                }
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(HeaderMap::clone(&trailers)))))
            }
            KindProjection::Through { body } => body.poll_frame(cx),
            KindProjection::Resumed { read, rest } => match read.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => Poll::Ready(ready!(rest.as_mut().poll_frame(cx))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Stored { data, trailers } => data.is_empty() && trailers.is_none(),
            Kind::Through { body } => body.is_end_stream(),
            Kind::Resumed { read, rest } => read.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Stored { data, .. } => SizeHint::with_exact(data.len() as u64),
            Kind::Through { body } => body.size_hint(),
            Kind::Resumed { read, rest } => {
                let (read, rest) = (read.iter().map(|data| data.len() as u64).sum::<u64>(), rest.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint
            }
        }
    }
}

impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Stored { .. } => "Body(stored)",
            Kind::Through { .. } => "Body(through)",
            Kind::Resumed { .. } => "Body(resumed)",
        })
    }
}

/// What collecting a body came to.
pub(crate) enum Collected<B> {
    All(Bytes, Option<HeaderMap>),
    TooLarge(VecDeque<Bytes>, Pin<Box<B>>),
    /// The body failed before its end.
    Broken,
}

/// Reads a body to its end, or until it has more bytes than the limit.
pub(crate) async fn collect<B: http_body::Body<Data = Bytes>>(body: B, limit: usize) -> Collected<B> {
    let mut body = Box::pin(body);
    if body.size_hint().lower() > limit as u64 {
        return Collected::TooLarge(VecDeque::new(), body);
    }
    let (mut read, mut size, mut trailers) = (VecDeque::new(), 0, None::<HeaderMap>);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else { return Collected::Broken };
        match frame.into_data() {
            Ok(data) => {
                size += data.len();
                read.push_back(data);
                if size > limit {
                    return Collected::TooLarge(read, body);
                }
            }
            Err(other) => {
                if let Ok(more) = other.into_trailers() {
                    trailers.get_or_insert_default().extend(more);
                }
            }
        }
    }
    Collected::All(joined(read, size), trailers)
}

/// Returns the bytes in one piece of their own size.
fn joined(read: VecDeque<Bytes>, size: usize) -> Bytes {
    match read.len() {
        0 => Bytes::new(),
        1 => read.into_iter().next().unwrap_or_default(),
        _ => {
            let mut all = Vec::with_capacity(size);
            read.iter().for_each(|data| all.extend_from_slice(data));
            all.into()
        }
    }
}
