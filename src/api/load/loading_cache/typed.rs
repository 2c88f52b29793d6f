//! Futures whose errors get their type at the very end.

use super::LoadAsync;
use crate::api::error::LoadError;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// The result of a lookup whose error is still [`Foreign`](LoadError::Foreign).
pub(crate) trait Untyped<E> {
    type Typed;
    fn typed(self) -> Self::Typed;
}

impl<V, E: Send + Sync + 'static> Untyped<E> for Result<V, LoadError<Infallible>> {
    type Typed = Result<V, LoadError<E>>;
    fn typed(self) -> Self::Typed {
        self.map_err(LoadError::typed)
    }
}

impl<T: Untyped<E>, E> Untyped<E> for Vec<T> {
    type Typed = Vec<T::Typed>;
    fn typed(self) -> Self::Typed {
        self.into_iter().map(T::typed).collect()
    }
}

/// A lookup of a loader's cache, which gives the error its type when it ends.
///
/// The compiler finds `L::Error` by way of `K` and `V`. So no part of a task that is to be `Send`
/// may name it: neither a value that the task holds nor, for an `async` block, its output. Here
/// only the implementation of `Future` names it.
pub(crate) struct Typed<Fut, K, V, L> {
    lookup: Fut,
    #[allow(clippy::type_complexity, reason = "of none of these is there a value")]
    _loader: PhantomData<fn() -> (K, V, L)>,
}

impl<Fut, K, V, L> Typed<Fut, K, V, L> {
    pub(crate) fn new(lookup: Fut) -> Self {
        Self { lookup, _loader: PhantomData }
    }
}

impl<Fut, K, V, L> Future for Typed<Fut, K, V, L>
where
    L: LoadAsync<K, V>,
    Fut: Future,
    Fut::Output: Untyped<L::Error>,
{
    type Output = <Fut::Output as Untyped<L::Error>>::Typed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `lookup` is pinned whenever `self` is. No code moves it out. This type has no
        // `Drop`, and is not packed. It is `Unpin` only if its fields are (the other field always
        // is).
        let lookup = unsafe { self.map_unchecked_mut(|this| &mut this.lookup) };
        Poll::Ready(ready!(lookup.poll(cx)).typed())
    }
}
