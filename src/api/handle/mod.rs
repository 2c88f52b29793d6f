//! The handles that calls return: entries, leases, waiters, iterators.

pub(crate) mod age;
pub(crate) mod change;
#[cfg(feature = "std")]
pub(crate) mod drain;
pub(crate) mod entry;
pub(crate) mod form;
pub(crate) mod iter;
pub(crate) mod lease;
pub(crate) mod lookup;
pub(crate) mod waiter;
