//! The observers for `metrics` and `tracing`.
#![cfg(all(feature = "metrics", feature = "tracing"))]

use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{MetricsObserver, TierEvent, TracingObserver};
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, mpsc};
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

/// A tier that its own observer uses: empty until it is built and after the test.
type Later = Arc<Mutex<Option<Texts>>>;

#[test]
fn who_hears_of_a_push_does_not_find_the_old_value() {
    with_server(|server| async move {
        let (later, found) = (Later::default(), Arc::new(Mutex::new(Vec::new())));
        let observer = {
            let (later, found) = (later.clone(), found.clone());
            move |_: &str, event: &TierEvent| {
                let tier = later.lock().unwrap().clone();
                if let (Some(tier), TierEvent::Counted { name: "pushes", .. }) = (tier, event) {
                    found.lock().unwrap().push(tier.get("k"));
                }
            }
        };
        let (tier, other) = (up(builder(&server.url()).observer(observer)).await, tier(&server.url()).await);
        *later.lock().unwrap() = Some(tier.clone());
        let source = Source::new();
        assert_eq!(tier.try_get_with_async("k", || source.load("k")).await.unwrap(), "k#1");
        assert_eq!(tier.get("k").as_deref(), Some("k#1"));
        other.insert("k".into(), "new".into()).await.unwrap();
        eventually("the push is told", || !found.lock().unwrap().is_empty()).await;
        assert_eq!(*found.lock().unwrap(), [None]);
        *later.lock().unwrap() = None;
    });
}

#[test]
fn who_hears_of_a_queued_write_may_write() {
    with_server(|mut server| async move {
        let (later, wrote) = (Later::default(), Arc::new(Mutex::new(Vec::new())));
        let observer = {
            let (later, wrote, runtime) = (later.clone(), wrote.clone(), tokio::runtime::Handle::current());
            move |_: &str, event: &TierEvent| {
                let TierEvent::Counted { name: "queued_writes" | "queue_overflows", .. } = event else { return };
                // Once for each event of the test's own; not for the one that this write makes.
                let Some(tier) = later.lock().unwrap().take() else { return };
                let (done, end) = mpsc::channel();
                let runtime = runtime.clone();
                std::thread::spawn(move || done.send(runtime.block_on(tier.invalidate("told")).is_ok()));
                wrote.lock().unwrap().push(end.recv_timeout(PATIENCE));
            }
        };
        let tier = up(builder(&server.url()).max_queued_writes(1).observer(observer)).await;
        server.kill();
        link_down(&tier).await;
        for _ in 0..2 {
            *later.lock().unwrap() = Some(tier.clone());
            tier.insert("k".into(), "queued".into()).await.unwrap();
        }
        assert_eq!(*wrote.lock().unwrap(), [Ok(true), Ok(true)]);
    });
}
