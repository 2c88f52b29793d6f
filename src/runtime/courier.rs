//! Calling an async function of the user's for one item after the other, in a task.

use super::spawn::{Spawn, yield_now};
use crate::sys::serial::{Serial, Server};
use crate::sys::unwind;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

/// Returns a function that has `handle` called for each item it is given, in their order, by a task
/// of the spawner. There is one task at a time, and none while there are no items.
///
/// A panic of `handle` or its future ends the call for that item alone.
pub(crate) fn courier<T, Fut>(
    spawner: Arc<dyn Spawn>,
    handle: impl Fn(T) -> Fut + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static
where
    T: Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (queue, handle) = (Arc::new(Serial::new()), Arc::new(handle));
    move |item| {
        if let Some(server) = queue.push(item) {
            spawner.spawn(Box::pin(serve(server, handle.clone())));
        }
    }
}

async fn serve<T, Fut: Future<Output = ()>>(mut server: Server<T>, handle: Arc<impl Fn(T) -> Fut>) {
    while let Some(item) = server.next() {
        let Some(future) = unwind::survived(|| handle(item)) else { continue };
        let mut future = pin!(Some(future));
        poll_fn(|cx| {
            let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
            unwind::survived(|| running.poll(cx)).unwrap_or(Poll::Ready(()))
        })
        .await;
        unwind::survived(|| future.set(None));
        if !server.has_next() {
            // Other tasks run between two batches, even if each call is ready at once.
            yield_now().await;
        }
    }
}
