//! What became of a load that the spawner runs, for its caller.

use crate::api::error::LoadError;
use crate::sys::sync::untracked::{AtomicBool, Ordering};
use crate::sys::unwind;
use alloc::sync::Arc;

/// What a caller learns of its load in the background if that is lost.
#[derive(Clone)]
pub(crate) struct Fate(Arc<Known>);

struct Known {
    /// The loader has returned: the rest is the flight's affair.
    returned: AtomicBool,
    #[cfg(feature = "std")]
    panicked: std::sync::OnceLock<Arc<str>>,
}

impl Default for Fate {
    fn default() -> Self {
        Self(Arc::new(Known {
            returned: AtomicBool::new(false),
            #[cfg(feature = "std")]
            panicked: std::sync::OnceLock::new(),
        }))
    }
}

impl Fate {
    /// Runs the loader, or polls it. A panic goes on, and is noted before.
    pub(crate) fn of<R>(&self, run: impl FnOnce() -> R) -> R {
        // The panic goes on below, so nothing that it left half-done is used.
        unwind::caught(run).unwrap_or_else(|payload| {
            #[cfg(feature = "std")]
            let _ = self.0.panicked.set(unwind::text_of(&*payload));
            unwind::resume(payload)
        })
    }

    /// The loader has returned.
    pub(crate) fn returned(&self) {
        // Release: pairs with the Acquire in `error`. (The lease that is given up afterwards orders it
        // as well.)
        self.0.returned.store(true, Ordering::Release);
    }

    /// Why the load was lost.
    pub(crate) fn error<E>(&self) -> LoadError<E> {
        #[cfg(feature = "std")]
        if let Some(message) = self.0.panicked.get() {
            return LoadError::Panicked(message.clone());
        }
        if self.0.returned.load(Ordering::Acquire) { LoadError::Abandoned } else { LoadError::NotRun }
    }
}
