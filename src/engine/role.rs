//! What a caller came for at a key, and what it became there.

use super::config::Limits;
use super::events::LoadKind;
use super::flight_ref::Flight;
use super::outcome::Outcome;
use crate::flight::bell::Listening;
use crate::flight::failure::SharedError;
use crate::flight::node::Node;

/// What the caller came for.
#[derive(Clone, Copy)]
pub(crate) enum Intent<'l> {
    /// A value that may be served, within these limits.
    Value(&'l Limits),
    /// The key's lease, whatever value there is.
    Lease,
    /// The same, within `max_loads`.
    Refresh,
}

impl Intent<'_> {
    pub(super) fn value(self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// What a load is for that would be `kind` if it were one.
    pub(super) fn or(self, kind: LoadKind) -> LoadKind {
        if self.value() { kind } else { LoadKind::Compute }
    }

    /// Whether the lease of a new flight counts for `max_loads`.
    pub(super) fn counted(self) -> bool {
        !matches!(self, Self::Value(Limits { counted: false, .. }))
    }
}

/// How it went.
pub(crate) enum Role<'s, K, V> {
    /// This value may be served.
    Hit(&'s Node<K, V>, Outcome),
    /// The caller leads. `counted`: its lease counts for `max_loads`.
    Lead { flight: Flight<K, V>, lease: u32, kind: LoadKind, counted: bool },
    /// Somebody else leads, under this lease: wait. None: the flight does not count this waiter.
    Wait { flight: Flight<K, V>, lease: Option<u32>, listening: Listening },
    /// The flight can count no more waiters.
    Full,
    /// The last load failed, and that is kept.
    Failed(Option<SharedError>),
}
