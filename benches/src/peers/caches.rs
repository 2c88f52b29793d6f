//! The peers behind one face, each set up as its documentation recommends.

use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};
use mini_moka::sync::ConcurrentCacheExt;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter, sync::DefaultLifecycle};
use tinyufo::TinyUfo;

/// Requests between two calls of `run_pending_tasks` (moka) and `sync` (mini-moka). Both queue reads and writes and
/// settle them later: on their own when a queue has 64 of them, or by the clock. Called more often, both hit less, since
/// what is queued is in the cache above its capacity. Called less often or never, they stay within 0.1 points.
const MAINTENANCE: u32 = 64;

/// A cache from `u64` to `u64` in which all entries weigh the same.
pub(crate) trait Peer {
    /// The value of a key that is there.
    fn get(&mut self, key: u64) -> Option<u64>;
    /// Stores a value, or offers it: some caches may refuse.
    fn insert(&mut self, key: u64, value: u64);
    /// How many entries it says it holds, once it has settled; `None` if it cannot tell.
    fn len(&mut self) -> Option<u64>;
}

/// A peer by its name.
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    /// An empty cache for so many entries.
    pub(crate) new: fn(u64) -> Box<dyn Peer>,
}

/// Those in shards (quick_cache and foyer) take part twice: as they come, and in one shard, which is all that a single
/// thread needs.
pub(crate) const PEERS: [Entrant; 11] = [
    Entrant { name: "moka", new: |capacity| Box::new(Moka::new(capacity)) },
    Entrant { name: "mini-moka", new: |capacity| Box::new(MiniMoka::new(capacity)) },
    Entrant { name: "quick_cache", new: |capacity| Box::new(quick_cache::sync::Cache::new(size(capacity))) },
    Entrant { name: "quick_cache, 1 shard", new: |capacity| Box::new(quick_in_one_shard(capacity)) },
    Entrant { name: "foyer LFU", new: |capacity| foyer(capacity, DEFAULT_SHARDS, LfuConfig::default()) },
    Entrant { name: "foyer LFU, 1 shard", new: |capacity| foyer(capacity, 1, LfuConfig::default()) },
    Entrant { name: "foyer S3-FIFO", new: |capacity| foyer(capacity, DEFAULT_SHARDS, S3FifoConfig::default()) },
    Entrant { name: "foyer S3-FIFO, 1 shard", new: |capacity| foyer(capacity, 1, S3FifoConfig::default()) },
    Entrant { name: "foyer LRU", new: |capacity| foyer(capacity, DEFAULT_SHARDS, LruConfig::default()) },
    Entrant { name: "foyer LRU, 1 shard", new: |capacity| foyer(capacity, 1, LruConfig::default()) },
    Entrant { name: "TinyUFO", new: |capacity| Box::new(TinyUfo::new(size(capacity), size(capacity))) },
];

/// foyer's own.
const DEFAULT_SHARDS: usize = 8;

fn size(capacity: u64) -> usize {
    usize::try_from(capacity).expect("a capacity that the machine can hold")
}

/// moka, whose maintenance is done every [`MAINTENANCE`] requests.
struct Moka {
    cache: moka::sync::Cache<u64, u64>,
    requests: u32,
}

impl Moka {
    fn new(capacity: u64) -> Self {
        Self { cache: moka::sync::Cache::new(capacity), requests: 0 }
    }
}

impl Peer for Moka {
    fn get(&mut self, key: u64) -> Option<u64> {
        self.requests += 1;
        if self.requests.is_multiple_of(MAINTENANCE) {
            self.cache.run_pending_tasks();
        }
        self.cache.get(&key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.cache.insert(key, value);
    }

    fn len(&mut self) -> Option<u64> {
        self.cache.run_pending_tasks();
        Some(self.cache.entry_count())
    }
}

/// mini-moka, in the same way.
struct MiniMoka {
    cache: mini_moka::sync::Cache<u64, u64>,
    requests: u32,
}

impl MiniMoka {
    fn new(capacity: u64) -> Self {
        Self { cache: mini_moka::sync::Cache::new(capacity), requests: 0 }
    }
}

impl Peer for MiniMoka {
    fn get(&mut self, key: u64) -> Option<u64> {
        self.requests += 1;
        if self.requests.is_multiple_of(MAINTENANCE) {
            self.cache.sync();
        }
        self.cache.get(&key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.cache.insert(key, value);
    }

    fn len(&mut self) -> Option<u64> {
        self.cache.sync();
        Some(self.cache.entry_count())
    }
}

/// `new` makes four shards a core, of 32 entries at least.
fn quick_in_one_shard(capacity: u64) -> quick_cache::sync::Cache<u64, u64> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(size(capacity))
        .weight_capacity(capacity)
        .shards(1)
        .build()
        .expect("both capacities are given");
    let lifecycle = DefaultLifecycle::default();
    quick_cache::sync::Cache::with_options(options, UnitWeighter, DefaultHashBuilder::default(), lifecycle)
}

impl Peer for quick_cache::sync::Cache<u64, u64> {
    fn get(&mut self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        Self::insert(self, key, value);
    }

    fn len(&mut self) -> Option<u64> {
        Some(Self::len(self) as u64)
    }
}

fn foyer(capacity: u64, shards: usize, policy: impl Into<EvictionConfig>) -> Box<dyn Peer> {
    let builder = CacheBuilder::new(size(capacity)).with_shards(shards).with_eviction_config(policy);
    let cache: foyer_memory::Cache<u64, u64> = builder.build();
    Box::new(cache)
}

impl Peer for foyer_memory::Cache<u64, u64> {
    fn get(&mut self, key: u64) -> Option<u64> {
        Self::get(self, &key).map(|entry| *entry.value())
    }

    fn insert(&mut self, key: u64, value: u64) {
        drop(Self::insert(self, key, value));
    }

    fn len(&mut self) -> Option<u64> {
        Some(self.entries() as u64)
    }
}

impl Peer for TinyUfo<u64, u64> {
    fn get(&mut self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        // What it evicts, or the new value itself if that was refused, comes back here.
        drop(self.put(key, value, 1));
    }

    fn len(&mut self) -> Option<u64> {
        None
    }
}
