//! The intent with which a caller comes to a key, and the role that it gets there.

use super::config::Limits;
use super::events::LoadKind;
use super::flight_ref::Flight;
use super::outcome::Outcome;
use crate::flight::bell::Subscription;
use crate::flight::failure::SharedError;
use crate::flight::node::Node;

/// The intent of a caller.
#[derive(Clone, Copy)]
pub(crate) enum Intent<'l> {
    /// To get a value that may be served within these limits.
    Value(&'l Limits),
    /// To get the key's lease, even if there is a fresh value.
    Lease,
    /// To get the key's lease, within `max_loads`.
    Refresh,
}

impl Intent<'_> {
    pub(super) fn value(self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// Returns the kind of load to report: `kind` for a read-through, `Compute` for an explicit
    /// lease.
    pub(super) fn or(self, kind: LoadKind) -> LoadKind {
        if self.value() { kind } else { LoadKind::Compute }
    }

    /// Returns whether the lease of a new flight counts for `max_loads`.
    pub(super) fn counted(self) -> bool {
        !matches!(self, Self::Value(Limits { counted: false, .. }))
    }
}

/// The sequence number of a waiter that came after a call had ended the time of the flight's value:
/// the value is not for it.
pub(crate) const LATE: u64 = u64::MAX;

/// The role of a caller.
pub(crate) enum Role<'s, K, V> {
    /// This value may be served.
    Hit(&'s Node<K, V>, Outcome),
    /// The caller leads. `counted`: its lease counts for `max_loads`.
    Lead { flight: Flight<K, V>, lease: u32, kind: LoadKind, counted: bool },
    /// Another caller leads, under this lease: wait. No lease: the value is being moved in, and the
    /// flight does not count this waiter. `came`: the sequence number when the caller came, or
    /// [`LATE`].
    Wait { flight: Flight<K, V>, lease: Option<u32>, subscription: Subscription, came: u64 },
    /// The flight can count no more waiters, or no more loads may begin.
    Full,
    /// The last load failed, and its failure is kept.
    Failed(Option<SharedError>),
}
