//! The caller's `tracing` span, for work that runs elsewhere on the caller's behalf. Without the
//! feature `tracing` these functions return the work unchanged.

use core::future::Future;

/// Wraps `work` such that it runs in the span that the caller is in now.
#[cfg(all(feature = "std", feature = "tracing"))]
pub(crate) fn of_caller<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

#[cfg(all(feature = "std", not(feature = "tracing")))]
pub(crate) fn of_caller<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    work
}

/// Wraps `task` such that it is polled in the span that the caller is in now.
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
