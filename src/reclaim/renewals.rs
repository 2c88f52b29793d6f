//! When entries were last renewed: words that only renewed entries have.

use super::arena::Arena;
use super::extras::{Extra, find, find_or_grow};
use super::layout::{Shape, beside};
use core::ptr::NonNull;

impl<T> Arena<T> {
    /// Returns the word for the time of a node's last renewal, as [`expiry`](Self::expiry) does.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    #[inline]
    pub(crate) unsafe fn renewal(&self, node: NonNull<T>) -> Option<&Extra> {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.renewal();
        }
        find(&self.extras.renewal, || Self::number_of(node) as usize)
    }

    /// Returns the word for the time of a node's last renewal, after allocating it if need be.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    pub(crate) unsafe fn renewal_or_grow(&self, node: NonNull<T>) -> &Extra {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.renewal_or_allocate();
        }
        find_or_grow(&self.extras.giving().renewal, Self::number_of(node) as usize)
    }
}
