//! A result that one thread hands to one task.

use alloc::sync::Arc;
use atomic_waker::AtomicWaker;
use core::future::{Future, poll_fn};
use core::task::Poll;
use std::sync::OnceLock;

/// The side that has the result. If it is dropped without telling one, the task learns that, too.
pub(crate) struct Teller<T> {
    result: Option<Arc<OnceLock<T>>>,
    task: Arc<AtomicWaker>,
}

impl<T> Teller<T> {
    /// Hands over the result.
    pub(crate) fn tell(self, result: T) {
        // It is set once, as `tell` takes the only teller. The drop of `self`, which follows, wakes
        // the task.
        if let Some(cell) = &self.result {
            let _ = cell.set(result);
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        // The task may take the result when this handle of it is gone, so it is woken afterwards.
        self.result = None;
        self.task.wake();
    }
}

/// Makes a teller, and the future of its result: None if the teller is dropped before it tells one.
pub(crate) fn oneshot<T: Send + Sync>() -> (Teller<T>, impl Future<Output = Option<T>> + Send) {
    let (mut result, task) = (Arc::new(OnceLock::new()), Arc::new(AtomicWaker::new()));
    let teller = Teller { result: Some(result.clone()), task: task.clone() };
    let told = poll_fn(move |cx| {
        // The task registers first, then looks. The teller gives its handle back first, then wakes.
        task.register(cx.waker());
        Arc::get_mut(&mut result).map_or(Poll::Pending, |result| Poll::Ready(result.take()))
    });
    (teller, told)
}
