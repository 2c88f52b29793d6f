//! Which loads the calling thread is in the middle of: a caller that would wait for one of them would wait for ever.

use crate::sync::thread_local;
use core::cell::Cell;
use core::ptr;

thread_local! {
    static INNERMOST: Cell<*const Frame> = const { Cell::new(ptr::null()) };
}

/// A running load; frames are linked through the stack.
struct Frame {
    flight: *const (),
    outer: *const Frame,
}

/// Runs `load` as the load of the flight at `flight`.
pub(crate) fn during<R>(flight: *const (), load: impl FnOnce() -> R) -> R {
    struct Leave(*const Frame);
    impl Drop for Leave {
        fn drop(&mut self) {
            INNERMOST.with(|innermost| innermost.set(self.0));
        }
    }
    let outer = INNERMOST.with(Cell::get);
    let frame = Frame { flight, outer };
    INNERMOST.with(|innermost| innermost.set(&raw const frame));
    let _leave = Leave(outer);
    load()
}

/// Whether this thread is loading for the flight at `flight`.
pub(crate) fn loading(flight: *const ()) -> bool {
    let mut frame = INNERMOST.with(Cell::get);
    while !frame.is_null() {
        // SAFETY: a frame is taken off the list (by `Leave`, on unwinding too) before the stack it lives on goes, and
        // the list is this thread's alone.
        let Frame { flight: f, outer } = unsafe { &*frame };
        if *f == flight {
            return true;
        }
        frame = *outer;
    }
    false
}
