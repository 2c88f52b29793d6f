//! A value that the first thread that needs it allocates.

use super::mutants::{mutant, weakened};
use super::sync::{AtomicPtr, Ordering};
use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ptr;

/// A place for a boxed `T`, which is empty until one is needed. A box in it lives as long as the
/// place.
pub(crate) struct LateBox<T> {
    value: AtomicPtr<T>,
    /// Suppresses the automatic `Send` and `Sync`. The impls below state the bounds.
    _owned: PhantomData<*mut T>,
}

impl<T> LateBox<T> {
    pub(crate) fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), _owned: PhantomData }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the Release in `get_or_allocate`, for the content.
        let value = self.value.load(weakened("late acquire", Ordering::Acquire));
        // SAFETY: a pointer that is not null came from `Box::into_raw`. The box is only shared, and
        // freed no earlier than `self`, which is borrowed.
        unsafe { value.as_ref() }
    }

    /// Returns the value, after allocating it if need be.
    pub(crate) fn get_or_allocate(&self, make: impl FnOnce() -> T) -> &T {
        self.get().unwrap_or_else(|| self.allocate(Box::new(make())))
    }

    /// Publishes a value, unless another thread was first.
    #[cold]
    fn allocate(&self, fresh: Box<T>) -> &T {
        let fresh = Box::into_raw(fresh);
        if mutant("late overwrite") {
            self.value.store(ptr::null_mut(), Ordering::Relaxed);
        }
        // Release: publishes the content. Acquire, if another thread was first: for the content of
        // that thread's value.
        let release = weakened("late release", Ordering::Release);
        let value = match self.value.compare_exchange(ptr::null_mut(), fresh, release, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: it came from `into_raw` just above, and was never published.
                drop(unsafe { Box::from_raw(fresh) });
                other
            }
        };
        // SAFETY: as in `get`.
        unsafe { &*value }
    }
}

impl<T> Drop for LateBox<T> {
    fn drop(&mut self) {
        // Acquire: for the content, in case the owner got the place without a synchronisation of
        // its own.
        let value = self.value.load(Ordering::Acquire);
        if !value.is_null() {
            // SAFETY: it came from `Box::into_raw`, and is freed here only. `&mut self` means that
            // no reference to it is left.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

// SAFETY: the place owns its value, and nothing else that is bound to a thread.
unsafe impl<T: Send> Send for LateBox<T> {}
// SAFETY: sharing the place shares its value (`Sync`), and one thread may drop a value that another
// has made (`Send`). The place's own state is atomic.
unsafe impl<T: Send + Sync> Sync for LateBox<T> {}
