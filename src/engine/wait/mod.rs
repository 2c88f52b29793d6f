//! Waiting: the clock that measures waits, and how a thread or a task sleeps until a deadline.

mod clock;
pub(crate) mod task;
#[cfg(feature = "std")]
pub(crate) mod thread;
