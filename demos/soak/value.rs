//! What is cached here, and the error of a load that fails: both carry what the laws are checked by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Counts the values that are alive.
pub(crate) type Census = Arc<AtomicU64>;

/// A value, shared with whoever made it.
pub(crate) type Value = Arc<Payload>;

/// A value that knows its key, what it weighs, and how old it is.
pub(crate) struct Payload {
    pub(crate) key: u32,
    pub(crate) weight: u32,
    /// The version of the key that it is as good as: what a load read, or what was true when an insertion had returned.
    version: AtomicU64,
    census: Census,
    /// Some heap, so that a leak shows in the resident set.
    _filler: Box<[u8]>,
}

impl Payload {
    /// What a load that read `version` came to.
    pub(crate) fn loaded(key: u32, version: u64, weight: u32, census: &Census) -> Value {
        census.fetch_add(1, SeqCst);
        let filler = vec![key as u8; 16 * (weight as usize).min(64)].into();
        Arc::new(Self { key, weight, version: version.into(), census: census.clone(), _filler: filler })
    }

    /// What is to be inserted: until the insertion is over, no writer is known to have come after it.
    pub(crate) fn inserted(key: u32, weight: u32, census: &Census) -> Value {
        Self::loaded(key, u64::MAX, weight, census)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// A load that read `version` came to the same.
    pub(crate) fn confirm(&self, version: u64) {
        self.version.fetch_max(version, SeqCst);
    }

    /// The insertion has returned, and the key was at `version` after that: later writers win.
    pub(crate) fn settle(&self, version: u64) {
        self.version.store(version, SeqCst);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.census.fetch_sub(1, SeqCst);
    }
}

/// The error of a load that fails.
#[derive(Clone)]
pub(crate) struct Failed {
    pub(crate) key: u32,
    /// The tick at which its leader's call had returned; `u64::MAX` until then.
    over: Arc<AtomicU64>,
}

impl Failed {
    pub(crate) fn new(key: u32) -> Self {
        Self { key, over: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    pub(crate) fn over(&self) -> u64 {
        self.over.load(SeqCst)
    }

    pub(crate) fn settle(&self, tick: u64) {
        self.over.store(tick, SeqCst);
    }
}
