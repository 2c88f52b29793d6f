//! A result that one thread hands to one task.

use alloc::sync::Arc;
use atomic_waker::AtomicWaker;
use core::future::{Future, poll_fn};
use core::task::Poll;
use std::sync::{Mutex, PoisonError};

struct Shared<T> {
    progress: Mutex<Progress<T>>,
    waker: AtomicWaker,
}

enum Progress<T> {
    Open,
    Told(T),
    /// The sender is gone, or the result was taken.
    Over,
}

/// The side that has the result. If it is dropped without telling one, the task learns that, too.
pub(crate) struct Teller<T>(Arc<Shared<T>>);

impl<T> Teller<T> {
    /// Hands over the result.
    pub(crate) fn tell(self, result: T) {
        // The drop of `self`, which follows, wakes the task.
        self.set(Progress::Told(result));
    }

    fn set(&self, to: Progress<T>) {
        let mut progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*progress, Progress::Open) {
            *progress = to;
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.set(Progress::Over);
        self.0.waker.wake();
    }
}

/// Makes a teller, and the future of its result: None if the teller is dropped before it tells one.
pub(crate) fn oneshot<T: Send>() -> (Teller<T>, impl Future<Output = Option<T>> + Send) {
    let shared = Arc::new(Shared { progress: Mutex::new(Progress::Open), waker: AtomicWaker::new() });
    let told = shared.clone();
    let result = poll_fn(move |cx| {
        // The task registers first, then looks: the teller changes the progress first, then wakes.
        told.waker.register(cx.waker());
        let mut progress = told.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match core::mem::replace(&mut *progress, Progress::Over) {
            Progress::Open => {
                *progress = Progress::Open;
                Poll::Pending
            }
            Progress::Told(result) => Poll::Ready(Some(result)),
            Progress::Over => Poll::Ready(None),
        }
    });
    (Teller(shared), result)
}
