//! Arrays that begin as zeros: the system clears the memory page by page, as each page is first
//! touched.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// An array of zeros.
pub(crate) struct ZeroedSlice<T> {
    first: NonNull<T>,
    len: usize,
    /// Suppresses the automatic `Send` and `Sync`. The impls below state the bounds.
    _owned: PhantomData<*mut T>,
}

impl<T> ZeroedSlice<T> {
    /// The alignment that an allocator gives by itself. For more than that, it would clear all of
    /// the memory itself, and at once.
    const USUAL: usize = 2 * size_of::<usize>();
    const ALIGNED_BY_HAND: bool = align_of::<T>() > Self::USUAL;

    /// Makes an array of `len` elements. `make` is called only under loom and shuttle, whose
    /// atomics cannot be zeroed memory.
    ///
    /// # Safety
    /// The all-zero bit pattern is the value that `make` returns. Neither the size of `T` nor `len`
    /// is zero.
    pub(crate) unsafe fn new(len: usize, make: impl Fn() -> T) -> Self {
        let layout = Self::layout(len);
        assert!(layout.size() > 0);
        // SAFETY: the layout is not of size zero (checked above).
        let Some(raw) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let before = if Self::ALIGNED_BY_HAND { align_of::<T>() - raw.addr().get() % align_of::<T>() } else { 0 };
        // SAFETY: if the elements are aligned by hand, `layout` has room for one alignment before
        // them.
        let first = unsafe { raw.add(before) }.cast::<T>();
        if Self::ALIGNED_BY_HAND {
            // SAFETY: both addresses are multiples of `USUAL`, and the block begins below the first
            // element. So there is room between them for an aligned number, which nothing else
            // uses.
            unsafe { first.cast::<usize>().sub(1).write(before) };
        }
        if cfg!(any(loom, shuttle)) {
            // SAFETY: `len` elements from `first` on are in the block, aligned, and this function's
            // alone.
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

    /// Returns the first element. The caller owns the array, and gives it back to
    /// [`from_raw`](Self::from_raw).
    pub(crate) fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).first
    }

    /// Takes back an array.
    ///
    /// # Safety
    /// `first` came from [`into_raw`](Self::into_raw) of an array of `len`. It is given back only
    /// once.
    pub(crate) unsafe fn from_raw(first: NonNull<T>, len: usize) -> Self {
        Self { first, len, _owned: PhantomData }
    }
}

impl<T> Deref for ZeroedSlice<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements, initialised (zeros are, by the contract of `new`). The array owns
        // them, and is borrowed as long as they are.
        unsafe { NonNull::slice_from_raw_parts(self.first, self.len).as_ref() }
    }
}

impl<T> Drop for ZeroedSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are initialised, this array's own, and not used again.
        unsafe { NonNull::slice_from_raw_parts(self.first, self.len).drop_in_place() };
        let before = match Self::ALIGNED_BY_HAND {
            // SAFETY: `new` wrote this number.
            true => unsafe { self.first.cast::<usize>().sub(1).read() },
            false => 0,
        };
        // SAFETY: the block begins this far before the elements. `new` has allocated it with this
        // very layout.
        unsafe { dealloc(self.first.cast::<u8>().sub(before).as_ptr(), Self::layout(self.len)) };
    }
}

// SAFETY: the array owns its elements, and nothing else.
unsafe impl<T: Send> Send for ZeroedSlice<T> {}
// SAFETY: sharing the array only shares its elements.
unsafe impl<T: Sync> Sync for ZeroedSlice<T> {}
