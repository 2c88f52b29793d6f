//! The age of a value.

use crate::engine::Core;
use crate::flight::node::Node;
use core::time::Duration;

/// How old a value is. From [`Cache::get_stale`](crate::Cache::get_stale).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// The time since the value was loaded or inserted, as [`Entry::age`](crate::Entry::age) tells
    /// it.
    pub since_made: Duration,
    /// For how long the value has been over: the time since its time to live ended, or was ended
    /// ([`Cache::expire`](crate::Cache::expire) and its like). `None`: it is still fresh.
    pub stale_for: Option<Duration>,
}

impl Age {
    /// Returns the age of the value in this node.
    pub(crate) fn of<K, V>(core: &Core<K, V>, node: &Node<K, V>) -> Self {
        let now = core.config.time.now();
        Self { since_made: Duration::from_nanos(node.made_ago(core.nodes(), now)), stale_for: stale_for(core, node) }
    }
}

/// Returns for how long the value in this node has been over. Calls the user's `tags_with`.
pub(crate) fn stale_for<K, V>(core: &Core<K, V>, node: &Node<K, V>) -> Option<Duration> {
    let (now, since) = (core.config.time.now(), core.over_since(node));
    (now >= since).then(|| Duration::from_nanos(now - since))
}
