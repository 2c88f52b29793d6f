//! Calls of several pieces of user code, such that a panic in one does not skip the others.

#[cfg(feature = "std")]
use alloc::sync::Arc;

/// Calls `f` on every item. With std, a panic goes on only after the last item, and only the first
/// panic does. Without std, a panic ends the loop (there, panics abort).
pub(crate) fn each<I>(items: impl Iterator<Item = I>, mut f: impl FnMut(I)) {
    #[cfg(feature = "std")]
    {
        let mut first = None;
        for item in items {
            // A panic in `f` leaves nothing half-done here: the item was taken out before the call.
            if let Err(panic) = caught(|| f(item)) {
                match first {
                    None => first = Some(panic),
                    Some(_) => discard(panic),
                }
            }
        }
        // While the thread already unwinds, a second panic would abort it. The first one has been
        // reported.
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

/// The payload of a panic in user code.
#[cfg(feature = "std")]
pub(crate) type Panic = alloc::boxed::Box<dyn core::any::Any + Send>;
/// Without std there is no payload.
#[cfg(not(feature = "std"))]
pub(crate) type Panic = core::convert::Infallible;

/// Runs user code. Returns the payload if it panics. The caller makes sure that a panic leaves
/// nothing half-done.
#[cfg(feature = "std")]
pub(crate) fn caught<R>(user: impl FnOnce() -> R) -> Result<R, Panic> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(user))
}

/// Runs user code. A panic in it aborts.
#[cfg(not(feature = "std"))]
pub(crate) fn caught<R>(user: impl FnOnce() -> R) -> Result<R, Panic> {
    Ok(user())
}

/// Runs user code whose panic concerns no caller. Returns None if it panics; the panic hook has
/// reported that.
pub(crate) fn survived<R>(user: impl FnOnce() -> R) -> Option<R> {
    #[cfg(feature = "std")]
    return caught(user).map_err(discard).ok();
    #[cfg(not(feature = "std"))]
    Some(user())
}

/// Goes on with a panic, which was reported when it began.
#[cfg(feature = "std")]
pub(crate) fn resume(panic: Panic) -> ! {
    std::panic::resume_unwind(panic)
}

/// Cannot be called: without std there is no payload.
#[cfg(not(feature = "std"))]
pub(crate) fn resume(panic: Panic) -> ! {
    match panic {}
}

/// Returns the text of a panic.
#[cfg(feature = "std")]
pub(crate) fn text_of(payload: &(dyn core::any::Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(|text| &**text));
    text.unwrap_or("(with what is no text)").into()
}

/// Drops the payload of a panic. The drop might panic in turn.
#[cfg(feature = "std")]
pub(crate) fn discard(panic: alloc::boxed::Box<dyn core::any::Any + Send>) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    catch_unwind(AssertUnwindSafe(|| drop(panic))).unwrap_or_else(core::mem::forget);
}

/// Returns whether the calling thread is unwinding.
pub(crate) fn panicking() -> bool {
    #[cfg(feature = "std")]
    return std::thread::panicking();
    #[cfg(not(feature = "std"))]
    return false;
}
