//! The reason for which a load failed, as `on_load_error` is told.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::any::Any;
use core::error::Error;
use core::fmt;

/// The reason for which a load failed. Given to
/// [`Builder::on_load_error`](crate::Builder::on_load_error).
///
/// Its `Display` is the error's text, if this crate knows that errors of that type have one. It
/// knows `String`, `&'static str`, `Cow<'static, str>`, `Box<str>`, `Box<dyn Error + Send + Sync>`,
/// `Arc<dyn Error + Send + Sync>`, `std::io::Error` and `std::fmt::Error`. For any other type, use
/// [`downcast_ref`](Self::downcast_ref).
pub struct Failure<'f> {
    error: Option<&'f (dyn Any + Send + Sync)>,
    panicked: bool,
}

impl<'f> Failure<'f> {
    pub(crate) fn new(error: Option<&'f (dyn Any + Send + Sync)>, panicked: bool) -> Self {
        Self { error, panicked }
    }

    /// Returns the error that the load ended with, if the error is of this type. Returns `None` too
    /// if the load panicked, or was failed without an error ([`Lease::fail`](crate::Lease::fail)).
    pub fn downcast_ref<E: Any + Send + Sync>(&self) -> Option<&'f E> {
        self.error?.downcast_ref()
    }

    /// Returns the error that the load ended with, of any type.
    pub fn error(&self) -> Option<&'f (dyn Any + Send + Sync)> {
        self.error
    }

    /// Returns whether the load panicked. The panic hook of the load's thread has been given the
    /// panic's message.
    pub fn panicked(&self) -> bool {
        self.panicked
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            _ if self.panicked => f.write_str("the load panicked"),
            None => f.write_str("the load was failed without an error"),
            Some(error) => match text(error) {
                Some(text) => text.fmt(f),
                None => f.write_str("the load failed with an error that has no text here"),
            },
        }
    }
}

impl fmt::Debug for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&format_args!("{self}")).finish()
    }
}

/// Returns the text of an error whose type is known to have one.
fn text(error: &(dyn Any + Send + Sync)) -> Option<&dyn fmt::Display> {
    type Boxed = Box<dyn Error + Send + Sync>;
    fn shown<T: fmt::Display + 'static>(error: &(dyn Any + Send + Sync)) -> Option<&dyn fmt::Display> {
        error.downcast_ref::<T>().map(|error| error as &dyn fmt::Display)
    }
    let known = [
        shown::<String>(error),
        shown::<&'static str>(error),
        shown::<Cow<'static, str>>(error),
        shown::<Box<str>>(error),
        shown::<Boxed>(error),
        shown::<alloc::sync::Arc<dyn Error + Send + Sync>>(error),
        shown::<fmt::Error>(error),
        #[cfg(feature = "std")]
        shown::<std::io::Error>(error),
    ];
    known.into_iter().flatten().next()
}
