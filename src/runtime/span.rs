//! The caller's `tracing` span, for what runs on its behalf elsewhere. Without the feature there is none, and nothing is done.

use core::future::Future;

/// Work that runs in the span that the caller is in now.
#[cfg(all(feature = "std", feature = "tracing"))]
pub(crate) fn of_caller<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

#[cfg(all(feature = "std", not(feature = "tracing")))]
pub(crate) fn of_caller<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    work
}

/// A task that is polled in the span that the caller is in now.
#[cfg(feature = "tracing")]
pub(crate) fn task_of_caller<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let span = tracing::Span::current();
    async move {
        let mut task = core::pin::pin!(task);
        core::future::poll_fn(|cx| span.in_scope(|| task.as_mut().poll(cx))).await
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn task_of_caller<F: Future>(task: F) -> impl Future<Output = F::Output> {
    task
}
