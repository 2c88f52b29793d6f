//! The observers for `metrics` and `tracing`.
#![cfg(all(feature = "metrics", feature = "tracing"))]

use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{MetricsObserver, TracingObserver};
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span;

/// What was recorded: by name and tier.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<HashMap<String, f64>>>);

struct One(Record, String);

impl One {
    fn change(&self, to: impl FnOnce(f64) -> f64) {
        let mut all = self.0.0.lock().unwrap();
        let value = all.entry(self.1.clone()).or_default();
        *value = to(*value);
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.change(|before| before + value as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.change(|before| before + value);
    }
    fn decrement(&self, value: f64) {
        self.change(|before| before - value);
    }
    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl Record {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::new(One(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }

    fn get(&self, name: &str) -> f64 {
        let all = self.0.lock().unwrap();
        all.get(&format!("bellwether_redis_{name} observed")).copied().unwrap_or(f64::NAN)
    }
}

impl Recorder for Record {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The events of this test's tier, as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "bellwether_redis"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn what_a_tier_does_is_counted_and_told_without_secrets() {
    with_server(|mut server| async move {
        // For the whole process: events come from the runtime's threads. Other tests have no such
        // observers.
        let (record, lines) = (Record::default(), Lines::default());
        metrics::set_global_recorder(record.clone()).unwrap();
        tracing::subscriber::set_global_default(lines.clone()).unwrap();
        let url = format!("redis://:hunter2@127.0.0.1:{}/", server.port());
        let mut conn = server.connection().await;
        let user = ["SETUSER", "default", "on", ">hunter2", "~*", "&*", "+@all"];
        redis::cmd("ACL").arg(&user).query_async::<()>(&mut conn).await.unwrap();
        let observed = builder(&url).namespace("observed").observer(MetricsObserver::new());
        let tier = up(observed.observer(TracingObserver::new())).await;
        let other = up(builder(&url).namespace("observed")).await;
        let source = Source::new();
        let get = async |key: &str| tier.try_get_with_async(key, || source.load(key)).await.unwrap();
        get("k").await;
        other.insert("k".into(), "new".into()).await.unwrap();
        eventually("the push is counted", || record.get("pushes_total") > 0.0).await;
        get("k").await;
        eventually("the link is up", || record.get("link_up") == 1.0).await;
        assert_eq!((record.get("shared_loads_total"), record.get("shared_hits_total")), (1.0, 1.0));
        server.kill();
        eventually("the link is lost", || record.get("link_up") == 0.0).await;
        tier.insert("k".into(), "queued".into()).await.unwrap();
        eventually("an attempt is counted", || record.get("connect_failures_total") > 0.0).await;
        server.run();
        eventually("the link is up again", || record.get("link_up") == 1.0).await;
        let named = tier.stats().named();
        for (name, number) in named.iter().filter(|(_, number)| *number > 0) {
            eventually("the counters agree", || record.get(&format!("{name}_total")) >= *number as f64).await;
        }
        let lines = lines.0.lock().unwrap().clone();
        let has = |level: &str, message: &str| {
            let found = lines.iter().any(|line| line.starts_with(level) && line.contains(message));
            assert!(found && lines.iter().all(|line| line.contains("tier=\"observed\"")), "{message}: {lines:?}");
        };
        has("INFO", "message=link up");
        has("WARN", "message=link lost");
        has("WARN", "message=connect failed");
        has("TRACE", "name=\"shared_loads\"");
        assert!(!lines.iter().any(|line| line.contains("hunter2") || line.contains("127.0.0.1")), "{lines:?}");
    });
}
