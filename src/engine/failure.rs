//! Why a load came to nothing, as whoever watches over the cache is told.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::any::Any;
use core::error::Error;
use core::fmt;

/// Why a load came to nothing: what [`Builder::on_load_error`](crate::Builder::on_load_error) is told.
///
/// Its text (`Display`) is that of the error, where the error is of a type that this crate knows to have one: `String`, `&'static str`,
/// `Cow<'static, str>`, `Box<str>`, `Box<dyn Error + Send + Sync>`, `Arc<dyn Error + Send + Sync>`, `std::io::Error`,
/// `std::fmt::Error`. Of others ask for the type: [`downcast_ref`](Self::downcast_ref).
pub struct Failure<'f> {
    error: Option<&'f (dyn Any + Send + Sync)>,
    panicked: bool,
}

impl<'f> Failure<'f> {
    pub(crate) fn new(error: Option<&'f (dyn Any + Send + Sync)>, panicked: bool) -> Self {
        Self { error, panicked }
    }

    /// The error that the load ended with, if it is of this type. None too if it panicked, or was failed without an error
    /// ([`Lease::fail`](crate::Lease::fail)).
    pub fn downcast_ref<E: Any + Send + Sync>(&self) -> Option<&'f E> {
        self.error?.downcast_ref()
    }

    /// The error that the load ended with, whatever its type.
    pub fn error(&self) -> Option<&'f (dyn Any + Send + Sync)> {
        self.error
    }

    /// Whether the load panicked. What with, its own thread's panic hook has been told.
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

/// The text of an error of a type that is known to have one.
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
