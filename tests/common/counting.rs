//! The system's allocator, which has each call counted by whoever it is made with.

use std::alloc::{GlobalAlloc, Layout, System};

/// To be the `#[global_allocator]`. The function is given what is allocated (1) or freed (-1).
pub(crate) struct Counting(pub(crate) fn(Layout, isize));

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout, 1);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout, 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        (self.0)(layout, -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
