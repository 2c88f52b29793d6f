//! An observer that emits a cache's events as events of `tracing`.

use super::labels;
use crate::engine::events::{CacheEvent, LoadEnding, Observer};
use tracing::{debug, error, trace, warn};

/// The target of all events, for filters.
const TARGET: &str = "bellwether";

/// An observer that emits a cache's events as events of [`tracing`]. Each event is in the span of
/// the caller whose operation caused it.
///
/// All events have the target `bellwether` and the field `cache`, with the cache's
/// [`name`](crate::Builder::name).
///
/// | message | level | other fields |
/// |---|---|---|
/// | `load started` | debug | `kind` |
/// | `load ended` | debug, or as below | `kind`, `ending`, `took_seconds` |
/// | `wait started` | trace | |
/// | `wait ended` | trace | `ending`, `took_seconds` |
/// | `wait timed out` | warn | |
/// | `stale value served` | debug | |
/// | `value removed` | trace | `cause` |
/// | `value rejected` | debug | `cause` |
/// | `load bypassed` | debug | |
/// | `caller refused` | warn | |
/// | `answer refused` | warn | |
///
/// `load ended` has the level warn if the load failed or its lease was taken over, and error if the
/// loader panicked. [`CacheEvent`] explains each event. `kind`, `ending` and `cause` are strings in
/// snake case; times are floats. Hits and misses are not observed.
///
/// Cost: for each event, the subscriber's own cost; a few instructions where the event's level is
/// off.
///
/// ```
/// use bellwether::{Cache, TracingObserver};
///
/// let cache: Cache<u32, String> =
///     Cache::builder().max_capacity(100).name("pages").observer(TracingObserver::new()).build()?;
/// cache.get_with(&1, || "one".to_owned());
/// // DEBUG bellwether: load started cache="pages" kind="missing"
/// // DEBUG bellwether: load ended cache="pages" kind="missing" ending="stored" took_seconds=2e-6
/// # Ok::<(), bellwether::BuildError>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
#[derive(Debug, Clone, Default)]
pub struct TracingObserver(());

impl TracingObserver {
    /// Creates the observer.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Observer for TracingObserver {
    fn observe(&self, cache: &str, event: &CacheEvent) {
        match *event {
            CacheEvent::LoadStarted { kind } => {
                debug!(target: TARGET, cache, kind = labels::kind(kind), "load started");
            }
            CacheEvent::LoadEnded { kind, ending, took, .. } => {
                let (kind, label, took_seconds) = (labels::kind(kind), labels::load_ending(ending), took.as_secs_f64());
                match ending {
                    LoadEnding::Panicked => {
                        error!(target: TARGET, cache, kind, ending = label, took_seconds, "load ended");
                    }
                    LoadEnding::Failed | LoadEnding::Fenced => {
                        warn!(target: TARGET, cache, kind, ending = label, took_seconds, "load ended");
                    }
                    LoadEnding::Stored
                    | LoadEnding::NotStored
                    | LoadEnding::Renewed
                    | LoadEnding::NotFound
                    | LoadEnding::StoodDown
                    | LoadEnding::GivenUp => {
                        debug!(target: TARGET, cache, kind, ending = label, took_seconds, "load ended");
                    }
                }
            }
            CacheEvent::WaitStarted => trace!(target: TARGET, cache, "wait started"),
            CacheEvent::WaitEnded { ending, took } => {
                let (ending, took_seconds) = (labels::wait_ending(ending), took.as_secs_f64());
                trace!(target: TARGET, cache, ending, took_seconds, "wait ended");
            }
            CacheEvent::WaitTimedOut => warn!(target: TARGET, cache, "wait timed out"),
            CacheEvent::StaleServed => debug!(target: TARGET, cache, "stale value served"),
            CacheEvent::Removed { cause } => {
                trace!(target: TARGET, cache, cause = labels::cause(cause), "value removed");
            }
            CacheEvent::Rejected { cause } => {
                debug!(target: TARGET, cache, cause = labels::rejection(cause), "value rejected");
            }
            CacheEvent::Bypassed => debug!(target: TARGET, cache, "load bypassed"),
            CacheEvent::Refused => warn!(target: TARGET, cache, "caller refused"),
            CacheEvent::AnswerRefused => warn!(target: TARGET, cache, "answer refused"),
        }
    }
}
