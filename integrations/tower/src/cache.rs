//! The store that all layers of a process share.

use crate::invalidation::Invalidation;
use crate::key::KeyRef;
use crate::settings::Settings;
use crate::store::Store;
use bellwether::{Clock, Stats, ToKey};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub(crate) type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A store of responses. It is a handle: its clones are the same store.
///
/// [`layer`](Self::layer) makes the layer of a route, which has settings of its own. Handlers keep
/// a clone to invalidate what they change.
#[derive(Clone)]
pub struct ResponseCache {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) cache: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wall_clock: WallClock,
    pub(crate) name: Box<str>,
    pub(crate) defaults: Settings,
    /// Responses may be made anew before their time is over.
    pub(crate) early: bool,
    random: RandomState,
    rules: AtomicU64,
}

impl Inner {
    pub(crate) fn new(
        cache: Store,
        clock: Arc<dyn Clock>,
        wall_clock: WallClock,
        name: Box<str>,
        defaults: Settings,
        early: bool,
    ) -> Self {
        Self { cache, clock, wall_clock, name, defaults, early, random: RandomState::new(), rules: AtomicU64::new(0) }
    }

    /// Returns a number for a rule of `Vary` that no other rule has, of any process.
    pub(crate) fn next_rule(&self) -> u64 {
        self.random.hash_one(self.rules.fetch_add(1, Ordering::Relaxed))
    }
}

/// Each of the methods that end responses has done so in this process when it returns. If the store
/// has a second level (`Builder::build_on`, of the feature `redis`), other processes are told in
/// the background; the [`Invalidation`] can be awaited for that.
impl ResponseCache {
    /// Removes each response with this tag: from its `Surrogate-Key` headers, or from the layer's
    /// [`tag`](crate::CacheLayer::tag) and [`tags_with`](crate::CacheLayer::tags_with).
    ///
    /// What handlers are making at this moment is handed to the requests that wait for it, and not
    /// stored. Cost: one write, however many responses have the tag.
    pub fn invalidate_tag(&self, tag: &str) -> Invalidation {
        self.inner.cache.invalidate_tag(tag)
    }

    /// Ends the time of each response with this tag. Those with `stale-while-revalidate` or
    /// `stale-if-error` are served while one request calls the handler.
    ///
    /// With a second level it removes them, as [`invalidate_tag`](Self::invalidate_tag) does.
    #[doc(alias = "soft_purge")]
    pub fn expire_tag(&self, tag: &str) -> Invalidation {
        self.inner.cache.expire_tag(tag)
    }

    /// Removes the responses of one URI, with all variants, for GET and HEAD. `host` is as in the
    /// `Host` header, `target` the path with the query.
    ///
    /// It does nothing for routes with a [`key`](crate::CacheLayer::key) of their own: see
    /// [`invalidate_key`](Self::invalidate_key).
    pub fn invalidate(&self, host: &str, target: &str) -> Invalidation {
        self.inner.cache.invalidate(&KeyRef::of_parts(host, target).to_key())
    }

    /// Ends the time of the response of one URI: of that which was stored first, if there are
    /// variants by `Vary`. It is served while one request calls the handler, as its windows say.
    ///
    /// With a second level memory drops it, and the second level keeps it for its windows: it
    /// stands in for a failure, and is served while another process calls the handler.
    pub fn expire(&self, host: &str, target: &str) -> Invalidation {
        self.inner.cache.expire(&KeyRef::of_parts(host, target).to_key())
    }

    /// Removes the responses under a key that a [`key`](crate::CacheLayer::key) function made.
    pub fn invalidate_key(&self, key: &str) -> Invalidation {
        self.inner.cache.invalidate(&KeyRef::custom(key.to_owned()).to_key())
    }

    /// Removes all responses. Cost: one write.
    pub fn invalidate_all(&self) -> Invalidation {
        self.inner.cache.invalidate_all()
    }

    /// Returns the counts. Hits and misses need [`record_stats`](crate::Builder::record_stats).
    pub fn stats(&self) -> Stats {
        self.inner.cache.stats()
    }

    /// Returns how many responses are stored, with the marks for those that may not be.
    pub fn len(&self) -> usize {
        self.inner.cache.len()
    }

    /// Returns whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes the stored responses take, about: bodies, headers and keys.
    pub fn bytes(&self) -> u64 {
        self.inner.cache.weight()
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("name", &self.inner.name)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
