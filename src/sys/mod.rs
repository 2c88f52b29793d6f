//! The platform: atomics, the futex, memory from the system, and small lock-free parts. This is the
//! only code that differs by target.

#[cfg(bellwether_count)]
pub(crate) mod counted;
pub(crate) mod futex;
pub(crate) mod hashed;
pub(crate) mod hasher;
pub(crate) mod late_box;
pub(crate) mod memory;
pub(crate) mod mutants;
pub(crate) mod segmented;
pub(crate) mod serial;
pub(crate) mod stack;
pub(crate) mod sync;
#[cfg(feature = "std")]
pub(crate) mod unpark;
pub(crate) mod unwind;
pub(crate) mod zeroed;
