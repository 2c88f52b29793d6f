//! The cache's interface to its environment: the time, wake-ups at a time, and a place to run
//! loads.

pub(crate) mod cache_time;
pub(crate) mod clock;
pub(crate) mod courier;
pub(crate) mod manual_clock;
pub(crate) mod span;
pub(crate) mod spawn;
#[cfg(feature = "std")]
pub(crate) mod thread_timer;
#[cfg(feature = "std")]
pub(crate) mod ticker;
pub(crate) mod timer;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;
pub(crate) mod xfetch;
