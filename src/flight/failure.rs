//! The error of a failed flight, as its state word holds it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::ptr::{self, NonNull};

/// The error of one failed load. The leader and all waiters share it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

/// The error of a flight whose leaders panicked.
#[derive(Debug)]
pub(crate) struct Panicked(pub(crate) Arc<str>);

/// The "error" of a flight whose load found that there is no value.
#[derive(Debug)]
pub(crate) struct NotFound;

impl Panicked {
    /// Makes the error of a flight in which this many leaders panicked one after the other.
    pub(crate) fn in_a_row(leaders: u32) -> Self {
        Self(alloc::format!("the loaders of {leaders} callers, one after the other").into())
    }
}

/// An error behind a thin pointer, aligned so that the state word can use the pointer's low bits.
#[repr(align(16))]
pub(crate) struct Failure(SharedError);

impl Failure {
    /// Boxes the error for [`Word::fail`](super::word::Word::fail). None becomes a null pointer.
    pub(crate) fn into_raw(error: Option<SharedError>) -> *mut () {
        error.map_or(ptr::null_mut(), |e| Box::into_raw(Box::new(Failure(e))).cast())
    }

    /// Clones the error of a FAILED word.
    ///
    /// # Safety
    /// The node of that word is alive.
    pub(crate) unsafe fn shared(error: Option<NonNull<()>>) -> Option<SharedError> {
        // SAFETY: a pointer in a word came from `into_raw`, and is freed with the node, which is
        // alive by contract.
        error.map(|e| unsafe { e.cast::<Failure>().as_ref() }.0.clone())
    }

    /// Frees an error that did not get into a word, or whose word is gone.
    ///
    /// # Safety
    /// `raw` came from [`Self::into_raw`], and the caller is the only owner of it.
    pub(crate) unsafe fn free(raw: *mut ()) {
        if !raw.is_null() {
            // SAFETY: by this function's contract.
            drop(unsafe { Box::from_raw(raw.cast::<Failure>()) });
        }
    }
}
