//! The back end on `crossbeam-epoch`: one collector for all caches of the process with std, one for
//! each cache without.
//!
//! It is not crossbeam's global collector, because a pin held for long in another crate must not
//! hold up the memory of this one.

mod grace;

use alloc::sync::Arc;
use crossbeam_epoch::{Collector, Guard, LocalHandle};
use grace::Flag;
pub(crate) use grace::{Grace, Graces};

/// A pin. While it is held, nothing that was reachable when it was taken is freed. Re-entrant,
/// `!Send`.
pub(crate) struct Pin(Guard);

/// A thread's registration.
pub(crate) struct Handle(LocalHandle);

/// The threads that have memory of their own in a cache: none, because `crossbeam-epoch` numbers
/// no threads.
pub(crate) const CELLS: usize = 0;

/// The source of pins.
pub(crate) struct Epoch {
    #[cfg(not(feature = "std"))]
    collector: Collector,
}

#[cfg(feature = "std")]
mod local {
    use super::{Collector, LocalHandle};
    use std::sync::OnceLock;

    static COLLECTOR: OnceLock<Collector> = OnceLock::new();

    pub(super) fn collector() -> &'static Collector {
        COLLECTOR.get_or_init(Collector::new)
    }

    std::thread_local! {
        pub(super) static HANDLE: LocalHandle = collector().register();
    }
}

impl Epoch {
    /// Does nothing, because there are no [`CELLS`].
    pub(crate) fn adopt(&self, _number: usize, _user: impl FnOnce()) {}

    pub(crate) fn new() -> Self {
        Self {
            #[cfg(not(feature = "std"))]
            collector: Collector::new(),
        }
    }

    fn collector(&self) -> &Collector {
        #[cfg(feature = "std")]
        return local::collector();
        #[cfg(not(feature = "std"))]
        return &self.collector;
    }

    /// Registers the calling thread. This is slow, so a thread does it once.
    pub(crate) fn register(&self) -> Handle {
        Handle(self.collector().register())
    }

    /// Pins the calling thread by its thread-local handle. Without std, or while the thread is
    /// being torn down, the registration is for this pin alone.
    #[inline]
    pub(crate) fn enter(&self) -> Pin {
        #[cfg(feature = "std")]
        if let Ok(pin) = local::HANDLE.try_with(|handle| Pin(handle.pin())) {
            return pin;
        }
        // The guard keeps the registration alive until it is dropped.
        self.register().enter()
    }
}

impl Handle {
    #[inline]
    pub(crate) fn enter(&self) -> Pin {
        Pin(self.0.pin())
    }
}

impl Pin {
    /// Returns a number that has no cell.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        CELLS
    }

    /// Ripens `grace` once every pin held now has ended.
    pub(crate) fn after_grace(&self, grace: Arc<Flag>) {
        self.0.defer(move || grace.ripen());
    }

    /// Hands over the deferred calls, and tries to move the epoch on.
    pub(crate) fn flush(&self) {
        self.0.flush();
    }
}
