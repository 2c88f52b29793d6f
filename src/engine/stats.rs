//! Counting what happens.

use crate::sys::sync::{AtomicU64, CachePadded, Ordering};
use alloc::boxed::Box;

/// What a cache has done since it was built. A snapshot of counters that are not read at one instant.
///
/// # What counts where
///
/// A *lookup* is one key of one call. Each counts once, as a hit or as a miss, when it has ended: as a hit if its caller was given
/// a value that was there, whoever refreshes that meanwhile. (Hits and misses are counted with
/// [`record_stats`](crate::Builder::record_stats) only.)
///
/// | the call | came to | counts as | and |
/// |---|---|---|---|
/// | `get`, `get_ref`, `get_entry`, a key of `get_many` | a value | hit | |
/// | | none | miss | |
/// | read-through[^through] | [`Outcome::Hit`](crate::Outcome::Hit) | hit | where this caller has it refreshed in the background: `early_refreshes`, `loads` |
/// | | [`Outcome::Stale`](crate::Outcome::Stale), of a load by another | hit | `stale_serves`; `coalesced` if it waited, `wait_timeouts` if for too long |
/// | | `Outcome::Stale`, of its own load | hit | `stale_serves`, `loads`; `early_refreshes` if the value was still good; `load_failures` once that has failed |
/// | | [`Outcome::Computed`](crate::Outcome::Computed) | miss | `loads` |
/// | | `Outcome::Computed`, for itself alone[^alone] | miss | `bypassed` |
/// | | [`Outcome::Refreshed`](crate::Outcome::Refreshed) | miss | `loads`, `early_refreshes` |
/// | | [`Outcome::Coalesced`](crate::Outcome::Coalesced) | miss | `coalesced`, unless the load ended as it came |
/// | | the error of its own load, or a panic | miss | `loads`, `load_failures`; after a panic in the background `loads` and `handovers` once more, as the load is offered to its caller |
/// | | the error of another's load | miss | `coalesced`; neither if that failure was kept (`negative_ttl`) |
/// | | `TimedOut` | miss | `coalesced` (not for its own load in the background), `wait_timeouts` |
/// | | `Overloaded` | miss | |
/// | | `Reentrant` | miss | `coalesced` |
/// | | cancelled | miss | what it had come to |
/// | `lease`, `lease_owned` | `Lookup::Hit` | hit | `stale_serves` if its time is over |
/// | | `Lookup::Refresh` | hit | `loads`, `early_refreshes` |
/// | | `Lookup::Lead` | miss | `loads` |
/// | | `Lookup::Wait` | miss | `coalesced`, unless it may not wait |
/// | `compute`, `refresh` | | no lookup | `loads` |
/// | `peek`, `contains_key`, `is_loading`, `iter`, `insert`, `remove` and their like | | no lookup | |
///
/// A key that comes again in one `load_all` is a lookup of its own that waits for the first: `load_all(&[7, 7, 7])` of a
/// missing key is three misses, one of `loads`, and two `coalesced`.
///
/// [^through]: `get_with`, `try_get_with`, those of `entry` and `detached`, `load`, each key of `load_all`; as a thread or as a task.
///
/// [^alone]: A `get_with` that is re-entrant (`coalesced`, too), timed out (`coalesced`, `wait_timeouts`) or refused, or any
/// read-through while too much removed memory waits to be freed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups whose caller was given a value that was there, stale ones included. Counted only with [`Builder::record_stats`](crate::Builder::record_stats).
    pub hits: u64,
    /// Lookups whose caller was not. Counted only with [`Builder::record_stats`](crate::Builder::record_stats).
    pub misses: u64,
    /// Leases given out: every load that the cache will store, early refreshes and hand-overs included.
    pub loads: u64,
    /// Loads that ended in an error, or in a panic.
    pub load_failures: u64,
    /// Callers who waited for the load of another.
    pub coalesced: u64,
    /// Loads begun by XFetch while the entry was still valid.
    pub early_refreshes: u64,
    /// Old values given while they were refreshed, or because of a failure or a bound on loads.
    pub stale_serves: u64,
    /// Entries removed to make room, whose time was not over.
    pub evictions: u64,
    /// Values whose time to live or to idle was over when they were removed, for whatever reason: each is counted here once, and
    /// nowhere else.
    pub expirations: u64,
    /// Entries and flights removed on request (`remove`, `invalidate`, `invalidate_all`, `retain`), and entries that
    /// [`invalidate_tag`](crate::Cache::invalidate_tag) has ended, as they are removed or replaced.
    pub invalidations: u64,
    /// Flights that a waiter or later caller took on after their leader had given up.
    pub handovers: u64,
    /// Flights that a waiter took over from a leader that had held its lease for longer than the `lead_timeout`.
    pub takeovers: u64,
    /// Waits that a deadline ended.
    pub wait_timeouts: u64,
    /// Bytes of nodes that are retired and not yet freed (what keys and values own on the heap is not in it).
    pub retired_bytes: u64,
    /// Weight of the entries that are retired and not yet freed.
    pub retired_weight: u64,
    /// Leases that are out now: loads in flight, not counting those that were taken over. A lease that
    /// was forgotten (`mem::forget`) stays out.
    pub loading: u64,
    /// Leases that were taken over (`lead_timeout`) and whose holders have not ended yet: threads that
    /// are stuck, tasks that are not polled.
    pub fenced: u64,
    /// Loads run for one caller alone, not stored: by a `get_with` that is re-entrant, timed out or refused, or because too
    /// much is retired.
    pub bypassed: u64,
    /// Values that the cache was given, by an insert or a load, and did not keep: see [`RejectionCause`](crate::RejectionCause).
    pub rejected: u64,
    /// Answers of bulk loads that were refused: of keys that nobody asked for, or a second one of a key
    /// ([`Answers`](crate::Answers)).
    pub unasked_answers: u64,
}

/// One of the counters of rare events.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Event {
    Load,
    LoadFailure,
    Coalesced,
    EarlyRefresh,
    StaleServe,
    Eviction,
    Expiration,
    Invalidation,
    Handover,
    TakeOver,
    WaitTimeout,
    Bypassed,
    /// A lease has ended, by its holder.
    LoadOver,
    /// The same of one that had been taken over.
    FencedOver,
    UnaskedAnswer,
    Rejection,
}

const EVENTS: usize = Event::Rejection as usize + 1;
const STRIPES: usize = if cfg!(loom) { 1 } else { 16 };

/// Hits and misses of some of the threads.
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

// Everything here is Relaxed: counters order nothing.
pub(crate) struct Counters {
    events: CachePadded<[AtomicU64; EVENTS]>,
    stripes: Option<Box<[CachePadded<Stripe>]>>,
}

/// Threads are spread over the stripes in the order of their first count.
fn stripe() -> usize {
    #[cfg(feature = "std")]
    {
        use core::sync::atomic::AtomicUsize as Plain;
        static NEXT: Plain = Plain::new(0);
        std::thread_local! {
            static MINE: usize = NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed) % STRIPES;
        }
        MINE.try_with(|mine| *mine).unwrap_or(0)
    }
    #[cfg(not(feature = "std"))]
    0
}

impl Counters {
    pub(crate) fn new(record: bool) -> Self {
        let stripe = || CachePadded(Stripe { hits: AtomicU64::new(0), misses: AtomicU64::new(0) });
        Self {
            events: CachePadded(core::array::from_fn(|_| AtomicU64::new(0))),
            stripes: record.then(|| (0..STRIPES).map(|_| stripe()).collect()),
        }
    }

    pub(crate) fn count(&self, event: Event) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether hits and misses are counted.
    #[inline(always)]
    pub(crate) fn lookups_counted(&self) -> bool {
        self.stripes.is_some()
    }

    #[inline]
    pub(crate) fn lookup(&self, hit: bool) {
        if let Some(stripes) = &self.stripes {
            let mine = &stripes[stripe()];
            let counter = if hit { &mine.hits } else { &mine.misses };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let event = |e: Event| self.events[e as usize].load(Ordering::Relaxed);
        let sum =
            |f: fn(&Stripe) -> &AtomicU64| self.stripes.iter().flatten().map(|s| f(s).load(Ordering::Relaxed)).sum();
        let fenced = event(Event::TakeOver).saturating_sub(event(Event::FencedOver));
        let over = event(Event::LoadOver);
        Stats {
            hits: sum(|s| &s.hits),
            misses: sum(|s| &s.misses),
            loads: event(Event::Load),
            load_failures: event(Event::LoadFailure),
            coalesced: event(Event::Coalesced),
            early_refreshes: event(Event::EarlyRefresh),
            stale_serves: event(Event::StaleServe),
            evictions: event(Event::Eviction),
            expirations: event(Event::Expiration),
            invalidations: event(Event::Invalidation),
            handovers: event(Event::Handover),
            takeovers: event(Event::TakeOver),
            wait_timeouts: event(Event::WaitTimeout),
            loading: event(Event::Load).saturating_sub(over).saturating_sub(fenced),
            fenced,
            bypassed: event(Event::Bypassed),
            rejected: event(Event::Rejection),
            unasked_answers: event(Event::UnaskedAnswer),
            retired_bytes: 0,
            retired_weight: 0,
        }
    }
}
