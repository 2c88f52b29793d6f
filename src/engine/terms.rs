//! The weight and times with which a value is kept.

use super::rejected::RejectionCause;
use super::{Core, Operation};
use crate::flight::expiry::{Timestamps, Ttl};
use crate::runtime::xfetch::{self, NEVER};

/// The weight and times with which a value is kept. User code decides on them, and is asked before
/// the flight is touched.
#[derive(Clone, Copy)]
pub(crate) struct EntryMeta {
    /// 0: the value is handed over only.
    pub(crate) weight: u32,
    pub(crate) stamps: Timestamps,
    /// Why the weight is 0.
    pub(crate) rejected: Option<RejectionCause>,
}

impl<K, V> Core<K, V> {
    /// Runs the weigher, `ttl_with` and `tags_with`. `own` is a time to live of this value alone.
    /// `delta` is how long the value took to load, in ns (0: it was not loaded). `start` is the tag
    /// sequence with which the load began ([`Core::tag_sequence`]).
    pub(crate) fn entry_meta(&self, key: &K, value: &V, own: Option<Ttl>, (start, delta): (u64, u64)) -> EntryMeta {
        let weight = self.config.weigher.as_ref().map_or(1, |weigh| weigh(key, value).max(1));
        let stamps = self.times(key, value, own, (start, delta));
        let rejected = match stamps.expires == stamps.born {
            true => Some(RejectionCause::ZeroTimeToLive),
            false => Operation::rejects(self, weight),
        };
        EntryMeta { weight: if rejected.is_none() { weight } else { 0 }, stamps, rejected }
    }

    /// Returns the times of a value. Runs `ttl_with` and `tags_with`.
    pub(crate) fn times(&self, key: &K, value: &V, own: Option<Ttl>, (start, delta): (u64, u64)) -> Timestamps {
        let own = own.or_else(|| self.config.ttl_with.as_ref().and_then(|f| f(key, value)).map(Ttl::jittered));
        let ttl = match own {
            Some(Ttl::Exactly(ttl)) => ttl,
            Some(Ttl::Jittered(ttl)) => xfetch::jittered(ttl, self.config.jitter, self.random()),
            None if self.config.ttl == NEVER => NEVER,
            None => xfetch::jittered(self.config.ttl, self.config.jitter, self.random()),
        };
        let mut stamps = self.stamps(ttl, (start, delta));
        if self.config.groups.as_ref().is_some_and(|groups| groups.has_tags(key, value)) {
            stamps.hot = stamps.hot.with_tags();
        }
        stamps
    }

    fn stamps(&self, ttl: u64, (tag_sequence, delta): (u64, u64)) -> Timestamps {
        let born = self.config.time.now();
        let expires = xfetch::expires_at(born, ttl);
        Timestamps { born, expires, hot: self.hot(born, expires, delta), tag_sequence }
    }
}
