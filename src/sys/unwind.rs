//! Running several pieces of user code such that a panic in one does not skip the others.

#[cfg(feature = "std")]
use alloc::sync::Arc;

/// Calls `f` on every item. With std a panic goes on only after the last item, and only the first one does; without
/// std it ends the loop (there, panics abort).
pub(crate) fn each<I>(items: impl Iterator<Item = I>, mut f: impl FnMut(I)) {
    #[cfg(feature = "std")]
    {
        let mut first = None;
        for item in items {
            // Nothing of ours is left half-done by a panic in `f`: the item was taken out before the call.
            if let Err(panic) = caught(|| f(item)) {
                match first {
                    None => first = Some(panic),
                    Some(_) => discard(panic),
                }
            }
        }
        // While the thread already unwinds, a second panic would abort it: the first one has been reported.
        if let Some(panic) = first {
            if !panicking() {
                resume(panic);
            }
            discard(panic);
        }
    }
    #[cfg(not(feature = "std"))]
    items.for_each(&mut f);
}

/// What user code panicked with.
#[cfg(feature = "std")]
pub(crate) type Panic = alloc::boxed::Box<dyn core::any::Any + Send>;
/// There is none to be had.
#[cfg(not(feature = "std"))]
pub(crate) type Panic = core::convert::Infallible;

/// Runs user code; what it has panicked with, if it has. The caller sees to it that nothing is left half-done by that.
#[cfg(feature = "std")]
pub(crate) fn caught<R>(user: impl FnOnce() -> R) -> Result<R, Panic> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(user))
}

/// Runs user code, which aborts if it panics.
#[cfg(not(feature = "std"))]
pub(crate) fn caught<R>(user: impl FnOnce() -> R) -> Result<R, Panic> {
    Ok(user())
}

/// Goes on with a panic, which was reported as it began.
#[cfg(feature = "std")]
pub(crate) fn resume(panic: Panic) -> ! {
    std::panic::resume_unwind(panic)
}

/// There is none.
#[cfg(not(feature = "std"))]
pub(crate) fn resume(panic: Panic) -> ! {
    match panic {}
}

/// What a panic says.
#[cfg(feature = "std")]
pub(crate) fn text_of(payload: &(dyn core::any::Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(|text| &**text));
    text.unwrap_or("(with what is no text)").into()
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
