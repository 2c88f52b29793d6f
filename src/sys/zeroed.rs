//! Arrays that begin as zeros: memory that the system clears page by page, as each is first touched.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// An array of zeros.
pub(crate) struct ZeroedSlice<T> {
    first: NonNull<T>,
    len: usize,
    /// Suppresses the automatic `Send` and `Sync`: the owner says.
    _owned: PhantomData<*mut T>,
}

impl<T> ZeroedSlice<T> {
    /// What an allocator aligns by itself: to more, it clears all of the memory by hand, and at once.
    const USUAL: usize = 2 * size_of::<usize>();
    const ALIGNED_BY_HAND: bool = align_of::<T>() > Self::USUAL;

    /// `len` elements, made by `make` under loom and shuttle, whose atomics cannot be zeroed memory, and nowhere else.
    ///
    /// # Safety
    /// The all-zero bit pattern is the value that `make` gives, and neither `T` nor `len` is zero.
    pub(crate) unsafe fn new(len: usize, make: impl Fn() -> T) -> Self {
        let layout = Self::layout(len);
        assert!(layout.size() > 0);
        // SAFETY: the layout is not of size zero (checked above).
        let Some(raw) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let before = if Self::ALIGNED_BY_HAND { align_of::<T>() - raw.addr().get() % align_of::<T>() } else { 0 };
        // SAFETY: `layout` has room for an alignment before the elements if they are aligned by hand.
        let first = unsafe { raw.add(before) }.cast::<T>();
        if Self::ALIGNED_BY_HAND {
            // SAFETY: both addresses are multiples of `USUAL`, and the first is below, so there is room between them for a number,
            // aligned; and it is nobody else's.
            unsafe { first.cast::<usize>().sub(1).write(before) };
        }
        if cfg!(any(loom, shuttle)) {
            // SAFETY: `len` elements from `first` on are in the block, aligned, and nobody else's.
            (0..len).for_each(|i| unsafe { first.add(i).write(make()) });
        }
        Self { first, len, _owned: PhantomData }
    }

    fn layout(len: usize) -> Layout {
        let elements = Layout::array::<T>(len).expect("a table of this size cannot exist");
        if !Self::ALIGNED_BY_HAND {
            return elements;
        }
        let size = elements.size().checked_add(align_of::<T>());
        let padded = size.and_then(|size| Layout::from_size_align(size, Self::USUAL).ok());
        padded.expect("a table of this size cannot exist")
    }

    /// The first element. Whoever has it owns the array, and gives it back to [`from_raw`](Self::from_raw).
    pub(crate) fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).first
    }

    /// # Safety
    /// `first` came from [`into_raw`](Self::into_raw) of an array of `len`, and from there only once.
    pub(crate) unsafe fn from_raw(first: NonNull<T>, len: usize) -> Self {
        Self { first, len, _owned: PhantomData }
    }
}

impl<T> Deref for ZeroedSlice<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements, initialised (zeros are, by the contract of `new`), which are ours, and borrowed with us.
        unsafe { NonNull::slice_from_raw_parts(self.first, self.len).as_ref() }
    }
}

impl<T> Drop for ZeroedSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are initialised, ours, and not used again.
        unsafe { NonNull::slice_from_raw_parts(self.first, self.len).drop_in_place() };
        let before = match Self::ALIGNED_BY_HAND {
            // SAFETY: written by `new`.
            true => unsafe { self.first.cast::<usize>().sub(1).read() },
            false => 0,
        };
        // SAFETY: so far before the elements begins the block that `new` has allocated with this very layout.
        unsafe { dealloc(self.first.cast::<u8>().sub(before).as_ptr(), Self::layout(self.len)) };
    }
}

// SAFETY: it owns its elements, and nothing else.
unsafe impl<T: Send> Send for ZeroedSlice<T> {}
// SAFETY: sharing it shares its elements only.
unsafe impl<T: Sync> Sync for ZeroedSlice<T> {}
