//! Values that notice being torn, dropped twice or never, told twice, or seen too late.

use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

const MAGIC: u64 = 0x5EA1_ED00_0000_0000;

/// What all threads of one input share.
#[derive(Default, Debug)]
pub struct Ledger {
    alive: AtomicI64,
    versions: AtomicU64,
}

impl Ledger {
    /// A number that is higher than all that were given before.
    pub fn next(&self) -> u64 {
        self.versions.fetch_add(1, Relaxed) + 1
    }

    pub fn alive(&self) -> i64 {
        self.alive.load(Relaxed)
    }
}

/// How a value got into the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Inserted,
    /// By a load whose lease was given before this number.
    Loaded(u64),
}

#[derive(Debug)]
pub struct Value {
    pub key: u8,
    pub author: usize,
    pub version: u64,
    pub origin: Origin,
    seal: u64,
    told: Arc<AtomicU32>,
    ledger: Arc<Ledger>,
}

impl Value {
    pub fn new(key: u8, author: usize, origin: Origin, ledger: &Arc<Ledger>) -> Self {
        ledger.alive.fetch_add(1, Relaxed);
        let version = ledger.next();
        Self { key, author, version, origin, seal: version ^ MAGIC, told: Arc::default(), ledger: ledger.clone() }
    }

    pub fn check(&self, key: u8) {
        assert_eq!(self.seal, self.version ^ MAGIC, "a torn value");
        assert_eq!(self.key, key, "another key's value");
    }

    /// The listener's part.
    pub fn told(&self) {
        assert_eq!(self.told.fetch_add(1, Relaxed), 0, "told twice that version {} is gone", self.version);
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check(self.key);
        self.ledger.alive.fetch_add(1, Relaxed);
        let (told, ledger) = (self.told.clone(), self.ledger.clone());
        Self { told, ledger, ..*self }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.check(self.key);
        self.seal = 0;
        self.ledger.alive.fetch_sub(1, Relaxed);
    }
}

/// What one thread knows of the past.
pub struct Memory {
    me: usize,
    /// By key: nothing older than this is to be seen, of one's own, or of a load.
    floors: [u64; 32],
    /// By key and author: the newest version that was seen.
    seen: [[u64; 2]; 32],
}

impl Memory {
    pub fn new(me: usize) -> Self {
        Self { me, floors: [0; 32], seen: from_fn(|_| [0; 2]) }
    }

    /// A write of the key that began at this number is complete. What was written, or began to load, before is gone for good.
    pub fn written(&mut self, key: u8, at: u64) {
        self.floors[usize::from(key)] = at;
    }

    /// A value that was found, or waited for: which may have been handed over only, and not stored.
    pub fn check(&self, key: u8, value: &Value) {
        value.check(key);
        let floor = self.floors[usize::from(key)];
        match value.origin {
            // Another's may have been numbered, and then waited until the write was done.
            Origin::Inserted => {
                assert!(value.author != self.me || value.version >= floor, "key {key}: what I replaced")
            }
            Origin::Loaded(since) => assert!(since >= floor, "key {key}: loaded from before my write"),
        }
        // Each author's writes of a key are one after the other.
        let seen = self.seen[usize::from(key)][value.author];
        assert!(value.version >= seen, "key {key}: version {} after {seen}", value.version);
    }

    /// One that is stored.
    pub fn see(&mut self, key: u8, value: &Value) {
        self.check(key, value);
        self.seen[usize::from(key)][value.author] = value.version;
    }
}
