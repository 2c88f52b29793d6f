//! What the program needs of its host: memory, a line of output, an end.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

#[link(name = "c")]
unsafe extern "C" {
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn write(file: c_int, bytes: *const c_void, length: usize) -> isize;
    fn abort() -> !;
}

/// Allocations that were not freed.
pub static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Libc;

#[global_allocator]
static ALLOCATOR: Libc = Libc;

// SAFETY: `aligned_alloc` gives memory of the size and alignment asked for, or null; `free` takes it back.
unsafe impl GlobalAlloc for Libc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Ordering::Relaxed);
        let align = layout.align().max(size_of::<usize>());
        // SAFETY: the alignment is a power of two, and the size is a multiple of it.
        unsafe { aligned_alloc(align, layout.size().next_multiple_of(align)) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it came from `alloc`.
        unsafe { free(memory.cast()) }
    }
}

/// Writes a line.
pub fn print(line: &str) {
    for bytes in [line.as_bytes(), b"\n"] {
        // SAFETY: the pointer and length are those of a slice. What cannot be written is not worth failing for.
        unsafe { write(1, bytes.as_ptr().cast(), bytes.len()) };
    }
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    print(&alloc::format!("PANIC: {info}"));
    // SAFETY: it takes nothing, and does not return.
    unsafe { abort() }
}

// The prebuilt `core` and `alloc` unwind, and name these two; nothing calls them under `panic = "abort"`.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}
