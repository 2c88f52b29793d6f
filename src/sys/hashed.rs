//! An array that hashes index by their first bits. Its length is a power of two, and it can be
//! exchanged for an array of another length.
//!
//! An element is found by few instructions: the one pointer to the array in use has in its lowest
//! bits how far a hash must be shifted to be an index. An array that was exchanged lives as long as
//! the whole, so that a reference to its elements stays valid. It is taken into use again when its
//! length is wanted again.

use super::memory::give_back;
use super::mutants::{mutant, weakened};
// (The models of a cache, which have the feature, do not watch these pointers: what the arrays hold
// only steers a heuristic there. The array's own models do.)
#[cfg(not(feature = "std"))]
use super::sync::AtomicPtr;
use super::sync::Ordering;
#[cfg(feature = "std")]
use super::sync::untracked::AtomicPtr;
use super::zeroed::ZeroedSlice;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// The most bits of an index. The least are one: a hash cannot be shifted by all its bits.
pub(crate) const MOST_BITS: u32 = match cfg!(loom) {
    false => 27,
    true if cfg!(feature = "std") => 1,
    true => 2,
};
/// The low bits of an element's address, which are zero there: room for a shift.
const SHIFT: usize = u64::BITS as usize - 1;

pub(crate) struct HashedArray<T> {
    /// The first element of the array in use, and the shift. Null before the first use.
    current: AtomicPtr<T>,
    /// The first elements of all arrays, by the bits of their indexes, less one.
    arrays: [AtomicPtr<T>; MOST_BITS as usize],
    make: fn() -> T,
    /// Suppresses the automatic `Send` and `Sync`, which atomic pointers would have for any `T`.
    _owned: PhantomData<*mut T>,
}

impl<T> HashedArray<T> {
    /// Makes one without an array. Allocates nothing.
    ///
    /// # Safety
    /// The all-zero bit pattern is the value that `make` returns, and `T` is not zero-sized. (Under
    /// loom and shuttle `make` is called.)
    pub(crate) unsafe fn new(make: fn() -> T) -> Self {
        const { assert!(align_of::<T>() > SHIFT, "an element's address has room for a shift") };
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            arrays: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            make,
            _owned: PhantomData,
        }
    }

    /// Returns the element of a hash, if there is an array.
    #[inline(always)]
    pub(crate) fn get(&self, hash: u64) -> Option<&T> {
        // Acquire: pairs with the Release in `exchange`, for the array's content.
        let current = self.current.load(weakened("hashed acquire", Ordering::Acquire));
        let first = NonNull::new(current.map_addr(|address| address & !SHIFT))?;
        // (This shifts by the lowest bits alone.)
        let index = hash.wrapping_shr(current.addr() as u32) as usize;
        // SAFETY: `exchange` has made this of an array of 2^bits elements and the shift 64 − bits,
        // so the index is less. The element is initialised, only shared, and freed no earlier than
        // `self`, which is borrowed.
        Some(unsafe { first.add(index).as_ref() })
    }

    /// Returns the array with indexes of so many bits, if it was ever in use.
    pub(crate) fn array(&self, bits: u32) -> &[T] {
        // Acquire: pairs with the Release in `array_or_make`.
        match NonNull::new(self.arrays[bits as usize - 1].load(Ordering::Acquire)) {
            // SAFETY: `array_or_make` has published an array of this length. Its elements are
            // initialised, only shared, and freed no earlier than `self`, which is borrowed.
            Some(first) => unsafe { NonNull::slice_from_raw_parts(first, 1 << bits).as_ref() },
            None => &[],
        }
    }

    /// Gives the memory of the array with indexes of so many bits back to the system. Its elements
    /// are zero afterwards, or as they were.
    ///
    /// # Safety
    /// Elements may become zero at any time, also while other threads use them.
    pub(crate) unsafe fn give_back(&self, bits: u32) {
        let array = self.array(bits);
        // SAFETY: the array came from the global allocator. The rest is this function's contract.
        unsafe { give_back(array.as_ptr().cast_mut().cast(), size_of_val(array)) };
    }

    /// Takes an array with indexes of `to` bits into use, in place of one of `from` bits (0: there
    /// is none). Its elements are zero, or as they were left. Returns false if another one is in
    /// use.
    #[cold]
    pub(crate) fn exchange(&self, from: u32, to: u32) -> bool {
        let tagged = |first: *mut T, bits: u32| first.map_addr(|address| address | (u64::BITS - bits) as usize);
        let old = match from {
            0 => ptr::null_mut(),
            // Relaxed: only compared.
            _ => tagged(self.arrays[from as usize - 1].load(Ordering::Relaxed), from),
        };
        let new = tagged(self.array_or_make(to), to);
        // Release: passes on what `array_or_make` has made, or acquired.
        if mutant("hashed overwrite") {
            self.current.store(new, Ordering::Release);
            return true;
        }
        let release = weakened("hashed release", Ordering::Release);
        self.current.compare_exchange(old, new, release, Ordering::Relaxed).is_ok()
    }

    fn array_or_make(&self, bits: u32) -> *mut T {
        let published = &self.arrays[bits as usize - 1];
        // Acquire, here and below: for the content of another thread's array.
        let first = published.load(Ordering::Acquire);
        if !first.is_null() {
            return first;
        }
        // SAFETY: by the contract of `new`, and this is its `make`.
        let fresh = unsafe { ZeroedSlice::new(1 << bits, self.make) }.into_raw();
        // Release: publishes the array's content.
        let release = weakened("hashed array release", Ordering::Release);
        match published.compare_exchange(first, fresh.as_ptr(), release, Ordering::Acquire) {
            Ok(_) => fresh.as_ptr(),
            Err(other) => {
                // SAFETY: it came from `into_raw` just above, with this length, and was never
                // published, so it is this thread's alone.
                drop(unsafe { ZeroedSlice::from_raw(fresh, 1 << bits) });
                other
            }
        }
    }
}

impl<T> Drop for HashedArray<T> {
    fn drop(&mut self) {
        for (index, published) in self.arrays.iter().enumerate() {
            // Acquire: for the content, in case the owner got this without a synchronisation of its
            // own.
            if let Some(first) = NonNull::new(published.load(Ordering::Acquire)) {
                // SAFETY: it came from `into_raw` of an array of this length, and is freed here
                // only. `&mut self` means that no reference to an element is left.
                drop(unsafe { ZeroedSlice::from_raw(first, 2 << index) });
            }
        }
    }
}

// SAFETY: this owns its elements, and nothing else that is bound to a thread.
unsafe impl<T: Send> Send for HashedArray<T> {}
// SAFETY: sharing this shares its elements (`Sync`), and one thread may drop an element that
// another has made (`Send`). The state of its own is atomic.
unsafe impl<T: Send + Sync> Sync for HashedArray<T> {}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sys::sync::untracked::AtomicU64;

    #[repr(align(64))]
    struct Line(AtomicU64);

    fn array() -> HashedArray<Line> {
        // SAFETY: a line of zeros is what this makes, and lines are not zero-sized.
        unsafe { HashedArray::new(|| Line(AtomicU64::new(0))) }
    }

    #[test]
    fn a_hash_finds_the_element_that_its_first_bits_name() {
        let array = array();
        assert!(array.get(u64::MAX).is_none() && array.array(3).is_empty());
        let mut from = 0;
        for bits in [1, 5, 3, 12, 3] {
            assert!(array.exchange(from, bits));
            assert_eq!(array.array(bits).len(), 1 << bits);
            for (index, line) in array.array(bits).iter().enumerate() {
                for rest in [0, u64::MAX >> bits] {
                    let hash = (index as u64) << (64 - bits) | rest;
                    assert!(ptr::eq(array.get(hash).expect("an array is in use"), line));
                }
            }
            from = bits;
        }
    }

    #[test]
    fn an_array_that_is_taken_into_use_again_is_as_it_was_left() {
        let array = array();
        assert!(array.exchange(0, 2));
        let line = array.get(0).expect("an array is in use");
        line.0.store(7, Ordering::Relaxed);
        assert!(array.exchange(2, 6) && !array.exchange(2, 3), "the one in use has six bits");
        assert_eq!(array.get(0).expect("an array is in use").0.load(Ordering::Relaxed), 0);
        assert!(array.exchange(6, 2));
        assert!(ptr::eq(array.get(0).expect("an array is in use"), line));
        assert_eq!(line.0.load(Ordering::Relaxed), 7);
    }
}
