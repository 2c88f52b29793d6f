//! What is cached, and the error of a load that fails: both carry what the laws are checked by.
//!
//! All bookkeeping is by std's atomics and mutexes: shuttle runs one thread at a time and switches where its own are used, so that
//! a check is one step of a schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Counts the values and errors that are alive.
pub type Census = Arc<AtomicI64>;

/// What all clones of a value share.
#[derive(Debug)]
pub struct Record {
    /// The key it was made for.
    pub key: u64,
    /// What it weighs.
    pub weight: u32,
    /// The version of the key that it is as good as: what a load read, or what was true when an insertion had returned.
    version: AtomicU64,
    /// How often the listener was told of it.
    told: AtomicU32,
    /// It was certainly in the cache.
    stored: AtomicBool,
}

impl Record {
    /// See the field.
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// A load that read `version` came to the same.
    pub fn confirm(&self, version: u64) {
        self.version.fetch_max(version, SeqCst);
    }

    /// The insertion has returned, and the key was at `version` after that: later writers win.
    /// `stored`: it was certainly in the cache.
    pub fn settle(&self, version: u64, stored: bool) {
        self.version.store(version, SeqCst);
        self.stored.store(stored, SeqCst);
    }

    /// The listener is told.
    pub fn tell(&self) {
        assert_eq!(self.told.fetch_add(1, SeqCst), 0, "listener once: told again of a value of key {}", self.key);
    }

    /// Nothing is left in the cache.
    pub fn check(&self) {
        let told = self.told.load(SeqCst);
        assert!(told == 1 || !self.stored.load(SeqCst), "listener once: never told of a value of key {}", self.key);
    }

    /// How often the listener was told of it.
    pub fn told(&self) -> u32 {
        self.told.load(SeqCst)
    }
}

/// What is cached.
#[derive(Debug)]
pub struct Value {
    alive: u64,
    record: Arc<Record>,
    census: Census,
}

const ALIVE: u64 = 0x600D_600D_600D_600D;

impl Value {
    /// What a load that read `version` came to.
    pub fn loaded(key: u64, version: u64, weight: u32, census: &Census) -> Self {
        let (version, told, stored) = (version.into(), 0.into(), false.into());
        census.fetch_add(1, SeqCst);
        let record = Arc::new(Record { key, weight, version, told, stored });
        Self { alive: ALIVE, record, census: census.clone() }
    }

    /// What is to be inserted: until the insertion is over, no writer is known to have come after it.
    pub fn inserted(key: u64, weight: u32, census: &Census) -> Self {
        Self::loaded(key, u64::MAX, weight, census)
    }

    /// What its clones share.
    pub fn record(&self) -> &Arc<Record> {
        assert_eq!(self.alive, ALIVE, "a value is read that was dropped");
        &self.record
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        let record = self.record().clone();
        self.census.fetch_add(1, SeqCst);
        Self { alive: ALIVE, record, census: self.census.clone() }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        assert_eq!(self.alive, ALIVE, "a value is dropped twice");
        self.alive = 0;
        self.census.fetch_sub(1, SeqCst);
    }
}

/// The error of a load that fails.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The key that was to be loaded.
    pub key: u64,
    /// The tick at which its leader's call had returned; `u64::MAX` until then.
    over: Arc<AtomicU64>,
    _alive: Arc<Alive>,
}

/// Counts what has several owners.
#[derive(Debug)]
struct Alive(Census);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Failed {
    /// Of a load that has not returned yet.
    pub fn new(key: u64, census: &Census) -> Self {
        census.fetch_add(1, SeqCst);
        Self { key, over: Arc::new(AtomicU64::new(u64::MAX)), _alive: Arc::new(Alive(census.clone())) }
    }

    /// See the field.
    pub fn over(&self) -> u64 {
        self.over.load(SeqCst)
    }

    /// Its leader's call has returned.
    pub fn settle(&self, tick: u64) {
        self.over.store(tick, SeqCst);
    }
}
