//! Errors.

use std::error::Error;
use std::fmt;

/// The error of a load that any process may have run: what
/// [`LoadError::Load`](bellwether::LoadError::Load) holds.
///
/// One failing load is one call of one loader. All callers in this process share its error; those
/// in other processes get its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedError<E> {
    /// A loader of this process has failed.
    Own(E),
    /// The loader of another process has failed.
    Remote(RemoteError),
}

impl<E> SharedError<E> {
    /// Returns the loader's error, if the load ran in this process.
    pub fn own(&self) -> Option<&E> {
        if let Self::Own(error) = self { Some(error) } else { None }
    }
}

impl<E: fmt::Display> fmt::Display for SharedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(error) => error.fmt(f),
            Self::Remote(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for SharedError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Own(error) => error.source(),
            Self::Remote(_) => None,
        }
    }
}

/// The error of a loader in another process, as text: its `Display`, up to 4 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    pub(crate) text: String,
}

impl RemoteError {
    /// Returns the text of the error.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RemoteError {}

/// The reason why [`Builder::build`](crate::Builder::build) made no tier.
#[non_exhaustive]
#[derive(Debug)]
pub enum BuildError {
    /// The server's address is none. The text does not repeat it: it may hold a password.
    Address(String),
    /// The namespace is empty, or contains a brace, which the names of keys need for themselves.
    Namespace,
    /// No [`time_to_live`](crate::Builder::time_to_live) was given, or it is zero.
    NoTimeToLive,
    /// This setting must not be zero.
    Zero(&'static str),
    /// The `probe` is not shorter than the `lead_timeout`: a dead process would not be noticed.
    ProbeTooLong,
    /// Both [sentinels](crate::Builder) and a [cluster](crate::Builder) were given.
    TwoKinds,
    /// `build` was called outside of a tokio runtime, and was given none.
    NoRuntime,
    /// The settings of the memory level are contradictory.
    Memory(bellwether::BuildError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) => write!(f, "the address of the server is not usable: {why}"),
            Self::Namespace => f.write_str("the namespace is empty or contains a brace"),
            Self::NoTimeToLive => f.write_str("no time_to_live is given, or it is zero"),
            Self::Zero(setting) => write!(f, "{setting} must not be zero"),
            Self::ProbeTooLong => f.write_str("the probe must be shorter than the lead_timeout"),
            Self::TwoKinds => f.write_str("both sentinels and a cluster are given, or one of them twice"),
            Self::NoRuntime => f.write_str("there is no tokio runtime to run the link in"),
            Self::Memory(_) => f.write_str("the settings of the memory level are contradictory"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Memory(error) = self { Some(error) } else { None }
    }
}

/// The reason why a write was neither done nor queued.
#[non_exhaustive]
#[derive(Debug)]
pub enum WriteError {
    /// The codec cannot write the value.
    Codec(crate::CodecError),
    /// The value is larger than [`max_value_bytes`](crate::Builder::max_value_bytes), or has more
    /// than 255 tags.
    TooLarge,
    /// The server has refused the command: it is out of memory, a replica, or loading its data. The
    /// key is gone from this process's memory; other processes keep what they have.
    Refused(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(_) => f.write_str("the value cannot be encoded"),
            Self::TooLarge => f.write_str("the value is too large, or has too many tags"),
            Self::Refused(why) => write!(f, "the server has refused the write: {why}"),
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Codec(error) = self { Some(&**error) } else { None }
    }
}
