//! Where nodes come from: the global allocator, today.

use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use core::ptr::NonNull;

/// Node pointers carry four bits of state in their low end (see `flight::word`).
pub(crate) const ALIGN: usize = 16;

/// Alignment is asked of the allocator, not of the type: `repr(align(16))` would pad a 72-byte node to 80.
const fn layout<T>() -> Layout {
    let align = if align_of::<T>() > ALIGN { align_of::<T>() } else { ALIGN };
    match Layout::from_size_align(size_of::<T>(), align) {
        Ok(layout) => layout,
        Err(_) => panic!("a type of this size cannot be allocated"),
    }
}

/// Moves `value` to the heap, aligned to at least [`ALIGN`].
pub(crate) fn allocate<T>(value: T) -> NonNull<T> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout is not of size zero (asserted above).
    let raw = unsafe { alloc(layout::<T>()) }.cast::<T>();
    let Some(place) = NonNull::new(raw) else { handle_alloc_error(layout::<T>()) };
    // SAFETY: `place` was just allocated with the size and at least the alignment of `T`.
    unsafe { place.write(value) };
    place.as_ptr().expose_provenance();
    place
}

/// The block's own pointer, with the right to free it. While an object lives, pointers to it are made from shared
/// references, which do not have that right.
///
/// # Safety
/// `place` is the address of something from [`allocate::<T>`](allocate) that was not yet freed.
pub(crate) unsafe fn owned<T>(place: NonNull<T>) -> NonNull<T> {
    let raw = core::ptr::with_exposed_provenance_mut(place.addr().get());
    // SAFETY: the address of an object is not null.
    unsafe { NonNull::new_unchecked(raw) }
}

/// Frees the memory without dropping what is in it.
///
/// # Safety
/// `place` came from [`allocate::<T>`](allocate) and is not used again.
pub(crate) unsafe fn deallocate<T>(place: NonNull<T>) {
    #[cfg(loom)]
    for i in 0..size_of::<T>() {
        // SAFETY: within the block. Whoever still reads it must not find what it looks for; volatile, or it is left out.
        unsafe { place.as_ptr().cast::<u8>().add(i).write_volatile(0xA5) };
    }
    // SAFETY: by this function's contract the block was allocated by `alloc` with this very layout, and is freed once.
    unsafe { dealloc(place.as_ptr().cast(), layout::<T>()) };
}
