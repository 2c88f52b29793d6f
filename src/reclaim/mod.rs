//! When a node's memory may be freed, and where it comes from. Nothing outside this module knows either.
//!
//! A node that nobody points at any more (its last share was given back) is *retired*: a caller who found it earlier,
//! under a pin, may still be reading it. Retired nodes gather in bags that the cache owns (`limbo`, [`bag`]); an epoch back
//! end (`epoch`) says when a bag is ripe, that is, when every pin that was held as the bag was sealed has ended. So
//! the cache knows how much it has retired, can bound it, and frees everything in its own `Drop`.
//!
//! There are three back ends with one face. On 64-bit Linux with std it is one of our own whose pins execute no fence
//! (`asymmetric`). Elsewhere it is `crossbeam-epoch`, with a collector of this crate's own (`epoch.rs`). Under loom and shuttle it is a
//! stand-in that lets go of a bag as early as the rules permit, so that a missing pin is a model failure (`standin.rs`).
//!
//! Memory is the cache's own, too: its [`arena`] gives nodes from slabs ([`shape`]) and has them back when their bag is
//! ripe ([`free`]).

mod arena;
mod bag;
#[cfg_attr(any(loom, shuttle), path = "model.rs")]
#[cfg_attr(
    all(
        feature = "std",
        target_os = "linux",
        target_pointer_width = "64",
        not(any(loom, shuttle, bellwether_crossbeam))
    ),
    path = "membarrier/mod.rs"
)]
#[cfg_attr(
    not(any(
        loom,
        shuttle,
        all(feature = "std", target_os = "linux", target_pointer_width = "64", not(bellwether_crossbeam))
    )),
    path = "crossbeam/mod.rs"
)]
mod epoch;
mod free_list;
mod layout;
mod limbo;

pub(crate) use arena::Arena;
pub(crate) use epoch::{Epoch, Handle, Pin};
pub(crate) use layout::{Cold, EXPIRY, Extra, TAG_SEQUENCE, bytes, cold, owned};
pub(crate) use limbo::{Batch, Limbo, Upkeep};

/// What a [`Limbo`] holds.
pub(crate) trait Retire {
    /// Drops what the object owns; its memory is for the caller to free, however this ends: user code runs in here and
    /// may panic.
    ///
    /// # Safety
    /// `this` came from an [`Arena`], nobody else can reach it, and it is not used again.
    unsafe fn dispose(this: core::ptr::NonNull<Self>);

    /// What it weighs against the cache's capacity.
    fn weight(&self) -> u32;
}
