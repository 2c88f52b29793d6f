//! What a tier tells, and observers for the `metrics` and `tracing` facades.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;

use crate::link::TierEvent;

/// Receives a tier's events, for metrics and logs: [`Builder::observer`](crate::Builder::observer).
/// A closure `Fn(&str, &TierEvent)` is one.
///
/// The task that keeps the link calls it, or a caller, or the task that reads the connection: it
/// must be quick, and must not panic. What it is told has been done: who hears of a push does not
/// find the old value in memory, and who hears of a queued write finds the queue unlocked. A hit of
/// memory calls no observer. What the memory level does (hits, loads and how long they take, waits)
/// is told to an observer of bellwether's, which [`Builder::memory`](crate::Builder::memory) sets.
pub trait TierObserver: Send + Sync {
    /// Takes an event of the tier with this namespace.
    fn observe(&self, namespace: &str, event: &TierEvent);
}

impl<F: Fn(&str, &TierEvent) + Send + Sync> TierObserver for F {
    fn observe(&self, namespace: &str, event: &TierEvent) {
        self(namespace, event);
    }
}
