//! When a node's memory may be freed, and where it comes from. Nothing outside this module knows either.
//!
//! A node that nobody points at any more (its last share was given back) is *retired*: a caller who found it earlier,
//! under a pin, may still be reading it. Retired nodes gather in bags that the cache owns ([`limbo`]); an epoch back
//! end ([`epoch`]) says when a bag is ripe, that is, when every pin that was held as the bag was sealed has ended. So
//! the cache knows how much it has retired, can bound it, and frees everything in its own `Drop`.
//!
//! The back end is `crossbeam-epoch` with a collector of this crate's own; under loom it is a stand-in that lets go
//! of a bag as early as the rules permit, so that a missing pin is a model failure.
//!
//! Memory is the cache's own, too: its [`arena`] gives nodes from slabs ([`shape`]) and has them back when their bag is
//! ripe ([`free`]).

mod arena;
#[cfg_attr(not(loom), path = "epoch.rs")]
#[cfg_attr(loom, path = "standin.rs")]
mod epoch;
mod free;
mod limbo;
mod shape;

pub(crate) use arena::Arena;
pub(crate) use epoch::{Epoch, Handle, Pin};
pub(crate) use limbo::{Limbo, Retired};
pub(crate) use shape::{Cold, bytes, cold, owned};

use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use alloc::sync::Arc;

/// How a bag learns that every pin that was held as it was sealed has ended.
pub(crate) struct Grace {
    over: AtomicBool,
    /// Bags of the same limbo whose grace period is over, so that nobody looks for one in vain.
    ripened: Arc<AtomicUsize>,
}

impl Grace {
    fn new(ripened: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { over: AtomicBool::new(false), ripened: ripened.clone() })
    }

    /// The back end's call. Release: whatever ran under the pins that ended happens before this is seen (with the back
    /// end's own ordering between their end and this call). Pairs with the Acquire in `is_over`.
    fn ripen(&self) {
        self.ripened.fetch_add(1, Ordering::Relaxed);
        self.over.store(true, Ordering::Release);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

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
