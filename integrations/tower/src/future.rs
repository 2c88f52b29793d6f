//! The future of a response.

use crate::body::Body;
use http::Response;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<Body<B>>, E>> + Send>>;

pin_project! {
    /// The future of a [`CacheService`](crate::CacheService).
    ///
    /// Dropping it ends no call of a handler that others may use: that one goes on.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, B, E> {
        Off { #[pin] future: F },
        Answer { response: Option<Response<Body<B>>> },
        Boxed { future: Boxed<B, E> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    /// Nothing but the service's own future.
    pub(crate) fn off(future: F) -> Self {
        Self { kind: Kind::Off { future } }
    }

    pub(crate) fn answer(response: Response<Body<B>>) -> Self {
        Self { kind: Kind::Answer { response: Some(response) } }
    }

    pub(crate) fn boxed(future: Boxed<B, E>) -> Self {
        Self { kind: Kind::Boxed { future } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Body<B>>, E>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Off { future } => future.poll(cx).map_ok(|response| response.map(Body::through)),
            KindProjection::Answer { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it was ready")))
            }
            KindProjection::Boxed { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
