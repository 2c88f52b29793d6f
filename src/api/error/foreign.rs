//! Text and source of an error of unknown type. Both are found by trying the common types.

use alloc::{borrow::Cow, boxed::Box, string::String, sync::Arc};
use core::any::Any;
use core::error::Error;

/// Returns the error's text, if the error is only a text.
pub(super) fn text(any: &dyn Any) -> Option<&str> {
    macro_rules! texts {
        ($($text:ty),*) => {
            None$(.or_else(|| any.downcast_ref::<$text>().map(|text| &**text)))*
        };
    }
    texts![&'static str, String, Cow<'static, str>, Box<str>, Arc<str>]
}

/// Returns the error as an `Error`, if it is of a common type that implements the trait.
pub(super) fn error(any: &(dyn Any + Send + Sync)) -> Option<&(dyn Error + 'static)> {
    macro_rules! errors {
        ($($(#[$on:meta])? $error:ty),* $(,)?) => {{
            $(
                $(#[$on])?
                if let Some(error) = any.downcast_ref::<$error>() {
                    return Some(error);
                }
            )*
        }};
    }
    if let Some(error) = any.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(&**error);
    }
    if let Some(error) = any.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**error);
    }
    errors![
        #[cfg(feature = "std")]
        std::io::Error,
        #[cfg(feature = "std")]
        Arc<std::io::Error>,
        #[cfg(feature = "std")]
        std::env::VarError,
        #[cfg(feature = "std")]
        std::time::SystemTimeError,
        #[cfg(feature = "std")]
        std::sync::mpsc::RecvError,
        core::fmt::Error,
        core::str::Utf8Error,
        core::str::ParseBoolError,
        core::num::ParseIntError,
        core::num::ParseFloatError,
        core::num::TryFromIntError,
        core::char::ParseCharError,
        core::array::TryFromSliceError,
        core::net::AddrParseError,
        alloc::string::FromUtf8Error,
    ];
    None
}
