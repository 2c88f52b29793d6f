//! The caches from `u64` to `u64` behind one face. All by shared reference and known at compile time: their calls are
//! inlined into the loops that are timed. (The face of `peers/caches.rs` is for hit ratios, and would cost a virtual
//! call.) Each as it comes: default hasher, default shards.

use std::convert::Infallible;
use tinyufo::TinyUfo;

/// The bare maps, which come with std's SipHash, get the hasher that bellwether has: their table is what is compared.
pub(crate) type Hasher = bellwether::DefaultHashBuilder;
pub(crate) type Bellwether = bellwether::Cache<u64, u64>;
pub(crate) type Quick = quick_cache::sync::Cache<u64, u64>;
pub(crate) type Moka = moka::sync::Cache<u64, u64>;
pub(crate) type MiniMoka = mini_moka::sync::Cache<u64, u64>;
pub(crate) type Foyer = foyer_memory::Cache<u64, u64>;
pub(crate) type Ufo = TinyUfo<u64, u64>;
pub(crate) type SccCache = scc::HashCache<u64, u64, Hasher>;
pub(crate) type SccIndex = scc::HashIndex<u64, u64, Hasher>;
pub(crate) type Papaya = papaya::HashMap<u64, u64, Hasher>;

pub(crate) trait Subject: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// Times the room that entries need if none is to be evicted: shards fill unevenly.
    const ROOM: usize = 2;
    /// An empty one for so many entries.
    fn with_room(entries: usize) -> Self;
    fn get(&self, key: u64) -> Option<u64>;
    fn put(&self, key: u64, value: u64);
    /// Gets, and on a miss loads and stores; by the cache's own verb for it, if it has one that any number of threads
    /// may call for a key and one of them loads.
    #[inline]
    fn fetch(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        self.get(key).unwrap_or_else(|| {
            let value = load();
            self.put(key, value);
            value
        })
    }
}

/// The two verbs of those whose own are called `get`, which gives a copy, and `insert`.
macro_rules! get_and_insert {
    () => {
        #[inline]
        fn get(&self, key: u64) -> Option<u64> {
            Self::get(self, &key)
        }
        #[inline]
        fn put(&self, key: u64, value: u64) {
            self.insert(key, value);
        }
    };
}

impl Subject for Bellwether {
    const NAME: &'static str = "bellwether";
    fn with_room(entries: usize) -> Self {
        Self::new(entries as u64)
    }
    get_and_insert!();
    #[inline]
    fn fetch(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        self.get_with(&key, load)
    }
}

impl Subject for Quick {
    const NAME: &'static str = "quick_cache";
    fn with_room(entries: usize) -> Self {
        Self::new(entries)
    }
    get_and_insert!();
    #[inline]
    fn fetch(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        let Ok(value) = self.get_or_insert_with(&key, || Ok::<_, Infallible>(load()));
        value
    }
}

impl Subject for Moka {
    const NAME: &'static str = "moka";
    fn with_room(entries: usize) -> Self {
        Self::new(entries as u64)
    }
    get_and_insert!();
    #[inline]
    fn fetch(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        self.get_with(key, load)
    }
}

impl Subject for MiniMoka {
    const NAME: &'static str = "mini-moka";
    fn with_room(entries: usize) -> Self {
        Self::new(entries as u64)
    }
    get_and_insert!();
}

impl Subject for Foyer {
    const NAME: &'static str = "foyer";
    fn with_room(entries: usize) -> Self {
        foyer_memory::CacheBuilder::new(entries).build()
    }
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, &key).map(|entry| *entry.value())
    }
    #[inline]
    fn put(&self, key: u64, value: u64) {
        drop(self.insert(key, value));
    }
}

impl Subject for Ufo {
    const NAME: &'static str = "TinyUFO";
    fn with_room(entries: usize) -> Self {
        Self::new(entries, entries)
    }
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }
    #[inline]
    fn put(&self, key: u64, value: u64) {
        drop(Self::put(self, key, value, 1));
    }
}

impl Subject for SccCache {
    const NAME: &'static str = "scc HashCache";
    // It evicts from a bucket of 32 that is full, however empty the others are.
    const ROOM: usize = 4;
    fn with_room(entries: usize) -> Self {
        Self::with_capacity_and_hasher(entries, entries, Hasher::default())
    }
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.read_sync(&key, |_, value| *value)
    }
    #[inline]
    fn put(&self, key: u64, value: u64) {
        // An error means that the key is there.
        let _ = self.put_sync(key, value);
    }
}

impl Subject for SccIndex {
    const NAME: &'static str = "scc HashIndex";
    fn with_room(entries: usize) -> Self {
        Self::with_capacity_and_hasher(entries, Hasher::default())
    }
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.peek_with(&key, |_, value| *value)
    }
    #[inline]
    fn put(&self, key: u64, value: u64) {
        let _ = self.insert_sync(key, value);
    }
}

impl Subject for Papaya {
    const NAME: &'static str = "papaya";
    fn with_room(entries: usize) -> Self {
        Self::with_capacity_and_hasher(entries, Hasher::default())
    }
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.pin().insert(key, value);
    }
}
