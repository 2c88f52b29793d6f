//! What the cache asks of the world: the time, a wake-up at a time, a place to run a load.

pub(crate) mod cache_time;
pub(crate) mod clock;
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
