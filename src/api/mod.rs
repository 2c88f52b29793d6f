//! The public API: the types that users name.

pub(crate) mod builder;
pub(crate) mod cache;
pub(crate) mod error;
pub(crate) mod handle;
pub(crate) mod load;
pub(crate) mod observers;
