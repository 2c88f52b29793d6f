//! The intent with which a caller comes to a key, and the role that it gets there.

use super::config::Limits;
use super::demand::Demand;
use super::events::LoadKind;
use super::flight_ref::Flight;
use super::outcome::Outcome;
use crate::flight::bell::Subscription;
use crate::flight::failure::SharedError;
use crate::flight::node::Node;

/// How a caller asks for a value, whatever its limits are: a set of flags. (Packed, as each future
/// of a lookup holds one.)
#[derive(Clone, Copy)]
pub(crate) struct Manner(u8);

impl Manner {
    /// The caller has no way to report an error. Then the failure of another caller's load is no
    /// answer to it, and instead of a refusal it loads alone.
    pub(crate) const INFALLIBLE: Self = Self(1);
    /// The answer that there is no value is one for this caller.
    pub(crate) const ABSENCE: Self = Self(1 << 1);
    /// A kept failure is an answer to this caller.
    pub(crate) const NEGATIVE: Self = Self(1 << 2);
    /// The duration of the load is needed.
    pub(crate) const TIMED: Self = Self(1 << 3);
    /// The caller waits where others would be refused, because its verb cannot report a refusal.
    pub(crate) const WAITS_ON: Self = Self(1 << 4);
    /// The caller's lease counts for `max_loads`. One lease of a bulk call counts for all of its
    /// leases.
    pub(crate) const COUNTED: Self = Self(1 << 5);

    /// The manner of a verb that cannot report an error, but that there is no value.
    pub(crate) const OPTIONAL: Self = Self::INFALLIBLE.and(Self::ABSENCE).and(Self::NEGATIVE);
    /// The manner of a caller that loads by hand.
    pub(crate) const BY_HAND: Self = Self::TIMED.and(Self::COUNTED);

    /// The manner of a verb that can report all errors, or none.
    #[inline]
    pub(crate) const fn of_verb(infallible: bool) -> Self {
        if infallible { Self::INFALLIBLE } else { Self::NEGATIVE }
    }

    #[inline]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds a flag on this condition.
    #[inline]
    pub(crate) fn and_if(self, flag: Self, condition: bool) -> Self {
        if condition { self.and(flag) } else { self }
    }

    #[inline]
    pub(crate) fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }

    /// Returns whether it has this flag.
    #[inline]
    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

/// A caller that wants a value: its limits, or the cache's, and its manner.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'l> {
    pub(crate) limits: &'l Limits,
    pub(crate) manner: Manner,
}

impl Asker<'_> {
    /// Returns an old value in place of a new one, unless this caller takes none.
    pub(crate) fn substitute<T>(self, old: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.limits.demand.refuses() && !self.limits.own_windows { None } else { old() }
    }
}

/// The intent of a caller.
#[derive(Clone, Copy)]
pub(crate) enum Intent<'l> {
    /// To get a value that may be served to this caller.
    Value(&'l Asker<'l>),
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
    pub(crate) fn or(self, kind: LoadKind) -> LoadKind {
        if self.value() { kind } else { LoadKind::Compute }
    }

    /// Returns whether the lease of a new flight counts for `max_loads`.
    pub(crate) fn counted(self) -> bool {
        if let Self::Value(asker) = self { asker.manner.has(Manner::COUNTED) } else { true }
    }

    /// Returns whether the duration of the load is needed.
    pub(crate) fn timed(self) -> bool {
        if let Self::Value(asker) = self { asker.manner.has(Manner::TIMED) } else { true }
    }

    /// Returns how new a value must be for this caller.
    pub(super) fn demand(self) -> Demand {
        if let Self::Value(asker) = self { asker.limits.demand } else { Demand::ANY }
    }

    /// Returns the caller's limits. Those of a caller that wants no value are the cache's.
    pub(crate) fn limits<'c>(self, of_cache: &'c Limits) -> &'c Limits
    where
        Self: 'c,
    {
        if let Self::Value(asker) = self { asker.limits } else { of_cache }
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
