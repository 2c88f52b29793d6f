//! What the product routes do, counted: totals, samples of the last minute, and what followed each
//! press of a button on the page.

use crate::database::Database;
use bellwether_tower::ResponseCache;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a sample is taken.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// How many samples are kept: a minute's.
const SAMPLES: usize = 240;
/// How long an action is followed, in samples: three seconds.
const FOLLOWED: u32 = 12;
/// How many actions are kept.
const ACTIONS: usize = 8;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Served {
    /// From the response cache.
    Hit,
    /// By another request's call of the handler.
    Waited,
    /// By its own call of the handler.
    Called,
    /// On the route without caches.
    Direct,
    /// Not within the deadline: 504.
    Late,
    /// By another error of the server.
    Failed,
}

impl Served {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Hit, "hit"),
        (Self::Waited, "waited"),
        (Self::Called, "called"),
        (Self::Direct, "direct"),
        (Self::Late, "late"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Counts since the service started, or over some time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Counts {
    requests: u64,
    hit: u64,
    /// Hits that were old, while a new response was made.
    stale: u64,
    waited: u64,
    called: u64,
    direct: u64,
    late: u64,
    failed: u64,
    /// Calls of the handlers behind the response cache, those in the background included.
    handler_calls: u64,
    /// Queries of the database, and those of the hot product among them.
    queries: u64,
    hot_queries: u64,
}

impl Counts {
    fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            hit: self.hit - earlier.hit,
            stale: self.stale - earlier.stale,
            waited: self.waited - earlier.waited,
            called: self.called - earlier.called,
            direct: self.direct - earlier.direct,
            late: self.late - earlier.late,
            failed: self.failed - earlier.failed,
            handler_calls: self.handler_calls - earlier.handler_calls,
            queries: self.queries - earlier.queries,
            hot_queries: self.hot_queries - earlier.hot_queries,
        }
    }
}

/// What happened in one tick.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// The samples' numbers have no gaps.
    number: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Latencies of the requests that ended, in microseconds.
    p50_us: u64,
    p99_us: u64,
    slowest_us: u64,
    /// Requests in progress at the end.
    open: u64,
}

/// A press of a button, and what happened in the three seconds after it, or until the next one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Action {
    number: u64,
    name: &'static str,
    /// Whether the generator asked through the caches.
    cached: bool,
    /// Whether the time is over.
    over: bool,
    #[serde(flatten)]
    counts: Counts,
    slowest_us: u64,
    #[serde(skip)]
    before: Counts,
    #[serde(skip)]
    ticks_left: u32,
}

struct Past {
    latencies: Histogram<u64>,
    counted: Counts,
    samples: VecDeque<Sample>,
    actions: VecDeque<Action>,
    taken: u64,
    acted: u64,
}

/// The counters. All operations on them are Relaxed: counters order nothing.
pub(crate) struct Record {
    database: Database,
    responses: ResponseCache,
    served: [AtomicU64; Served::ALL.len()],
    handler_calls: AtomicU64,
    open: AtomicU64,
    past: Mutex<Past>,
}

/// A request in progress. One that is dropped without an answer counts no more.
pub(crate) struct Open<'r> {
    record: &'r Record,
    began: Instant,
}

impl Open<'_> {
    /// Counts the request's answer.
    pub(crate) fn answered(self, served: Served) {
        let took = self.began.elapsed();
        metrics::counter!("service_requests_total", "served" => served.name()).increment(1);
        metrics::histogram!("service_request_duration_seconds", "served" => served.name()).record(took);
        self.record.served[served as usize].fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut past = self.record.past();
        past.latencies.saturating_record(took);
        if let Some(action) = past.actions.back_mut().filter(|action| !action.over) {
            action.slowest_us = action.slowest_us.max(took);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.record.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Record {
    pub(crate) fn new(database: Database, responses: ResponseCache) -> Self {
        metrics::describe_counter!("service_requests_total", "Requests for products, by how they were answered.");
        metrics::describe_histogram!("service_request_duration_seconds", "How long they took.");
        metrics::describe_counter!("service_handler_calls_total", "Calls of the handlers behind the response cache.");
        metrics::describe_counter!("service_queries_total", "Queries of the database.");
        // From a microsecond to a minute, to two digits.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 2).expect("the bounds are right");
        let past = Past {
            latencies,
            counted: Counts::default(),
            samples: VecDeque::new(),
            actions: VecDeque::new(),
            taken: 0,
            acted: 0,
        };
        Self {
            database,
            responses,
            served: Default::default(),
            handler_calls: AtomicU64::new(0),
            open: AtomicU64::new(0),
            past: Mutex::new(past),
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that begins.
    pub(crate) fn begin(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open { record: self, began: Instant::now() }
    }

    /// Counts a call of a handler behind the response cache.
    pub(crate) fn handler_called(&self) {
        metrics::counter!("service_handler_calls_total").increment(1);
        self.handler_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts since the service started.
    pub(crate) fn counts(&self) -> Counts {
        let of = |served: Served| self.served[served as usize].load(Ordering::Relaxed);
        let (queries, hot_queries) = self.database.queries();
        Counts {
            requests: Served::ALL.iter().map(|&(served, _)| of(served)).sum(),
            hit: of(Served::Hit),
            // (The header of a response does not tell when its tag was expired. The cache does.)
            stale: self.responses.stats().stale_serves,
            waited: of(Served::Waited),
            called: of(Served::Called),
            direct: of(Served::Direct),
            late: of(Served::Late),
            failed: of(Served::Failed),
            handler_calls: self.handler_calls.load(Ordering::Relaxed),
            queries,
            hot_queries,
        }
    }

    /// Returns how many requests are in progress.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Begins to follow an action, which is about to be done.
    pub(crate) fn follow(&self, name: &'static str, cached: bool) {
        let before = self.counts();
        let mut past = self.past();
        if let Some(last) = past.actions.back_mut() {
            last.over = true;
        }
        past.acted += 1;
        let number = past.acted;
        past.actions.push_back(Action {
            number,
            name,
            cached,
            over: false,
            counts: Counts::default(),
            slowest_us: 0,
            before,
            ticks_left: FOLLOWED,
        });
        if past.actions.len() > ACTIONS {
            past.actions.pop_front();
        }
    }

    /// Takes a sample: called once for each [`TICK`].
    pub(crate) fn tick(&self) {
        let counts = self.counts();
        let past = &mut *self.past();
        past.taken += 1;
        let at = |quantile| past.latencies.value_at_quantile(quantile);
        let sample = Sample {
            number: past.taken,
            counts: counts.since(past.counted),
            p50_us: at(0.5),
            p99_us: at(0.99),
            slowest_us: past.latencies.max(),
            open: self.open(),
        };
        past.latencies.reset();
        past.counted = counts;
        past.samples.push_back(sample);
        if past.samples.len() > SAMPLES {
            past.samples.pop_front();
        }
        if let Some(action) = past.actions.back_mut().filter(|action| !action.over) {
            action.counts = counts.since(action.before);
            action.ticks_left -= 1;
            action.over = action.ticks_left == 0;
        }
    }

    /// Returns the number of the latest sample.
    pub(crate) fn latest(&self) -> u64 {
        self.past().taken
    }

    /// Returns the samples after the one of this number, and the actions, the latest one first.
    pub(crate) fn since(&self, number: u64) -> (Vec<Sample>, Vec<Action>) {
        let past = self.past();
        let samples = past.samples.iter().filter(|sample| sample.number > number).copied().collect();
        (samples, past.actions.iter().rev().cloned().collect())
    }
}
