//! Read-through: with a loader of the caller's or of the cache's, in the foreground or in the
//! background, for one key or many.

pub(crate) mod answers;
pub(crate) mod background;
#[cfg(feature = "std")]
pub(crate) mod blocking;
pub(crate) mod bulk;
pub(crate) mod compute;
mod conditional;
pub(crate) mod detached;
pub(crate) mod fate;
pub(crate) mod future;
pub(crate) mod inline;
pub(crate) mod loading_cache;
#[cfg(feature = "std")]
pub(crate) mod oneshot;
mod optional;
pub(crate) mod read_through;
pub(crate) mod request;
mod while_wanted;
