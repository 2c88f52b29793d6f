//! Counting what happens.

use crate::sync::{AtomicU64, Ordering, Padded};
use alloc::boxed::Box;

/// What a cache has done since it was built. A snapshot of counters that are not read at one instant.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups that found a value. Counted only with [`Builder::record_stats`](crate::Builder::record_stats).
    pub hits: u64,
    /// Lookups that found none. Counted only with [`Builder::record_stats`](crate::Builder::record_stats).
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
    /// Entries and flights removed on request (`remove`, `invalidate`, `invalidate_all`, `retain`).
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
    /// Loads run for one caller alone, not stored: by a `get_with` that is re-entrant, timed out or refused, or because too
    /// much is retired.
    pub bypassed: u64,
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
}

const EVENTS: usize = Event::Bypassed as usize + 1;
const STRIPES: usize = if cfg!(loom) { 1 } else { 16 };

/// Hits and misses of some of the threads.
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

// Everything here is Relaxed: counters order nothing.
pub(crate) struct Counters {
    events: Padded<[AtomicU64; EVENTS]>,
    stripes: Option<Box<[Padded<Stripe>]>>,
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
        let stripe = || Padded(Stripe { hits: AtomicU64::new(0), misses: AtomicU64::new(0) });
        Self {
            events: Padded(core::array::from_fn(|_| AtomicU64::new(0))),
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
            bypassed: event(Event::Bypassed),
            retired_bytes: 0,
            retired_weight: 0,
        }
    }
}
