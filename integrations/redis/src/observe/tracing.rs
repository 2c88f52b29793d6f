//! An observer that emits a tier's events as events of `tracing`.

use super::TierObserver;
use crate::link::TierEvent;
use tracing::{info, trace, warn};

/// The target of all events, for filters.
const TARGET: &str = "bellwether_redis";

/// An observer that emits a tier's events as events of [`tracing`].
///
/// All events have the target `bellwether_redis` and the field `tier`, with the tier's namespace.
/// None has the server's address, a user or a password.
///
/// | message | level | other fields |
/// |---|---|---|
/// | `link up` | info; warn without tracking | `tracking`, `replayed`, `outdated` |
/// | `link lost` | warn | |
/// | `connect failed` | warn | `why` |
/// | `queue overflow` | warn | |
/// | `value undecodable` | warn | |
/// | `counted` | trace | `name`, `number`: a field of [`Stats`](crate::Stats) |
///
/// [`bellwether::TracingObserver`] has those of the memory level.
///
/// ```no_run
/// # fn example() -> Result<(), bellwether_redis::BuildError> {
/// use bellwether_redis::{Tier, TracingObserver};
/// let builder = Tier::<u64, String>::builder("redis://127.0.0.1/")?;
/// let builder = builder.observer(TracingObserver::new());
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TracingObserver(());

impl TracingObserver {
    /// Creates the observer.
    pub const fn new() -> Self {
        Self(())
    }
}

impl TierObserver for TracingObserver {
    fn observe(&self, tier: &str, event: &TierEvent) {
        match *event {
            TierEvent::LinkUp { tracking: true, replayed, outdated } => {
                info!(target: TARGET, tier, tracking = true, replayed, outdated, "link up");
            }
            TierEvent::LinkUp { tracking, replayed, outdated } => {
                warn!(target: TARGET, tier, tracking, replayed, outdated, "link up");
            }
            TierEvent::LinkLost => warn!(target: TARGET, tier, "link lost"),
            TierEvent::ConnectFailed { ref why } => warn!(target: TARGET, tier, why, "connect failed"),
            TierEvent::QueueOverflow => warn!(target: TARGET, tier, "queue overflow"),
            TierEvent::Undecodable => warn!(target: TARGET, tier, "value undecodable"),
            TierEvent::Counted { name, number } => trace!(target: TARGET, tier, name, number, "counted"),
        }
    }
}
