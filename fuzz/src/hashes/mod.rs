//! Operations on keys whose hashes collide, or are in the order that suits the table least, against a plain map.
//!
//! Up to 512 keys, so that the table grows several times while they do. What is evicted is learned from the listener: so
//! a bounded cache is compared as exactly as an unbounded one.

mod shape;

pub use shape::Shape;

use crate::input::Case;
use crate::parts::Token;
use arbitrary::Arbitrary;
use bellwether::{Cache, Lease, Lookup, Op as Decision, Ref, RemovalCause};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

const KEYS: u16 = 512;
/// Leases kept at a time.
const LEASES: usize = 16;
/// Operations of one input: each is followed by a walk over everything.
const MOST: usize = 128;

pub type Input = Case<Settings, Op>;

#[derive(Arbitrary, Debug)]
pub struct Settings {
    shape: Shape,
    /// None: unbounded.
    capacity: Option<u16>,
    /// Of an unbounded cache.
    shards: u8,
    initial: u8,
}

#[derive(Arbitrary, Debug)]
pub enum Op {
    Insert(u16),
    /// So many, from there on.
    InsertMany(u16, u8),
    RemoveMany(u16, u8),
    Get(u16),
    GetMany(u16, u16, u16),
    GetWith(u16),
    TryGetWith(u16),
    Remove(u16),
    RemoveIf(u16, bool),
    Compute(u16, bool),
    Lease(u16),
    Fulfil(u8),
    GiveUp(u8),
    /// Those whose number is not a multiple of this.
    Retain(u8),
    InvalidateAll,
    SetCapacity(u16),
    LookAtAll,
}

#[derive(Clone, Debug)]
struct Value {
    key: u16,
    version: u64,
    _token: Token,
}

thread_local! {
    static TOLD: RefCell<Vec<(u16, u64, RemovalCause)>> = const { RefCell::new(Vec::new()) };
}

fn listener(key: &u16, value: &Value, cause: RemovalCause) {
    assert_eq!(*key, value.key, "a value under another key");
    TOLD.with_borrow_mut(|told| told.push((*key, value.version, cause)));
}

type Subject = Cache<u16, Value, Shape>;

struct Held<'c> {
    lease: Lease<'c, u16, Value>,
    /// Whether the flight is still the key's.
    ours: Cell<bool>,
}

struct Driver<'c> {
    cache: &'c Subject,
    bounded: bool,
    /// What must be there.
    stored: RefCell<BTreeMap<u16, u64>>,
    /// What the listener is to be told of.
    left: RefCell<BTreeSet<(u16, u64)>>,
    /// Keys that are being loaded.
    loading: RefCell<BTreeSet<u16>>,
    leases: RefCell<Vec<Held<'c>>>,
    versions: Cell<u64>,
}

/// Runs one input.
pub fn run(input: Input) {
    TOLD.take();
    let settings = &input.settings;
    let cache = Cache::builder()
        .max_capacity(settings.capacity.map_or(u64::MAX, |c| u64::from(c % KEYS)))
        .shards(usize::from(settings.shards % 8) + 1)
        .initial_capacity(settings.initial.into())
        .eviction_listener(listener)
        .hasher(settings.shape)
        .build()
        .expect("no number is out of its bounds");
    let driver = Driver {
        cache: &cache,
        bounded: settings.capacity.is_some(),
        stored: RefCell::default(),
        left: RefCell::default(),
        loading: RefCell::default(),
        leases: RefCell::default(),
        versions: Cell::new(0),
    };
    for op in input.ops.iter().take(MOST) {
        driver.step(op);
        driver.check();
    }
    driver.look_at_all();
    drop(driver);
    TOLD.take();
    drop(cache);
    assert_eq!(Token::alive(), 0, "values that outlive the cache (or were dropped twice)");
}

impl<'c> Driver<'c> {
    fn step(&self, op: &Op) {
        match *op {
            Op::Insert(key) => self.insert(key % KEYS),
            Op::InsertMany(from, many) => (0..many.into()).for_each(|i| self.insert(from.wrapping_add(i) % KEYS)),
            Op::RemoveMany(from, many) => (0..many.into()).for_each(|i| self.remove(from.wrapping_add(i) % KEYS)),
            Op::Get(key) => self.look_at(key % KEYS),
            Op::GetMany(a, b, c) => {
                let keys = [a % KEYS, b % KEYS, c % KEYS];
                let found: Vec<_> = self.cache.get_many(&keys).into_iter().map(|v| v.map(|v| v.version)).collect();
                assert_eq!(found, keys.map(|key| self.there(key)));
            }
            Op::GetWith(key) => self.get_with(key % KEYS),
            Op::TryGetWith(key) => self.try_get_with(key % KEYS),
            Op::Remove(key) => self.remove(key % KEYS),
            Op::RemoveIf(key, doomed) => {
                let key = key % KEYS;
                let expected = self.there(key).filter(|_| doomed);
                let found = self.cache.remove_if(&key, |k, v| {
                    assert_eq!((*k, v.key), (key, key));
                    doomed
                });
                assert_eq!(found.map(|v| v.version), expected);
                if expected.is_some() {
                    self.leave(key);
                }
            }
            Op::Compute(key, put) => self.compute(key % KEYS, put),
            Op::Lease(key) => self.lease(key % KEYS),
            Op::Fulfil(at) => self.end_lease(at, true),
            Op::GiveUp(at) => self.end_lease(at, false),
            Op::Retain(of) => self.retain(of),
            Op::InvalidateAll => {
                self.cache.invalidate_all();
                self.detach_all();
                let all: Vec<_> = self.stored.borrow().keys().copied().collect();
                all.into_iter().for_each(|key| self.leave(key));
            }
            Op::SetCapacity(capacity) if self.bounded => self.cache.set_capacity((capacity % KEYS).into()),
            Op::SetCapacity(_) => {}
            Op::LookAtAll => self.look_at_all(),
        }
    }

    /// What has left, by what the listener was told.
    fn settle(&self) {
        for (key, version, cause) in TOLD.take() {
            if cause == RemovalCause::Rejected {
                assert_eq!(self.cache.capacity(), 0, "key {key} was not kept");
                continue;
            }
            if self.left.borrow_mut().remove(&(key, version)) {
                assert_ne!(cause, RemovalCause::Size, "key {key}");
                continue;
            }
            assert!(self.bounded && cause == RemovalCause::Size, "key {key} has left: {cause:?}");
            assert_eq!(self.stored.borrow_mut().remove(&key), Some(version), "evicted what was not there");
        }
        assert!(self.left.borrow().is_empty(), "the listener was not told of {:?}", self.left.borrow());
    }

    fn check(&self) {
        self.settle();
        let cache = self.cache;
        cache.validate().expect("everything is in its place");
        let stored = self.stored.borrow();
        assert_eq!((cache.len(), cache.weight()), (stored.len(), stored.len() as u64));
        assert!(cache.weight() <= cache.capacity());
        let found: BTreeMap<_, _> = cache.iter().map(|v| (*Ref::key(&v), v.version)).collect();
        assert_eq!(found, *stored);
        assert_eq!(cache.iter().count(), stored.len(), "a key is there twice");
    }

    fn there(&self, key: u16) -> Option<u64> {
        self.stored.borrow().get(&key).copied()
    }

    fn fresh(&self, key: u16) -> Value {
        self.versions.set(self.versions.get() + 1);
        Value { key, version: self.versions.get(), _token: Token::new() }
    }

    fn look_at(&self, key: u16) {
        let found = self.cache.get(&key);
        assert!(found.as_ref().is_none_or(|v| v.key == key), "another key's value");
        assert_eq!(found.map(|v| v.version), self.there(key));
        assert_eq!(self.cache.is_loading(&key), self.loading.borrow().contains(&key));
    }

    fn look_at_all(&self) {
        (0..KEYS).for_each(|key| self.look_at(key));
    }

    /// Nothing is at the key any more.
    fn leave(&self, key: u16) {
        if let Some(version) = self.stored.borrow_mut().remove(&key) {
            self.left.borrow_mut().insert((key, version));
        }
        self.detach(key);
    }

    fn detach(&self, key: u16) {
        if self.loading.borrow_mut().remove(&key) {
            self.leases.borrow().iter().filter(|held| *held.lease.key() == key).for_each(|held| held.ours.set(false));
        }
    }

    fn detach_all(&self) {
        let all: Vec<_> = self.loading.borrow().iter().copied().collect();
        all.into_iter().for_each(|key| self.detach(key));
    }

    /// It is stored, if there is room for anything at all.
    fn store(&self, key: u16, version: u64) {
        self.leave(key);
        if self.cache.capacity() > 0 {
            self.stored.borrow_mut().insert(key, version);
        }
    }

    fn insert(&self, key: u16) {
        let value = self.fresh(key);
        self.store(key, value.version);
        self.cache.insert(key, value);
        // What the next one finds may have been evicted.
        self.settle();
    }

    fn remove(&self, key: u16) {
        let expected = self.there(key);
        self.leave(key);
        assert_eq!(self.cache.remove(&key).map(|v| v.version), expected);
    }

    fn retain(&self, of: u8) {
        let of = u16::from(of).max(1);
        self.cache.retain(|k, v| {
            assert_eq!(*k, v.key);
            k % of != 0
        });
        self.detach_all();
        let doomed: Vec<_> = self.stored.borrow().keys().copied().filter(|key| key % of == 0).collect();
        doomed.into_iter().for_each(|key| self.leave(key));
    }

    fn get_with(&self, key: u16) {
        if self.loading.borrow().contains(&key) {
            return; // It would wait for a lease that this thread holds.
        }
        let (there, value) = (self.there(key), self.fresh(key));
        let mine = value.version;
        let found = self.cache.get_with(&key, || value);
        assert_eq!((found.key, found.version), (key, there.unwrap_or(mine)));
        if there.is_none() {
            self.store(key, mine);
        }
    }

    fn try_get_with(&self, key: u16) {
        if self.loading.borrow().contains(&key) {
            return;
        }
        let found = self.cache.try_get_with(&key, || Err::<Value, _>(key));
        assert_eq!(found.ok().map(|v| v.version), self.there(key));
    }

    fn compute(&self, key: u16, put: bool) {
        if self.loading.borrow().contains(&key) {
            return;
        }
        let (there, value) = (self.there(key), self.fresh(key));
        let mine = value.version;
        self.cache.compute(&key, |found| {
            assert_eq!(found.map(|v| v.version), there);
            if put { Decision::Put(value) } else { Decision::Remove }
        });
        if put { self.store(key, mine) } else { self.leave(key) }
    }

    fn lease(&self, key: u16) {
        match self.cache.lease(&key) {
            Lookup::Hit(entry) => assert_eq!((entry.key, Some(entry.version)), (key, self.there(key))),
            Lookup::Wait(_) => assert!(self.loading.borrow().contains(&key)),
            Lookup::Lead(lease) => {
                assert_eq!((*lease.key(), self.there(key)), (key, None));
                assert!(self.loading.borrow_mut().insert(key), "two leaders of one key");
                self.leases.borrow_mut().push(Held { lease, ours: Cell::new(true) });
                if self.leases.borrow().len() > LEASES {
                    self.end_lease(0, false);
                }
            }
            other => panic!("key {key}: {other:?}"),
        }
    }

    fn end_lease(&self, at: u8, fulfil: bool) {
        let Held { lease, ours } = {
            let mut leases = self.leases.borrow_mut();
            if leases.is_empty() {
                return;
            }
            let at = usize::from(at) % leases.len();
            leases.swap_remove(at)
        };
        let (key, ours) = (*lease.key(), ours.get());
        if ours {
            self.loading.borrow_mut().remove(&key);
        }
        if !fulfil {
            return drop(lease);
        }
        let value = self.fresh(key);
        let mine = value.version;
        let stored = lease.fulfil(value).is_ok();
        assert_eq!(stored, ours && self.cache.capacity() > 0);
        if stored {
            self.store(key, mine);
        }
    }
}
