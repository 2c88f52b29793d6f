//! The memory of nodes: where it comes from, and when it may be freed. No other module knows
//! either.
//!
//! A node whose last reference was given back is *retired*. A reader that found the node earlier,
//! under a pin, may still read it. Retired nodes gather in bags that the cache owns ([`limbo`],
//! [`bag`]). An epoch back end ([`epoch`]) says when a bag is ripe: when every pin that was held as
//! the bag was sealed has ended. So the cache knows how much it has retired, can bound it, and
//! frees all of it in its own `Drop`.
//!
//! Three back ends have one interface:
//!
//! * On 64-bit Linux with std, `membarrier` is this crate's own. Its pins execute no fence.
//! * Elsewhere, `crossbeam` uses `crossbeam-epoch`, with a collector of this crate's own.
//! * Under loom and shuttle, `model.rs` frees a bag as early as the rules permit, so that a missing
//!   pin is a model failure.
//!
//! The cache also owns the memory of its nodes. Its [`arena`] takes nodes from slabs ([`layout`]),
//! and takes them back when their bag is ripe. A full bag waits in the [`depot`] until it becomes
//! one thread's [`magazine`] of free nodes. Others are emptied into the arena's [`free_list`]. What
//! a thread has for itself ([`own`]) lies in [`cells`].

mod arena;
mod bag;
mod cells;
mod collect;
mod depot;
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
mod exchange;
mod extras;
mod free_list;
mod freed;
mod layout;
mod limbo;
mod magazine;
mod own;
mod renewals;
mod single;

pub(crate) use arena::Arena;
pub(crate) use cells::Cells;
pub(crate) use epoch::{Epoch, Handle, Pin};
pub(crate) use extras::{Extra, OwnTerms};
pub(crate) use layout::{Cold, bytes, cold, owned};
pub(crate) use limbo::{Batch, Limbo, Upkeep};

/// An object that a [`Limbo`] holds.
pub(crate) trait Retire {
    /// Drops the values that the object owns. The caller frees the object's memory however this
    /// ends: the drops are user code and may panic.
    ///
    /// # Safety
    /// `this` came from an [`Arena`], no other thread can reach it, and it is not used again.
    unsafe fn dispose(this: core::ptr::NonNull<Self>);

    /// Whether every object owns something that [`dispose`](Self::dispose) must drop.
    const OWNS: bool;

    /// Returns whether the object owns something that [`dispose`](Self::dispose) must drop. It is
    /// about to be retired, and does not change any more.
    fn owns(&self) -> bool;

    /// Returns the weight of the object in the cache's capacity.
    fn weight(&self) -> u32;
}
