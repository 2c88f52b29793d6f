//! Nodes that are allocated by themselves.

use super::extras::Beside;
use super::layout::{Cold, Shape, beside_in_block, owned, pair_of};
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::ptr::NonNull;

/// Allocates memory for one node by itself.
pub(super) fn single<T>() -> NonNull<T> {
    let layout = Shape::<T>::LAYOUT;
    // SAFETY: the layout is not of size zero, because a pair is in it.
    let Some(place) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
    // Exposed for `cold` and `owned`.
    place.as_ptr().expose_provenance();
    let place = place.cast();
    // SAFETY: the pair's place is within the block and aligned.
    unsafe { pair_of(place).write(Cold::new()) };
    // SAFETY: `place` is a block of that layout, and the allocator's own pointer. What lies beside
    // the node is within the block and aligned.
    unsafe { beside_in_block(place).write(Beside::new()) };
    place
}

/// # Safety
/// `node` came from [`single`] and is not used again.
pub(super) unsafe fn free_single<T>(node: NonNull<T>) {
    // SAFETY: by contract the node came from the arena and was not freed yet.
    let node = unsafe { owned(node) };
    // SAFETY: this was made with the node, and ends with it. It may own a box.
    unsafe { beside_in_block(node).drop_in_place() };
    #[cfg(any(loom, shuttle))]
    // SAFETY: the pair was made with the node, and ends with it. The atomics of loom and shuttle
    // may own heap state, so they need a drop.
    unsafe {
        pair_of(node).drop_in_place();
    }
    #[cfg(any(loom, shuttle))]
    for i in 0..Shape::<T>::LAYOUT.size() {
        // SAFETY: within the block. A reader that still reads the memory must not find what it
        // seeks. Volatile, because the compiler would leave out a plain store.
        unsafe { node.as_ptr().cast::<u8>().add(i).write_volatile(0xA5) };
    }
    // SAFETY: by this function's contract `alloc` gave the block with this very layout, and it is
    // freed once.
    unsafe { dealloc(node.as_ptr().cast(), Shape::<T>::LAYOUT) };
}
