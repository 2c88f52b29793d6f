//! The two ready observers, against a recorder and a subscriber that write down what they are given.
#![cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../common/mod.rs"]
mod common;

use bellwether::{Answers, Cache, Load, Lookup, ManualClock, MetricsObserver, TracingObserver};
use common::tasks::Task;
use common::*;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key as Metric, KeyName, Metadata, SharedString, Unit,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span;

/// A bit of everything that is told, on a cache called `pages`.
fn everything(builder: bellwether::Builder<Key, u64>, clock: &ManualClock) {
    let builder = builder.name("pages").record_stats().max_capacity(3).time_to_live(10 * SECOND).xfetch(1e9);
    let builder = builder.wait_timeout(5 * SECOND).bypass(true).stale_while_refresh(5 * SECOND).max_loads(1);
    let cache = builder.loader(Odd).build().unwrap();
    // A load of two seconds, and early refreshes: one fails, one panics, one is stored.
    cache.get_with(&1, || (clock.advance(2 * SECOND), 1).1);
    let fails = || (clock.advance(SECOND), Err::<u64, _>(Broken("no"))).1;
    cache.try_get_with(&1, fails).unwrap();
    clock.advance(SECOND);
    let panics = || cache.get_with(&1, || panic!("the loader panics, as it was told to"));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(panics))).is_err());
    clock.advance(SECOND);
    assert_eq!(cache.get_with(&1, || 2), 2);
    // One who waits, until its deadline; one who is refused.
    let lease = cache.lease(&2);
    let mut waiting = Task::new(cache.get_with_async(&2, || async { 7 }));
    waiting.step();
    clock.advance(5 * SECOND);
    assert_eq!(waiting.poll(), Some(7));
    assert!(matches!(cache.lease(&3), Lookup::Wait(_)));
    drop(lease);
    // Removals, of each cause.
    (4..7).for_each(|key| cache.insert(key, 0));
    cache.insert(6, 1);
    cache.remove(&6);
    clock.advance(20 * SECOND);
    assert_eq!(cache.purge_expired(), 2);
    // One that is not kept, and a bulk load that answers for another key.
    cache.insert_with_ttl(6, 1, Duration::ZERO);
    assert!(cache.load_all(&[7])[0].is_err());
    // What is told when it is asked for: two entries, and a load in progress.
    (30..32).for_each(|key| cache.insert(key, 0));
    assert_eq!((cache.get(&30), cache.get(&33)), (Some(0), None));
    let lease = cache.lease(&40);
    cache.publish_metrics();
    std::mem::forget(lease);
}

/// Answers for no key that it is asked for.
struct Odd;

impl Load<Key, u64> for Odd {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        unreachable!("only in bulk")
    }
    fn load_all(&self, _: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        assert!(!answers.put(&8, 1));
        answers.fail_rest(Broken("no"));
    }
}

/// Counts, sums, and names that were described.
#[derive(Default)]
struct Recorder {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Mutex<BTreeSet<String>>,
}

struct Value(String, Arc<Mutex<BTreeMap<String, f64>>>);

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.record(by as f64);
    }
    fn absolute(&self, value: u64) {
        self.1.lock().unwrap().insert(self.0.clone(), value as f64);
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        *self.1.lock().unwrap().entry(self.0.clone()).or_default() += value;
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.record(by);
    }
    fn decrement(&self, by: f64) {
        self.record(-by);
    }
    fn set(&self, value: f64) {
        self.1.lock().unwrap().insert(self.0.clone(), value);
    }
}

impl Recorder {
    fn value(&self, key: &Metric) -> Arc<Value> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        Arc::new(Value(format!("{}{}", key.name(), labels.collect::<String>()), self.values.clone()))
    }
    fn describe(&self, key: KeyName, unit: Option<Unit>) {
        assert_eq!(key.as_str().ends_with("_seconds"), unit == Some(Unit::Seconds));
        assert!(self.described.lock().unwrap().insert(key.as_str().to_owned()), "once");
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(key, unit);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(key, unit);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(key, unit);
    }
    fn register_counter(&self, key: &Metric, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }
    fn register_gauge(&self, key: &Metric, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }
    fn register_histogram(&self, key: &Metric, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}

#[test]
fn what_the_metrics_recorder_gets() {
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || {
        let (builder, clock) = timed();
        everything(builder.observer(MetricsObserver::new()), &clock);
    });
    let got = recorder.values.lock().unwrap();
    let told = |(name, value): (&String, &f64)| match name.starts_with("bellwether_retired_bytes") {
        // How many depends on what an entry takes, and on when it is freed.
        true => format!("{name} some"),
        false => format!("{name} {value}"),
    };
    let got: Vec<String> = got.iter().map(told).collect();
    let expected = [
        "bellwether_answers_refused_total cache=pages 1",
        "bellwether_bypassed_total cache=pages 1",
        "bellwether_capacity cache=pages 3",
        "bellwether_entries cache=pages 2",
        "bellwether_evictions_total cache=pages cause=expired 2",
        "bellwether_evictions_total cache=pages cause=explicit 1",
        "bellwether_evictions_total cache=pages cause=replaced 2",
        "bellwether_evictions_total cache=pages cause=size 1",
        "bellwether_flights cache=pages 1",
        "bellwether_hits_total cache=pages 2",
        "bellwether_load_duration_seconds cache=pages kind=early ending=failed 1",
        "bellwether_load_duration_seconds cache=pages kind=early ending=panicked 0",
        "bellwether_load_duration_seconds cache=pages kind=early ending=stored 0",
        "bellwether_load_duration_seconds cache=pages kind=missing ending=failed 0",
        "bellwether_load_duration_seconds cache=pages kind=missing ending=given_up 5",
        "bellwether_load_duration_seconds cache=pages kind=missing ending=stored 2",
        "bellwether_load_failures_total cache=pages kind=early 2",
        "bellwether_load_failures_total cache=pages kind=missing 1",
        "bellwether_loads_total cache=pages kind=early 3",
        "bellwether_loads_total cache=pages kind=missing 4",
        "bellwether_misses_total cache=pages 9",
        "bellwether_refused_total cache=pages 1",
        "bellwether_rejected_total cache=pages cause=zero_time_to_live 1",
        "bellwether_retired_bytes cache=pages some",
        "bellwether_stale_serves_total cache=pages 1",
        "bellwether_wait_duration_seconds cache=pages ending=left 5",
        "bellwether_wait_timeouts_total cache=pages 1",
        "bellwether_waits_total cache=pages 1",
        "bellwether_weight cache=pages 2",
    ];
    assert_eq!(got, expected);
    let used: BTreeSet<String> = got.iter().filter_map(|line| line.split(' ').next()).map(String::from).collect();
    assert_eq!(*recorder.described.lock().unwrap(), used, "each is described");
}

/// Writes events down as lines: level, message, fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Line(String, String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        } else {
            self.1 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if event.metadata().target() == "bellwether" {
            self.0.lock().unwrap().push(format!("{} {}{}", event.metadata().level(), line.0, line.1));
        }
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn what_the_tracing_subscriber_gets() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let (builder, clock) = timed();
        everything(builder.observer(TracingObserver::new()), &clock);
    });
    let expected = [
        r#"DEBUG load started cache="pages" kind="missing""#,
        r#"DEBUG load ended cache="pages" kind="missing" ending="stored" took_seconds=2.0"#,
        r#"DEBUG load started cache="pages" kind="early""#,
        r#"WARN load ended cache="pages" kind="early" ending="failed" took_seconds=1.0"#,
        r#"DEBUG stale value served cache="pages""#,
        r#"DEBUG load started cache="pages" kind="early""#,
        r#"ERROR load ended cache="pages" kind="early" ending="panicked" took_seconds=0.0"#,
        r#"DEBUG load started cache="pages" kind="early""#,
        r#"TRACE value removed cache="pages" cause="replaced""#,
        r#"DEBUG load ended cache="pages" kind="early" ending="stored" took_seconds=0.0"#,
        r#"DEBUG load started cache="pages" kind="missing""#,
        r#"TRACE wait started cache="pages""#,
        r#"WARN wait timed out cache="pages""#,
        r#"TRACE wait ended cache="pages" ending="left" took_seconds=5.0"#,
        r#"DEBUG load bypassed cache="pages""#,
        r#"WARN caller refused cache="pages""#,
        r#"DEBUG load ended cache="pages" kind="missing" ending="given_up" took_seconds=5.0"#,
        r#"TRACE value removed cache="pages" cause="size""#,
        r#"TRACE value removed cache="pages" cause="replaced""#,
        r#"TRACE value removed cache="pages" cause="explicit""#,
        r#"TRACE value removed cache="pages" cause="expired""#,
        r#"TRACE value removed cache="pages" cause="expired""#,
        r#"DEBUG value rejected cache="pages" cause="zero_time_to_live""#,
        r#"DEBUG load started cache="pages" kind="missing""#,
        r#"WARN load ended cache="pages" kind="missing" ending="failed" took_seconds=0.0"#,
        r#"WARN answer refused cache="pages""#,
        r#"DEBUG load started cache="pages" kind="missing""#,
    ];
    assert_eq!(*lines.0.lock().unwrap(), expected);
}

#[test]
fn both_at_once() {
    let (recorder, lines) = (Recorder::default(), Lines::default());
    let load = || {
        let both = (MetricsObserver::default(), TracingObserver::default());
        let cache: TestCache = Cache::builder().max_capacity(3).observer(both).build().unwrap();
        cache.get_with(&1, || 1);
    };
    metrics::with_local_recorder(&recorder, || tracing::subscriber::with_default(lines.clone(), load));
    // Loads begun, loads in progress, and how long the one has taken.
    assert_eq!(recorder.values.lock().unwrap().len(), 3);
    assert_eq!(lines.0.lock().unwrap().len(), 2);
}
