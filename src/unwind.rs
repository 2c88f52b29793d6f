//! Running several pieces of user code such that a panic in one does not skip the others.

use alloc::sync::Arc;

/// Calls `f` on every item. With std a panic goes on only after the last item, and only the first one does; without
/// std it ends the loop (there, panics abort).
pub(crate) fn each<I>(items: impl Iterator<Item = I>, mut f: impl FnMut(I)) {
    #[cfg(feature = "std")]
    {
        use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
        let mut first = None;
        for item in items {
            // Nothing of ours is left half-done by a panic in `f`: the item was taken out before the call.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(item))) {
                first.get_or_insert(panic);
            }
        }
        // While the thread already unwinds, a second panic would abort it: the first one has been reported.
        if let Some(panic) = first {
            if !std::thread::panicking() {
                resume_unwind(panic);
            }
        }
    }
    #[cfg(not(feature = "std"))]
    items.for_each(&mut f);
}

/// What `run` comes to, or the message that it panicked with. (Without std a panic aborts.)
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, Arc<str>> {
    #[cfg(feature = "std")]
    // Nothing of ours is left half-done by a panic in it: what it owns goes with it.
    return std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|payload| text_of(&*payload));
    #[cfg(not(feature = "std"))]
    Ok(run())
}

/// What a panic says.
#[cfg(feature = "std")]
pub(crate) fn text_of(payload: &(dyn core::any::Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(|text| &**text));
    text.unwrap_or("(with what is no text)").into()
}

/// Whether the calling thread is unwinding.
pub(crate) fn panicking() -> bool {
    #[cfg(feature = "std")]
    return std::thread::panicking();
    #[cfg(not(feature = "std"))]
    return false;
}
