//! An observer that counts a tier's events by the `metrics` facade.

use super::TierObserver;
use crate::link::TierEvent;
use crate::stats::Stats;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// An observer that counts a tier's events by the [`metrics`] facade.
///
/// All metrics have the label `tier`, with the tier's namespace. Each field of [`Stats`] is a
/// counter: `bellwether_redis_<field>_total`. `bellwether_redis_connect_failures_total` counts
/// attempts to connect that have failed. Gauges: `bellwether_redis_link_up` and
/// `bellwether_redis_link_tracking`, 1 or 0.
///
/// [`bellwether::MetricsObserver`] has those of the memory level.
///
/// ```no_run
/// # fn example() -> Result<(), bellwether_redis::BuildError> {
/// use bellwether_redis::{MetricsObserver, Tier};
/// // Install a recorder first (an exporter's `install`), so that it gets the descriptions.
/// let builder = Tier::<u64, String>::builder("redis://127.0.0.1/")?
///     .namespace("users")
///     .observer(MetricsObserver::new())
///     .memory(|memory| memory.name("users").observer(bellwether::MetricsObserver::new()));
/// // bellwether_redis_shared_loads_total{tier="users"} will count the loads.
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
///
/// Cost: for each event, the recorder's look-up of its metric, and two allocations.
#[derive(Debug, Clone)]
pub struct MetricsObserver(());

impl MetricsObserver {
    /// Creates the observer, and describes its metrics to the recorder that is installed now. (Each
    /// event goes to the recorder that is installed when the event happens.)
    pub fn new() -> Self {
        for (name, _) in Stats::default().named() {
            describe_counter!(total(name), Unit::Count, format!("As `Stats::{name}` of bellwether-redis."));
        }
        let failures = "bellwether_redis_connect_failures_total";
        describe_counter!(failures, Unit::Count, "Attempts to connect that have failed.");
        describe_gauge!("bellwether_redis_link_up", "Whether the server answers.");
        describe_gauge!("bellwether_redis_link_tracking", "Whether the server announces changes.");
        Self(())
    }
}

fn total(name: &str) -> String {
    format!("bellwether_redis_{name}_total")
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl TierObserver for MetricsObserver {
    fn observe(&self, namespace: &str, event: &TierEvent) {
        let link = |up: bool, tracking: bool| {
            for (name, is) in [("bellwether_redis_link_up", up), ("bellwether_redis_link_tracking", tracking)] {
                gauge!(name, "tier" => namespace.to_owned()).set(f64::from(u8::from(is)));
            }
        };
        match event {
            TierEvent::Counted { name, number } => {
                counter!(total(name), "tier" => namespace.to_owned()).increment(*number);
            }
            TierEvent::LinkUp { tracking, .. } => link(true, *tracking),
            TierEvent::LinkLost => link(false, false),
            TierEvent::ConnectFailed { .. } => {
                counter!("bellwether_redis_connect_failures_total", "tier" => namespace.to_owned()).increment(1);
            }
            // These are counted, too.
            TierEvent::QueueOverflow | TierEvent::Undecodable => {}
        }
    }
}
