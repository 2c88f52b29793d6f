//! Which loads the calling thread is in the middle of: a caller that would wait for one of them would
//! wait for ever.
//!
//! A load that a caller has spawned, and waits for, serves that caller's loads as well: it carries
//! them ([`serving`]) to where it is run.
//!
//! Without std nothing of this crate blocks a thread, and nothing is kept: a task that waits for its
//! own load waits until its `wait_timeout`.

use super::node::Node;
use core::ptr;

/// A flight under one of its leases. A node's address alone would be that of another flight once the
/// node is used again; so key (by its hash) and lease are compared as well.
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
    use crate::sys::sync::thread_local;
    use alloc::vec::Vec;
    use core::cell::Cell;
    use core::ptr;

    thread_local! {
        #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no const form")]
        static INNERMOST: Cell<*const Frame> = Cell::new(ptr::null());
    }

    /// A running load; frames are linked through the stack.
    struct Frame {
        flights: *const [FlightId],
        outer: *const Frame,
    }

    struct Leave(*const Frame);

    impl Drop for Leave {
        fn drop(&mut self) {
            INNERMOST.with(|innermost| innermost.set(self.0));
        }
    }

    /// Runs user code while this thread leads these flights: their load, and all other user code.
    pub(crate) fn during<R>(flights: &[FlightId], run: impl FnOnce() -> R) -> R {
        let outer = INNERMOST.with(Cell::get);
        let frame = Frame { flights, outer };
        INNERMOST.with(|innermost| innermost.set(&raw const frame));
        let _leave = Leave(outer);
        run()
    }

    /// The flights of the thread's frames, the innermost first.
    fn frames() -> impl Iterator<Item = FlightId> {
        let mut frame = INNERMOST.with(Cell::get);
        let flights = core::iter::from_fn(move || {
            if frame.is_null() {
                return None;
            }
            // SAFETY: a frame is taken off the list (by `Leave`, on unwinding too) before the stack it
            // lives on goes, and the list is this thread's alone. This iterator does not leave the
            // functions below, which no frame ends in.
            let Frame { flights, outer } = unsafe { &*frame };
            frame = *outer;
            // SAFETY: the slice was borrowed for longer than its frame is in the list.
            Some(unsafe { &**flights }.iter().copied())
        });
        flights.flatten()
    }

    /// Whether this thread runs user code for this flight.
    pub(crate) fn loading(flight: FlightId) -> bool {
        frames().any(|running| running == flight)
    }

    /// Whether this thread runs user code for any flight.
    pub(crate) fn within_a_load() -> bool {
        frames().next().is_some()
    }

    /// The flights that this thread runs user code for.
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

    /// Nothing is known of what the caller is in the middle of.
    pub(crate) fn loading(_flight: FlightId) -> bool {
        false
    }

    /// As [`loading`].
    pub(crate) fn within_a_load() -> bool {
        false
    }

    /// As [`loading`].
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
