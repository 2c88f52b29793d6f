//! What is known of each key beside the cache, and the laws that its answers are held against.
//!
//! Nothing here may cry wolf because the checker's own steps race with the cache's. So everything is an inequality:
//!
//! * *No stale sets*. A writer moves the key's version on, then calls the cache, and when that has returned raises the
//!   `floor` to that version. A load reads the version within its loader. A call that begins when the floor is at n must not
//!   get what was loaded at less: such a load began before the writer called the cache, and the call came after that.
//! * *One flight*. A loader that begins while another one of its key is at work is wrong, unless a writer came between (seen
//!   from before either's *call*: who waits may have come to lead before the writer came, and begin after), the first one is
//!   old enough for the `lead_timeout` (counted from before its call), or one of the two is not the cache's load at all
//!   (`bypassed` moved on since).
//! * *No error storm*. A failure is for those who came before its leader's call had returned.

use crate::value::{Failed, Payload};
use bellwether::Stats;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long leaders may hang where they are replaced.
pub(crate) const LEAD: Duration = Duration::from_millis(100);
/// The caches' coarse clock may be as much behind, and so find that much more time gone.
const SLACK: Duration = Duration::from_millis(25);
/// As many broken laws are told of; all are counted.
const TOLD: usize = 20;

/// A law that was broken: what, and when.
pub(crate) struct Fault {
    pub(crate) at: Duration,
    pub(crate) what: String,
}

#[derive(Default)]
struct Key {
    /// The version, and how many writers have begun.
    version: AtomicU64,
    /// How many of them are done.
    done: AtomicU64,
    /// Nothing older than this may be given to who comes now.
    floor: AtomicU64,
    /// The loaders at work.
    loading: Mutex<Vec<(u64, Before)>>,
}

/// What was known of a key before a call.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    floor: u64,
    /// The version, if no writer was at work.
    quiet: Option<u64>,
    tick: u64,
    /// What the cache had done.
    stats: Stats,
    at: Instant,
}

/// The versions of all keys, and the faults that were found.
pub(crate) struct Ledger {
    name: &'static str,
    /// How long leaders may hang, if that has an end.
    lead: Option<Duration>,
    start: Instant,
    keys: Box<[Key]>,
    tick: AtomicU64,
    /// Calls of loaders, and what stands for them.
    calls: AtomicU64,
    pub(crate) lapses: AtomicU64,
    faults: Mutex<Vec<Fault>>,
}

/// A loader at work.
pub(crate) struct Loading<'l> {
    ledger: &'l Ledger,
    key: u32,
    id: u64,
    /// What it reads.
    pub(crate) version: u64,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        lock(&self.ledger.key(self.key).loading).retain(|(id, _)| *id != self.id);
    }
}

impl Ledger {
    pub(crate) fn new(name: &'static str, keys: u32, lead: Option<Duration>, start: Instant) -> Self {
        let keys = (0..keys).map(|_| Key::default()).collect();
        let (tick, calls, lapses) = Default::default();
        Self { name, lead, start, keys, tick, calls, lapses, faults: Mutex::default() }
    }

    fn key(&self, key: u32) -> &Key {
        &self.keys[key as usize]
    }

    /// To be asked before each call that may give a value. `stats`: the cache's, as they are now.
    pub(crate) fn before(&self, key: u32, stats: Stats) -> Before {
        let this = self.key(key);
        // In this order: what is done now has begun by then.
        let done = this.done.load(SeqCst);
        let version = this.version.load(SeqCst);
        let quiet = (done == version).then_some(version);
        Before { floor: this.floor.load(SeqCst), quiet, tick: self.tick.load(SeqCst), stats, at: Instant::now() }
    }

    /// A writer is about to call the cache: the version that it makes.
    pub(crate) fn write(&self, key: u32) -> u64 {
        self.key(key).version.fetch_add(1, SeqCst) + 1
    }

    /// It has returned, and what was older is gone.
    pub(crate) fn written(&self, key: u32, version: u64) {
        self.key(key).floor.fetch_max(version, SeqCst);
        self.unwritten(key);
    }

    /// It has returned, and may have done nothing.
    pub(crate) fn unwritten(&self, key: u32) {
        self.key(key).done.fetch_add(1, SeqCst);
    }

    pub(crate) fn version(&self, key: u32) -> u64 {
        self.key(key).version.load(SeqCst)
    }

    /// A loader begins, for a call that began at `before`.
    pub(crate) fn load(&self, key: u32, before: Before, stats: impl FnOnce() -> Stats) -> Loading<'_> {
        let id = self.calls.fetch_add(1, SeqCst);
        let mut loading = lock(&self.key(key).loading);
        let (version, stats) = (self.version(key), stats());
        for (other, theirs) in &*loading {
            let age = theirs.at.elapsed();
            let quiet = theirs.quiet == Some(version) && before.quiet == Some(version);
            if quiet && theirs.stats.bypassed == stats.bypassed && self.lead.is_none_or(|lead| age + SLACK < lead) {
                let takes = stats.takeovers - theirs.stats.takeovers;
                self.fault(format_args!(
                    "one flight: key {key}: load {id} beside load {other}, called {age:?} ago ({takes} taken over since, of any key)"
                ));
            }
        }
        loading.push((id, before));
        Loading { ledger: self, key, id, version }
    }

    /// A value was given to a call that began at `before`.
    pub(crate) fn given(&self, key: u32, before: Before, value: &Payload, by: &str) {
        if value.key != key {
            self.fault(format_args!("identity: {by} of key {key} gave a value of key {}", value.key));
        } else if value.version() < before.floor {
            let (version, floor) = (value.version(), before.floor);
            self.fault(format_args!("no stale sets: {by} of key {key} gave version {version}, after writer {floor}"));
        }
    }

    /// The same for an error.
    pub(crate) fn failed(&self, key: u32, before: Before, failed: &Failed, kept: bool) {
        if failed.key != key {
            self.fault(format_args!("identity: the failure of key {} for key {key}", failed.key));
        } else if !kept && failed.over() < before.tick {
            self.fault(format_args!("no error storm: key {key}: a failure that was over before the call"));
        }
    }

    /// A point in time that all failures known so far are before.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.fetch_add(1, SeqCst)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.keys.iter().all(|key| lock(&key.loading).is_empty())
    }

    pub(crate) fn floors(&self) -> Vec<u64> {
        self.keys.iter().map(|key| key.floor.load(SeqCst)).collect()
    }

    pub(crate) fn fault(&self, what: impl Display) {
        if (self.lapses.fetch_add(1, SeqCst) as usize) < TOLD {
            let what = format!("{}: {what}", self.name);
            lock(&self.faults).push(Fault { at: self.start.elapsed(), what });
        }
    }

    pub(crate) fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut *lock(&self.faults))
    }
}

/// No user code runs under these locks, but a panic elsewhere must not hide what they hold.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
