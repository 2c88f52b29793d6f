//! How a caller waits: by which clock, and how a thread or a task sleeps until a deadline.

pub(crate) mod task;
#[cfg(feature = "std")]
pub(crate) mod thread;
