//! A cache in a scenario, with its ledger, and what must be true of it at rest.

use crate::ledger::{Before, Ledger, Loading};
use crate::value::{Census, Failed, Record, Value};
use bellwether::{Builder, Cache, ManualClock, Ref, Tags};
use shuttle::thread;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Hashes keys as they are, or so that this many have one hash.
#[derive(Clone, Copy, Debug)]
pub struct Hashing(u64);

/// What [`Hashing`] makes.
#[derive(Debug)]
pub struct Hashed(u64, u64);

impl BuildHasher for Hashing {
    type Hasher = Hashed;
    fn build_hasher(&self) -> Hashed {
        Hashed(self.0, 0)
    }
}

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.1 / self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }
    fn write_u64(&mut self, key: u64) {
        self.1 = key;
    }
}

/// The cache of the scenarios.
pub type Fielded = Cache<u64, Value, Hashing>;

/// Its builder.
pub type Building = Builder<u64, Value, Hashing>;

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// What a field is like.
#[derive(Clone)]
pub struct Terms {
    /// Keys are below this.
    pub keys: u64,
    /// The capacity; values weigh from 1 to `heaviest`.
    pub capacity: u64,
    /// The most that a value weighs.
    pub heaviest: u32,
    /// As many keys as this have one hash.
    pub colliding: u64,
    /// Seconds after which a leader may be replaced.
    pub lead: Option<u64>,
    /// Failures are kept for a second.
    pub keeps_failures: bool,
    /// Loads fail, panic, and are given up.
    pub fails: bool,
    /// Keys share a tag, the even ones and the odd ones.
    pub tagged: bool,
    /// Entries expire: those that have are in the cache, and are not walked over.
    pub expires: bool,
    /// The capacity may be too small for a value.
    pub resized: bool,
    /// Callers may be told that they came too late, or that there are too many, and then load for themselves alone.
    pub refuses: bool,
    /// What else is to be set.
    pub settings: fn(Building) -> Building,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            keys: 2,
            capacity: 100,
            heaviest: 1,
            colliding: 1,
            lead: None,
            keeps_failures: false,
            fails: false,
            tagged: false,
            expires: false,
            resized: false,
            refuses: false,
            settings: |builder| builder,
        }
    }
}

/// A cache under test.
pub struct Field {
    /// What it is like.
    pub terms: Terms,
    /// The cache.
    pub cache: Arc<Fielded>,
    /// What is known of its keys.
    pub ledger: Arc<Ledger>,
    /// Its clock, which stands still unless it is moved.
    pub clock: ManualClock,
    census: Census,
    records: Mutex<Vec<Arc<Record>>>,
}

impl Field {
    /// An empty cache like this.
    pub fn new(terms: Terms) -> Arc<Self> {
        let lead = terms.lead.map(|lead| lead * 1_000_000_000);
        let ledger = Arc::new(Ledger::new(terms.keys, lead, !terms.refuses));
        let clock = ManualClock::new();
        let listener = |key: &u64, value: &Value, _| {
            assert_eq!(*key, value.record().key, "identity: the listener was told of another key's value");
            value.record().tell();
        };
        let mut builder = Cache::builder()
            .max_capacity(terms.capacity)
            .shards(1)
            .seed(1)
            .max_handovers(u32::MAX)
            .hasher(Hashing(terms.colliding))
            .clock(clock.clone())
            .timer(clock.clone())
            .eviction_listener(listener);
        if let Some(lead) = terms.lead {
            builder = builder.lead_timeout(SECOND * lead as u32);
        }
        if terms.keeps_failures {
            builder = builder.negative_ttl(SECOND);
        }
        if terms.heaviest > 1 {
            builder = builder.weigher(|_, value: &Value| value.record().weight);
        }
        if terms.tagged {
            builder = builder.tags_with(|key, _, tags: &mut Tags<'_>| tags.add(&(key & 1)));
        }
        let cache = Arc::new((terms.settings)(builder).build().expect("a valid configuration"));
        Arc::new(Self { terms, cache, ledger, clock, census: Census::default(), records: Mutex::default() })
    }

    /// To be asked before each call that may give a value.
    pub fn before(&self, key: u64) -> Before {
        self.ledger.before(key)
    }

    /// A loader begins.
    pub fn load(&self, key: u64, before: Before) -> Loading {
        self.ledger.load(key, before)
    }

    /// What a load came to that has read `version`.
    pub fn loaded(&self, key: u64, version: u64) -> Value {
        self.noted(Value::loaded(key, version, self.weight(), &self.census))
    }

    /// What a load failed with.
    pub fn failed(&self, key: u64) -> Failed {
        Failed::new(key, &self.census)
    }

    fn weight(&self) -> u32 {
        1 + crate::roll(self.terms.heaviest as usize) as u32
    }

    fn noted(&self, value: Value) -> Value {
        self.records.lock().unwrap().push(value.record().clone());
        value
    }

    /// A writer of some keys: what it does, and which of them hold nothing old after it.
    pub fn write<R>(
        &self,
        keys: impl Iterator<Item = u64>,
        does: impl FnOnce() -> R,
        cleared: impl Fn(u64) -> bool,
    ) -> R {
        let written: Vec<_> = keys.map(|key| (key, self.ledger.write(key))).collect();
        let result = does();
        for (key, version) in written {
            self.ledger.written(key, version, cleared(key));
        }
        result
    }

    /// Inserts a value.
    pub fn insert(&self, key: u64, ttl: Option<Duration>) {
        let value = self.noted(Value::inserted(key, self.weight(), &self.census));
        let record = value.record().clone();
        let version = self.ledger.write(key);
        match ttl {
            Some(ttl) => self.cache.insert_with_ttl(key, value, ttl),
            None => self.cache.insert(key, value),
        }
        let stored = !self.terms.resized && ttl != Some(Duration::ZERO);
        record.settle(self.ledger.version(key), stored);
        self.ledger.written(key, version, true);
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        self.ledger.advance(by.as_nanos() as u64, || self.clock.advance(by));
    }

    /// A walk over all entries.
    pub fn walk(&self) {
        let before: Vec<_> = (0..self.terms.keys).map(|key| self.before(key)).collect();
        for found in self.cache.iter() {
            let key = *Ref::key(&found);
            self.ledger.given(key, before[key as usize], found.record(), "a walk");
        }
    }

    /// Runs these scripts at once, each in a thread, and waits for them. A script has the number of its thread.
    pub fn at_once(self: &Arc<Self>, scripts: &[fn(&Arc<Field>, u64)]) {
        let start = |(n, script): (usize, &fn(&Arc<Field>, u64))| {
            let (field, script) = (self.clone(), *script);
            thread::spawn(move || script(&field, n as u64))
        };
        let threads: Vec<_> = scripts.iter().enumerate().map(start).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    }

    /// What must be true when nobody is at work.
    pub fn rest(&self) {
        let cache = &self.cache;
        self.ledger.rest();
        assert_eq!((0..self.terms.keys).find(|key| cache.is_loading(key)), None, "a flight was left behind");
        assert_eq!(cache.validate(), Ok(()), "structure");
        let (weight, capacity) = (cache.weight(), cache.capacity());
        assert!(weight <= capacity, "bounded: a weight of {weight}, with a capacity of {capacity}");
        let stats = cache.stats();
        assert_eq!(stats.loads + stats.bypassed, self.ledger.calls(), "one flight: leases, and calls of loaders");
        let before: Vec<_> = (0..self.terms.keys).map(|key| self.before(key)).collect();
        for found in cache.iter() {
            let (key, record) = (*Ref::key(&found), found.record());
            self.ledger.given(key, before[key as usize], record, "a walk at rest");
            assert_eq!(record.told(), 0, "listener once: told of a value of key {key} that is still there");
        }
        let sum: u64 = cache.iter().map(|found| u64::from(Ref::weight(&found))).sum();
        assert!(sum == weight || self.terms.expires && sum < weight, "weight: {sum} in all, {weight} counted");
    }

    /// Everything comes to rest, goes, and is dropped.
    pub fn end(self: Arc<Self>) {
        self.rest();
        self.cache.set_capacity(0);
        assert_eq!((self.cache.len(), self.cache.weight()), (0, 0), "the hand does not reach an entry");
        assert_eq!(self.cache.validate(), Ok(()), "structure");
        self.records.lock().unwrap().iter().for_each(|record| record.check());
        let this = Arc::into_inner(self).expect("nobody else has the field");
        drop(Arc::into_inner(this.cache).expect("nobody else has the cache"));
        assert_eq!(this.census.load(SeqCst), 0, "so many values and errors were not dropped (or dropped too often)");
    }
}
