//! An observer that reports a cache's events to the `metrics` facade.

use super::labels;
use crate::engine::events::{CacheEvent, LoadEnding, Observer};
use alloc::borrow::ToOwned;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// An observer that reports a cache's events to the recorder of the [`metrics`] facade.
///
/// All metrics have the label `cache`, with the cache's [`name`](crate::Builder::name). So all
/// caches can share one observer, or have one each.
///
/// | metric | other labels | counts or measures |
/// |---|---|---|
/// | `bellwether_loads_total` | `kind` | loads that began |
/// | `bellwether_load_duration_seconds` (histogram) | `kind`, `ending` | loads that ended |
/// | `bellwether_load_failures_total` | `kind` | loads that ended in an error or a panic |
/// | `bellwether_waits_total` | | callers that waited for another caller's load |
/// | `bellwether_wait_duration_seconds` (histogram) | `ending` | these waits, once they end |
/// | `bellwether_wait_timeouts_total` | | waits that a deadline ended |
/// | `bellwether_stale_serves_total` | | old values served |
/// | `bellwether_evictions_total` | `cause` | values removed |
/// | `bellwether_rejected_total` | `cause` | values given to the cache and not kept |
/// | `bellwether_bypassed_total` | | loads for one caller alone, not stored |
/// | `bellwether_refused_total` | | callers that could neither load nor wait |
/// | `bellwether_answers_refused_total` | | refused answers of bulk loads |
/// | `bellwether_flights` (gauge) | | loads that have begun and not ended |
///
/// A forgotten lease stays in `bellwether_flights`. A bulk load's answer is refused if no caller
/// asked for its key, or if the key had an answer already. The labels have these values:
///
/// * `kind`: `missing`, `expired`, `early`, `forced`, `taken_over`, `compute`.
/// * `ending` of a load: `stored`, `not_stored`, `renewed`, `fenced`, `failed`, `panicked`,
///   `stood_down`, `given_up`.
/// * `ending` of a wait: `ready`, `failed`, `took_over`, `abandoned`, `left`.
/// * `cause` of a removal: `size`, `expired`, `explicit`, `replaced`.
/// * `cause` of a rejection: `too_heavy`, `zero_time_to_live`, `retired_memory`.
///
/// [`CacheEvent`] explains each event.
///
/// Hits are not observed, so that they cost nothing.
/// [`Cache::publish_metrics`](crate::Cache::publish_metrics) reports hits and the contents of the
/// cache. Call it at intervals: it adds the gauges `bellwether_entries`, `bellwether_weight`,
/// `bellwether_capacity` and `bellwether_retired_bytes`, and the counters `bellwether_hits_total`
/// and `bellwether_misses_total`.
///
/// Histograms are in seconds. Loads and waits take from some ten microseconds to some ten seconds,
/// so an exporter's default buckets may not suit. [`BUCKETS`](Self::BUCKETS) suit both.
///
/// Cost: for each event, the recorder's look-ups of its metrics, and an allocation for the labels
/// of each metric.
///
/// ```
/// use bellwether::{Cache, MetricsObserver};
///
/// // Install a recorder first (an exporter's `install`), so that it gets the descriptions.
/// let cache: Cache<u32, String> =
///     Cache::builder().max_capacity(100).name("pages").observer(MetricsObserver::new()).build()?;
/// cache.get_with(&1, || "one".to_owned());
/// // bellwether_loads_total{cache="pages", kind="missing"} is 1.
/// # Ok::<(), bellwether::BuildError>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
#[derive(Debug, Clone)]
pub struct MetricsObserver(());

impl MetricsObserver {
    /// Boundaries of histogram buckets, in seconds, that suit loads and waits: 10 µs to 30 s. For
    /// an exporter of Prometheus: `set_buckets_for_metric(matcher, &MetricsObserver::BUCKETS)` with
    /// the matcher `Matcher::Suffix("_duration_seconds".into())`.
    pub const BUCKETS: [f64; 16] =
        [1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

    /// Creates the observer, and describes its metrics to the recorder that is installed now. (Each
    /// event goes to the recorder that is installed when the event happens.)
    pub fn new() -> Self {
        let counters = [
            ("bellwether_loads_total", "Loads that began."),
            ("bellwether_load_failures_total", "Loads that ended in an error or a panic."),
            ("bellwether_waits_total", "Callers who waited for the load of another."),
            ("bellwether_wait_timeouts_total", "Waits that a deadline ended."),
            ("bellwether_stale_serves_total", "Old values given while or because there was no newer one."),
            ("bellwether_evictions_total", "Values removed, by cause."),
            ("bellwether_rejected_total", "Values given to the cache and not kept, by cause."),
            ("bellwether_bypassed_total", "Loads for one caller alone, not stored."),
            ("bellwether_hits_total", "Lookups whose caller was given a value that was there."),
            ("bellwether_misses_total", "Lookups whose caller was not."),
            ("bellwether_refused_total", "Callers who could neither load nor wait."),
            (
                "bellwether_answers_refused_total",
                "Answers of bulk loads for keys that nobody asked for, or that had one.",
            ),
        ];
        for (name, what) in counters {
            describe_counter!(name, Unit::Count, what);
        }
        let gauges = [
            ("bellwether_flights", "Loads in progress."),
            ("bellwether_entries", "Entries stored."),
            ("bellwether_weight", "Weight of the entries stored."),
            ("bellwether_capacity", "Weight that the cache may hold."),
        ];
        for (name, what) in gauges {
            describe_gauge!(name, Unit::Count, what);
        }
        describe_gauge!(
            "bellwether_retired_bytes",
            Unit::Bytes,
            "Bytes of entries that are removed and not yet freed."
        );
        describe_histogram!("bellwether_load_duration_seconds", Unit::Seconds, "How long loads took.");
        describe_histogram!("bellwether_wait_duration_seconds", Unit::Seconds, "How long callers waited for loads.");
        Self(())
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        let count = |name: &'static str| counter!(name, "cache" => cache.to_owned()).increment(1);
        match *event {
            CacheEvent::LoadStarted { kind } => {
                let kind = labels::kind(kind);
                counter!("bellwether_loads_total", "cache" => cache.to_owned(), "kind" => kind).increment(1);
                gauge!("bellwether_flights", "cache" => cache.to_owned()).increment(1.0);
            }
            CacheEvent::LoadEnded { kind, ending, took, .. } => {
                gauge!("bellwether_flights", "cache" => cache.to_owned()).decrement(1.0);
                let (kind, label) = (labels::kind(kind), labels::load_ending(ending));
                let name = "bellwether_load_duration_seconds";
                histogram!(name, "cache" => cache.to_owned(), "kind" => kind, "ending" => label).record(took);
                if matches!(ending, LoadEnding::Failed | LoadEnding::Panicked) {
                    counter!("bellwether_load_failures_total", "cache" => cache.to_owned(), "kind" => kind)
                        .increment(1);
                }
            }
            CacheEvent::WaitStarted => count("bellwether_waits_total"),
            CacheEvent::WaitEnded { ending, took } => {
                let ending = labels::wait_ending(ending);
                let name = "bellwether_wait_duration_seconds";
                histogram!(name, "cache" => cache.to_owned(), "ending" => ending).record(took);
            }
            CacheEvent::WaitTimedOut => count("bellwether_wait_timeouts_total"),
            CacheEvent::StaleServed => count("bellwether_stale_serves_total"),
            CacheEvent::Removed { cause } => {
                let cause = labels::cause(cause);
                counter!("bellwether_evictions_total", "cache" => cache.to_owned(), "cause" => cause).increment(1);
            }
            CacheEvent::Rejected { cause } => {
                let cause = labels::rejection(cause);
                counter!("bellwether_rejected_total", "cache" => cache.to_owned(), "cause" => cause).increment(1);
            }
            CacheEvent::Bypassed => count("bellwether_bypassed_total"),
            CacheEvent::Refused => count("bellwether_refused_total"),
            CacheEvent::AnswerRefused => count("bellwether_answers_refused_total"),
        }
    }
}
