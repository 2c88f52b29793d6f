//! Running several pieces of user code such that a panic in one does not skip the others.

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
                match first {
                    None => first = Some(panic),
                    Some(_) => discard(panic),
                }
            }
        }
        // While the thread already unwinds, a second panic would abort it: the first one has been reported.
        if let Some(panic) = first {
            if !std::thread::panicking() {
                resume_unwind(panic);
            }
            discard(panic);
        }
    }
    #[cfg(not(feature = "std"))]
    items.for_each(&mut f);
}

/// Drops what somebody panicked with, which might panic in turn.
#[cfg(feature = "std")]
pub(crate) fn discard(panic: alloc::boxed::Box<dyn core::any::Any + Send>) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    catch_unwind(AssertUnwindSafe(|| drop(panic))).unwrap_or_else(core::mem::forget);
}

/// Whether the calling thread is unwinding.
pub(crate) fn panicking() -> bool {
    #[cfg(feature = "std")]
    return std::thread::panicking();
    #[cfg(not(feature = "std"))]
    return false;
}
