//! The contents of a cache as gauges, for the `metrics` facade.

use super::Cache;
use alloc::borrow::ToOwned;
use metrics::{counter, gauge};

impl<K, V, S> Cache<K, V, S> {
    /// Reports to the recorder of the `metrics` facade what no event reports: what the cache holds
    /// now, and how many hits and misses there were. Call it at intervals: where metrics are
    /// scraped, or by a timer.
    ///
    /// All metrics have the label `cache`, with the cache's [`name`](Self::name). The gauges are
    /// `bellwether_entries`, `bellwether_weight`, `bellwether_capacity` and
    /// `bellwether_retired_bytes`. The counters are `bellwether_hits_total` and
    /// `bellwether_misses_total`, set to [`Stats::hits`](crate::Stats::hits) and `misses` (only
    /// with [`record_stats`](crate::Builder::record_stats)). Caches of one name overwrite each
    /// other's metrics. [`MetricsObserver`](crate::MetricsObserver) describes these metrics, and
    /// reports all others.
    ///
    /// ```
    /// use bellwether::{Cache, MetricsObserver};
    /// let builder = Cache::builder().max_capacity(100).name("pages").record_stats();
    /// let cache: Cache<u32, String> = builder.observer(MetricsObserver::new()).build()?;
    /// cache.get(&1);
    /// cache.publish_metrics();
    /// // bellwether_misses_total{cache="pages"} is 1; bellwether_capacity{cache="pages"} is 100.
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn publish_metrics(&self) {
        let set = |name: &'static str, value: f64| gauge!(name, "cache" => self.name().to_owned()).set(value);
        let stats = self.stats();
        set("bellwether_entries", self.len() as f64);
        set("bellwether_weight", self.weight() as f64);
        set("bellwether_capacity", self.capacity() as f64);
        set("bellwether_retired_bytes", stats.retired_bytes as f64);
        if self.core.counters.lookups_counted() {
            let count = |name: &'static str, value| counter!(name, "cache" => self.name().to_owned()).absolute(value);
            count("bellwether_hits_total", stats.hits);
            count("bellwether_misses_total", stats.misses);
        }
    }
}
