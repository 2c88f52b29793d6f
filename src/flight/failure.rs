//! The error of a failed flight, as its word has it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::ptr::{self, NonNull};

/// The error of one failed load, shared with everyone who waited for it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

/// The error of a flight that ended by panics.
#[derive(Debug)]
pub(crate) struct Panicked(pub(crate) Arc<str>);

impl Panicked {
    /// So many leaders of one flight, the one after the other.
    pub(crate) fn in_a_row(leaders: u32) -> Self {
        Self(alloc::format!("the loaders of {leaders} callers, one after the other").into())
    }
}

/// Boxed to be thin, aligned to leave the word its low bits.
#[repr(align(16))]
pub(crate) struct Failure(SharedError);

impl Failure {
    /// What [`Word::fail`](super::word::Word::fail) takes.
    pub(crate) fn into_raw(error: Option<SharedError>) -> *mut () {
        error.map_or(ptr::null_mut(), |e| Box::into_raw(Box::new(Failure(e))).cast())
    }

    /// The error of a FAILED word.
    ///
    /// # Safety
    /// Its node is alive.
    pub(crate) unsafe fn shared(error: Option<NonNull<()>>) -> Option<SharedError> {
        // SAFETY: what is in a word came from `into_raw`, and is freed with the node.
        error.map(|e| unsafe { e.cast::<Failure>().as_ref() }.0.clone())
    }

    /// Frees an error that did not get into a word.
    ///
    /// # Safety
    /// `raw` came from [`Self::into_raw`] and nobody else has it.
    pub(crate) unsafe fn free(raw: *mut ()) {
        if !raw.is_null() {
            // SAFETY: by this function's contract.
            drop(unsafe { Box::from_raw(raw.cast::<Failure>()) });
        }
    }
}
