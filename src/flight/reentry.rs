//! The loads that the calling thread is running: a caller that waited for one of them would wait
//! for ever.
//!
//! A load that a caller has spawned, and waits for, also serves the loads that this caller is
//! running. The spawned load carries them ([`serving`]) to the thread that runs it.
//!
//! Without std, nothing of this crate blocks a thread, and no loads are recorded. A task that waits
//! for its own load waits until its `wait_timeout`.

use super::node::Node;
use core::ptr;

/// A flight under one of its leases. A node's address is not enough, because the node may be used
/// again for another flight. So the key (by its hash) and the lease are compared as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlightId {
    node: usize,
    order: u32,
    lease: u32,
}

impl FlightId {
    pub(crate) fn of<K, V>(node: &Node<K, V>, lease: u32) -> Self {
        Self { node: ptr::from_ref(node).addr(), order: node.link().order(), lease }
    }
}

#[cfg(feature = "std")]
mod frames {
    use super::FlightId;
    use crate::sys::sync::thread_local_const;
    use alloc::vec::Vec;
    use core::cell::Cell;
    use core::ptr;

    thread_local_const! {
        static INNERMOST: Cell<*const Frame> = Cell::new(ptr::null());
    }

    /// A running load. The frames of a thread are linked through its stack.
    struct Frame {
        flights: *const [FlightId],
        outer: *const Frame,
    }

    struct Leave(*const Frame);

    impl Drop for Leave {
        #[inline]
        fn drop(&mut self) {
            INNERMOST.with(|innermost| innermost.set(self.0));
        }
    }

    /// Runs user code while this thread leads these flights: their loader, and all other user code.
    #[inline]
    pub(crate) fn during<R>(flights: &[FlightId], run: impl FnOnce() -> R) -> R {
        let outer = INNERMOST.with(Cell::get);
        let frame = Frame { flights, outer };
        INNERMOST.with(|innermost| innermost.set(&raw const frame));
        let _leave = Leave(outer);
        run()
    }

    /// Iterates over the flights of the thread's frames, innermost frame first.
    fn frames() -> impl Iterator<Item = FlightId> {
        let mut frame = INNERMOST.with(Cell::get);
        let flights = core::iter::from_fn(move || {
            if frame.is_null() {
                return None;
            }
            // SAFETY: `Leave` takes a frame off the list, on unwinding too, before the stack that
            // the frame lives on goes. The list belongs to this thread alone. This iterator does
            // not leave the functions below, and no frame ends within them.
            let Frame { flights, outer } = unsafe { &*frame };
            frame = *outer;
            // SAFETY: `during` borrows the slice for longer than its frame is in the list.
            Some(unsafe { &**flights }.iter().copied())
        });
        flights.flatten()
    }

    /// Returns whether this thread runs user code for this flight.
    pub(crate) fn loading(flight: FlightId) -> bool {
        frames().any(|running| running == flight)
    }

    /// Returns whether this thread runs user code for any flight.
    #[inline]
    pub(crate) fn within_a_load() -> bool {
        !INNERMOST.with(Cell::get).is_null() && frames().next().is_some()
    }

    /// Returns the flights for which this thread runs user code.
    pub(crate) fn serving() -> Vec<FlightId> {
        frames().collect()
    }
}

#[cfg(feature = "std")]
pub(crate) use frames::{during, loading, serving, within_a_load};

#[cfg(not(feature = "std"))]
mod unknown {
    use super::FlightId;
    use alloc::vec::Vec;

    /// Returns false: without std the caller's loads are not recorded.
    pub(crate) fn loading(_flight: FlightId) -> bool {
        false
    }

    /// Returns false, as [`loading`] does.
    pub(crate) fn within_a_load() -> bool {
        false
    }

    /// Returns no flights, as [`loading`] records none.
    pub(crate) fn serving() -> Vec<FlightId> {
        Vec::new()
    }

    /// Runs user code while this thread leads these flights.
    pub(crate) fn during<R>(_flights: &[FlightId], run: impl FnOnce() -> R) -> R {
        run()
    }
}

#[cfg(not(feature = "std"))]
pub(crate) use unknown::{during, loading, serving, within_a_load};
