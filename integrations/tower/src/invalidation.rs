//! What becomes of an invalidation.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
#[cfg(feature = "redis")]
use tokio::task::JoinHandle;

/// An invalidation that has begun. This process goes by it already. If the store has a second level,
/// awaiting it ends when the second level has it, and tells how far it reaches.
///
/// It need not be awaited: the write to the second level is made in the background. A handler that
/// awaits it has the other processes told before its client has the answer.
///
/// # Cancellation
/// Dropping it does not end the write.
#[derive(Debug)]
pub struct Invalidation {
    was_there: bool,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Done(Result<Reach, InvalidationError>),
    #[cfg(feature = "redis")]
    Writing(JoinHandle<Result<Reach, InvalidationError>>),
}

/// How far an invalidation reaches.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The store is this process's alone.
    Process,
    /// All processes: each that has the old response in memory has a push on its way (some 50 µs on
    /// loopback), or its link is dead, and its memory serves no longer than the `heartbeat` and the
    /// `unlinked_ttl` of the second level say.
    All,
    /// This process, and the others when the link to the second level is back.
    Queued,
}

/// The second level has refused an invalidation, because it is out of memory, a replica, or still
/// loads its data. This process goes by the invalidation, others do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidationError {
    why: String,
}

impl fmt::Display for InvalidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the invalidation did not reach other processes: {}", self.why)
    }
}

impl Error for InvalidationError {}

impl Invalidation {
    pub(crate) fn here(was_there: bool) -> Self {
        Self { was_there, rest: Rest::Done(Ok(Reach::Process)) }
    }

    /// Returns whether this process had what was invalidated. Always `true` for tags, and for all.
    pub fn was_there(&self) -> bool {
        self.was_there
    }

    /// Begins a write to the second level, as far as it goes at once, and leaves the rest to the
    /// runtime.
    #[cfg(feature = "redis")]
    pub(crate) fn begin<F>(was_there: bool, runtime: &tokio::runtime::Handle, write: F) -> Self
    where
        F: Future<Output = Result<bellwether_redis::Written, bellwether_redis::WriteError>> + Send + 'static,
    {
        use bellwether_redis::Written;
        let mut write = Box::pin(async move {
            match write.await {
                Ok(Written::Queued) => Ok(Reach::Queued),
                Ok(_) => Ok(Reach::All),
                Err(error) => Err(InvalidationError { why: error.to_string() }),
            }
        });
        let _entered = runtime.enter();
        let rest = match write.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(done) => Rest::Done(done),
            Poll::Pending => Rest::Writing(runtime.spawn(write)),
        };
        Self { was_there, rest }
    }
}

impl Future for Invalidation {
    type Output = Result<Reach, InvalidationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.rest {
            Rest::Done(done) => {
                let _ = cx;
                Poll::Ready(done.clone())
            }
            #[cfg(feature = "redis")]
            Rest::Writing(writing) => Pin::new(writing).poll(cx).map(|done| {
                done.unwrap_or_else(|_| Err(InvalidationError { why: "the runtime has ended".to_owned() }))
            }),
        }
    }
}
