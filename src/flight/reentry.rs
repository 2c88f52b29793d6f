//! Which loads the calling thread is in the middle of: a caller that would wait for one of them would wait for ever.
//!
//! Without std nothing of this crate blocks a thread, and nothing is kept: a task that waits for its own load waits until its
//! `wait_timeout`.

#[cfg(feature = "std")]
mod frames {
    use crate::sync::thread_local;
    use core::cell::Cell;
    use core::ptr;

    thread_local! {
        #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro has no const form")]
        static INNERMOST: Cell<*const Frame> = Cell::new(ptr::null());
    }

    /// A running load; frames are linked through the stack.
    struct Frame {
        /// As addresses: they are only compared.
        flights: *const [usize],
        outer: *const Frame,
    }

    struct Leave(*const Frame);

    impl Drop for Leave {
        fn drop(&mut self) {
            INNERMOST.with(|innermost| innermost.set(self.0));
        }
    }

    /// Runs user code while this thread leads these flights: their load, and whatever else is the user's.
    pub(crate) fn during<R>(flights: &[usize], run: impl FnOnce() -> R) -> R {
        let outer = INNERMOST.with(Cell::get);
        let frame = Frame { flights, outer };
        INNERMOST.with(|innermost| innermost.set(&raw const frame));
        let _leave = Leave(outer);
        run()
    }

    /// Whether this thread runs user code for the flight at this address.
    pub(crate) fn loading(flight: usize) -> bool {
        let mut frame = INNERMOST.with(Cell::get);
        while !frame.is_null() {
            // SAFETY: a frame is taken off the list (by `Leave`, on unwinding too) before the stack it lives on goes,
            // and the list is this thread's alone.
            let Frame { flights, outer } = unsafe { &*frame };
            // SAFETY: the slice was borrowed for longer than its frame is in the list.
            if unsafe { &**flights }.contains(&flight) {
                return true;
            }
            frame = *outer;
        }
        false
    }
}

#[cfg(feature = "std")]
pub(crate) use frames::{during, loading};

/// Nothing is known of what the caller is in the middle of.
#[cfg(not(feature = "std"))]
pub(crate) fn loading(_flight: usize) -> bool {
    false
}

/// Runs user code while this thread leads these flights.
#[cfg(not(feature = "std"))]
pub(crate) fn during<R>(_flights: &[usize], run: impl FnOnce() -> R) -> R {
    run()
}
