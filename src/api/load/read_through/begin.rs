//! How a read-through begins: with the caller's own limits or the cache's, and in the manner of its
//! verb.

use super::{Progress, ReadThrough};
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::form::ReturnAs;
use crate::engine::Core;
use crate::engine::config::Limits;
use crate::engine::demand::Demand;
use crate::engine::key::ToKey;
use crate::engine::role::Manner;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::xfetch::NEVER;
use alloc::boxed::Box;
use core::marker::PhantomData;
use equivalent::Equivalent;

impl<'c, 'q, K, V, Q, F> ReadThrough<'c, 'q, K, V, Q, F>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: ReturnAs<'c, K, V>,
{
    /// Returns a lookup with limits of the caller's. It begins with its first step
    /// ([`waits`](Self::waits)), in the place where it is then: it is large.
    ///
    /// The loader may give terms with its value, so the load is timed in any case.
    pub(crate) fn new(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, limits: Limits, infallible: bool) -> Self {
        let manner = Manner::of_verb(infallible).and(Manner::TIMED);
        Self::idle(core, q, hash, (Some(limits), manner), true)
    }

    /// As [`new`](Self::new), with the cache's limits, in the manner of the caller's verb. (Never
    /// inlined: in the caller, which is a hit most often, it would cost registers.)
    #[inline(never)]
    pub(crate) fn plain(core: &'c Core<K, V>, q: &'q Q, hash: u64, manner: Manner) -> Self {
        Self::idle(CoreRef::borrowed(core), q, hash, (None, manner), true)
    }

    /// As [`plain`](Self::plain), for a caller that has looked the key up, in the manner in which
    /// it [asks](manner_of).
    #[cfg(feature = "std")]
    pub(crate) fn begun(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, manner: Manner) -> Self {
        Self::as_asked(core, q, hash, (None, manner))
    }

    /// As [`plain`](Self::plain), for a caller that leads the flights `led`, and begins the lookup.
    /// The caller may wait for them, because it ends them before it waits.
    pub(crate) fn among(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, manner: Manner, led: &[FlightId]) -> Self {
        // One bulk call counts as one load.
        let mut this = Self::idle(core, q, hash, (None, manner), led.is_empty());
        this.join_or_lead(led);
        this
    }

    /// As [`plain`](Self::plain), for a caller that takes any value but this one.
    pub(crate) fn instead_of(
        refused: Entry<'c, K, V>,
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        manner: Manner,
    ) -> Self {
        let demand = Demand::since(Entry::address(&refused));
        let limits = Limits { demand, ..core.get().config.limits.clone() };
        let mut this = Self::idle(core, q, hash, (Some(limits), manner), true);
        this.refused = Some(Box::new(refused));
        this
    }

    /// Returns a lookup that has not begun. `counted`: its lease counts for `max_loads`.
    #[inline]
    fn idle(
        core: CoreRef<'c, K, V>,
        q: &'q Q,
        hash: u64,
        (limits, manner): (Option<Limits>, Manner),
        counted: bool,
    ) -> Self {
        let manner = manner_of(core.get(), manner, counted);
        Self::as_asked(core, q, hash, (limits, manner))
    }

    #[inline]
    fn as_asked(core: CoreRef<'c, K, V>, q: &'q Q, hash: u64, (limits, manner): (Option<Limits>, Manner)) -> Self {
        let (stage, began, refused, _form) = (Progress::New, NEVER, None, PhantomData);
        let (counted, own, waits_on) = (false, false, false);
        Self { core, q, hash, limits, manner, counted, own, waits_on, began, refused, stage, _form }
    }
}

/// Returns the manner in which a caller asks, from that of its verb. `counted`: its lease counts
/// for `max_loads`.
#[inline]
pub(crate) fn manner_of<K, V>(core: &Core<K, V>, manner: Manner, counted: bool) -> Manner {
    // A loader that waits for another load may, by way of other keys, wait for itself. So within a
    // load the caller does not wait on, but loads for itself alone.
    let waits_on = manner.has(Manner::INFALLIBLE) && !core.config.bypass && !reentry::within_a_load();
    manner
        .and_if(Manner::TIMED, core.config.times_plain_loads)
        .and_if(Manner::WAITS_ON, waits_on)
        .and_if(Manner::COUNTED, counted)
}
