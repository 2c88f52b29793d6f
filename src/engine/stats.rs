//! Counters of the cache's operations.

use crate::reclaim::{Cells, Pin};
use crate::sys::sync::{AtomicU64, CachePadded, Ordering, untracked};
use alloc::boxed::Box;

/// The counts of a cache's operations since it was built: a snapshot of counters that are not all
/// read at one instant.
///
/// # What counts where
///
/// A *lookup* is one key of one call. Each lookup counts once, as a hit or as a miss, when it has
/// ended. It is a hit if its caller was given a value that was there, even if that is refreshed
/// meanwhile. (Hits and misses are counted only with
/// [`record_stats`](crate::Builder::record_stats).)
///
/// | the call | its result | counts as | and in |
/// |---|---|---|---|
/// | plain read[^plain] | a value | hit | |
/// | | no value | miss | |
/// | read-through[^through] | [`Hit`] | hit | [^background] |
/// | | [`Stale`], from another's load | hit | `stale_serves`[^waited] |
/// | | [`Stale`], from its own load | hit | `stale_serves`, `loads`[^refresh] |
/// | | [`Computed`] | miss | `loads` |
/// | | [`Computed`], for itself alone[^alone] | miss | `bypassed` |
/// | | [`Refreshed`] | miss | `loads`, `early_refreshes` |
/// | | [`Coalesced`] | miss | `coalesced`, unless the load ended as it came |
/// | | an error or a panic of its own load | miss | `loads`, `load_failures`[^panic] |
/// | | the error of another's load | miss | `coalesced`[^kept] |
/// | | `NotFound` | miss | `loads`, or `coalesced`[^kept] |
/// | | `TimedOut` | miss | `wait_timeouts`, `coalesced`[^own] |
/// | | `Overloaded` | miss | |
/// | | `Reentrant` | miss | `coalesced` |
/// | | cancelled | miss | the counters of what it had done |
/// | `lease`, `lease_owned` | `Lookup::Hit` | hit | `stale_serves` if the value has expired |
/// | | `Lookup::Refresh` | hit | `loads`, `early_refreshes` |
/// | | `Lookup::Lead` | miss | `loads` |
/// | | `Lookup::Wait` | miss | `coalesced`, unless it may not wait |
/// | `compute`, `refresh` | | no lookup | `loads` |
/// | all others[^others] | | no lookup | |
///
/// If a key comes again in one `load_all`, that is a lookup of its own, which waits for the first:
/// `load_all(&[7, 7, 7])` of a missing key counts three misses, one of `loads`, and two
/// `coalesced`.
///
/// [`Hit`]: crate::Outcome::Hit
/// [`Stale`]: crate::Outcome::Stale
/// [`Computed`]: crate::Outcome::Computed
/// [`Refreshed`]: crate::Outcome::Refreshed
/// [`Coalesced`]: crate::Outcome::Coalesced
///
/// [^plain]: `get`, `get_ref`, `get_entry`, and each key of `get_many`.
///
/// [^through]: `get_with`, `try_get_with`, the verbs of `entry` and `detached`, `load`, and each
///     key of `load_all`; as a thread or as a task.
///
/// [^background]: `early_refreshes` and `loads`, if this caller has the value refreshed in the
///     background.
///
/// [^waited]: Also `coalesced` if it waited, and `wait_timeouts` if it waited for too long.
///
/// [^refresh]: Also `early_refreshes` if the value was still fresh, and `load_failures` once the
///     load has failed.
///
/// [^alone]: A `get_with` that is re-entrant (also `coalesced`), timed out (also `coalesced`,
///     `wait_timeouts`) or refused, or any read-through while too much removed memory waits to be
///     freed.
///
/// [^panic]: After a panic in the background `loads` and `handovers` count once more, as the load
///     is offered to its caller.
///
/// [^kept]: Neither, if that failure or answer was kept (`negative_ttl`).
///
/// [^own]: Not `coalesced` if it waited for its own load in the background.
///
/// [^others]: `peek`, `contains_key`, `is_loading`, `iter`, `insert`, `remove` and the like.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups whose caller was given a value that was there, stale ones included. Counted only
    /// with [`Builder::record_stats`](crate::Builder::record_stats).
    pub hits: u64,
    /// Lookups whose caller was given no value that was there. Counted only with
    /// [`Builder::record_stats`](crate::Builder::record_stats).
    pub misses: u64,
    /// Leases given out: every load that is meant to be stored, early refreshes and hand-overs
    /// included.
    pub loads: u64,
    /// Loads that ended in an error, or in a panic.
    pub load_failures: u64,
    /// Callers that waited for another caller's load.
    pub coalesced: u64,
    /// Loads begun while the entry was still fresh ([`Refresh`](crate::Refresh)).
    pub early_refreshes: u64,
    /// Old values served while they were refreshed, or because of a failure or a bound on loads.
    pub stale_serves: u64,
    /// Entries removed to make room that had not expired.
    pub evictions: u64,
    /// Values that had expired, by their time to live or to idle, when they were removed for any
    /// reason. Each is counted here once, and in no other counter.
    pub expirations: u64,
    /// Entries and flights removed on request (`remove`, `invalidate`, `invalidate_all`, `retain`),
    /// and entries that [`invalidate_tag`](crate::Cache::invalidate_tag) has ended. The latter
    /// count when they are removed or replaced.
    pub invalidations: u64,
    /// Flights that a waiter or a later caller claimed after their leader had given up.
    pub handovers: u64,
    /// Flights that a waiter or a later caller took over from a leader that had held its lease for
    /// longer than the `lead_timeout`.
    pub takeovers: u64,
    /// Waits that a deadline ended.
    pub wait_timeouts: u64,
    /// Bytes of nodes that are retired and not yet freed. Memory that keys and values own on the
    /// heap is not included.
    pub retired_bytes: u64,
    /// Weight of the entries that are retired and not yet freed.
    pub retired_weight: u64,
    /// Leases in force now: loads in flight, without those that were taken over. A lease that was
    /// forgotten (`mem::forget`) stays in force.
    pub loading: u64,
    /// Leases that were taken over, or whose removed flights were ended (`lead_timeout`), and whose
    /// holders have not ended them yet: threads that are stuck, tasks that are not polled.
    pub fenced: u64,
    /// Loads run for one caller alone, and not stored. A `get_with` runs one if it is re-entrant,
    /// timed out or refused; any read-through does if too much memory is retired.
    pub bypassed: u64,
    /// Values that the cache was given, by an insert or a load, and did not keep: see
    /// [`RejectionCause`](crate::RejectionCause).
    pub rejected: u64,
    /// Answers of bulk loads that were refused: for keys that no caller asked for, or second ones
    /// for the same key ([`Answers`](crate::Answers)).
    pub unasked_answers: u64,
    /// Loads that gave a value which they had read from another tier
    /// ([`Expiry::from_tier`](crate::Expiry::from_tier),
    /// [`Lease::from_tier`](crate::Lease::from_tier)). They count in `loads`, too.
    pub tier_reads: u64,
}

/// The counters of rare events.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Event {
    Load,
    /// A lease was ended by its holder.
    LoadOver,
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
    /// A lease that had been taken over, or cut short, was ended by its holder.
    FencedOver,
    /// A flight that was removed was ended by another caller, because its leader hangs.
    CutShort,
    UnaskedAnswer,
    Rejection,
    TierRead,
}

const EVENTS: usize = Event::TierRead as usize + 1;
const STRIPES: usize = if cfg!(loom) { 1 } else { 16 };

/// The hits and misses of some of the threads.
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The events that one thread has counted for itself. No other thread writes here.
struct Own([AtomicU64; EVENTS]);

/// The events of one kind from which on threads count them for themselves. A cache where less
/// happens takes no memory for that.
const BUSY: u64 = 256;

// All operations here are Relaxed: counters order nothing.
pub(crate) struct Counters {
    /// The events that threads have counted together.
    events: CachePadded<[AtomicU64; EVENTS]>,
    own: Cells<Own>,
    stripes: Option<Box<[CachePadded<Stripe>]>>,
    /// Whether no hit is a plain one: hits are counted, or all values were ended at once before.
    closer: untracked::AtomicBool,
}

/// Returns the stripe of the calling thread. Threads are spread over the stripes in the order of
/// their first count.
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
            own: Cells::new(),
            stripes: record.then(|| (0..STRIPES).map(|_| stripe()).collect()),
            closer: untracked::AtomicBool::new(record),
        }
    }

    pub(crate) fn count(&self, event: Event) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event, for a thread that holds a pin: most often without an RMW.
    #[inline(always)]
    pub(crate) fn count_under(&self, pin: &Pin, event: Event) {
        match self.own.own(pin) {
            Some(own) => {
                let count = &own.0[event as usize];
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => self.count_together(pin, event),
        }
    }

    /// Counts an event of a thread that has not counted for itself yet. Where much happens, it does
    /// from now on.
    #[cold]
    #[inline(never)]
    fn count_together(&self, pin: &Pin, event: Event) {
        if self.events[event as usize].fetch_add(1, Ordering::Relaxed) >= BUSY {
            let zeros = || Own(core::array::from_fn(|_| AtomicU64::new(0)));
            let _made = self.own.own_or_make(pin, usize::MAX, zeros);
        }
    }

    /// Returns whether hits and misses are counted.
    #[cfg(feature = "metrics")]
    pub(crate) fn lookups_counted(&self) -> bool {
        self.stripes.is_some()
    }

    /// Returns whether every hit has to look closer at its entry.
    #[inline(always)]
    pub(crate) fn looks_closer(&self) -> bool {
        self.closer.load(Ordering::Relaxed)
    }

    /// Has every hit look closer at its entry from now on.
    pub(super) fn look_closer(&self) {
        self.closer.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn lookup(&self, hit: bool) {
        if let Some(stripes) = &self.stripes {
            let mine = &stripes[stripe()];
            let counter = if hit { &mine.hits } else { &mine.misses };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(&self, event: Event) -> u64 {
        let of = |events: &[AtomicU64; EVENTS]| events[event as usize].load(Ordering::Relaxed);
        self.own.iter().map(|own| of(&own.0)).fold(of(&self.events), u64::wrapping_add)
    }

    /// Returns the number of leases that hang, and are no longer in force.
    fn fenced(&self) -> u64 {
        let lost = self.event(Event::TakeOver) + self.event(Event::CutShort);
        lost.saturating_sub(self.event(Event::FencedOver))
    }

    /// Returns the number of leases that their holders have not ended.
    pub(super) fn held(&self) -> u64 {
        self.event(Event::Load).saturating_sub(self.event(Event::LoadOver))
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let event = |e: Event| self.event(e);
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
            loading: self.held().saturating_sub(self.fenced()),
            fenced: self.fenced(),
            bypassed: event(Event::Bypassed),
            rejected: event(Event::Rejection),
            unasked_answers: event(Event::UnaskedAnswer),
            tier_reads: event(Event::TierRead),
            retired_bytes: 0,
            retired_weight: 0,
        }
    }
}

#[cfg(all(test, feature = "std", not(any(loom, shuttle))))]
mod tests {
    use super::{Counters, Event};
    use crate::reclaim::Epoch;
    use std::sync::Barrier;

    /// More threads at once than can have cells of their own: none of their counts is lost, nor of
    /// those that take over the cells of threads that have ended.
    #[test]
    fn no_count_is_lost() {
        // (Miri takes minutes for more.)
        const THREADS: u64 = if cfg!(miri) { 3 } else { 100 };
        const EACH: u64 = if cfg!(miri) { 2 * super::BUSY } else { 1500 };
        let (counters, epoch, begin) = (Counters::new(false), Epoch::new(), Barrier::new(THREADS as usize));
        for round in 1..=2 {
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        begin.wait();
                        for event in [Event::Eviction, Event::Expiration].into_iter().cycle().take(EACH as usize) {
                            counters.count_under(&epoch.enter(), event);
                            counters.count(Event::Invalidation);
                        }
                    });
                }
            });
            let stats = counters.snapshot();
            let counted = (stats.evictions, stats.expirations, stats.invalidations);
            let all = round * THREADS * EACH;
            assert_eq!(counted, (all / 2, all / 2, all));
        }
    }
}
