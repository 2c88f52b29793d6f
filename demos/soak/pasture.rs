//! A cache under soak, with its ledger, and what must be true of it at rest.

use crate::ledger::{Before, LEAD, Ledger, Loading};
use crate::value::{Census, Payload, Value};
use bellwether::{BuildError, Builder, Cache, DefaultHashBuilder, DefaultHasher, Ref, Tags};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Keys of each cache.
pub(crate) const KEYS: u32 = 512;
/// Keys that share a tag.
const GROUP: u32 = 32;
/// The most that a value weighs which may be kept.
pub(crate) const HEAVIEST: u32 = 8;
/// What may be retired in all, whatever is pinned: four times 8 MiB, and some for what is under way.
const RETIRED: u64 = (4 * 8 + 8) << 20;
/// An evicted value is dropped by a later removal, of whichever thread, and with nobody at work by a purge.
const UNDROPPED: u64 = 512;

pub(crate) type Soaked = Cache<u32, Value, Hashing>;

/// Hashes well, or so that keys collide.
#[derive(Clone)]
pub(crate) enum Hashing {
    Default(DefaultHashBuilder),
    /// As many keys as this have one hash.
    Colliding(u64),
}

/// What [`Hashing`] makes.
pub(crate) enum Hashed {
    Default(DefaultHasher),
    Colliding(u64, u64),
}

impl BuildHasher for Hashing {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        match self {
            Self::Default(builder) => Hashed::Default(builder.build_hasher()),
            Self::Colliding(many) => Hashed::Colliding(*many, 0),
        }
    }
}

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        match self {
            Self::Default(hasher) => hasher.finish(),
            Self::Colliding(many, key) => key / many,
        }
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are integers");
    }

    fn write_u32(&mut self, key: u32) {
        match self {
            Self::Default(hasher) => hasher.write_u32(key),
            Self::Colliding(_, state) => *state = key.into(),
        }
    }
}

/// A cache under soak.
pub(crate) struct Pasture {
    terms: &'static Terms,
    pub(crate) cache: Soaked,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) census: Census,
    /// Who is at work at a time: each may have one value too many in the cache.
    workers: u64,
    /// The most that was retired, of all that was seen.
    pub(crate) retired: AtomicU64,
}

/// What a cache is like, as far as the checks must know, and the rest.
struct Terms {
    name: &'static str,
    capacity: u64,
    lead: Option<Duration>,
    has_tags: bool,
    /// For later callers.
    keeps_failures: bool,
    settings: fn(Builder<u32, Value>) -> Builder<u32, Value, Hashing>,
}

/// The caches: everything that has to do with time; a tight one where keys collide and nothing expires; bounds on all there is.
static PASTURES: [Terms; 3] = [
    Terms {
        name: "timely",
        capacity: 2_000,
        lead: Some(LEAD),
        has_tags: true,
        keeps_failures: false,
        settings: |b| {
            b.time_to_live(Duration::from_millis(60))
                .ttl_jitter(0.5)
                .stale_while_refresh(Duration::from_millis(20))
                .stale_if_error(Duration::from_millis(40))
                .error_cooldown(Duration::from_millis(5))
                .xfetch(2.0)
                .tags_with(|key, _, tags: &mut Tags<'_>| tags.add(&(key / GROUP)))
                .hasher(Hashing::Default(DefaultHashBuilder::default()))
        },
    },
    // Whoever is not woken here sleeps for ever: nobody looks again because a leader takes too long.
    Terms {
        name: "tight",
        capacity: 300,
        lead: None,
        has_tags: false,
        keeps_failures: false,
        settings: |b| b.hasher(Hashing::Colliding(16)),
    },
    Terms {
        name: "bounded",
        capacity: 800,
        lead: Some(LEAD),
        has_tags: false,
        keeps_failures: true,
        settings: |b| {
            b.time_to_idle(Duration::from_millis(20))
                .negative_ttl(Duration::from_millis(5))
                .max_waiters(6)
                .max_loads(12)
                .wait_timeout(Duration::from_millis(50))
                .record_stats()
                .hasher(Hashing::Default(DefaultHashBuilder::default()))
        },
    },
];

/// All of them.
pub(crate) fn pastures(
    start: Instant,
    workers: u64,
    seed: u64,
    census: &Census,
) -> Result<Vec<Arc<Pasture>>, BuildError> {
    let pasture = |terms: &'static Terms| {
        let ledger = Arc::new(Ledger::new(terms.name, KEYS, terms.lead, start));
        let listens = ledger.clone();
        let listener = move |key: &u32, value: &Value, _| {
            if *key != value.key {
                listens.fault(format_args!("identity: key {key} was removed with a value of key {}", value.key));
            }
        };
        let builder = Cache::builder().max_capacity(terms.capacity).name(terms.name).seed(seed);
        // Loaders panic at random: whoever waits takes over, and whoever is refused loads for itself.
        let mut builder = builder.max_handovers(u32::MAX).bypass(true);
        if let Some(lead) = terms.lead {
            builder = builder.lead_timeout(lead);
        }
        let builder = builder.weigher(|_, value: &Value| value.weight).eviction_listener(listener);
        let cache = (terms.settings)(builder).build()?;
        Ok(Arc::new(Pasture { terms, cache, ledger, census: census.clone(), workers, retired: AtomicU64::new(0) }))
    };
    PASTURES.iter().map(pasture).collect()
}

impl Pasture {
    pub(crate) fn keeps_failures(&self) -> bool {
        self.terms.keeps_failures
    }

    pub(crate) fn before(&self, key: u32) -> Before {
        self.ledger.before(key, self.cache.stats())
    }

    /// A loader begins.
    pub(crate) fn load(&self, key: u32, before: Before) -> Loading<'_> {
        self.ledger.load(key, before, || self.cache.stats())
    }

    /// A writer of some keys: what it does, and which of them hold nothing old after it. (Where more might be removed than is
    /// meant to be, all keys are written, and few are cleared.)
    pub(crate) fn write<R>(
        &self,
        keys: impl Iterator<Item = u32>,
        does: impl FnOnce() -> R,
        cleared: impl Fn(u32) -> bool,
    ) -> R {
        let written: Vec<_> = keys.map(|key| (key, self.ledger.write(key))).collect();
        let result = does();
        for (key, version) in written {
            if cleared(key) { self.ledger.written(key, version) } else { self.ledger.unwritten(key) }
        }
        result
    }

    pub(crate) fn insert(&self, key: u32, weight: u32, ttl: Option<Duration>) {
        let value = Payload::inserted(key, weight, &self.census);
        let theirs = value.clone();
        let version = self.ledger.write(key);
        match ttl {
            Some(ttl) => self.cache.insert_with_ttl(key, theirs, ttl),
            None => self.cache.insert(key, theirs),
        }
        value.settle(self.ledger.version(key));
        self.ledger.written(key, version);
    }

    pub(crate) fn invalidate_tag(&self, group: u32) {
        if !self.terms.has_tags {
            return;
        }
        let group = group / GROUP;
        // Another tag may share its cell.
        self.write(0..KEYS, || self.cache.invalidate_tag(&group), |key| key / GROUP == group);
    }

    /// Another capacity, from nothing to twice the first.
    pub(crate) fn resize(&self, random: u64) {
        let parts = [0, 1, 2, 4, 8, 8, 8, 16];
        self.cache.set_capacity(self.terms.capacity * parts[random as usize % parts.len()] / 8);
    }

    /// A walk over all entries.
    pub(crate) fn walk(&self) {
        let floors = self.ledger.floors();
        for found in self.cache.iter() {
            let key = *Ref::key(&found);
            if found.key != key || found.version() < floors[key as usize] {
                let (of, version, floor) = (found.key, found.version(), floors[key as usize]);
                let what = format!("a walk found version {version} of key {of} at key {key}, after writer {floor}");
                self.ledger.fault(format_args!("no stale sets: {what}"));
            }
        }
    }

    /// What must be true at any time.
    pub(crate) fn look(&self) {
        let (weight, stats) = (self.cache.weight(), self.cache.stats());
        let most = 2 * self.terms.capacity + self.workers * u64::from(HEAVIEST);
        if weight > most {
            self.ledger.fault(format_args!("bounded: a weight of {weight}, where {most} may be"));
        }
        self.retired.fetch_max(stats.retired_bytes, SeqCst);
        if stats.retired_bytes > RETIRED {
            self.ledger.fault(format_args!("bounded: {} bytes are retired", stats.retired_bytes));
        }
    }

    /// What must be true when nobody is at work.
    pub(crate) fn rest(&self) {
        let ledger = &self.ledger;
        let ensure = |holds: bool, what: String| {
            if !holds {
                ledger.fault(what);
            }
        };
        ensure(ledger.at_rest(), "the soak itself: a loader is still at work".into());
        let left = (0..KEYS).filter(|key| self.cache.is_loading(key)).count();
        ensure(left == 0, format!("dead leaders: {left} flights were left behind"));
        let (weight, capacity) = (self.cache.weight(), self.cache.capacity());
        ensure(weight <= capacity, format!("bounded: a weight of {weight}, with a capacity of {capacity}"));
        let valid = self.cache.validate();
        ensure(valid.is_ok(), format!("structure: {valid:?}"));
        let stats = self.cache.stats();
        let (leases, calls) = (stats.loads + stats.bypassed, ledger.calls());
        ensure(leases == calls, format!("one flight: {leases} leases and bypasses for {calls} loads"));
        self.walk();
        self.cache.purge_expired();
        let retired = self.cache.stats().retired_bytes;
        ensure(retired <= UNDROPPED * 256, format!("bounded: {retired} bytes are retired, and nobody is at work"));
    }
}

/// When nobody is at work: no more values are alive than are cached, but for a few.
pub(crate) fn count(pastures: &[Arc<Pasture>], census: &Census) {
    let cached: u64 = pastures.iter().map(|pasture| pasture.cache.len() as u64).sum();
    let (alive, most) = (census.load(SeqCst), cached + UNDROPPED * pastures.len() as u64);
    if alive > most {
        pastures[0].ledger.fault(format_args!("bounded: {alive} values are alive, and {cached} cached, in all caches"));
    }
}
