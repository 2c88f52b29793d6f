//! The fate of a load that the spawner runs, for the caller that waits for it.

use crate::api::error::LoadError;
use crate::api::handle::lease::Lease;
use crate::engine::outcome::Loaded;
use crate::sys::sync::untracked::{AtomicBool, Ordering};
use crate::sys::unwind;
use alloc::sync::Arc;

/// Why a caller's load in the background was lost, if it was. The load and the caller share it.
#[derive(Clone)]
pub(crate) struct Fate(Arc<Known>);

struct Known {
    /// Whether the loader has returned. After that, a load without a result was lost by its flight
    /// (`Abandoned`), not by the spawner (`NotRun`).
    returned: AtomicBool,
    /// Whether the loader answered "not modified" where there was no old value.
    unfounded: AtomicBool,
    /// The message of the loader's panic.
    #[cfg(feature = "std")]
    panicked: std::sync::OnceLock<Arc<str>>,
}

impl Default for Fate {
    fn default() -> Self {
        Self(Arc::new(Known {
            returned: AtomicBool::new(false),
            unfounded: AtomicBool::new(false),
            #[cfg(feature = "std")]
            panicked: std::sync::OnceLock::new(),
        }))
    }
}

impl Fate {
    /// Runs or polls the loader. Notes a panic before the panic goes on.
    pub(crate) fn of<R>(&self, run: impl FnOnce() -> R) -> R {
        // The panic goes on below, so no state that it left half-changed is used.
        unwind::caught(run).unwrap_or_else(|payload| {
            #[cfg(feature = "std")]
            let _ = self.0.panicked.set(unwind::text_of(&*payload));
            unwind::resume(payload)
        })
    }

    /// Notes that the loader has returned.
    pub(crate) fn returned(&self) {
        // Release: pairs with the Acquire in `error`. (The end of the lease, which follows, orders
        // this store as well.)
        self.0.returned.store(true, Ordering::Release);
    }

    /// Notes that the loader has returned, and with what, to end this lease.
    pub(crate) fn returned_for<K, V, E>(&self, lease: &Lease<'_, K, V>, loaded: &Result<Loaded<V>, E>) {
        if matches!(loaded, Ok(Loaded::NotModified | Loaded::NotModifiedWith(_))) && lease.stale().is_none() {
            // Relaxed: the Release in `returned` orders it.
            self.0.unfounded.store(true, Ordering::Relaxed);
        }
        self.returned();
    }

    /// Returns why the load was lost.
    pub(crate) fn error<E>(&self) -> LoadError<E> {
        #[cfg(feature = "std")]
        if let Some(message) = self.0.panicked.get() {
            return LoadError::Panicked(message.clone());
        }
        // Acquire: pairs with the Release in `returned`.
        if !self.0.returned.load(Ordering::Acquire) {
            return LoadError::NotRun;
        }
        // Relaxed: the Acquire above orders it.
        if self.0.unfounded.load(Ordering::Relaxed) { LoadError::NotModified } else { LoadError::Abandoned }
    }
}
