//! How a lookup ends.

use crate::api::error::LoadError;
use crate::api::handle::lease::Lease;
use crate::flight::failure::SharedError;

/// How the lookup ends.
pub(crate) enum Resolution<'c, K, V, T> {
    Value(T),
    /// This caller leads: it loads, and [finishes](super::ReadThrough::finish) the lease.
    Lead(Lease<'c, K, V>),
    /// This caller loads for itself [alone](super::ReadThrough::alone).
    Alone,
    Refused(Refusal),
}

/// Why a caller gets no value.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The load that it joined failed.
    Failed(Option<SharedError>),
    TimedOut,
    Reentrant,
    Overloaded,
}

impl<E: Send + Sync + 'static> From<Refusal> for LoadError<E> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(error) => LoadError::of_flight(error),
            Refusal::TimedOut => LoadError::TimedOut,
            Refusal::Reentrant => LoadError::Reentrant,
            Refusal::Overloaded => LoadError::Overloaded,
        }
    }
}
