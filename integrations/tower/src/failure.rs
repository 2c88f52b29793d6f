//! Calls of a handler that failed, as those who waited are told.

use crate::stored::Stored;
use std::time::Duration;

/// Why a call came to nothing that may be stored as a value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The handler answered with a status that says so. All who waited get this answer. It is kept
    /// for that long.
    Response(Box<Stored>, Duration),
    /// The answer is a failure, and belongs to one request: each other one calls the handler
    /// itself.
    Private,
    /// The service returned an error, which the request that called it gets.
    Service,
    /// The body failed before its end, or has another length than its header says.
    Body,
    /// The request that was to call the handler had done so before.
    Spent,
    /// The handler panicked. (A store of one process learns that from the cache.)
    #[cfg(feature = "redis")]
    Panicked,
}

impl Failure {
    /// Returns for how long the failure is kept.
    pub(crate) fn kept_for(&self) -> Option<Duration> {
        match self {
            Self::Response(_, kept) => Some(*kept),
            _ => None,
        }
    }
}
