//! What is known of each key beside the cache, and the laws that its answers are held against. (As in `demos/soak`, but that
//! here a check is one step, and a broken law ends the schedule.)
//!
//! * *No stale sets*. A writer moves the key's version on, then calls the cache, and when that has returned raises the `floor` to
//!   that version. A load reads the version within its loader. A call that begins when the floor is at n must not get what was
//!   loaded at less.
//! * *One flight*. A loader that begins while another one of its key is at work is wrong, unless a writer came between (seen from
//!   before either's *call*), or one of the two was called so long ago that it may have been taken over (before it began, even).
//! * *No error storm*. A failure is for those who came before its leader's call had returned.
//! * *Identity*. No value, no error, of another key.

use crate::value::{Failed, Record};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Key {
    /// The version, and how many writers have begun.
    version: u64,
    /// How many of them are done.
    done: u64,
    /// Nothing older than this may be given to who comes now.
    floor: u64,
    /// The loaders at work.
    loading: Vec<(u64, Before)>,
}

/// What was known of a key before a call.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    floor: u64,
    /// The version, if no writer was at work.
    quiet: Option<u64>,
    tick: u64,
    /// When the call began: at that time or later.
    at: u64,
}

struct Books {
    keys: Vec<Key>,
    tick: u64,
    /// Calls of loaders.
    calls: u64,
    /// The cache's clock is between these two.
    passed: u64,
    passing: u64,
}

/// The versions of all keys.
pub struct Ledger {
    /// How long leaders may hang, if that has an end.
    lead: Option<u64>,
    /// Nobody loads but for the cache.
    together: bool,
    books: Mutex<Books>,
}

/// A loader at work.
pub struct Loading {
    ledger: Arc<Ledger>,
    key: u64,
    id: u64,
    /// What it reads.
    pub version: u64,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.ledger.books().keys[self.key as usize].loading.retain(|(id, _)| *id != self.id);
    }
}

impl Ledger {
    /// Of so many keys; `lead`: how long leaders may hang; `together`: nobody loads but for the cache.
    pub fn new(keys: u64, lead: Option<u64>, together: bool) -> Self {
        let keys = (0..keys).map(|_| Key::default()).collect();
        Self { lead, together, books: Mutex::new(Books { keys, tick: 0, calls: 0, passed: 0, passing: 0 }) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked before each call that may give a value.
    pub fn before(&self, key: u64) -> Before {
        let books = self.books();
        let this = &books.keys[key as usize];
        let quiet = (this.done == this.version).then_some(this.version);
        Before { floor: this.floor, quiet, tick: books.tick, at: books.passed }
    }

    /// A writer is about to call the cache: the version that it makes.
    pub fn write(&self, key: u64) -> u64 {
        let this = &mut self.books().keys[key as usize];
        this.version += 1;
        this.version
    }

    /// It has returned; `cleared`: and what was older is gone.
    pub fn written(&self, key: u64, version: u64, cleared: bool) {
        let this = &mut self.books().keys[key as usize];
        this.done += 1;
        if cleared {
            this.floor = this.floor.max(version);
        }
    }

    /// The version of a key.
    pub fn version(&self, key: u64) -> u64 {
        self.books().keys[key as usize].version
    }

    /// A loader begins, for a call that began at `before`.
    pub fn load(self: &Arc<Self>, key: u64, before: Before) -> Loading {
        let mut books = self.books();
        let now = books.passing;
        books.calls += 1;
        let id = books.calls;
        let this = &mut books.keys[key as usize];
        let version = this.version;
        let quiet = |of: &Before| of.quiet == Some(version);
        let young = |of: &Before| self.lead.is_none_or(|lead| now - of.at < lead);
        let beside = this.loading.iter().find(|(_, other)| quiet(other) && young(other)).cloned();
        let beside = beside.filter(|_| self.together && quiet(&before) && young(&before));
        this.loading.push((id, before));
        drop(books);
        assert!(beside.is_none(), "one flight: key {key}: a loader of {before:?} begins beside {beside:?}");
        Loading { ledger: self.clone(), key, id, version }
    }

    /// A value was given to a call that began at `before`.
    pub fn given(&self, key: u64, before: Before, value: &Record, by: &str) {
        assert_eq!(value.key, key, "identity: {by} gave a value of another key");
        let (version, floor) = (value.version(), before.floor);
        assert!(version >= floor, "no stale sets: {by} of key {key} gave version {version}, after writer {floor}");
    }

    /// The same for an error.
    pub fn failed(&self, key: u64, before: Before, failed: &Failed, kept: bool) {
        assert_eq!(failed.key, key, "identity: a failure of another key");
        assert!(kept || failed.over() >= before.tick, "no error storm: key {key}: a failure from before the call");
    }

    /// A point in time that all failures known so far are before.
    pub fn tick(&self) -> u64 {
        let mut books = self.books();
        books.tick += 1;
        books.tick - 1
    }

    /// Calls of loaders so far.
    pub fn calls(&self) -> u64 {
        self.books().calls
    }

    /// The cache's clock is moved on by so much.
    pub fn advance(&self, by: u64, moves: impl FnOnce()) {
        self.books().passing += by;
        moves();
        self.books().passed += by;
    }

    /// Nobody loads.
    pub fn rest(&self) {
        assert!(self.books().keys.iter().all(|key| key.loading.is_empty()), "the scenario itself: a loader is at work");
    }
}
